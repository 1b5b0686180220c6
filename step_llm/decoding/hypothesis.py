"""What a search finds, and how hypotheses of different lengths compare.

Nothing here needs MindSpore: a service that translates with an exported model imports it, too.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Hypothesis", "length_penalty"]


@dataclass(frozen=True)
class Hypothesis:
    """One sequence that a search found.

    Args:
        ids: the tokens, without those that begin and end the sentence.
        log_prob: natural logarithm of the sequence's probability, the end token included.
        score: log_prob divided by the length penalty; what beam search compares.
        is_finished: False if the search reached max_length before the end token.
    """

    ids: tuple[int, ...]
    log_prob: float
    score: float
    is_finished: bool


def length_penalty(length: int, alpha: float) -> float:
    r"""The divisor that keeps beam search from preferring short sentences.

    Formula: lp(y) = ((5 + |y|) / 6)^α; a hypothesis scores log p(y) / lp(y).

    Args:
        length: |y|, number of tokens, the end token included.
        alpha: α; 0 leaves log p as it is, larger values favour longer sentences.

    Source: Wu et al. 2016, "Google's Neural Machine Translation System", equation 14.
    """
    return ((5.0 + length) / 6.0) ** alpha
