"""Layers: feed-forward, LayerNorm, the residual connection, and the encoder and decoder layer.

Letters: B batch, T target length, S source length, H heads, D model width, Dk head width.
"""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype

from step_llm._checks import check_last_axis
from step_llm.activations import ACTIVATIONS
from step_llm.attention import MultiHeadAttention
from step_llm.config import Config, TransformerConfig

__all__ = [
    "DecoderLayer", "EncoderLayer", "FeedForward", "LayerNorm", "Residual", "cache_places",
    "layer_norm", "write",
]  # fmt: skip


def layer_norm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float = 1e-5) -> Tensor:
    r"""Give each vector mean 0 and variance 1, then a learned scale and shift.

    Formula: y = (x − mean(x)) / √(var(x) + ε) · γ + β, mean and variance over the last axis.

    Args:
        x: (…, D).
        gamma, beta: (D,).
        epsilon: ε, keeps a constant vector from a division by zero.

    Returns:
        (…, D), of x's type; mean and variance are computed in float32.

    Source: Ba et al. 2016, "Layer Normalization".
    """
    if x.dtype == mstype.float16 or x.dtype == mstype.bfloat16:
        y = _layer_norm(
            ops.cast(x, mstype.float32),
            ops.cast(gamma, mstype.float32),
            ops.cast(beta, mstype.float32),
            epsilon,
        )
        return ops.cast(y, x.dtype)
    return _layer_norm(x, gamma, beta, epsilon)


def _layer_norm(x, gamma, beta, epsilon):
    shape = x.shape
    width = shape[-1]
    x = x.reshape((-1, width))
    # Means and broadcasts are written as products with a column and a row of constants. The
    # compiled broadcast keeps 16 bytes of indices for each element, in every graph; so written, a
    # LayerNorm (2,400 x 128, forward and backward) takes 1.7 ms and 3 MB; its operator, 5.5 ms.
    average = ops.full((width, 1), 1.0 / width, dtype=x.dtype)
    row = ops.ones((1, width), x.dtype)
    centred = x - ops.matmul(ops.matmul(x, average), row)
    variance = ops.matmul(centred * centred, average)  # (rows, 1)
    scale = ops.matmul(ops.rsqrt(variance + epsilon), gamma.reshape((1, width)))  # γ / √(var + ε)
    return ops.bias_add(centred * scale, beta).reshape(shape)


class LayerNorm(nn.Cell):
    """``layer_norm`` with its scale γ (ones at first) and shift β (zeros at first).

    Args:
        d_model: D, size of the last axis.
        epsilon: ε, see ``layer_norm``.

    Raises:
        ValueError: an input whose last axis is not d_model.
    """

    def __init__(self, d_model: int, epsilon: float = 1e-5):
        super().__init__()
        self.d_model = d_model
        self.epsilon = epsilon
        self.gamma = Parameter(Tensor(np.ones(d_model, np.float32)), name="gamma")
        self.beta = Parameter(Tensor(np.zeros(d_model, np.float32)), name="beta")

    def construct(self, x):
        check_last_axis("x", x.shape, self.d_model, "(…, d_model)")
        if self.training:
            return layer_norm(x, self.gamma, self.beta, self.epsilon)
        # The same in one operator. Its gradient is slow; without one it is ahead: (64 x 128), as in
        # a step of decoding, takes 0.05 ms, and the products above 0.15 ms.
        axis = len(x.shape) - 1
        return ops.LayerNorm(axis, axis, self.epsilon)(x, self.gamma, self.beta)[0]


