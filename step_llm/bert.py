"""BERT: an encoder that reads a text from both sides, trained by filling in blanks.

Letters: B batch, T length, D model width, V vocabulary, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from step_llm._checks import check_shape
from step_llm.activations import ACTIVATIONS
from step_llm.config import Config
from step_llm.layers import LayerNorm
from step_llm.masks import padding_mask
from step_llm.positions import LearnedPositions
from step_llm.transformer import Embedding, Encoder, initialise_normal, project_to_vocabulary

__all__ = [
    "Bert",
    "BertConfig",
    "BertForClassification",
    "BertForMaskedLM",
    "BertForPreTraining",
    "MaskedLMHead",
    "mask_tokens",
    "masked_batch",
    "next_sentence_pairs",
    "pair_arrays",
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
        num_segments: the number of segments; 2 tells a first sentence from a second one.
        pad_id: the id that fills texts up to their batch's length.
        activation: "gelu" (the paper), "gelu_tanh" or "relu".
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

    Shapes: ids (B, T) integer, segments (B, T) integer in 0 … num_segments − 1 (None: all 0), mask
    Boolean, broadcasts to (B, H, T, T), True = may attend (None: all that is not padding); the
    output is (B, T, D).

    Raises:
        ValueError: ids that are not (B, T), longer than the positions, or (outside compiled code)
            outside the vocabulary; segments of another shape than the ids.

    Source: Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding".
    """

    def __init__(self, config: BertConfig, seed: int = 0, has_pooler: bool = True):
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.vocab_size, config.d_model, is_scaled=False)
        self.positions = LearnedPositions(config.max_length, config.d_model)
        self.segments = Embedding(config.num_segments, config.d_model, is_scaled=False)
        self.embedding_norm = LayerNorm(config.d_model, config.norm_epsilon)
        self.dropout = nn.Dropout(p=config.dropout)
        self.encoder = Encoder(config, config.num_layers)
        self.pooler = nn.Dense(config.d_model, config.d_model) if has_pooler else None
        initialise_normal(self, seed)

    def construct(self, ids, segments=None, mask=None):
        hidden, _ = self.encode(ids, segments, mask)
        return hidden

    def encode(self, ids, segments=None, mask=None):
        """As the call, and each layer's attention weights (B, H, T, T)."""
        if mask is None:
            mask = padding_mask(ids, self.config.pad_id)
        if segments is None:
            segments = ops.zeros_like(ids)
        check_shape("segments", segments.shape, ids.shape)
        x = self.positions(self.embedding(ids)) + self.segments(segments)
        return self.encoder(self.dropout(self.embedding_norm(x)), mask)

    def pool(self, hidden):
        """Hidden vectors (B, T, D) to one for the whole text (B, D), from its first token."""
        return ops.tanh(self.pooler(hidden[:, 0]))


class MaskedLMHead(nn.Cell):
    r"""From a hidden vector to the token that stands at its place.

    Formula: logits = LayerNorm(gelu(h W + b)) · Embedᵀ + c.

    Args:
        config: the sizes are read from it.
        seed: of the initial weights.

    Shapes: hidden (B, T, D) and the embedding's weight (V, D) to logits (B, T, V).

    Source: Devlin et al. 2019; its layers stand in github.com/google-research/bert.
    """

    def __init__(self, config: BertConfig, seed: int = 0):
        super().__init__()
        self.transform = nn.Dense(config.d_model, config.d_model)
        self.activation = ACTIVATIONS[config.activation]
        self.norm = LayerNorm(config.d_model, config.norm_epsilon)
        self.bias = Parameter(Tensor(np.zeros(config.vocab_size, np.float32)), name="bias")
        initialise_normal(self, seed)

    def construct(self, hidden, embedding_weight):
        x = self.norm(self.activation(self.transform(hidden)))
        logits = project_to_vocabulary(x, embedding_weight)
        batch, length, vocabulary = logits.shape
        logits = ops.bias_add(logits.reshape((batch * length, vocabulary)), self.bias)
        return logits.reshape((batch, length, vocabulary))


