"""The whole model: embeddings, encoder, decoder, and the projection to the vocabulary.

Letters: B batch, T target length, S source length, H heads, D model width, V vocabulary.
"""

from __future__ import annotations

from mindspore import nn

from step_llm.models.config import TransformerConfig
from step_llm.nn.decoder import Decoder, DecoderLayer
from step_llm.nn.embedding import Embedding, OutputProjection
from step_llm.nn.encoder import Encoder, EncoderLayer
from step_llm.nn.forms import device_form
from step_llm.nn.initial import InitialWeights, XavierWeights
from step_llm.nn.masks import causal_mask, combine_masks, padding_mask, seen_mask
from step_llm.nn.positions import LearnedPositions, SinusoidalPositions
from step_llm.nn.rotary import rotary_tables, rotation_at

__all__ = ["Transformer"]


class Transformer(nn.Cell):
    r"""Encoder and decoder for translation.

    Formula: logits = Decoder(Embed(target) + PE, Encoder(Embed(source) + PE)) · Wᵀ.

    Args:
        config: see ``TransformerConfig``.
        seed: of the initial weights: Xavier-uniform matrices, embeddings normal with standard
            deviation D^(−1/2), biases 0, as in the paper's reference implementation.
        pad_id: the id that fills sentences up to their batch's length.
        initial: draws the weights in place of the seed.

    Shapes: source (B, S) and target (B, T) integer ids, target starting with the
    beginning-of-sentence id; logits (B, T, V).

    Raises:
        ValueError: ids that are not two-dimensional, a sequence longer than the learned positions.

    Source: Vaswani et al. 2017, figure 1; initial values: github.com/tensorflow/tensor2tensor.
    """

    def __init__(
        self,
        config: TransformerConfig,
        seed: int = 0,
        pad_id: int = 0,
        initial: InitialWeights | None = None,
    ):
        super().__init__()
        self.config = config
        self.pad_id = pad_id
        initial = initial or XavierWeights(seed)
        self.output_weight = None  # tied: the target embedding's own
        if config.tied_embeddings == "none":
            self.output_weight = initial.table(
                config.target_vocab_size, config.d_model, name="output_weight"
            )
        self.target_embedding = Embedding(
            config.target_vocab_size, config.d_model, config.is_scaled, initial
        )
        if config.tied_embeddings == "all":
            self.source_embedding = self.target_embedding
        else:
            self.source_embedding = Embedding(
                config.source_vocab_size, config.d_model, config.is_scaled, initial
            )
        self.source_positions = _positions(config, initial)
        self.target_positions = _positions(config, initial)
        self.dropout = device_form(nn.Dropout)(p=config.dropout)
        sizes = {**config.layer_sizes, "initial": initial}
        self.encoder = Encoder([EncoderLayer(**sizes) for _ in range(config.num_encoder_layers)])
        self.decoder = Decoder([DecoderLayer(**sizes) for _ in range(config.num_decoder_layers)])
        self.output_projection = OutputProjection()

    def construct(self, source, target):
        memory, source_mask, _ = self.encode(source)
        hidden, _, _, _ = self.decode(target, memory, source_mask)
        return self.project(hidden)

    def encode(self, source):
        """Ids (B, S) to memory (B, S, D), its mask (B, 1, 1, S), and each layer's weights."""
        mask = padding_mask(source, self.pad_id)
        x = self.dropout(self.source_positions(self.source_embedding(source)))
        memory, weights, _ = self.encoder(x, mask, self._rotation(source.shape[1]))
        return memory, mask, weights

    def decode(self, target, memory, source_mask):
        """Ids (B, T) and memory to hidden vectors (B, T, D), each layer's self weights
        (B, H, T, T), its cross weights (B, H, T, S), and its keys and values (B, H, T, Dk)."""
        x = self.dropout(self.target_positions(self.target_embedding(target)))
        mask = combine_masks(padding_mask(target, self.pad_id), causal_mask(target.shape[1]))
        return self.decoder(x, memory, mask, source_mask, self._rotation(target.shape[1]))

    def place(self, tokens, position, room):
        """What the decoder takes of one position, where a cache holds the positions before.

        Args:
            tokens: (B,) ids.
            position: (1,) their place, counted from 0.
            room: the places of the cache.

        Returns:
            x (B, 1, D), the mask (1, 1, 1, room) and the rotation at that place.
        """
        x = self.target_embedding(tokens.reshape((-1, 1)))
        x = self.dropout(self.target_positions(x, position, room))
        return x, seen_mask(position, room), self._rotation(room, position)

    def project(self, hidden):
        """Hidden vectors (B, T, D) to logits (B, T, V)."""
        return self.output_projection(hidden, self.output_table())

    def output_table(self):
        """The matrix (V, D) of the projection, which may be the target embedding's own."""
        weight = self.output_weight
        if weight is None:
            weight = self.target_embedding.weight
        return weight

    def _rotation(self, length, position=None):
        if self.config.positions != "rotary":
            return None
        d_head = self.config.d_model // self.config.num_heads
        if position is None:
            return rotary_tables(length, d_head)
        return rotation_at(position, length, d_head)


class NoPositions(nn.Cell):
    """Adds nothing: rotary positions work inside self-attention."""

    def construct(self, x, position=None, room=None):
        return x


def _positions(config, initial):
    if config.positions == "sinusoidal":
        return SinusoidalPositions(config.d_model)
    if config.positions == "learned":
        return LearnedPositions(config.max_length, config.d_model, initial)
    return NoPositions()
