"""The first neural language model: word vectors, and a network that reads the last few of them.

Letters: B batch, T length, D width of a word vector, n order, F hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mindspore import Tensor, nn, ops

from step_llm.models.config import Config
from step_llm.nn._checks import check_rank
from step_llm.nn._modes import without_dropout
from step_llm.nn.activations import tanh
from step_llm.nn.embedding import Embedding
from step_llm.nn.forms import device_form
from step_llm.nn.initial import InitialWeights, XavierWeights
from step_llm.nn.linear import Linear

__all__ = ["NeuralLM", "NeuralLMConfig", "nearest_tokens"]


@dataclass(frozen=True)
class NeuralLMConfig(Config):
    """The sizes of a ``NeuralLM``.

    Args:
        vocab_size: V, number of token ids.
        order: n; a token is predicted from the n − 1 before it.
        d_model: D, width of a word vector.
        hidden_size: F, width of the hidden layer.
        has_direct: whether word vectors are also connected to the output without hidden layer.
        dropout: share of the hidden layer set to zero in training (the paper has none).

    Raises:
        ValueError: a size below 1, an order below 2, or dropout outside [0, 1).
    """

    vocab_size: int
    order: int = 4
    d_model: int = 64
    hidden_size: int = 128
    has_direct: bool = False
    dropout: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.order < 2:
            raise ValueError(f"order is {self.order}; expected at least 2, one token to read")


class NeuralLM(nn.Cell):
    r"""A feed-forward language model that learns a vector for each word.

    Formula: x = [C(w_{t−1}) ; … ; C(w_{t−n+1})]; logits = b + U tanh(d + H x) (+ W x).

    Args:
        config: see ``NeuralLMConfig``.
        seed: of the initial weights.
        pad_id: fills texts up to their batch's length; as a label it has no part in the loss.
        bos_id: of BOS, the token that begins a text.
        initial: draws the weights in place of the seed.

    Shapes: ids (B, T) integer, beginning with BOS, to logits (B, T, V); row t is about the token
    t + 1, and reads the tokens t − n + 2 … t. Before the text stands BOS.

    Raises:
        ValueError: ids that are not (B, T).

    Source: Bengio et al. 2003, "A Neural Probabilistic Language Model", section 2.
    """

    def __init__(
        self,
        config: NeuralLMConfig,
        seed: int = 0,
        pad_id: int = 0,
        bos_id: int = 1,
        initial: InitialWeights | None = None,
    ):
        super().__init__()
        self.config = config
        self.pad_id = pad_id
        self.bos_id = bos_id
        width = (config.order - 1) * config.d_model
        initial = initial or XavierWeights(seed)
        self.embedding = Embedding(config.vocab_size, config.d_model, False, initial)
        self.hidden = Linear(width, config.hidden_size, initial=initial)
        self.narrow = device_form(ops.narrow)
        self.dropout = device_form(nn.Dropout)(p=config.dropout)
        self.output = Linear(config.hidden_size, config.vocab_size, initial=initial)
        self.direct = None
        if config.has_direct:
            self.direct = Linear(width, config.vocab_size, has_bias=False, initial=initial)
        self.tanh = device_form(tanh)

    def construct(self, ids):
        check_rank("ids", ids.shape, 2, "(B, T)")
        batch, length = ids.shape
        before = self.config.order - 2
        if before:
            begin = ops.full((batch, before), self.bos_id, dtype=ids.dtype)
            ids = ops.concat((begin, ids), 1)
        vectors = self.embedding(ids)  # (B, n − 2 + T, D)
        windows = []
        for place in range(before + 1):
            windows.append(self.narrow(vectors, 1, place, length))
        x = ops.concat(windows, 2)  # (B, T, (n − 1) · D), the nearest token last
        x = x.reshape((batch * length, x.shape[2]))
        logits = self.output(self.dropout(self.tanh(self.hidden(x))))
        if self.direct is not None:
            logits = logits + self.direct(x)
        return logits.reshape((batch, length, logits.shape[1]))

    def log_probs(self, prefixes: Sequence[Sequence[int]]) -> np.ndarray:
        """Log-probabilities (R, V) of the next token after R prefixes, for ``PrefixModel``."""
        width = self.config.order - 1
        ids = np.full((len(prefixes), width), self.bos_id, np.int32)
        for row, prefix in enumerate(prefixes):
            kept = list(prefix)[-width:]
            ids[row, width - len(kept) :] = kept
        with without_dropout(self):
            logits = self(Tensor(ids))[:, -1]
        return ops.log_softmax(logits, -1).asnumpy()


def nearest_tokens(vectors, token_id: int, count: int = 5) -> list[tuple[int, float]]:
    r"""The tokens whose vectors point most nearly where this token's vector points.

    Formula: cos(a, b) = a · b / (|a| |b|).

    Args:
        vectors: (V, D), the rows of an embedding: a Parameter, Tensor or array.
        token_id: whose neighbours are looked for.
        count: how many.

    Returns:
        pairs of id and cosine, the nearest first, without the token itself.

    Raises:
        ValueError: an id outside the vocabulary, or a count outside 1 … V − 1.
    """
    vectors = np.asarray(vectors.asnumpy() if isinstance(vectors, Tensor) else vectors, np.float64)
    if not 0 <= token_id < len(vectors) or not 1 <= count < len(vectors):
        raise ValueError(
            f"token id {token_id} and count {count}; expected 0 … {len(vectors) - 1} and "
            f"1 … {len(vectors) - 1}"
        )
    length = np.linalg.norm(vectors, axis=1)
    cosine = vectors @ vectors[token_id] / np.maximum(length * length[token_id], 1e-12)
    cosine[token_id] = -np.inf
    order = np.argsort(-cosine, kind="stable")[:count]
    return [(int(other), float(cosine[other])) for other in order]
