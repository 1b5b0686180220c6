"""Layers: feed-forward, LayerNorm, the residual connection, and the encoder and decoder layer.

Letters: B batch, T target length, S source length, H heads, D model width, Dk head width.
"""

from __future__ import annotations

from mindspore import nn

from step_llm.models.config import TransformerConfig
from step_llm.nn.attention import MultiHeadAttention
from step_llm.nn.cache import cache_places, write
from step_llm.nn.encoder import _final_norm, _for_all_heads
from step_llm.nn.feed_forward import FeedForward
from step_llm.nn.residual import _residual

__all__ = ["Decoder", "DecoderLayer"]


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


class Decoder(nn.Cell):
    """A stack of decoder layers (with a LayerNorm at the end if they are pre-norm).

    Args:
        config: num_decoder_layers and the sizes are read from it.

    Shapes: x (B, T, D), memory (B, S, D), self_mask broadcasts to (B, H, T, T), memory_mask
    (B, 1, 1, S); output (B, T, D) and a list with each layer's cross-attention weights
    (B, H, T, S).

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.num_heads = config.num_heads
        self.layers = nn.CellList([DecoderLayer(config) for _ in range(config.num_decoder_layers)])
        self.final_norm = _final_norm(config)

    def construct(self, x, memory, self_mask=None, memory_mask=None, rotation=None):
        self_mask = _for_all_heads(self_mask, self.num_heads, x, x.shape[1])
        memory_mask = _for_all_heads(memory_mask, self.num_heads, x, memory.shape[1])
        weights = []
        for layer in self.layers:
            x, _, cross_weights = layer(x, memory, self_mask, memory_mask, rotation)
            weights.append(cross_weights)
        return self.final_norm(x), weights

    def project_memory(self, memory):
        """Each layer's keys and values of the encoder's output: what a cache holds of it."""
        return [layer.project_memory(memory) for layer in self.layers]

    def step(self, x, cache, position, memory_heads, self_mask, memory_mask, rotation=None):
        """One position through all layers: x (B, 1, D), written to the caches (B, H, T, Dk) at
        ``position``, (B,) or (1,). See ``DecoderLayer.step``."""
        places = cache_places(position, cache[0][0])
        self_mask = _for_all_heads(self_mask, self.num_heads, x, cache[0][0].shape[2])
        memory_mask = _for_all_heads(memory_mask, self.num_heads, x, memory_heads[0][0].shape[2])
        # (B, D) through the layers: every product would reshape (B, 1, D) to it and back, 50 of the
        # 240 operators of a step.
        batch, _, width = x.shape
        x = x.reshape((batch, width))
        new_cache = []
        for layer, own, heads in zip(self.layers, cache, memory_heads):
            x, own, _ = layer.step(x, own, places, heads, self_mask, memory_mask, rotation)
            new_cache.append(own)
        return self.final_norm(x).reshape((batch, 1, width)), new_cache