class BertForPreTraining(nn.Cell):
    """BERT with both heads of its pre-training.

    Args:
        config: see ``BertConfig``.
        seed: of the initial weights.

    Shapes: ids, segments and mask as ``Bert``; masked-LM logits (B, T, V) and next-sentence logits
    (B, 2), where 0 stands for "the second sentence follows the first" and 1 for "it does not".

    Source: Devlin et al. 2019, section 3.1.
    """

    def __init__(self, config: BertConfig, seed: int = 0):
        super().__init__()
        self.config = config
        self.pad_id = config.pad_id  # where a label holds it, the loss does not count
        self.bert = Bert(config, seed)
        self.masked_lm_head = MaskedLMHead(config, seed + 1)
        self.next_sentence_head = nn.Dense(config.d_model, 2)
        initialise_normal(self.next_sentence_head, seed + 2)

    def construct(self, ids, segments=None, mask=None):
        hidden = self.bert(ids, segments, mask)
        logits = self.masked_lm_head(hidden, self.bert.embedding.weight)
        return logits, self.next_sentence_head(self.bert.pool(hidden))


class BertForMaskedLM(nn.Cell):
    """BERT with the masked-LM head alone; without a pooler.

    Args:
        config: see ``BertConfig``.
        seed: of the initial weights.

    Shapes: ids, segments and mask as ``Bert``; logits (B, T, V).
    """

    def __init__(self, config: BertConfig, seed: int = 0):
        super().__init__()
        self.config = config
        self.pad_id = config.pad_id  # where a label holds it, the loss does not count
        self.bert = Bert(config, seed, has_pooler=False)
        self.masked_lm_head = MaskedLMHead(config, seed + 1)

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

    Shapes: ids, segments and mask as ``Bert``; logits (B, C).

    Raises:
        ValueError: num_classes that is no whole number above 0, or a bert of another configuration
            or without pooler.

    Source: Devlin et al. 2019, section 4.1.
    """

    def __init__(
        self, config: BertConfig, num_classes: int, bert: Bert | None = None, seed: int = 0
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
        self.bert = Bert(config, seed) if bert is None else bert
        self.dropout = nn.Dropout(p=config.dropout)
        self.classifier = nn.Dense(config.d_model, num_classes)
        initialise_normal(self.classifier, seed + 1)

    def construct(self, ids, segments=None, mask=None):
        pooled = self.bert.pool(self.bert(ids, segments, mask))
        return self.classifier(self.dropout(pooled))


def mask_tokens(
    ids: np.ndarray,
    vocab_size: int,
    mask_id: int,
    special_ids: Sequence[int],
    seed: int | np.random.Generator,
    pad_id: int = 0,
    rate: float = 0.15,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the tokens that a masked language model has to predict, and hide most of them.

    Each token is chosen with probability ``rate``. Of the chosen ones 80 % become the mask, 10 % a
    random token that is not special, and 10 % stay as they are.

    Args:
        ids: (B, T) integer.
        vocab_size: V.
        mask_id: the token that stands for a blank.
        special_ids: tokens that are never chosen, and never put in a token's place; the mask and
            the padding need not be named.
        seed: a number, or a NumPy generator that goes on from batch to batch.
        pad_id: never chosen; what the labels hold where nothing is to be predicted, so that
            ``label_smoothed_cross_entropy`` leaves these places out.
        rate: the share of tokens to be predicted.

    Returns:
        inputs and labels, (B, T) int32 each. The labels are the ids at the chosen places. A small
        batch may have no such place.

    Raises:
        ValueError: a rate outside (0, 1], an id outside the vocabulary, or nothing but special
            tokens in it.

    Source: Devlin et al. 2019, section 3.1, task 1.
    """
    ids = np.asarray(ids)
    if not 0.0 < rate <= 1.0:
        raise ValueError(f"rate is {rate}; expected a share in (0, 1]")
    special = np.unique([*special_ids, mask_id, pad_id])
    for name, values in (("ids", ids), ("special ids", special)):
        if values.size and not 0 <= values.min() <= values.max() < vocab_size:
            raise ValueError(
                f"{name} reach from {values.min()} to {values.max()}; expected 0 … {vocab_size - 1}"
            )
    ordinary = np.setdiff1d(np.arange(vocab_size), special)
    if not ordinary.size:
        raise ValueError(f"all {vocab_size} tokens are special; expected others too")
    rng = np.random.default_rng(seed)
    is_chosen = (rng.random(ids.shape) < rate) & ~np.isin(ids, special)
    fate = rng.random(ids.shape)
    inputs = np.where(is_chosen & (fate < 0.8), mask_id, ids)
    is_random = is_chosen & (fate >= 0.8) & (fate < 0.9)
    inputs = np.where(is_random, rng.choice(ordinary, ids.shape), inputs)
    labels = np.where(is_chosen, ids, pad_id)
    return inputs.astype(np.int32), labels.astype(np.int32)


