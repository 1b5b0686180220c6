"""The decoder: its layer, and the stack of them.

Letters: B batch, T target length, S source length, H heads, D model width, Dk head width.
"""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import nn

from step_llm.nn.attention import MultiHeadAttention
from step_llm.nn.feed_forward import FeedForward
from step_llm.nn.initial import InitialWeights, XavierWeights
from step_llm.nn.residual import Residual

__all__ = ["Decoder", "DecoderLayer"]


class DecoderLayer(nn.Cell):
    """Causal self-attention, cross-attention and feed-forward, each inside a residual connection.

    Args:
        d_model … initial: as ``EncoderLayer``.

    Shapes: x (B, T, D), memory (B, S, D) from the encoder, self_mask broadcasts to (B, H, T, T),
    memory_mask to (B, H, T, S); output (B, T, D), self weights (B, H, T, T), cross weights
    (B, H, T, S), and the keys and values (B, H, T, Dk) of self-attention. With a cache, T is 1: x
    stands at ``position``, (B,) or (1,), the cache holds the keys and values (B, H, room, Dk) of
    the positions before, and ``memory`` is what ``project_memory`` made of the encoder's output.

    Source: Vaswani et al. 2017, figure 1, right.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        dropout: float = 0.1,
        norm: str = "post",
        activation: str = "relu",
        norm_epsilon: float = 1e-5,
        num_kv_heads: int | None = None,
        initial: InitialWeights | None = None,
    ):
        super().__init__()
        initial = initial or XavierWeights()
        self.self_attention = MultiHeadAttention(d_model, num_heads, num_kv_heads, initial)
        self.cross_attention = MultiHeadAttention(d_model, num_heads, num_kv_heads, initial)
        self.feed_forward = FeedForward(d_model, d_ff, activation, initial)
        self.self_residual = Residual(d_model, dropout, norm, norm_epsilon)
        self.cross_residual = Residual(d_model, dropout, norm, norm_epsilon)
        self.feed_forward_residual = Residual(d_model, dropout, norm, norm_epsilon)

    def construct(
        self, x, memory, self_mask=None, memory_mask=None, rotation=None, cache=None, position=None
    ):
        h = self.self_residual.before(x)
        keys, values = self.self_attention.project_key_value(h, h, rotation, cache, position)
        h, self_weights = self.self_attention.attend(h, keys, values, self_mask, rotation)
        x = self.self_residual.after(x, h)
        h = self.cross_residual.before(x)
        if cache is None:
            memory = self.project_memory(memory)
        h, cross_weights = self.cross_attention.attend(h, memory[0], memory[1], memory_mask)
        x = self.cross_residual.after(x, h)
        h = self.feed_forward(self.feed_forward_residual.before(x))
        x = self.feed_forward_residual.after(x, h)
        return x, self_weights, cross_weights, (keys, values)

    def project_memory(self, memory):
        """Keys and values of the encoder's output, (B, H, S, Dk) each; the same at every step."""
        return self.cross_attention.project_key_value(memory, memory)


class Decoder(nn.Cell):
    """A stack of decoder layers (with a LayerNorm at the end if they are pre-norm).

    Args:
        layers: at least one, each with weights of its own.

    Shapes: as ``DecoderLayer``; returns the output, and three lists: each layer's self-attention
    weights, its cross-attention weights, and its keys and values, which are a cache. With a cache,
    ``memory`` is what ``project_memory`` returned.

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(self, layers: Sequence[DecoderLayer]):
        super().__init__()
        self.layers = nn.CellList(layers)
        self.final_norm = layers[-1].feed_forward_residual.final_norm()

    def construct(
        self, x, memory, self_mask=None, memory_mask=None, rotation=None, cache=None, position=None
    ):
        self_weights, cross_weights, new_cache = [], [], []
        for place, layer in enumerate(self.layers):
            own_memory = memory if cache is None else memory[place]
            own = None if cache is None else cache[place]
            x, own_self, own_cross, own = layer(
                x, own_memory, self_mask, memory_mask, rotation, own, position
            )
            self_weights.append(own_self)
            cross_weights.append(own_cross)
            new_cache.append(own)
        return self.final_norm(x), self_weights, cross_weights, new_cache

    def project_memory(self, memory):
        """Each layer's keys and values of the encoder's output, which do not change."""
        return [layer.project_memory(memory) for layer in self.layers]
