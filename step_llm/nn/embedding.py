"""The whole model: embeddings, encoder, decoder, and the projection to the vocabulary.

Letters: B batch, T target length, S source length, H heads, D model width, V vocabulary.
"""

from __future__ import annotations

import math

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from step_llm.nn._checks import check_rank

__all__ = ["Embedding", "project_to_vocabulary"]


class Embedding(nn.Cell):
    r"""Token ids to vectors, scaled by √D as in the paper.

    Args:
        vocab_size: V, number of ids.
        d_model: D.
        is_scaled: False leaves the factor √D out, as GPT and BERT do.

    Shapes: ids (B, T) integer to (B, T, D).

    Raises:
        ValueError: ids that are not (B, T); outside compiled code also an id outside 0 … V − 1.
            (Inside a compiled graph the values are not known; there the data pipeline checks.)

    Source: Vaswani et al. 2017, section 3.4.
    """

    def __init__(self, vocab_size: int, d_model: int, is_scaled: bool = True):
        super().__init__()
        self.vocab_size = vocab_size
        self.scale = math.sqrt(d_model) if is_scaled else 1.0
        self.weight = Parameter(Tensor(np.zeros((vocab_size, d_model), np.float32)), name="weight")

    def __call__(self, ids):
        # The compiler reads construct, not __call__: this runs in PyNative mode alone.
        values = ids.asnumpy()
        if values.size and not 0 <= values.min() <= values.max() < self.vocab_size:
            wrong = values[(values < 0) | (values >= self.vocab_size)][0]
            raise ValueError(
                f"token id {wrong} is outside the vocabulary; expected 0 … {self.vocab_size - 1}"
            )
        return super().__call__(ids)

    def construct(self, ids):
        check_rank("ids", ids.shape, 2, "(B, T)")
        # Not nn.Embedding: its sparse gradient would take Adam onto a deprecated slow path.
        return ops.gather(self.weight, ids, 0) * self.scale


def project_to_vocabulary(hidden: Tensor, weight: Tensor) -> Tensor:
    """Hidden vectors (B, T, D) and a row for each token (V, D) to logits (B, T, V).

    Raises:
        ValueError: hidden vectors that are not (B, T, D).
    """
    check_rank("hidden", hidden.shape, 3, "(B, T, d_model)")
    batch, length, width = hidden.shape
    # One matrix product of two axes: with three, the CPU takes six times as long.
    logits = ops.MatMul(transpose_b=True)(hidden.reshape((batch * length, width)), weight)
    return logits.reshape((batch, length, logits.shape[-1]))
