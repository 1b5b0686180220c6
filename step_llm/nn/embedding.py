"""Embedding: from token ids to vectors, and back to one score for each token."""

from __future__ import annotations

import math

from mindspore import Tensor, nn, ops

from step_llm.nn._checks import check_rank
from step_llm.nn.forms import device_form
from step_llm.nn.initial import InitialWeights, XavierWeights
from step_llm.nn.linear import linear

__all__ = ["Embedding", "OutputProjection", "look_up"]


def look_up(weight: Tensor, ids: Tensor) -> Tensor:
    """The row of ``weight`` (V, D) for each id: ids (B, T) to (B, T, D)."""
    # Not nn.Embedding: its sparse gradient would take Adam onto a deprecated slow path.
    return ops.gather(weight, ids, 0)


class Embedding(nn.Cell):
    r"""Token ids to vectors, scaled by √D as in the paper.

    Args:
        vocab_size: V, number of ids.
        d_model: D.
        is_scaled: False leaves the factor √D out, as GPT and BERT do.
        initial: where the vectors begin.

    Shapes: ids (B, T) integer in 0 … V − 1 to (B, T, D). The values are not looked at here: devices
    differ in what they give for an id outside (``data.EncodedText`` refuses it).

    Raises:
        ValueError: ids that are not (B, T).

    Source: Vaswani et al. 2017, section 3.4.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        is_scaled: bool = True,
        initial: InitialWeights | None = None,
    ):
        super().__init__()
        self.vocab_size = vocab_size
        self.scale = math.sqrt(d_model) if is_scaled else 1.0
        self.weight = (initial or XavierWeights()).table(vocab_size, d_model)
        self.look_up = device_form(look_up)

    def construct(self, ids):
        check_rank("ids", ids.shape, 2, "(B, T)")
        return self.look_up(self.weight, ids) * self.scale


class OutputProjection(nn.Cell):
    r"""Hidden vectors to one score (logit) for each token.

    Formula: logits = h Eᵀ, with a row of E for each token: the embedding's own where they are tied.

    Shapes: hidden (B, T, D) and weight (V, D) to logits (B, T, V).

    Raises:
        ValueError: hidden vectors that are not (B, T, D).

    Source: Vaswani et al. 2017, section 3.4; Press and Wolf 2017, "Using the Output Embedding to
    Improve Language Models".
    """

    def __init__(self):
        super().__init__()
        self.linear = device_form(linear)

    def construct(self, hidden: Tensor, weight: Tensor) -> Tensor:
        check_rank("hidden", hidden.shape, 3, "(B, T, d_model)")
        return self.linear(hidden, weight, None)
