"""Rotary positions: queries and keys are turned by an angle that grows with their position."""

from __future__ import annotations

import math

import numpy as np
from mindspore import Tensor, ops
from mindspore.ops import constexpr

__all__ = ["apply_rotary", "check_rotary", "rotary_frequencies", "rotary_tables", "rotation_at"]

# What follows the name in ``scaling``.
_SCALINGS = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_length"),
}


def rotary_frequencies(d_head: int, base: float = 10000.0, scaling: tuple = ()) -> np.ndarray:
    r"""The angle by which one position turns each pair of coordinates.

    Formula: θᵢ = base^(−2i/Dk) for i in 0 … Dk/2 − 1. A model that has learned texts of length L is
    taken to longer ones by turning more slowly:

    - linear: θᵢ / factor, as if the positions stood closer together;
    - llama3: θᵢ / factor for those pairs that do not turn low_freq_factor times within L, θᵢ
      itself for those that turn at least high_freq_factor times, since they tell neighbours apart;
      between these two a mixture, linear in the number of turns.

    Args:
        d_head: Dk; must be even.
        base: larger ones turn more slowly, for longer texts.
        scaling: empty, ("linear", factor), or ("llama3", factor, low_freq_factor,
            high_freq_factor, L).

    Returns:
        (Dk / 2,) float64.

    Raises:
        ValueError: an odd d_head, a base or a number of the scaling that is not above 0, an unknown
            scaling, or a high_freq_factor that is not above low_freq_factor.

    Source: Su et al. 2021, "RoFormer", section 3.4; Chen et al. 2023, "Extending Context Window of
    Large Language Models via Positional Interpolation" (linear); github.com/meta-llama/llama-models
    (llama3).
    """
    check_rotary(d_head, base, scaling)
    frequencies = float(base) ** (-np.arange(0, d_head, 2) / d_head)
    if not scaling:
        return frequencies
    factor = scaling[1]
    if scaling[0] == "linear":
        return frequencies / factor
    low, high, length = scaling[2:]
    turns = length * frequencies / (2.0 * math.pi)
    share = np.clip((turns - low) / (high - low), 0.0, 1.0)  # of the frequency as it was
    return share * frequencies + (1.0 - share) * frequencies / factor


def check_rotary(d_head: int, base: float = 10000.0, scaling: tuple = ()) -> None:
    """Raise a ValueError for what ``rotary_frequencies`` does not take."""
    if d_head % 2:
        raise ValueError(f"rotary positions turn pairs of coordinates: d_head {d_head} is odd")
    if not 0.0 < base < math.inf:
        raise ValueError(f"the base of the rotary positions is {base}; expected more than 0")
    if not scaling:
        return
    kind, numbers = scaling[0], scaling[1:]
    if kind not in _SCALINGS:
        raise ValueError(
            f"the scaling of the rotary positions is {kind!r}; expected one of "
            f"{', '.join(_SCALINGS)}, or none"
        )
    names = _SCALINGS[kind]
    if len(numbers) != len(names):
        raise ValueError(
            f"the scaling of the rotary positions is {tuple(scaling)}; expected {kind!r} followed "
            f"by {', '.join(names)}"
        )
    for name, number in zip(names, numbers):
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not number > 0:
            raise ValueError(f"{name} of the rotary positions is {number!r}; expected more than 0")
    if kind == "llama3" and not numbers[1] < numbers[2]:
        raise ValueError(
            f"low_freq_factor of the rotary positions is {numbers[1]}; expected less than "
            f"high_freq_factor, which is {numbers[2]}"
        )


@constexpr(check=False)
def rotary_tables(
    length: int, d_head: int, base: float = 10000.0, scaling: tuple = ()
) -> tuple[Tensor, Tensor]:
    r"""Cosine and sine of the angle by which each position turns each pair of coordinates.

    Formula: angle[t, i] = t · θᵢ for i in 0 … Dk/2 − 1, written twice side by side, with
    θᵢ = base^(−2i/Dk) or as ``scaling`` says.

    Args:
        length: T, the number of positions.
        d_head, base, scaling: as for ``rotary_frequencies``.

    Returns:
        two tensors (T, Dk), float32.

    Raises:
        ValueError: as ``rotary_frequencies``.

    Source: Su et al. 2021, "RoFormer", equation 34.
    """
    angle = np.arange(length)[:, None] * rotary_frequencies(d_head, base, scaling)
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


def rotation_at(
    position: Tensor, room: int, d_head: int, base: float = 10000.0, scaling: tuple = ()
) -> tuple:
    """As ``rotary_tables``, of one position of each sentence.

    Args:
        position: (B,), or (1,) for all sentences; integers below ``room``.
        room, d_head, base, scaling: as for ``rotary_tables``.

    Returns:
        two tensors (B, 1, 1, Dk), which ``apply_rotary`` takes as well.
    """
    cosine, sine = rotary_tables(room, d_head, base, scaling)
    shape = (-1, 1, 1, d_head)
    return (
        ops.gather(cosine, position, 0).reshape(shape),
        ops.gather(sine, position, 0).reshape(shape),
    )
