"""BERT: an encoder that reads a text from both sides, trained by filling in blanks.

Letters: B batch, T length, D model width, V vocabulary, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mindspore import nn, ops

from step_llm.models.config import Config
from step_llm.nn._checks import check_shape
from step_llm.nn.activations import ACTIVATIONS, tanh
from step_llm.nn.embedding import Embedding
from step_llm.nn.encoder import Encoder, EncoderLayer
from step_llm.nn.forms import device_form
from step_llm.nn.initial import InitialWeights, NormalWeights, constant
from step_llm.nn.layer_norm import LayerNorm
from step_llm.nn.linear import Linear, linear
from step_llm.nn.masks import padding_mask
from step_llm.nn.positions import LearnedPositions

__all__ = [
    "Bert",
    "BertConfig",
    "BertForClassification",
    "BertForMaskedLM",
    "BertForPreTraining",
    "MaskedLMHead",
]


@dataclass(frozen=True)
class BertConfig(Config):
    """The sizes of a BERT.

    Args:
        vocab_size: V, number of token ids.
        d_model: D, width of the model.
        num_heads: H; must divide d_model.
        num_layers: depth.
        d_ff: inner width of the feed-forward layers.
        dropout: share set to zero in training, of the embeddings and of each sub-layer's output
            (the paper has dropout on the attention weights too; this library has not).
        max_length: the number of positions.
        num_segments: the number of segments; 2 tells a first sentence from a second one, 0 has none
            (DistilBERT).
        pad_id: the id that fills texts up to their batch's length.
        activation: "gelu" (the paper), "gelu_tanh", "relu" or "silu".
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
    max_length: int = 128
    num_segments: int = 2
    pad_id: int = 0
    activation: str = "gelu"
    norm_epsilon: float = 1e-12

    norm: ClassVar[str] = "post"


class Bert(nn.Cell):
    r"""The body of BERT: a vector for each token, which knows the tokens on both sides.

    Formula: Encoder(Dropout(LayerNorm(Embed(ids) + P + S(segments)))), post-norm, GELU.

    Args:
        config: see ``BertConfig``.
        seed: of the initial weights: normal with standard deviation 0.02.
        has_pooler: False leaves out the layer of ``pool``.
        initial: draws the weights in place of the seed.

    Shapes: ids (B, T) integer, segments (B, T) integer in 0 … num_segments − 1 (None: all 0), mask
    Boolean, broadcasts to (B, H, T, T), True = may attend (None: all that is not padding); the
    output is (B, T, D).

    Raises:
        ValueError: ids that are not (B, T), or longer than the positions; segments of another shape
            than the ids, or of a model that has none.

    Source: Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding".
    """

    def __init__(
        self,
        config: BertConfig,
        seed: int = 0,
        has_pooler: bool = True,
        initial: InitialWeights | None = None,
    ):
        super().__init__()
        self.config = config
        initial = initial or NormalWeights(seed)
        self.embedding = Embedding(config.vocab_size, config.d_model, False, initial)
        self.positions = LearnedPositions(config.max_length, config.d_model, initial)
        self.segments = None
        if config.num_segments:
            self.segments = Embedding(config.num_segments, config.d_model, False, initial)
        self.embedding_norm = LayerNorm(config.d_model, config.norm_epsilon)
        self.dropout = device_form(nn.Dropout)(p=config.dropout)
        sizes = {**config.layer_sizes, "initial": initial}
        self.encoder = Encoder([EncoderLayer(**sizes) for _ in range(config.num_layers)])
        self.pooler = None
        if has_pooler:
            self.pooler = Linear(config.d_model, config.d_model, initial=initial)
        self.tanh = device_form(tanh)

    def construct(self, ids, segments=None, mask=None):
        hidden, _ = self.encode(ids, segments, mask)
        return hidden

    def encode(self, ids, segments=None, mask=None):
        """As the call, and each layer's attention weights (B, H, T, T)."""
        if mask is None:
            mask = padding_mask(ids, self.config.pad_id)
        x = self.positions(self.embedding(ids))
        if self.segments is not None:
            if segments is None:
                segments = ops.zeros_like(ids)
            check_shape("segments", segments.shape, ids.shape)
            x = x + self.segments(segments)
        elif segments is not None:
            raise ValueError("segments are given, but this model has none (num_segments is 0)")
        hidden, weights, _ = self.encoder(self.dropout(self.embedding_norm(x)), mask)
        return hidden, weights

    def pool(self, hidden):
        """Hidden vectors (B, T, D) to one for the whole text (B, D), from its first token."""
        return self.tanh(self.pooler(hidden[:, 0]))