class FeedForward(nn.Cell):
    r"""The same two-layer network at every position.

    Formula: FFN(x) = f(x W₁ + b₁) W₂ + b₂, in the paper with f(x) = max(0, x).

    Args:
        d_model: D, width of input and output.
        d_ff: inner width.
        activation: f: "relu", "gelu" or "gelu_tanh" (see ``activations``).

    Shapes: (B, T, D) to (B, T, D), or (B, D) to (B, D).

    Raises:
        ValueError: an unknown activation, or an input whose last axis is not d_model.

    Source: Vaswani et al. 2017, section 3.3.
    """

    def __init__(self, d_model: int, d_ff: int, activation: str = "relu"):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation is {activation!r}; expected one of {', '.join(ACTIVATIONS)}"
            )
        self.d_model = d_model
        self.activation = ACTIVATIONS[activation]
        self.inner = nn.Dense(d_model, d_ff)
        self.outer = nn.Dense(d_ff, d_model)

    def construct(self, x):
        check_last_axis("x", x.shape, self.d_model, "(B, T, d_model)")
        return self.outer(self.activation(self.inner(x)))


class Residual(nn.Cell):
    r"""The connection around every sub-layer: dropout, sum, LayerNorm.

    Formula: post-norm LayerNorm(x + Dropout(f(x))); pre-norm x + Dropout(f(LayerNorm(x))).
    A layer calls ``before`` to get the sub-layer's input and ``after`` to join its output:
    ``x = residual.after(x, f(residual.before(x)))``.

    Args:
        d_model: D.
        dropout: share of the sub-layer's output set to zero in training.
        norm: "post" (the paper) or "pre".
        epsilon: ε of the LayerNorm.

    Source: Vaswani et al. 2017, sections 3.1 and 5.4 (post); Xiong et al. 2020, "On Layer
    Normalization in the Transformer Architecture" (pre).
    """

    def __init__(self, d_model: int, dropout: float, norm: str, epsilon: float = 1e-5):
        super().__init__()
        if norm not in ("post", "pre"):
            raise ValueError(f"norm is {norm!r}; expected post or pre")
        self.is_pre = norm == "pre"
        self.norm = LayerNorm(d_model, epsilon)
        self.dropout = nn.Dropout(p=dropout)

    def construct(self, x, output):
        return self.after(x, output)

    def before(self, x):
        if self.is_pre:
            return self.norm(x)
        return x

    def after(self, x, output):
        x = x + self.dropout(output)
        if self.is_pre:
            return x
        return self.norm(x)


def _residual(config):
    return Residual(config.d_model, config.dropout, config.norm, config.norm_epsilon)


def cache_places(position: Tensor, heads: Tensor) -> Tensor:
    """Where a position stands in a cache, for all layers once.

    Args:
        position: (B,) or, one for all, (1,); integers from 0 to T − 1.
        heads: cached keys or values (B, H, T, Dk).

    Returns:
        (B, H, 3) int32, the first three indices for each sentence and head; what ``write`` needs.
    """
    batch, num_heads, _, _ = heads.shape
    shape = (batch, num_heads, 1)
    sentence = ops.broadcast_to(ops.arange(batch).reshape((batch, 1, 1)), shape)
    head = ops.broadcast_to(ops.arange(num_heads).reshape((1, num_heads, 1)), shape)
    place = ops.broadcast_to(position.reshape((-1, 1, 1)), shape)
    return ops.cat([ops.cast(index, mstype.int32) for index in (sentence, head, place)], -1)


def write(cached: Tensor, new: Tensor, places: Tensor) -> Tensor:
    """Put new keys or values (B, H, 1, Dk) into a cache (B, H, T, Dk), at its ``places``.

    Returns the cache with them: the same one where it is a Parameter, else a copy.
    """
    batch, num_heads, _, d_head = new.shape
    new = new.reshape((batch, num_heads, d_head))
    if isinstance(cached, Parameter):
        return ops.ScatterNdUpdate()(cached, places, new)
    return ops.TensorScatterUpdate()(cached, places, new)


