"""The whole model: embeddings, encoder, decoder, and the projection to the vocabulary.

Letters: B batch, T target length, S source length, H heads, D model width, V vocabulary.
"""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from step_llm.models.config import TransformerConfig
from step_llm.nn.decoder import Decoder
from step_llm.nn.embedding import Embedding, project_to_vocabulary
from step_llm.nn.encoder import Encoder
from step_llm.nn.initial import initialise
from step_llm.nn.masks import causal_mask, combine_masks, padding_mask
from step_llm.nn.positions import LearnedPositions, SinusoidalPositions
from step_llm.nn.rotary import rotary_tables

__all__ = ["Transformer"]


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
        return self.decoder.step(x, cache, position, memory_heads, self_mask, source_mask, rotation)

    def project(self, hidden):
        """Hidden vectors (B, T, D) to logits (B, T, V)."""
        weight = self.target_embedding.weight if self.is_tied else self.output_weight
        return project_to_vocabulary(hidden, weight)

    def _rotation(self, length):
        if self.is_rotary:
            return rotary_tables(length, self.config.d_model // self.config.num_heads)
        return None


def _positions(config):
    if config.positions == "sinusoidal":
        return SinusoidalPositions(config.d_model)
    if config.positions == "learned":
        return LearnedPositions(config.max_length, config.d_model)
    return nn.Identity()  # rotary: inside self-attention