class MaskedLMHead(nn.Cell):
    r"""From a hidden vector to the token that stands at its place.

    Formula: logits = LayerNorm(gelu(h W + b)) · Embedᵀ + c.

    Args:
        config: the sizes are read from it.
        seed: of the initial weights.
        initial: draws the weights in place of the seed.

    Shapes: hidden (B, T, D) and the embedding's weight (V, D) to logits (B, T, V).

    Source: Devlin et al. 2019; its layers stand in github.com/google-research/bert.
    """

    def __init__(self, config: BertConfig, seed: int = 0, initial: InitialWeights | None = None):
        super().__init__()
        initial = initial or NormalWeights(seed)
        self.transform = Linear(config.d_model, config.d_model, initial=initial)
        self.activation = ACTIVATIONS[config.activation]
        self.norm = LayerNorm(config.d_model, config.norm_epsilon)
        self.bias = constant(0.0, config.vocab_size, name="bias")
        self.linear = device_form(linear)

    def construct(self, hidden, embedding_weight):
        x = self.norm(self.activation(self.transform(hidden)))
        return self.linear(x, embedding_weight, self.bias)


class BertForPreTraining(nn.Cell):
    """BERT with both heads of its pre-training.

    Args:
        config: see ``BertConfig``.
        seed: of the initial weights.
        initial: draws the weights in place of the seed.

    Shapes: ids, segments and mask as ``Bert``; masked-LM logits (B, T, V) and next-sentence logits
    (B, 2), where 0 stands for "the second sentence follows the first" and 1 for "it does not".

    Source: Devlin et al. 2019, section 3.1.
    """

    def __init__(self, config: BertConfig, seed: int = 0, initial: InitialWeights | None = None):
        super().__init__()
        self.config = config
        self.pad_id = config.pad_id  # where a label holds it, the loss does not count
        self.bert = Bert(config, seed, initial=initial)
        self.masked_lm_head = MaskedLMHead(config, seed + 1, initial)
        initial = initial or NormalWeights(seed + 2)
        self.next_sentence_head = Linear(config.d_model, 2, initial=initial)

    def construct(self, ids, segments=None, mask=None):
        hidden = self.bert(ids, segments, mask)
        logits = self.masked_lm_head(hidden, self.bert.embedding.weight)
        return logits, self.next_sentence_head(self.bert.pool(hidden))


class BertForMaskedLM(nn.Cell):
    """BERT with the masked-LM head alone; without a pooler.

    Args:
        config: see ``BertConfig``.
        seed: of the initial weights.
        initial: draws the weights in place of the seed.

    Shapes: ids, segments and mask as ``Bert``; logits (B, T, V).
    """

    def __init__(self, config: BertConfig, seed: int = 0, initial: InitialWeights | None = None):
        super().__init__()
        self.config = config
        self.pad_id = config.pad_id  # where a label holds it, the loss does not count
        self.bert = Bert(config, seed, has_pooler=False, initial=initial)
        self.masked_lm_head = MaskedLMHead(config, seed + 1, initial)

    def construct(self, ids, segments=None, mask=None):
        hidden = self.bert(ids, segments, mask)
        return self.masked_lm_head(hidden, self.bert.embedding.weight)


class BertForClassification(nn.Cell):
    """BERT with a head that puts a whole text into one of several classes.

    Args:
        config: see ``BertConfig``.
        num_classes: C.
        bert: a ``Bert`` with a pooler, pre-trained for example; None makes a new one. It is not
            copied: training the classifier trains it.
        seed: of the initial weights.
        initial: draws the weights in place of the seed.

    Shapes: ids, segments and mask as ``Bert``; logits (B, C).

    Raises:
        ValueError: num_classes that is no whole number above 0, or a bert of another configuration
            or without pooler.

    Source: Devlin et al. 2019, section 4.1.
    """

    def __init__(
        self,
        config: BertConfig,
        num_classes: int,
        bert: Bert | None = None,
        seed: int = 0,
        initial: InitialWeights | None = None,
    ):
        super().__init__()
        if not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(
                f"num_classes is {num_classes!r}; expected a whole number of at least 1"
            )
        if bert is not None and (bert.config != config or bert.pooler is None):
            raise ValueError("bert has another configuration, or no pooler; expected both to fit")
        self.config = config
        self.num_classes = num_classes
        self.bert = Bert(config, seed, initial=initial) if bert is None else bert
        self.dropout = device_form(nn.Dropout)(p=config.dropout)
        initial = initial or NormalWeights(seed + 1)
        self.classifier = Linear(config.d_model, num_classes, initial=initial)

    def construct(self, ids, segments=None, mask=None):
        pooled = self.bert.pool(self.bert(ids, segments, mask))
        return self.classifier(self.dropout(pooled))
