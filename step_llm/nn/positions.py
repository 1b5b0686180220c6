"""Positions: what tells the model the order of the tokens.

Attention treats its input as a set. Three ways to add order, chosen by name in the configuration:
sinusoidal (added to the embeddings, no weights), learned (added, one vector a position), rotary
(turns queries and keys inside self-attention).
"""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.ops import constexpr

from step_llm.nn._checks import check_last_axis, check_rank
from step_llm.nn.initial import InitialWeights, XavierWeights

__all__ = ["POSITION_SCHEMES", "LearnedPositions", "SinusoidalPositions", "sinusoidal_encoding"]


POSITION_SCHEMES = ("sinusoidal", "learned", "rotary")


@constexpr(check=False)
def sinusoidal_encoding(length: int, d_model: int, is_interleaved: bool = True) -> Tensor:
    r"""One fixed vector a position, made of sines and cosines of falling frequency.

    Formula: PE[t, 2i] = sin(t / 10000^(2i/D)), PE[t, 2i+1] = cos(t / 10000^(2i/D)).

    Args:
        length: T, the number of positions; any.
        d_model: D, width of the model.
        is_interleaved: False has all sines first, then all cosines: the same numbers, which the
            model reads from other coordinates. Marian has them so.

    Returns:
        (T, D) float32.

    Source: Vaswani et al. 2017, section 3.5.
    """
    position = np.arange(length)[:, None]
    frequency = 10000.0 ** (-np.arange(0, d_model, 2) / d_model)
    sines, cosines = np.sin(position * frequency), np.cos(position * frequency[: d_model // 2])
    table = np.concatenate([sines, cosines], axis=1)
    if is_interleaved:
        table[:, 0::2], table[:, 1::2] = sines, cosines
    return Tensor(table.astype(np.float32))


class _AddedPositions(nn.Cell):
    """Adds row t of ``table`` to every vector at place t; or to the only one its position's row."""

    def construct(self, x, position=None, room=None):
        check_rank("x", x.shape, 3, "(B, T, d_model)")
        check_last_axis("x", x.shape, self.d_model, "(B, T, d_model)")
        if position is None:
            return x + self.table(x.shape[1])
        return x + ops.gather(self.table(room), position, 0).reshape((-1, 1, self.d_model))


class SinusoidalPositions(_AddedPositions):
    """Add the sinusoidal encoding to embeddings (B, T, D). The table grows to any length asked.

    Args:
        d_model: D.
        is_interleaved: as ``sinusoidal_encoding``.

    Shapes: x (B, T, D) to (B, T, D). Of a sequence that is written step by step, T is 1 and x
    stands at ``position``, (B,) or (1,), below ``room``.

    Raises:
        ValueError: an input that is not (B, T, D).
    """

    def __init__(self, d_model: int, is_interleaved: bool = True):
        super().__init__()
        self.d_model = d_model
        self.is_interleaved = is_interleaved

    def table(self, length):
        """The first ``length`` vectors, (length, D)."""
        return sinusoidal_encoding(length, self.d_model, self.is_interleaved)


class LearnedPositions(_AddedPositions):
    """Add one trained vector a position to embeddings (B, T, D).

    Args:
        max_length: the number of positions that have a vector.
        d_model: D.
        initial: where the vectors begin.

    Shapes: as ``SinusoidalPositions``.

    Raises:
        ValueError: an input that is not (B, T, D), or one longer than max_length.

    Source: Gehring et al. 2017, "Convolutional Sequence to Sequence Learning", section 3.1.
    """

    def __init__(self, max_length: int, d_model: int, initial: InitialWeights | None = None):
        super().__init__()
        self.max_length = max_length
        self.d_model = d_model
        self.weight = (initial or XavierWeights()).table(max_length, d_model)

    def table(self, length):
        """The first ``length`` vectors, (length, D)."""
        _check_length(length, self.max_length)
        return self.weight[:length]


@constexpr(check=False)
def _check_length(length, max_length):
    if length > max_length:
        raise ValueError(
            f"a sequence of length {length} is longer than the {max_length} learned positions; "
            "shorten it, or train with a larger max_length or with sinusoidal or rotary positions"
        )
