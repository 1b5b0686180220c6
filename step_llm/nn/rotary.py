"""Rotary positions: queries and keys are turned by an angle that grows with their position."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, ops
from mindspore.ops import constexpr

__all__ = ["apply_rotary", "rotary_tables", "rotation_at"]


@constexpr(check=False)
def rotary_tables(length: int, d_head: int, base: float = 10000.0) -> tuple[Tensor, Tensor]:
    r"""Cosine and sine of the angle by which each position turns each pair of coordinates.

    Formula: angle[t, i] = t / base^(2i/Dk) for i in 0 … Dk/2 − 1, written twice side by side.

    Args:
        length: T, the number of positions.
        d_head: Dk; must be even.
        base: larger ones turn more slowly, for longer texts.

    Returns:
        two tensors (T, Dk), float32.

    Raises:
        ValueError: an odd d_head.

    Source: Su et al. 2021, "RoFormer", equation 34.
    """
    if d_head % 2:
        raise ValueError(f"rotary positions turn pairs of coordinates: d_head {d_head} is odd")
    angle = np.arange(length)[:, None] * base ** (-np.arange(0, d_head, 2) / d_head)
    angle = np.concatenate([angle, angle], axis=1)
    return Tensor(np.cos(angle).astype(np.float32)), Tensor(np.sin(angle).astype(np.float32))


def apply_rotary(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    r"""Turn coordinate pair (i, i + Dk/2) of position t by t · θᵢ.

    Formula: x · cos + rotate_half(x) · sin, with rotate_half(x) = [−x₂, x₁] for halves x₁, x₂.
    The dot product of two turned vectors depends on the distance of their positions only. (The
    paper pairs neighbours 2i, 2i+1; a fixed reordering of the coordinates leads from one form to
    the other, and dot products do not see it.)

    Args:
        x: (B, H, T, Dk) queries or keys.
        rotation: cosine and sine tables (T, Dk), from ``rotary_tables``.

    Returns:
        (B, H, T, Dk), each vector with its length unchanged.
    """
    cosine, sine = rotation
    half = x.shape[-1] // 2
    turned = ops.concat((-x[..., half:], x[..., :half]), -1)
    return x * cosine + turned * sine


def rotation_at(position: Tensor, room: int, d_head: int, base: float = 10000.0) -> tuple:
    """As ``rotary_tables``, of one position of each sentence.

    Args:
        position: (B,), or (1,) for all sentences; integers below ``room``.
        room, d_head, base: as for ``rotary_tables``.

    Returns:
        two tensors (B, 1, 1, Dk), which ``apply_rotary`` takes as well.
    """
    cosine, sine = rotary_tables(room, d_head, base)
    shape = (-1, 1, 1, d_head)
    return (
        ops.gather(cosine, position, 0).reshape(shape),
        ops.gather(sine, position, 0).reshape(shape),
    )
