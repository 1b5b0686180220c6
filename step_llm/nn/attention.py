"""Attention: the function, the additive form, and the multi-head cell.

Letters: B batch, H heads, T queries, S keys, D model width, Dk head width.
"""

from __future__ import annotations

import math

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from step_llm.nn._checks import (
    check_attention_shapes,
    check_boolean,
    check_last_axis,
    check_mask_shape,
    check_rank,
)
from step_llm.nn.rotary import apply_rotary

__all__ = ["MultiHeadAttention", "scaled_dot_product_attention"]


# Added to a score that the mask forbids. Finite, so that a row with every score forbidden
# gives a uniform softmax instead of NaN (which the second masking step then sets to zero).
_FORBIDDEN = -1e9


def _masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last axis; forbidden places get exactly 0, an all-forbidden row only 0.

    In float32 always: float16 ends at 65,504, so −1e9 would be −∞ there, and 0 · −∞ is NaN.
    """
    if scores.dtype == mstype.float16 or scores.dtype == mstype.bfloat16:
        weights = _float32_softmax(ops.cast(scores, mstype.float32), mask)
        return ops.cast(weights, scores.dtype)
    return _float32_softmax(scores, mask)


def _float32_softmax(scores, mask):
    if mask is None:
        return ops.softmax(scores, -1)
    check_boolean(mask.dtype)
    check_mask_shape(mask.shape, scores.shape)
    allowed = ops.cast(mask, scores.dtype)
    # Adding and multiplying, not masked_fill: both are one pass over memory on the CPU.
    return ops.softmax(scores + (1.0 - allowed) * _FORBIDDEN, -1) * allowed


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Weigh the values by how well each key matches the query.

    Formula: softmax(query · keyᵀ / √Dk) · value. The scale keeps the scores' variance at 1, so
    that the softmax does not saturate as Dk grows.

    Args:
        query: (…, T, Dk).
        key: (…, S, Dk).
        value: (…, S, Dv).
        mask: Boolean, broadcasts to (…, T, S), True = may attend. None allows everything.

    Returns:
        output (…, T, Dv) and weights (…, T, S). Each row of the weights sums to 1; a query that
        may attend to nothing gets weights 0 and output 0, never NaN.

    Raises:
        ValueError: shapes that do not fit together, or a mask that does not broadcast.

    Source: Vaswani et al. 2017, "Attention Is All You Need", equation 1.
    """
    check_attention_shapes(query.shape, key.shape, value.shape)
    scale = 1.0 / math.sqrt(query.shape[-1])
    scores = ops.BatchMatMul(transpose_b=True)(query, key) * scale  # (…, T, S)
    weights = _masked_softmax(scores, mask)
    return ops.BatchMatMul()(weights, value), weights


class MultiHeadAttention(nn.Cell):
    r"""Several attentions side by side, each on its own projection of the input.

    Formula: MultiHead(Q, K, V) = Concat(head₁, …, head_H) Wo, with
    headᵢ = Attention(Q Wqᵢ, K Wkᵢ, V Wvᵢ) and Dk = D / H.

    One cell serves every use: self-attention (query = key = value), cross-attention (key and value
    from the encoder), and causal attention (with a causal mask). For decoding with a cache, call
    the two halves apart: ``project_key_value`` once per position, ``attend`` at every step.

    Args:
        d_model: D, width of input and output.
        num_heads: H; must divide d_model.

    Shapes: query (B, T, D), key and value (B, S, D), mask broadcasts to (B, H, T, S), True = may
    attend; ``rotation`` is None or what ``positions.rotary_tables`` returns, for T = S. The output
    is (B, T, D); with ``need_weights=True`` it is the pair of that and the weights (B, H, T, S).
    The two halves also take (B, D), one position of each sentence, and return it so.

    Raises:
        ValueError: d_model not divisible by num_heads, an input of another rank or width, a mask
            that does not broadcast.

    Source: Vaswani et al. 2017, section 3.2.2.
    """

    def __init__(self, d_model: int, num_heads: int):
        super().__init__()
        if num_heads < 1 or d_model % num_heads:
            raise ValueError(
                f"d_model {d_model} is not divisible by num_heads {num_heads}; "
                "expected num_heads to be a divisor of d_model"
            )
        self.d_model = d_model
        self.num_heads = num_heads
        self.d_head = d_model // num_heads
        self.query_projection = nn.Dense(d_model, d_model)
        self.key_projection = nn.Dense(d_model, d_model)
        self.value_projection = nn.Dense(d_model, d_model)
        self.output_projection = nn.Dense(d_model, d_model)

    def construct(self, query, key, value, mask=None, rotation=None, need_weights=False):
        for name, x in (("query", query), ("key", key), ("value", value)):
            check_rank(name, x.shape, 3, "(B, length, d_model)")
        key_heads, value_heads = self.project_key_value(key, value, rotation)
        output, weights = self.attend(query, key_heads, value_heads, mask, rotation)
        if need_weights:
            return output, weights
        return output

    def project_key_value(self, key, value, rotation=None):
        """Project and split into heads: two tensors (B, H, S, Dk); a cache holds these."""
        key_heads = self._split_heads(self.key_projection(self._checked("key", key)))
        value_heads = self._split_heads(self.value_projection(self._checked("value", value)))
        if rotation is not None:
            key_heads = apply_rotary(key_heads, rotation)
        return key_heads, value_heads

    def attend(self, query, key_heads, value_heads, mask=None, rotation=None):
        """Attend from query (B, T, D) to projected heads (B, H, S, Dk): output and weights."""
        query_heads = self._split_heads(self.query_projection(self._checked("query", query)))
        if rotation is not None:
            query_heads = apply_rotary(query_heads, rotation)
        output, weights = scaled_dot_product_attention(query_heads, key_heads, value_heads, mask)
        return self.output_projection(self._merge_heads(output, query.shape)), weights

    def _checked(self, name, x):
        if len(x.shape) != 2:
            check_rank(name, x.shape, 3, "(B, length, d_model)")
        check_last_axis(name, x.shape, self.d_model, "(B, length, d_model)")
        return x

    # Cut and stacked, not reshaped and transposed: compiled on the CPU, a transpose keeps 8 bytes
    # of indices for each of its elements. Of a training step of the preset `tiny`, 128 × 24, this
    # takes 300 MiB off (1,730 to 1,430), and it is no slower. Of one position, as in decoding, the
    # numbers stand in the same order either way.
    def _split_heads(self, x):
        if len(x.shape) == 2 or x.shape[1] == 1:
            return x.reshape((x.shape[0], self.num_heads, 1, self.d_head))
        return ops.stack(ops.split(x, self.d_head, -1), 1)  # (B, T, D) to (B, H, T, Dk)

    def _merge_heads(self, x, shape):
        if x.shape[2] == 1:
            return x.reshape(shape)
        return ops.cat(ops.unbind(x, 1), -1)  # (B, H, T, Dk) to (B, T, D)
