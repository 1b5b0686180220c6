"""Additive attention: the first attention, whose score is a small network.

Letters: B batch, T queries, S keys, Dv width of the values.
"""

from __future__ import annotations

from mindspore import dtype as mstype
from mindspore import nn, ops
from mindspore.ops import constexpr

from step_llm.nn._checks import check_last_axis, check_mask, check_rank
from step_llm.nn.activations import tanh
from step_llm.nn.forms import device_form
from step_llm.nn.initial import InitialWeights, XavierWeights
from step_llm.nn.linear import Linear
from step_llm.nn.masks import LOWEST

__all__ = ["AdditiveAttention"]


class AdditiveAttention(nn.Cell):
    r"""Attention whose score is a small feed-forward network.

    Formula: score(q, k) = vᵀ tanh(Wq q + Wk k); weights = softmax over the keys.

    Args:
        query_size: width of the queries.
        key_size: width of the keys.
        hidden_size: width of the hidden layer.
        initial: where the weights begin.

    Shapes: query (B, T, query_size), key (B, S, key_size), value (B, S, Dv), mask broadcasts to
    (B, T, S); output (B, T, Dv) and weights (B, T, S).

    Raises:
        ValueError: a wrong width, shapes that do not fit, a mask that does not broadcast.

    Source: Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and
    Translate", section 3.1.
    """

    def __init__(
        self,
        query_size: int,
        key_size: int,
        hidden_size: int,
        initial: InitialWeights | None = None,
    ):
        super().__init__()
        initial = initial or XavierWeights()
        self.query_size = query_size
        self.key_size = key_size
        self.hidden_size = hidden_size
        self.query_projection = Linear(query_size, hidden_size, has_bias=False, initial=initial)
        self.key_projection = Linear(key_size, hidden_size, has_bias=False, initial=initial)
        self.score = Linear(hidden_size, 1, has_bias=False, initial=initial)
        self.tanh = device_form(tanh)

    def construct(self, query, key, value, mask=None):
        check_rank("query", query.shape, 3, "(B, T, query_size)")
        check_rank("key", key.shape, 3, "(B, S, key_size)")
        check_rank("value", value.shape, 3, "(B, S, Dv)")
        check_last_axis("query", query.shape, self.query_size, "(B, T, query_size)")
        check_last_axis("key", key.shape, self.key_size, "(B, S, key_size)")
        _check_shapes(query.shape, key.shape, value.shape)
        batch, targets, _ = query.shape
        sources = key.shape[1]
        left = self.query_projection(query).reshape((batch, targets, 1, self.hidden_size))
        right = self.key_projection(key).reshape((batch, 1, sources, self.hidden_size))
        scores = self.score(self.tanh(left + right)).reshape((batch, targets, sources))
        # In float32, whatever the type of the products: in float16 the lowest score is −∞.
        weights = ops.cast(scores, mstype.float32)
        if mask is not None:
            check_mask(mask, scores.shape)
            weights = ops.masked_fill(weights, ops.logical_not(mask), LOWEST)
        weights = ops.softmax(weights, -1)
        if mask is not None:
            weights = weights * ops.cast(mask, mstype.float32)  # 0 where a row is forbidden whole
        weights = ops.cast(weights, value.dtype)
        return ops.BatchMatMul()(weights, value), weights


@constexpr(check=False)
def _check_shapes(query, key, value):
    """Raise a ValueError unless batches agree and key and value have one length."""
    if not (query[0] == key[0] == value[0] and key[1] == value[1]):
        raise ValueError(
            f"query {tuple(query)}, key {tuple(key)}, value {tuple(value)} do not fit together; "
            "expected (B, T, query_size), (B, S, key_size), (B, S, Dv)"
        )
