"""The whole model: embeddings, encoder, decoder, and the projection to the vocabulary.

Letters: B batch, T target length, S source length, H heads, D model width, V vocabulary.
"""

from __future__ import annotations

import math

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from step_llm._checks import check_mask_shape, check_rank
from step_llm.config import Config, TransformerConfig
from step_llm.layers import DecoderLayer, EncoderLayer, LayerNorm, cache_places
from step_llm.masks import causal_mask, combine_masks, padding_mask
from step_llm.positions import LearnedPositions, SinusoidalPositions, rotary_tables

__all__ = ["Decoder", "Embedding", "Encoder", "Transformer", "initialise"]


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
        self.weight = Parameter(
            Tensor(np.zeros((vocab_size, d_model), np.float32)), name="weight"
        )

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


def initialise_normal(
    model: nn.Cell, seed: int, deviation: float = 0.02, residual_layers: int = 0
) -> None:
    """Draw the weights as GPT-2, BERT and ViT do: normal, biases 0, the scales of LayerNorm 1.

    Args:
        model: its weights are set.
        seed: the same seed gives the same weights.
        deviation: the standard deviation.
        residual_layers: where above 0, matrices that end a residual branch get the deviation
            divided by the square root of this number, so that the sum of all branches keeps its
            size (Radford et al. 2019, section 2.3).
    """
    rng = np.random.default_rng(seed)
    for name, parameter in model.parameters_and_names():
        if name.endswith(("bias", "beta")):
            value = np.zeros(parameter.shape)
        elif name.endswith("gamma"):
            value = np.ones(parameter.shape)
        else:
            value = rng.normal(0.0, deviation, parameter.shape)
            if residual_layers and name.endswith(("output_projection.weight", "outer.weight")):
                value /= math.sqrt(residual_layers)
        parameter.set_data(Tensor(value.astype(np.float32)))


class Transformer(nn.Cell):
    r"""Encoder and decoder for translation.

    Formula: logits = Decoder(Embed(target) + PE, Encoder(Embed(source) + PE)) · Wᵀ.

    Args:
        config: see ``TransformerConfig``.
        seed: of the initial weights: Xavier-uniform matrices, embeddings normal with standard
            deviation D^(−1/2), biases 0, as in the paper's reference implementation.
        pad_id: the id that fills sentences up to their batch's length.

    Shapes: source (B, S) and target (B, T) integer ids, target starting with the
    beginning-of-sentence id; logits (B, T, V).

    Raises:
        ValueError: ids that are not two-dimensional, an id outside the vocabulary (outside
            compiled code), a sequence longer than the learned positions.

    Source: Vaswani et al. 2017, figure 1; initial values: github.com/tensorflow/tensor2tensor.
    """

    def __init__(self, config: TransformerConfig, seed: int = 0, pad_id: int = 0):
        super().__init__()
        self.config = config
        self.pad_id = pad_id
        self.target_embedding = Embedding(config.target_vocab_size, config.d_model)
        if config.tied_embeddings == "all":
            self.source_embedding = self.target_embedding
        else:
            self.source_embedding = Embedding(config.source_vocab_size, config.d_model)
        self.is_rotary = config.positions == "rotary"
        self.source_positions = _positions(config)
        self.target_positions = _positions(config)
        self.dropout = nn.Dropout(p=config.dropout)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.is_tied = config.tied_embeddings != "none"
        if not self.is_tied:
            self.output_weight = Parameter(
                Tensor(np.zeros((config.target_vocab_size, config.d_model), np.float32)),
                name="output_weight",
            )
        initialise(self, seed)

    def construct(self, source, target):
        memory, source_mask, _ = self.encode(source)
        hidden, _ = self.decode(target, memory, source_mask)
        return self.project(hidden)

    def encode(self, source):
        """Ids (B, S) to memory (B, S, D), its mask (B, 1, 1, S), and each layer's weights."""
        mask = padding_mask(source, self.pad_id)
        x = self.dropout(self.source_positions(self.source_embedding(source)))
        memory, weights = self.encoder(x, mask, self._rotation(source.shape[1]))
        return memory, mask, weights

    def decode(self, target, memory, source_mask):
        """Ids (B, T) and memory to hidden vectors (B, T, D) and each layer's cross weights."""
        length = target.shape[1]
        mask = combine_masks(padding_mask(target, self.pad_id), causal_mask(length))
        x = self.dropout(self.target_positions(self.target_embedding(target)))
        return self.decoder(x, memory, mask, source_mask, self._rotation(length))

    def step(self, tokens, position, cache, memory_heads, source_mask):
        """One position of decoding with a cache; see ``Decoder.step``.

        Args:
            tokens: (B,) ids at this position, the one before the token to be predicted.
            position: (1,) its number, counted from 0.
            cache: for each layer keys and values (B, H, T, Dk) of the positions before; T is the
                room there is, at least position + 1. Parameters are written in place.
            memory_heads: what ``decoder.project_memory`` returned.
            source_mask: (B, 1, 1, S) from ``encode``.

        Returns:
            hidden vectors (B, 1, D) and the cache with this position written into it.
        """
        room = cache[0][0].shape[2]
        places = ops.arange(room)
        self_mask = (places <= position).reshape((1, 1, 1, room))
        x = self.target_embedding(tokens.reshape((tokens.shape[0], 1)))  # (B, 1, D)
        rotation = None
        if self.is_rotary:
            cosine, sine = self._rotation(room)
            rotation = (ops.gather(cosine, position, 0), ops.gather(sine, position, 0))  # (1, Dk)
        else:
            x = x + ops.gather(self.target_positions.table(room), position, 0)
        return self.decoder.step(
            x, cache, position, memory_heads, self_mask, source_mask, rotation
        )

    def project(self, hidden):
        """Hidden vectors (B, T, D) to logits (B, T, V)."""
        weight = self.target_embedding.weight if self.is_tied else self.output_weight
        return project_to_vocabulary(hidden, weight)

    def _rotation(self, length):
        if self.is_rotary:
            return rotary_tables(length, self.config.d_model // self.config.num_heads)
        return None


def initialise(cell: nn.Cell, seed: int) -> None:
    """Set all weights of a cell to the initial values of the paper's reference, for this seed.

    Matrices Xavier-uniform, embeddings (and learned positions) normal with standard deviation
    D^(−1/2), biases 0, LayerNorm's scale 1. Which is which, the parameter's name tells.

    Source: Glorot and Bengio 2010; github.com/tensorflow/tensor2tensor.
    """
    rng = np.random.default_rng(seed)
    for parameter in cell.get_parameters():
        name, shape = parameter.name, parameter.shape
        if name.endswith(("bias", "beta")):
            value = np.zeros(shape)
        elif name.endswith("gamma"):
            value = np.ones(shape)
        elif "embedding" in name or "positions" in name or name.endswith("output_weight"):
            value = rng.normal(0.0, shape[1] ** -0.5, shape)
        else:
            bound = math.sqrt(6.0 / sum(shape))
            value = rng.uniform(-bound, bound, shape)
        parameter.set_data(Tensor(value.astype(np.float32)))


def _positions(config):
    if config.positions == "sinusoidal":
        return SinusoidalPositions(config.d_model)
    if config.positions == "learned":
        return LearnedPositions(config.max_length, config.d_model)
    return nn.Identity()  # rotary: inside self-attention
