"""Attention: the function, and the multi-head cell.

Letters: B batch, H heads, T queries, S keys, D model width, Dk head width.
"""

from __future__ import annotations

import math

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from step_llm.nn._checks import check_attention_shapes, check_last_axis, check_mask, check_rank
from step_llm.nn.cache import write
from step_llm.nn.forms import device_form
from step_llm.nn.initial import InitialWeights, XavierWeights
from step_llm.nn.linear import Linear
from step_llm.nn.masks import LOWEST
from step_llm.nn.rms_norm import RMSNorm
from step_llm.nn.rotary import apply_rotary

__all__ = [
    "BIASES", "MultiHeadAttention", "merge_heads", "repeat_heads", "scaled_dot_product_attention",
    "split_heads",
]  # fmt: skip

# Which of the four projections have a bias.
BIASES = ("all", "qkv", "none")


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
    scores = ops.BatchMatMul(transpose_b=True)(query, key) / math.sqrt(query.shape[-1])
    # In float32, whatever the inputs' type: float16 ends at 65,504.
    weights = ops.cast(scores, mstype.float32)  # (…, T, S)
    if mask is not None:
        check_mask(mask, scores.shape)
        weights = ops.masked_fill(weights, ops.logical_not(mask), LOWEST)
    weights = ops.softmax(weights, -1)
    if mask is not None:
        weights = weights * ops.cast(mask, mstype.float32)  # 0 where a row is forbidden whole
    weights = ops.cast(weights, value.dtype)
    return ops.BatchMatMul()(weights, value), weights  # (…, T, Dv)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, T, H · Dk) to (B, H, T, Dk)."""
    batch, length, width = x.shape
    x = x.reshape((batch, length, num_heads, width // num_heads))  # (B, T, H, Dk)
    return ops.transpose(x, (0, 2, 1, 3))


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, T, Dk) to (B, T, H · Dk)."""
    batch, num_heads, length, d_head = x.shape
    return ops.transpose(x, (0, 2, 1, 3)).reshape((batch, length, num_heads * d_head))


def repeat_heads(x: Tensor, groups: int) -> Tensor:
    """Keys or values (B, H / G, S, Dk) to (B, H, S, Dk): each serves G heads of queries."""
    if groups == 1:
        return x
    batch, num_heads, length, d_head = x.shape
    x = x.reshape((batch, num_heads, 1, length, d_head))
    x = ops.broadcast_to(x, (batch, num_heads, groups, length, d_head))
    return x.reshape((batch, num_heads * groups, length, d_head))


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
        num_kv_heads: heads of keys and values; must divide H, and H / num_kv_heads heads of queries
            share each. None stands for H; 1 is multi-query attention.
        initial: where the weights begin.
        d_head: Dk; None stands for D / H. Otherwise d_model need not be divisible by num_heads.
        biases: "all" (the paper), "qkv" (of queries, keys and values alone, as in Qwen2) or "none".
        head_norm_epsilon: above 0, each head's queries and keys go through an RMSNorm with this ε
            before they are turned (as in Qwen3), which bounds their scores.

    Shapes: query (B, T, D), key and value (B, S, D), mask broadcasts to (B, H, T, S), True = may
    attend; ``rotation`` is None or what ``rotary.rotary_tables`` returns, for T = S. The output
    is (B, T, D); with ``need_weights=True`` it is the pair of that and the weights (B, H, T, S).

    Raises:
        ValueError: d_model not divisible by num_heads, or num_heads by num_kv_heads; an unknown
            choice of biases; an input of another rank or width; a mask that does not broadcast.

    Source: Vaswani et al. 2017, section 3.2.2; Ainslie et al. 2023, "GQA: Training Generalized
    Multi-Query Transformer Models from Multi-Head Checkpoints" (num_kv_heads); Henry et al. 2020,
    "Query-Key Normalization for Transformers" (head_norm_epsilon).
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        initial: InitialWeights | None = None,
        d_head: int | None = None,
        biases: str = "all",
        head_norm_epsilon: float = 0.0,
    ):
        super().__init__()
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if num_heads < 1 or (d_head is None and d_model % num_heads):
            raise ValueError(
                f"d_model {d_model} is not divisible by num_heads {num_heads}; "
                "expected num_heads to be a divisor of d_model"
            )
        if num_kv_heads < 1 or num_heads % num_kv_heads:
            raise ValueError(
                f"num_heads {num_heads} is not divisible by num_kv_heads {num_kv_heads}; "
                "expected num_kv_heads to be a divisor of num_heads"
            )
        if biases not in BIASES:
            raise ValueError(f"biases is {biases!r}; expected one of {', '.join(BIASES)}")
        initial = initial or XavierWeights()
        has_bias, is_last_biased = biases != "none", biases == "all"
        self.d_model = d_model
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.d_head = d_model // num_heads if d_head is None else d_head
        width, kv_width = num_heads * self.d_head, num_kv_heads * self.d_head
        self.query_projection = Linear(d_model, width, has_bias, initial=initial)
        self.key_projection = Linear(d_model, kv_width, has_bias, initial=initial)
        self.value_projection = Linear(d_model, kv_width, has_bias, initial=initial)
        self.output_projection = Linear(width, d_model, is_last_biased, True, initial)
        self.query_norm = self.key_norm = None
        if head_norm_epsilon:
            self.query_norm = RMSNorm(self.d_head, head_norm_epsilon)
            self.key_norm = RMSNorm(self.d_head, head_norm_epsilon)
        self.attention = device_form(scaled_dot_product_attention)
        self.split_heads = device_form(split_heads)
        self.merge_heads = device_form(merge_heads)
        self.write = device_form(write)
        self.apply_rotary = device_form(apply_rotary)

    def construct(self, query, key, value, mask=None, rotation=None, need_weights=False):
        keys, values = self.project_key_value(key, value, rotation)
        output, weights = self.attend(query, keys, values, mask, rotation)
        if need_weights:
            return output, weights
        return output

    def project_key_value(self, key, value, rotation=None, cache=None, position=None):
        """Project and split into heads: two tensors (B, num_kv_heads, S, Dk); a cache holds these.

        ``rotation`` is that of the keys' positions. With a cache, the keys and values of the
        positions before (B, num_kv_heads, room, Dk), S is 1, and the cache comes back with those of
        ``position``, (B,) or (1,), in it.
        """
        self._check("key", key)
        self._check("value", value)
        keys = self.split_heads(self.key_projection(key), self.num_kv_heads)
        values = self.split_heads(self.value_projection(value), self.num_kv_heads)
        if self.key_norm is not None:
            keys = self.key_norm(keys)
        if rotation is not None:
            keys = self.apply_rotary(keys, rotation)
        if cache is not None:
            keys = self.write(cache[0], keys, position)
            values = self.write(cache[1], values, position)
        return keys, values

    def attend(self, query, keys, values, mask=None, rotation=None):
        """Attend from query (B, T, D) to projected heads: output (B, T, D) and weights.

        ``rotation`` is that of the queries' positions.
        """
        self._check("query", query)
        queries = self.split_heads(self.query_projection(query), self.num_heads)  # (B, H, T, Dk)
        if self.query_norm is not None:
            queries = self.query_norm(queries)
        if rotation is not None:
            queries = self.apply_rotary(queries, rotation)
        groups = self.num_heads // self.num_kv_heads
        keys, values = repeat_heads(keys, groups), repeat_heads(values, groups)
        output, weights = self.attention(queries, keys, values, mask)
        return self.output_projection(self.merge_heads(output)), weights

    def _check(self, name, x):
        check_rank(name, x.shape, 3, "(B, length, d_model)")
        check_last_axis(name, x.shape, self.d_model, "(B, length, d_model)")
