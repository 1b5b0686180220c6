"""Marian: the paper's Transformer as the published translators of OPUS-MT have it.

It is ``Transformer``, post-norm, with four differences: sines and cosines stand in two halves, the
logits have a bias, the activation is mostly Swish, and a translation begins with a token of the
model's own choice, which is the one of padding.

Letters: B batch, T target length, S source length, D model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from step_llm.models.config import Config
from step_llm.models.transformer import Transformer
from step_llm.nn.initial import InitialWeights, constant
from step_llm.nn.masks import causal_mask
from step_llm.nn.positions import SinusoidalPositions

__all__ = ["Marian", "MarianConfig"]


@dataclass(frozen=True)
class MarianConfig(Config):
    """The sizes of a ``Marian``.

    Args:
        source_vocab_size … dropout: as ``TransformerConfig``.
        max_length: the longest text that the model is meant for. Its positions have no end; a
            search keeps to this one.
        tied_embeddings, activation, norm_epsilon: as ``TransformerConfig``.
        is_scaled: whether the embeddings are scaled by √D.

    Raises:
        ValueError: as ``TransformerConfig``.
    """

    source_vocab_size: int
    target_vocab_size: int
    d_model: int = 512
    num_heads: int = 8
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    d_ff: int = 2048
    dropout: float = 0.1
    max_length: int = 512
    tied_embeddings: str = "all"
    activation: str = "silu"
    norm_epsilon: float = 1e-5
    is_scaled: bool = True

    positions: ClassVar[str] = "sinusoidal"
    norm: ClassVar[str] = "post"

    @property
    def position_limit(self) -> int:
        """The most positions that a search uses."""
        return self.max_length


class Marian(Transformer):
    r"""Encoder and decoder of a published translator.

    Formula: logits = Decoder(Embed(target) + PE, Encoder(Embed(source) + PE)) · Wᵀ + b.

    Args:
        config: see ``MarianConfig``.
        pad_id: the id that fills sentences up to their batch's length; −1 for none.
        bos_id: the id that a translation begins with; in the published models the same.
        eos_id: the id that ends a sentence, of the source too.
        seed: of the initial weights, as ``Transformer``; the bias begins at 0.
        initial: draws the weights in place of the seed.

    Shapes: source (B, S) and target (B, T) integer ids, target starting with bos_id; logits
    (B, T, V).

    Raises:
        ValueError: ids that are not two-dimensional.

    Source: Junczys-Dowmunt et al. 2018, "Marian: Fast Neural Machine Translation in C++"; Tiedemann
    and Thottingal 2020, "OPUS-MT" (the models).
    """

    def __init__(
        self,
        config: MarianConfig,
        pad_id: int,
        bos_id: int,
        eos_id: int,
        seed: int = 0,
        initial: InitialWeights | None = None,
    ):
        super().__init__(config, seed, pad_id, initial)
        self.bos_id = bos_id
        self.eos_id = eos_id
        self.source_positions = SinusoidalPositions(config.d_model, is_interleaved=False)
        self.target_positions = SinusoidalPositions(config.d_model, is_interleaved=False)
        self.output_bias = constant(0.0, config.target_vocab_size, name="output_bias")

    def decode(self, target, memory, source_mask):
        """As ``Transformer.decode``, but padding in the target is hidden by the causal mask alone:
        its first token, which every other one sees, has the id of padding."""
        x = self.dropout(self.target_positions(self.target_embedding(target)))
        return self.decoder(x, memory, causal_mask(target.shape[1]), source_mask)

    def project(self, hidden):
        """Hidden vectors (B, T, D) to logits (B, T, V)."""
        return self.output_projection(hidden, self.output_table()) + self.output_bias
