"""Masks: Boolean tensors that say where attention may look.

One convention in the whole library: True means "may attend", False means "must not".
A mask broadcasts against attention scores of shape (B, H, T, S).
"""

from __future__ import annotations

from mindspore import Tensor, ops

from step_llm.nn._checks import check_boolean, check_rank

__all__ = ["LOWEST", "causal_mask", "combine_masks", "padding_mask", "seen_mask"]

# Takes the place of a score that a mask forbids: of a row with every score forbidden, −∞ would make
# NaN. It is a power of two near the end of float32, so no score that a model computes is below it.
LOWEST = -(2.0**127)


def padding_mask(ids: Tensor, pad_id: int = 0) -> Tensor:
    """Let every query attend to the real tokens of its sentence, and to no padding.

    Formula: mask[b, 0, 0, s] = (ids[b, s] != pad_id).

    Args:
        ids: (B, S) integer token ids.
        pad_id: the id that fills a sentence up to the length of its batch.

    Returns:
        (B, 1, 1, S) Boolean mask, True at real tokens.

    Raises:
        ValueError: ids is not of shape (B, S).
    """
    check_rank("ids", ids.shape, 2, "(B, S)")
    batch, length = ids.shape
    return ops.not_equal(ids, pad_id).reshape((batch, 1, 1, length))


def causal_mask(length: int, window: int = 0) -> Tensor:
    """Let position t attend to positions 0 … t, so that no token sees its future.

    Formula: mask[0, 0, t, s] = (s <= t), and with a window W (t − W < s <= t): a sliding window of
    the position itself and W − 1 before it.

    Args:
        length: T, the number of target positions.
        window: W; 0 is none.

    Returns:
        (1, 1, T, T) Boolean mask, True on and below the diagonal, as far as the window reaches.

    Source: Vaswani et al. 2017, section 3.2.3; Beltagy et al. 2020, "Longformer", section 3.1
    (sliding window).
    """
    position = ops.arange(length)
    queries, keys = position.reshape((1, 1, length, 1)), position.reshape((1, 1, 1, length))
    return _within(queries, keys, window)


def seen_mask(position: Tensor, room: int, window: int = 0) -> Tensor:
    """The row of ``causal_mask`` for a query at one position, over all places of a cache.

    Formula: mask[b, 0, 0, s] = (s <= position[b]), and with a window W also s > position[b] − W.

    Args:
        position: (B,), or (1,) for all sentences; integers.
        room: the number of places.
        window: W; 0 is none.

    Returns:
        (B, 1, 1, room) Boolean mask.
    """
    places = ops.arange(room).reshape((1, 1, 1, room))
    return _within(position.reshape((-1, 1, 1, 1)), places, window)


def _within(queries, keys, window):
    """Whether a key's position is a query's own or before it, and in the window."""
    mask = keys <= queries
    if window:
        mask = ops.logical_and(mask, keys > queries - window)
    return mask


def combine_masks(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """Allow only what both masks allow; None stands for a mask that allows everything.

    Args:
        first, second: Boolean masks whose shapes broadcast together, or None.

    Returns:
        Their logical "and" in the broadcast shape, or None if both are None.

    Raises:
        ValueError: a mask is not Boolean.
    """
    for mask in (first, second):
        if mask is not None:
            check_boolean(mask.dtype)
    if first is None:
        return second
    if second is None:
        return first
    return ops.logical_and(first, second)