class EncoderLayer(nn.Cell):
    """Self-attention and feed-forward, each inside a residual connection.

    With a causal mask it is the block of a decoder without encoder, as in GPT.

    Args:
        config: sizes, dropout, norm and activation are read from it.

    Shapes: x (B, S, D), mask (B, 1, 1, S) or what broadcasts to (B, H, S, S), rotation as in
    ``MultiHeadAttention``; output (B, S, D) and attention weights (B, H, S, S).

    Source: Vaswani et al. 2017, figure 1, left.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.self_attention = MultiHeadAttention(config.d_model, config.num_heads)
        self.feed_forward = FeedForward(config.d_model, config.d_ff, config.activation)
        self.attention_residual = _residual(config)
        self.feed_forward_residual = _residual(config)

    def construct(self, x, mask=None, rotation=None):
        x, _, weights = self.step(x, None, None, mask, rotation)
        return x, weights

    def step(self, x, own, places, mask=None, rotation=None):
        """One position x (B, D) that follows others whose keys and values are cached.

        ``own`` holds keys and values (B, H, T, Dk); the new ones are written to ``places``, see
        ``cache_places``. With ``own`` None nothing came before, and x may have any length,
        (B, S, D). Returns the output, shaped as x, the keys and values by now, and the attention
        weights.
        """
        h = self.attention_residual.before(x)
        key, value = self.self_attention.project_key_value(h, h, rotation)
        if own is not None:
            key, value = write(own[0], key, places), write(own[1], value, places)
        h, weights = self.self_attention.attend(h, key, value, mask, rotation)
        x = self.attention_residual.after(x, h)
        h = self.feed_forward(self.feed_forward_residual.before(x))
        return self.feed_forward_residual.after(x, h), (key, value), weights


class DecoderLayer(nn.Cell):
    """Causal self-attention, cross-attention and feed-forward, each inside a residual connection.

    Args:
        config: sizes, dropout, norm and activation are read from it.

    Shapes: x (B, T, D), memory (B, S, D) from the encoder, self_mask broadcasts to (B, H, T, T),
    memory_mask to (B, H, T, S); output (B, T, D), self weights (B, H, T, T) and cross weights
    (B, H, T, S).

    Source: Vaswani et al. 2017, figure 1, right.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.self_attention = MultiHeadAttention(config.d_model, config.num_heads)
        self.cross_attention = MultiHeadAttention(config.d_model, config.num_heads)
        self.feed_forward = FeedForward(config.d_model, config.d_ff, config.activation)
        self.self_residual = _residual(config)
        self.cross_residual = _residual(config)
        self.feed_forward_residual = _residual(config)

    def construct(self, x, memory, self_mask=None, memory_mask=None, rotation=None):
        h = self.self_residual.before(x)
        own = self.self_attention.project_key_value(h, h, rotation)
        return self._sublayers(
            x, h, own, self.project_memory(memory), self_mask, memory_mask, rotation
        )

    def project_memory(self, memory):
        """Keys and values of the encoder's output, (B, H, S, Dk) each; the same at every step."""
        return self.cross_attention.project_key_value(memory, memory)

    def step(self, x, own, places, memory_heads, self_mask, memory_mask, rotation=None):
        """One position of decoding: x (B, D) with the cached keys and values of the others.

        ``own`` holds keys and values (B, H, T, Dk); the new ones are written to ``places``, see
        ``cache_places``. Returns the output (B, D), the new ``own``, and the cross-attention
        weights.
        """
        h = self.self_residual.before(x)
        new_key, new_value = self.self_attention.project_key_value(h, h, rotation)
        own = (write(own[0], new_key, places), write(own[1], new_value, places))
        x, _, cross_weights = self._sublayers(
            x, h, own, memory_heads, self_mask, memory_mask, rotation
        )
        return x, own, cross_weights

    def _sublayers(self, x, h, own, memory_heads, self_mask, memory_mask, rotation):
        h, self_weights = self.self_attention.attend(h, own[0], own[1], self_mask, rotation)
        x = self.self_residual.after(x, h)
        h, cross_weights = self.cross_attention.attend(
            self.cross_residual.before(x), memory_heads[0], memory_heads[1], memory_mask
        )
        x = self.cross_residual.after(x, h)
        h = self.feed_forward(self.feed_forward_residual.before(x))
        return self.feed_forward_residual.after(x, h), self_weights, cross_weights
