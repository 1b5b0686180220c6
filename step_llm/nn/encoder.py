"""Layers: feed-forward, LayerNorm, the residual connection, and the encoder and decoder layer.

Letters: B batch, T target length, S source length, H heads, D model width, Dk head width.
"""

from __future__ import annotations

from mindspore import nn, ops

from step_llm.models.config import Config
from step_llm.nn._checks import check_mask_shape
from step_llm.nn.attention import MultiHeadAttention
from step_llm.nn.cache import cache_places, write
from step_llm.nn.feed_forward import FeedForward
from step_llm.nn.layer_norm import LayerNorm
from step_llm.nn.residual import _residual

__all__ = ["Encoder", "EncoderLayer"]


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


class Encoder(nn.Cell):
    """A stack of encoder layers (with a LayerNorm at the end if they are pre-norm).

    Args:
        config: the sizes are read from it.
        num_layers: the depth; None stands for config.num_encoder_layers.

    Shapes: x (B, S, D), mask (B, 1, 1, S) or what broadcasts to (B, H, S, S); output (B, S, D) and
    a list with each layer's attention weights (B, H, S, S).

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(self, config: Config, num_layers: int | None = None):
        super().__init__()
        if num_layers is None:
            num_layers = config.num_encoder_layers
        self.num_heads = config.num_heads
        self.layers = nn.CellList([EncoderLayer(config) for _ in range(num_layers)])
        self.final_norm = _final_norm(config)

    def construct(self, x, mask=None, rotation=None):
        mask = _for_all_heads(mask, self.num_heads, x, x.shape[1])
        weights = []
        for layer in self.layers:
            x, layer_weights = layer(x, mask, rotation)
            weights.append(layer_weights)
        return self.final_norm(x), weights

    def start(self, x, mask=None, rotation=None):
        """As ``construct``, but returns each layer's keys and values in place of the weights."""
        cache = []
        for layer in self.layers:
            x, own, _ = layer.step(x, None, None, mask, rotation)
            cache.append(own)
        return self.final_norm(x), cache

    def step(self, x, cache, position, mask, rotation=None):
        """One position through all layers: x (B, 1, D), written to the caches (B, H, T, Dk) at
        ``position``, (B,) or (1,). See ``EncoderLayer.step``."""
        places = cache_places(position, cache[0][0])
        mask = _for_all_heads(mask, self.num_heads, x, cache[0][0].shape[2])
        # (B, D) through the layers, see Decoder.step.
        batch, _, width = x.shape
        x = x.reshape((batch, width))
        new_cache = []
        for layer, own in zip(self.layers, cache):
            x, own, _ = layer.step(x, own, places, mask, rotation)
            new_cache.append(own)
        return self.final_norm(x).reshape((batch, 1, width)), new_cache


def _for_all_heads(mask, num_heads, queries, keys):
    """Broadcast a mask to (B, H, T, S) once, and not again in every layer.

    ``queries`` are (B, T, D), ``keys`` is their number S.
    """
    if mask is None:
        return None
    shape = (queries.shape[0], num_heads, queries.shape[1], keys)
    check_mask_shape(mask.shape, shape)
    return ops.broadcast_to(mask, shape)


def _final_norm(config):
    if config.norm == "pre":
        return LayerNorm(config.d_model, config.norm_epsilon)
    return nn.Identity()
