"""Metrics: how close translations are to the references, and how well a language model predicts.

BLEU and chrF are computed by sacrebleu.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics import BLEU, CHRF

__all__ = ["Scores", "bleu_counts", "bleu_of_counts", "perplexity", "score"]


@dataclass(frozen=True)
class Scores:
    """BLEU and chrF of a set of translations, both from 0 to 100, and how they were computed.

    ``str(scores)`` is what a program prints: the scores, the number of sentences they rest on, and
    sacrebleu's signatures, which whoever compares scores has to compare first.

    Args:
        bleu, chrf: the scores.
        signature, chrf_signature: sacrebleu's own description of each.
        sentences: the number of sentences scored.
    """

    bleu: float
    chrf: float
    signature: str
    chrf_signature: str
    sentences: int

    def __str__(self):
        return (
            f"BLEU {self.bleu:.2f} on {self.sentences} sentences ({self.signature})\n"
            f"chrF {self.chrf:.2f} on {self.sentences} sentences ({self.chrf_signature})"
        )


def score(hypotheses: Sequence[str], references: Sequence[str], lowercase: bool = True) -> Scores:
    r"""BLEU and chrF of translations against one reference each.

    Formula: BLEU = min(1, e^(1 − r/c)) · (p₁ p₂ p₃ p₄)^(1/4), with pₙ the share of the n-grams of
    all translations that also stand in their references, c and r the lengths of translations and
    references. chrF: the F-score (recall counting twice) of shared character n-grams up to 6.

    Args:
        hypotheses: the translations, as plain text.
        references: as many references, in the same order.
        lowercase: whether to compare without case. Words are cut by sacrebleu's "13a" tokenizer.

    Raises:
        ValueError: no sentences, or as many references as hypotheses is not the case.

    Source: Papineni et al. 2002; Popović 2015; Post 2018, "A Call for Clarity in Reporting BLEU
    Scores".
    """
    hypotheses, references = list(hypotheses), list(references)
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            f"{len(hypotheses)} hypotheses and {len(references)} references; expected as many of "
            "the one as of the other, and at least one"
        )
    # One sacrebleu object a score: its signature is complete only after the scoring.
    bleu, chrf = BLEU(lowercase=lowercase), CHRF(lowercase=lowercase)
    return Scores(
        bleu=bleu.corpus_score(hypotheses, [references]).score,
        chrf=chrf.corpus_score(hypotheses, [references]).score,
        signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
        sentences=len(hypotheses),
    )


def bleu_counts(hypotheses: Sequence[str], references: Sequence[str]) -> tuple[int, ...]:
    """What BLEU is computed from: it can be counted over parts of a text, and added.

    Args:
        hypotheses, references: as for ``score``, but there may be none.

    Returns:
        10 numbers: the length of the translations and of the references in words, then how many of
        the translations' 1- to 4-grams stand in the references, and how many they have.
    """
    if not hypotheses:
        return (0,) * 10
    found = BLEU(lowercase=True).corpus_score(list(hypotheses), [list(references)])
    return (found.sys_len, found.ref_len, *found.counts, *found.totals)


def bleu_of_counts(counts: Sequence[float]) -> float:
    """``score(…).bleu`` of a whole text from the sums of its parts' ``bleu_counts``."""
    lengths, correct, total = counts[:2], counts[2:6], counts[6:]
    return BLEU.compute_bleu(
        [int(count) for count in correct],
        [int(count) for count in total],
        *map(int, lengths),
        smooth_method="exp",
    ).score


def perplexity(loss: float) -> float:
    r"""Among how many equally probable tokens a language model seems to choose.

    Formula: PP = exp(loss) = p(x₁ … x_N)^(−1/N). Perplexities compare only over the same text, cut
    into the same tokens.

    Args:
        loss: the mean cross-entropy in nats per token.

    Returns:
        at least 1; infinite where exp is beyond the largest number.

    Source: Jelinek et al. 1977, "Perplexity – a measure of the difficulty of speech recognition
    tasks".
    """
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
