"""What tells on the validation set which epoch is the best."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from step_llm.data.corpus import ParallelText
from step_llm.decoding.translator import Translator
from step_llm.evaluation.metrics import bleu_counts, bleu_of_counts, perplexity
from step_llm.training.distributed import Group

__all__ = ["PERPLEXITY", "Measure", "greedy_bleu"]


class Measure(NamedTuple):
    """A number by which epochs are compared.

    Args:
        name: of a word; in the history it is "validation_" + name.
        text: for people, with a place for the value.
        sign: 1 where more is better, −1 where less is.
        value: gives the number after an epoch; it is called with the validation loss while the
            model is in evaluation mode, in all workers, and returns the same in all.
    """

    name: str
    text: str
    sign: int
    value: Callable[[float], float]

    @property
    def field(self) -> str:
        """Its name in the history."""
        return f"validation_{self.name}"

    def best(self, history: list[dict]) -> float | None:
        """The best epoch's value; None where there is no epoch."""
        values = [entry[self.field] for entry in history]
        return max(values, key=lambda value: self.sign * value, default=None)

    def epochs_since_best(self, history: list[dict]) -> int:
        """How many epochs there are after the first of the best."""
        values = [entry[self.field] for entry in history]
        return len(values) - 1 - values.index(self.best(history)) if values else 0


PERPLEXITY = Measure("perplexity", "perplexity {:.2f}", -1, perplexity)


def greedy_bleu(translator: Translator, text: ParallelText, group: Group | None = None) -> Measure:
    """BLEU of greedy translations; of several workers each translates its share of the sentences.

    Args:
        translator: of the model that is trained.
        text: the validation sentences.
        group: the workers.
    """
    group = group or Group()
    share = slice(group.rank, None, group.size)
    sources, references = list(text.source[share]), list(text.target[share])

    def value(_):
        translations = translator.translate(sources) if sources else []
        return bleu_of_counts(group.sum(np.array(bleu_counts(translations, references))))

    return Measure("bleu", "BLEU {:.1f} (greedy)", 1, value)