def masked_batch(
    vocab_size: int, mask_id: int, special_ids: Sequence[int], pad_id: int = 0, rate: float = 0.15
) -> Callable:
    """``mask_tokens`` as the ``change`` of ``data.ArrayBatches``: other blanks in every epoch.

    Args:
        vocab_size, mask_id, special_ids, pad_id, rate: as for ``mask_tokens``.

    Returns:
        a function from a generator, ids and segments (B, T), and what else the rows have, to
        inputs, segments, labels, and the rest.
    """

    def change(rng, ids, segments, *rest):
        inputs, labels = mask_tokens(ids, vocab_size, mask_id, special_ids, rng, pad_id, rate)
        return inputs, segments, labels, *rest

    return change


def next_sentence_pairs(documents: Sequence[Sequence], seed: int) -> tuple[list, list, np.ndarray]:
    """Pairs of sentences for BERT's second task: does B follow A?

    Every sentence but a document's last is A once. In half of the pairs B is the sentence that
    follows it; in the other half a random sentence of another document.

    Args:
        documents: each a list of sentences in their order; a sentence is whatever it is to be.
        seed: the same seed draws the same pairs.

    Returns:
        the sentences A, the sentences B, and int32 labels: 0 where B follows A, 1 where not.

    Raises:
        ValueError: fewer than two documents that have a sentence, or none that has two.

    Source: Devlin et al. 2019, section 3.1, task 2.
    """
    documents = [list(document) for document in documents if len(document)]
    places = [(d, n) for d, document in enumerate(documents) for n in range(len(document) - 1)]
    if len(documents) < 2 or not places:
        raise ValueError(
            f"{len(documents)} documents with {len(places)} sentences that another one follows; "
            "expected at least 2 documents, one of them with 2 sentences"
        )
    rng = np.random.default_rng(seed)
    # As many of each kind as the number allows, in random order.
    is_random = rng.permutation(np.arange(len(places)) % 2).astype(np.int32)
    firsts, seconds = [], []
    for (d, n), other in zip(places, is_random):
        firsts.append(documents[d][n])
        if other:
            place = int(rng.integers(len(documents) - 1))
            document = documents[place + (place >= d)]  # any but this one
            seconds.append(document[int(rng.integers(len(document)))])
        else:
            seconds.append(documents[d][n + 1])
    return firsts, seconds, is_random


def pair_arrays(
    firsts: Sequence[Sequence[int]],
    seconds: Sequence[Sequence[int]],
    length: int,
    cls_id: int,
    sep_id: int,
    pad_id: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of sentences as BERT reads them: [CLS] A [SEP] B [SEP], padded.

    Args:
        firsts, seconds: the ids of A and B; an empty B (without its [SEP]) leaves A alone.
        length: T, of the rows.
        cls_id, sep_id, pad_id: the special tokens.

    Returns:
        ids and segments, (N, T) int32 each; a segment is 1 at B and the [SEP] after it, else 0.

    Raises:
        ValueError: as many seconds as firsts is not the case, or a pair that does not fit.
    """
    if len(firsts) != len(seconds):
        raise ValueError(f"{len(firsts)} firsts and {len(seconds)} seconds; expected pairs")
    ids = np.full((len(firsts), length), pad_id, np.int32)
    segments = np.zeros((len(firsts), length), np.int32)
    for row, (first, second) in enumerate(zip(firsts, seconds)):
        begin = [cls_id, *first, sep_id]
        whole = [*begin, *second, sep_id] if len(second) else begin
        if len(whole) > length:
            raise ValueError(f"pair {row} has {len(whole)} tokens; expected at most {length}")
        ids[row, : len(whole)] = whole
        segments[row, len(begin) : len(whole)] = 1
    return ids, segments
