"""The cache of decoding: keys and values of the positions so far, for each layer.

A cache is a tuple of pairs (keys, values), a pair for each layer, each tensor (B, H, room, Dk). It
is handed in, and a new one is returned; ``room`` is the most positions that it can hold, and what
lies behind the present position is not looked at.
"""

from __future__ import annotations

from mindspore import Tensor, mutable, ops

__all__ = ["empty_cache", "reorder", "take", "with_room", "write"]


def empty_cache(layers: int, rows: int, num_heads: int, room: int, d_head: int) -> tuple:
    """A cache (B, H, room, Dk) of zeros: a place that is never looked at must not hold NaN."""
    shape = (rows, num_heads, room, d_head)
    return mutable(tuple((ops.zeros(shape), ops.zeros(shape)) for _ in range(layers)))


def with_room(cache: tuple, room: int) -> tuple:
    """The cache (B, H, T, Dk) with places for ``room`` positions, T or more; new ones are 0."""
    return mutable(tuple((_longer(keys, room), _longer(values, room)) for keys, values in cache))


def _longer(x, room):
    batch, num_heads, length, d_head = x.shape
    if length == room:
        return x
    return ops.cat((x, ops.zeros((batch, num_heads, room - length, d_head), x.dtype)), 2)


def write(cached: Tensor, new: Tensor, position: Tensor) -> Tensor:
    """One layer's keys or values with those of one more position among them.

    Args:
        cached: (B, H, room, Dk).
        new: (B, H, 1, Dk).
        position: (B,), or (1,) for all sentences; integers from 0 to room − 1.

    Returns:
        (B, H, room, Dk).
    """
    places = ops.arange(cached.shape[2]).reshape((1, 1, -1, 1))
    return ops.where(places == position.reshape((-1, 1, 1, 1)), new, cached)


def reorder(state: tuple, parents: Tensor | None, take) -> tuple:
    """A cache, or another state, whose row r continues row parents[r], (B,).

    Args:
        state: a tuple of tensors (B, …) for each layer.
        parents: None leaves all rows in place.
        take: the function below, in the form of the device.
    """
    if parents is None:
        return state
    return tuple([tuple([take(tensor, parents) for tensor in layer]) for layer in state])


def take(x: Tensor, places: Tensor, axis: int = 0) -> Tensor:
    """What stands at ``places`` (n,) of one axis of x: of x (B, …) and axis 0, (n, …)."""
    return ops.gather(x, places, axis)
