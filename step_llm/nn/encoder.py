"""The encoder: its layer, and the stack of them.

Letters: B batch, S length, H heads, D model width, Dk head width.
"""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import nn

from step_llm.nn.attention import MultiHeadAttention
from step_llm.nn.feed_forward import FeedForward
from step_llm.nn.initial import InitialWeights, XavierWeights
from step_llm.nn.residual import Residual

__all__ = ["Encoder", "EncoderLayer"]


class EncoderLayer(nn.Cell):
    """Self-attention and feed-forward, each inside a residual connection.

    With a causal mask it is the block of a decoder without encoder, as in GPT.

    Args:
        d_model, num_heads, d_ff: D, H and the feed-forward network's inner width.
        dropout, norm, norm_epsilon: as ``Residual``.
        activation: as ``FeedForward``.
        num_kv_heads: as ``MultiHeadAttention``.
        initial: where the weights begin.

    Shapes: x (B, S, D), mask (B, 1, 1, S) or what broadcasts to (B, H, S, S), rotation as in
    ``MultiHeadAttention``; output (B, S, D), attention weights (B, H, S, S), and the keys and
    values (B, H, S, Dk). With a cache, S is 1: x stands at ``position``, (B,) or (1,), the cache
    holds the keys and values (B, H, room, Dk) of the positions before, and comes back with x's.

    Source: Vaswani et al. 2017, figure 1, left.
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
        self.feed_forward = FeedForward(d_model, d_ff, activation, initial)
        self.attention_residual = Residual(d_model, dropout, norm, norm_epsilon)
        self.feed_forward_residual = Residual(d_model, dropout, norm, norm_epsilon)

    def construct(self, x, mask=None, rotation=None, cache=None, position=None):
        h = self.attention_residual.before(x)
        keys, values = self.self_attention.project_key_value(h, h, rotation, cache, position)
        h, weights = self.self_attention.attend(h, keys, values, mask, rotation)
        x = self.attention_residual.after(x, h)
        h = self.feed_forward(self.feed_forward_residual.before(x))
        return self.feed_forward_residual.after(x, h), weights, (keys, values)


class Encoder(nn.Cell):
    """A stack of encoder layers (with a LayerNorm at the end if they are pre-norm).

    Args:
        layers: at least one, each with weights of its own.

    Shapes: as ``EncoderLayer``; returns the output, and two lists with each layer's attention
    weights (empty with ``need_weights=False``), and with each layer's keys and values: a cache.

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(self, layers: Sequence[EncoderLayer]):
        super().__init__()
        self.layers = nn.CellList(layers)
        self.final_norm = layers[-1].feed_forward_residual.final_norm()

    def construct(self, x, mask=None, rotation=None, cache=None, position=None, need_weights=True):
        weights, new_cache = [], []
        for place, layer in enumerate(self.layers):
            own = None if cache is None else cache[place]
            x, layer_weights, own = layer(x, mask, rotation, own, position)
            if need_weights:
                weights.append(layer_weights)
            new_cache.append(own)
        return self.final_norm(x), weights, new_cache
