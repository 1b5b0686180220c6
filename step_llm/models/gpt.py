"""GPT: a decoder without an encoder, which continues a text.

Letters: B batch, T length, H heads, D model width, Dk head width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mindspore import nn, ops

from step_llm.models.config import Config
from step_llm.nn.embedding import Embedding, project_to_vocabulary
from step_llm.nn.encoder import Encoder
from step_llm.nn.initial import initialise_normal
from step_llm.nn.masks import causal_mask
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

    Shapes: ids (B, T) integer to logits (B, T, V); row t is about the token t + 1.

    Raises:
        ValueError: ids that are not (B, T), longer than the positions, or (outside compiled code)
            outside the vocabulary.

    Source: Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training";
    Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (pre-norm).
    """

    def __init__(self, config: GPTConfig, seed: int = 0, pad_id: int = 0):
        super().__init__()
        self.config = config
        self.pad_id = pad_id
        self.embedding = Embedding(config.vocab_size, config.d_model, is_scaled=False)
        self.positions = LearnedPositions(config.max_length, config.d_model)
        self.dropout = nn.Dropout(p=config.dropout)
        self.layers = Encoder(config, config.num_layers)
        # Each layer adds two branches to the residual stream.
        initialise_normal(self, seed, residual_layers=2 * config.num_layers)

    def construct(self, ids):
        hidden, _ = self.decode(ids)
        return self.project(hidden)

    def decode(self, ids):
        """Ids (B, T) to hidden vectors (B, T, D) and each layer's weights (B, H, T, T)."""
        return self.layers(self._embed(ids), causal_mask(ids.shape[1]))

    def start(self, ids):
        """As ``decode``, but returns each layer's keys and values (B, H, T, Dk): a cache."""
        return self.layers.start(self._embed(ids), causal_mask(ids.shape[1]))

    def step(self, tokens, position, cache):
        """One more token for each text, with the keys and values of those before.

        Args:
            tokens: (B,) the ids of the new tokens.
            position: (B,) their places, counted from 0; texts may differ in length.
            cache: for each layer keys and values (B, H, T, Dk); T is the room there is, more than
                the largest position. What stands there from ``position`` on is not read.
                Parameters are written in place.

        Returns:
            hidden vectors (B, 1, D) and the cache with the new tokens written into it.
        """
        batch, _, room, _ = cache[0][0].shape
        places = ops.arange(room).reshape((1, room))
        position = position.reshape((batch, 1))
        mask = (places <= position).reshape((batch, 1, 1, room))
        x = self.embedding(tokens.reshape((batch, 1))) + ops.gather(
            self.positions.weight, position, 0
        )  # (B, 1, D)
        return self.layers.step(x, cache, position, mask)

    def project(self, hidden):
        """Hidden vectors (B, T, D) to logits (B, T, V)."""
        return project_to_vocabulary(hidden, self.embedding.weight)

    def _embed(self, ids):
        return self.dropout(self.positions(self.embedding(ids)))
