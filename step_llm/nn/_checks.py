"""Checks of shapes, shared by all components.

They run in Python: at every call in PyNative mode, once while a graph is compiled.
"""

from __future__ import annotations

from mindspore import dtype as mstype
from mindspore.ops import constexpr


@constexpr(check=False)
def check_rank(name, shape, rank, expected):
    """Raise a ValueError unless ``shape`` has ``rank`` axes."""
    if len(shape) != rank:
        raise ValueError(f"{name} has shape {tuple(shape)}; expected {expected}")


@constexpr(check=False)
def check_shape(name, shape, expected):
    """Raise a ValueError unless ``shape`` is ``expected``."""
    if tuple(shape) != tuple(expected):
        raise ValueError(f"{name} has shape {tuple(shape)}; expected {tuple(expected)}")


@constexpr(check=False)
def check_last_axis(name, shape, size, expected):
    """Raise a ValueError unless ``shape`` ends in ``size``."""
    if len(shape) == 0 or shape[-1] != size:
        raise ValueError(
            f"{name} has shape {tuple(shape)}; expected {expected} with last axis {size}"
        )


@constexpr(check=False)
def check_attention_shapes(query, key, value):
    """Raise a ValueError unless the three fit: (…, T, Dk), (…, S, Dk), (…, S, Dv)."""
    wrong = None
    if min(len(query), len(key), len(value)) < 2:
        wrong = "each needs at least two axes (length, width)"
    elif query[-1] != key[-1]:
        wrong = "query and key must have the same last axis Dk"
    elif key[-2] != value[-2]:
        wrong = "key and value must have the same length S"
    elif not (query[:-2] == key[:-2] == value[:-2]):
        wrong = "the axes before the last two must agree"
    if wrong:
        raise ValueError(
            f"query {tuple(query)}, key {tuple(key)}, value {tuple(value)}: {wrong}; "
            "expected (…, T, Dk), (…, S, Dk), (…, S, Dv)"
        )


@constexpr(check=False)
def check_mask_shape(mask, scores):
    """Raise a ValueError unless ``mask`` broadcasts to the shape of ``scores``."""
    fits = len(mask) <= len(scores) and all(
        m == s or m == 1 for m, s in zip(mask[::-1], scores[::-1])
    )
    if not fits:
        raise ValueError(
            f"mask has shape {tuple(mask)}, which does not broadcast to the scores' {tuple(scores)}"
        )


@constexpr(check=False)
def check_boolean(dtype):
    """Raise a ValueError unless a mask's type is Boolean."""
    if dtype != mstype.bool_:
        raise ValueError(
            f"a mask must be Boolean with True = may attend, but its type is {dtype}; "
            "make one with a comparison, such as ids != 0"
        )


def check_mask(mask, scores_shape):
    """Raise a ValueError unless a mask is Boolean and broadcasts to the shape of the scores."""
    check_boolean(mask.dtype)
    check_mask_shape(mask.shape, scores_shape)
