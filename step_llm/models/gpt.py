"""GPT: a decoder without an encoder, which continues a text.

Letters: B batch, T length, H heads, D model width, Dk head width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mindspore import nn

from step_llm.models.config import Config
from step_llm.nn.embedding import Embedding, OutputProjection
from step_llm.nn.encoder import Encoder, EncoderLayer
from step_llm.nn.forms import device_form
from step_llm.nn.initial import InitialWeights, NormalWeights
from step_llm.nn.masks import causal_mask, seen_mask
from step_llm.nn.positions import LearnedPositions

__all__ = ["GPT", "GPTConfig"]


@dataclass(frozen=True)
class GPTConfig(Config):
    """The sizes of a GPT.

    Args:
        vocab_size: V, number of token ids.
        d_model: D, width of the model.
        num_heads: H; must divide d_model.
        num_layers: depth.
        d_ff: inner width of the feed-forward layers.
        dropout: share set to zero in training, of the embeddings and of each sub-layer's output
            (GPT-2 has dropout on the attention weights too; this library has not).
        max_length: the number of positions: the longest text the model can read.
        activation: "gelu_tanh" (GPT-2), "gelu" or "relu".
        norm_epsilon: ε of every LayerNorm.

    Raises:
        ValueError: as ``TransformerConfig``.
    """

    vocab_size: int
    d_model: int = 128
    num_heads: int = 4
    num_layers: int = 4
    d_ff: int = 512
    dropout: float = 0.1
    max_length: int = 256
    activation: str = "gelu_tanh"
    norm_epsilon: float = 1e-5

    norm: ClassVar[str] = "pre"


class GPT(nn.Cell):
    r"""A causal language model: the distribution of each token, given those before it.

    Formula: logits = LayerNorm(Layers(Embed(ids) + P)) · Embedᵀ, with a causal mask in each layer;
    p(x₁ … x_T) = Π p(x_t | x₁ … x_{t−1}).

    The layer is ``EncoderLayer``, pre-norm. Padding goes to the end of a text, where no real token
    can see it; it needs no mask.

    Args:
        config: see ``GPTConfig``.
        seed: of the initial weights: normal with standard deviation 0.02, as in GPT-2.
        pad_id: fills texts up to their batch's length; as a label it has no part in the loss.
        initial: draws the weights in place of the seed.

    Shapes: ids (B, T) integer to logits (B, T, V); row t is about the token t + 1.

    Raises:
        ValueError: ids that are not (B, T), or longer than the positions.

    Source: Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training";
    Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (pre-norm).
    """

    def __init__(
        self,
        config: GPTConfig,
        seed: int = 0,
        pad_id: int = 0,
        initial: InitialWeights | None = None,
    ):
        super().__init__()
        self.config = config
        self.pad_id = pad_id
        # Each layer adds two branches to the residual stream.
        initial = initial or NormalWeights(seed, branches=2 * config.num_layers)
        self.embedding = Embedding(config.vocab_size, config.d_model, False, initial)
        self.positions = LearnedPositions(config.max_length, config.d_model, initial)
        self.dropout = device_form(nn.Dropout)(p=config.dropout)
        sizes = {**config.layer_sizes, "initial": initial}
        self.layers = Encoder([EncoderLayer(**sizes) for _ in range(config.num_layers)])
        self.output_projection = OutputProjection()

    def construct(self, ids):
        hidden, _, _ = self.decode(ids, need_weights=False)
        return self.project(hidden)

    def decode(self, ids, need_weights=True):
        """Ids (B, T) to hidden vectors (B, T, D), each layer's weights (B, H, T, T) or an empty
        list, and each layer's keys and values (B, H, T, Dk)."""
        x = self.dropout(self.positions(self.embedding(ids)))
        return self.layers(x, causal_mask(ids.shape[1]), None, None, None, need_weights)

    def place(self, tokens, position, room):
        """What the layers take of one more token of each text, where a cache holds those before.

        Args:
            tokens: (B,) ids.
            position: (B,) their places, counted from 0; texts may differ in length.
            room: the places of the cache.

        Returns:
            x (B, 1, D), the mask (B, 1, 1, room), and None, as nothing is rotated.
        """
        x = self.positions(self.embedding(tokens.reshape((-1, 1))), position, room)
        return self.dropout(x), seen_mask(position, room), None

    def project(self, hidden):
        """Hidden vectors (B, T, D) to logits (B, T, V)."""
        return self.output_projection(hidden, self.embedding.weight)
