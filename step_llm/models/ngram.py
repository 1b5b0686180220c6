"""n-gram language models: the next token's probability from counts of the tokens before it.

A text is a list of token ids without BOS and EOS, which begin and end it; each is counted as
BOS … BOS x₁ … x_N EOS, with n − 1 times BOS. Letters: n order, V vocabulary, c count.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["AddK", "KneserNey", "NGram"]


class NGram:
    """What both kinds share: counting, and probabilities of texts.

    The tokens that may come are all ids but those of padding and BOS.

    Args:
        texts: lists of ids to learn from.
        order: n; a token depends on the n − 1 before it. 1 is a unigram model.
        vocab_size: V.
        bos_id, eos_id: of the tokens that begin and end a text.
        pad_id: of padding.

    Raises:
        ValueError: an order below 1, no text, an id outside the vocabulary or that cannot come, or
            bos_id, eos_id and pad_id that are not three ids of the vocabulary.
    """

    def __init__(
        self,
        texts: Iterable[Sequence[int]],
        order: int,
        vocab_size: int,
        bos_id: int = 1,
        eos_id: int = 2,
        pad_id: int = 0,
    ):
        if order < 1:
            raise ValueError(f"order is {order}; expected at least 1")
        special = {bos_id, eos_id, pad_id}
        if len(special) < 3 or min(special) < 0 or max(special) >= vocab_size:
            raise ValueError(
                f"bos_id is {bos_id}, eos_id {eos_id} and pad_id {pad_id}; expected three "
                f"different ids in 0 … {vocab_size - 1}"
            )
        self.order = order
        self.vocab_size = vocab_size
        self.bos_id, self.eos_id, self.pad_id = bos_id, eos_id, pad_id
        # The number of tokens that may come.
        self.choices = vocab_size - 2
        # For each context length 0 … n − 1: context: {token: count}.
        self.counts = [defaultdict(lambda: defaultdict(int)) for _ in range(order)]
        is_empty = True
        for text in texts:
            is_empty = False
            for context, token in self._places(text):
                for length in range(order):
                    self.counts[length][context[order - 1 - length :]][token] += 1
        if is_empty:
            raise ValueError("there is no text to count; expected at least one")

    def probability(self, token: int, context: Sequence[int]) -> float:
        """p(token | context); of the context the last n − 1 tokens count.

        Raises:
            ValueError: an id outside the vocabulary, or padding or BOS as the token.
        """
        context = tuple(int(other) for other in context)
        self._check([token])
        return self._probability(int(token), context[len(context) - self._kept(context) :])

    def log_probability(self, text: Sequence[int]) -> float:
        """The natural logarithm of p(x₁ … x_N EOS); −∞ where a token cannot come."""
        total = 0.0
        for context, token in self._places(text):
            p = self._probability(token, context)
            total += math.log(p) if p > 0.0 else -math.inf
        return total

    def perplexity(self, texts: Iterable[Sequence[int]]) -> float:
        """exp of the mean −log p per token, EOS counting as one; see ``metrics.perplexity``.

        Raises:
            ValueError: no text.
        """
        total, tokens = 0.0, 0
        for text in texts:
            total -= self.log_probability(text)
            tokens += len(text) + 1
        if not tokens:
            raise ValueError("there is no text to measure; expected at least one")
        return math.exp(total / tokens) if total / tokens < 700 else math.inf

    def log_probs(self, prefixes: Sequence[Sequence[int]]) -> np.ndarray:
        """Log-probabilities (R, V) of the next token after R prefixes, for ``PrefixModel``.

        A prefix begins with BOS, as the prompts of the other models do.
        """
        rows = np.full((len(prefixes), self.vocab_size), -np.inf)
        for row, prefix in zip(rows, prefixes):
            context = ((self.bos_id,) * (self.order - 1) + tuple(int(token) for token in prefix))[
                len(prefix) :
            ]
            for token in range(self.vocab_size):
                if token not in (self.pad_id, self.bos_id):
                    p = self._probability(token, context)
                    row[token] = math.log(p) if p > 0.0 else -math.inf
        return rows

    def _kept(self, context):
        return min(len(context), self.order - 1)

    def _places(self, text):
        """Each token of a text with the n − 1 before it."""
        text = [int(token) for token in text]
        self._check(text)
        padded = (self.bos_id,) * (self.order - 1) + (*text, self.eos_id)
        for place in range(len(text) + 1):
            yield padded[place : place + self.order - 1], padded[place + self.order - 1]

    def _check(self, tokens):
        for token in tokens:
            if not 0 <= token < self.vocab_size or token in (self.pad_id, self.bos_id):
                raise ValueError(
                    f"token id {token} cannot come; expected 0 … {self.vocab_size - 1} without "
                    f"{self.pad_id} (padding) and {self.bos_id} (begin)"
                )

    def _probability(self, token, context):
        raise NotImplementedError


class AddK(NGram):
    r"""An n-gram model that pretends to have seen every n-gram k times more.

    Formula: p(w | h) = (c(h w) + k) / (c(h) + k · V′), V′ the number of tokens that may come.

    Args:
        texts, order, vocab_size, bos_id, eos_id, pad_id: see ``NGram``.
        k: 1 is Laplace's rule; 0 gives the shares as they are counted.

    Raises:
        ValueError: as ``NGram``, or a negative k.

    Source: Lidstone 1920; Jurafsky and Martin, "Speech and Language Processing", chapter 3.
    """

    def __init__(
        self,
        texts,
        order: int,
        vocab_size: int,
        k: float = 1.0,
        bos_id: int = 1,
        eos_id: int = 2,
        pad_id: int = 0,
    ):
        if not k >= 0.0:
            raise ValueError(f"k is {k}; expected at least 0")
        super().__init__(texts, order, vocab_size, bos_id, eos_id, pad_id)
        self.k = k

    def _probability(self, token, context):
        seen = self.counts[len(context)].get(context, {})
        below = sum(seen.values()) + self.k * self.choices
        return (seen.get(token, 0) + self.k) / below if below else 0.0


class KneserNey(NGram):
    r"""An n-gram model that interpolates with shorter contexts, where kinds count and not tokens.

    Formula, with h′ the context h without its first token:
    p(w | h) = max(c(h w) − d, 0) / c(h) + d · kinds(h ·) / c(h) · p(w | h′), where for contexts
    shorter than n − 1 the count c(h w) is the number of different tokens before h w. Below the
    unigrams stands 1 / V′, so that no token is impossible. A context never seen gives p(w | h′).

    "San Francisco" makes "Francisco" frequent; but it follows one word alone, so after any other
    word it is improbable. That is what counting kinds sees.

    Args:
        texts, order, vocab_size, bos_id, eos_id, pad_id: see ``NGram``.
        discount: d in (0, 1), taken from every count.
        unigram_discount: d of the unigrams; None is ``discount``. With 0 a token that was never
            seen is impossible.

    Raises:
        ValueError: as ``NGram``, a discount outside (0, 1), or a unigram_discount outside [0, 1).

    Source: Kneser and Ney 1995, "Improved backing-off for m-gram language modeling"; interpolated:
    Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling".
    """

    def __init__(
        self,
        texts,
        order: int,
        vocab_size: int,
        discount: float = 0.75,
        unigram_discount: float | None = None,
        bos_id: int = 1,
        eos_id: int = 2,
        pad_id: int = 0,
    ):
        if unigram_discount is None:
            unigram_discount = discount
        if not 0.0 < discount < 1.0 or not 0.0 <= unigram_discount < 1.0:
            raise ValueError(
                f"discount is {discount} and unigram_discount {unigram_discount}; expected (0, 1) "
                "and [0, 1)"
            )
        super().__init__(texts, order, vocab_size, bos_id, eos_id, pad_id)
        self.discount = discount
        self.unigram_discount = unigram_discount
        # From the longest down: how many different tokens stand before each shorter n-gram.
        for length in reversed(range(order - 1)):
            kinds = defaultdict(lambda: defaultdict(int))
            for context, tokens in self.counts[length + 1].items():
                for token in tokens:
                    kinds[context[1:]][token] += 1
            self.counts[length] = kinds
        self._totals = [
            {context: sum(tokens.values()) for context, tokens in contexts.items()}
            for contexts in self.counts
        ]

    def _probability(self, token, context):
        shorter = self._probability(token, context[1:]) if context else 1.0 / self.choices
        tokens = self.counts[len(context)].get(context)
        if tokens is None:
            return shorter
        discount = self.discount if context else self.unigram_discount
        total = self._totals[len(context)][context]
        kept = max(tokens.get(token, 0) - discount, 0.0)
        return kept / total + discount * len(tokens) / total * shorter
