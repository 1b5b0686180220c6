"""Attention: the function, the additive form, and the multi-head cell.

Letters: B batch, H heads, T queries, S keys, D model width, Dk head width.
"""

from __future__ import annotations

from mindspore import nn, ops

from step_llm.nn._checks import (
    check_additive_shapes,
    check_last_axis,
    check_rank,
)
from step_llm.nn.attention import _masked_softmax

__all__ = ["AdditiveAttention"]


class AdditiveAttention(nn.Cell):
    r"""Attention whose score is a small feed-forward network.

    Formula: score(q, k) = vᵀ tanh(Wq q + Wk k); weights = softmax over the keys.

    Args:
        query_size: width of the queries.
        key_size: width of the keys.
        hidden_size: width of the hidden layer.

    Shapes: query (B, T, query_size), key (B, S, key_size), value (B, S, Dv), mask broadcasts to
    (B, T, S); output (B, T, Dv) and weights (B, T, S).

    Raises:
        ValueError: a wrong width, shapes that do not fit, a mask that does not broadcast.

    Source: Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and
    Translate", section 3.1.
    """

    def __init__(self, query_size: int, key_size: int, hidden_size: int):
        super().__init__()
        self.query_size = query_size
        self.key_size = key_size
        self.hidden_size = hidden_size
        self.query_projection = nn.Dense(query_size, hidden_size, has_bias=False)
        self.key_projection = nn.Dense(key_size, hidden_size, has_bias=False)
        self.score = nn.Dense(hidden_size, 1, has_bias=False)

    def construct(self, query, key, value, mask=None):
        check_rank("query", query.shape, 3, "(B, T, query_size)")
        check_rank("key", key.shape, 3, "(B, S, key_size)")
        check_rank("value", value.shape, 3, "(B, S, Dv)")
        check_last_axis("query", query.shape, self.query_size, "(B, T, query_size)")
        check_last_axis("key", key.shape, self.key_size, "(B, S, key_size)")
        check_additive_shapes(query.shape, key.shape, value.shape)
        batch, targets, _ = query.shape
        sources = key.shape[1]
        left = self.query_projection(query).reshape((batch, targets, 1, self.hidden_size))
        right = self.key_projection(key).reshape((batch, 1, sources, self.hidden_size))
        scores = self.score(ops.tanh(left + right)).reshape((batch, targets, sources))
        weights = _masked_softmax(scores, mask)
        return ops.BatchMatMul()(weights, value), weights
