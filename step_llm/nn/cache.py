"""Layers: feed-forward, LayerNorm, the residual connection, and the encoder and decoder layer.

Letters: B batch, T target length, S source length, H heads, D model width, Dk head width.
"""

from __future__ import annotations

from mindspore import Parameter, Tensor, ops
from mindspore import dtype as mstype

__all__ = ["cache_places", "write"]


def cache_places(position: Tensor, heads: Tensor) -> Tensor:
    """Where a position stands in a cache, for all layers once.

    Args:
        position: (B,) or, one for all, (1,); integers from 0 to T − 1.
        heads: cached keys or values (B, H, T, Dk).

    Returns:
        (B, H, 3) int32, the first three indices for each sentence and head; what ``write`` needs.
    """
    batch, num_heads, _, _ = heads.shape
    shape = (batch, num_heads, 1)
    sentence = ops.broadcast_to(ops.arange(batch).reshape((batch, 1, 1)), shape)
    head = ops.broadcast_to(ops.arange(num_heads).reshape((1, num_heads, 1)), shape)
    place = ops.broadcast_to(position.reshape((-1, 1, 1)), shape)
    return ops.cat([ops.cast(index, mstype.int32) for index in (sentence, head, place)], -1)


def write(cached: Tensor, new: Tensor, places: Tensor) -> Tensor:
    """Put new keys or values (B, H, 1, Dk) into a cache (B, H, T, Dk), at its ``places``.

    Returns the cache with them: the same one where it is a Parameter, else a copy.
    """
    batch, num_heads, _, d_head = new.shape
    new = new.reshape((batch, num_heads, d_head))
    if isinstance(cached, Parameter):
        return ops.ScatterNdUpdate()(cached, places, new)
    return ops.TensorScatterUpdate()(cached, places, new)
