"""Which source word each target word translates, read from attention, and how often that is right.

Letters: T and S tokens of target and source; a link is a pair (place of the target word, place of
the source word), counted from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = [
    "GoldAlignment", "alignment_error_rate", "diagonal_links", "read_gold_alignment",
    "strongest_links", "word_places",
]  # fmt: skip


class GoldAlignment(NamedTuple):
    """A sentence pair, and what people say of its words.

    Args:
        source, target: the words.
        sure: links that an alignment has to have.
        possible: links that it may have; the sure ones are among them.
    """

    source: list[str]
    target: list[str]
    sure: set[tuple[int, int]]
    possible: set[tuple[int, int]]


def read_gold_alignment(path: str | Path) -> list[GoldAlignment]:
    """Entries of three lines: source, target, and for each target word its source words' places.

    A mark is "-" or places with commas between, "?" behind a place that is possible only. Lines
    that are empty or begin with "#" do not count.

    Raises:
        ValueError: an entry whose marks do not fit its words.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    lines = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    entries = []
    for source, target, marks in zip(lines[::3], lines[1::3], lines[2::3]):
        sure, possible = set(), set()
        for place, mark in enumerate(marks):
            for part in mark.split(",") if mark != "-" else ():
                link = (place, int(part.rstrip("?")))
                possible.add(link)
                if not part.endswith("?"):
                    sure.add(link)
        if len(marks) != len(target) or max(s for _, s in possible) >= len(source):
            raise ValueError(f"the marks {' '.join(marks)} do not fit {' '.join(target)!r}")
        entries.append(GoldAlignment(source, target, sure, possible))
    return entries


def word_places(tokens: Sequence[str], words: Sequence[str]) -> list[list[int]]:
    """For each word the places of the tokens that it was cut into.

    Raises:
        ValueError: tokens that do not spell the words.
    """
    places, spelled = [[] for _ in words], ""
    ends = np.cumsum([len(word) for word in words])
    for place, token in enumerate(tokens):
        word = int(np.searchsorted(ends, len(spelled), side="right"))
        spelled += token.replace("▁", "")
        places[min(word, len(words) - 1)].append(place)
    if spelled != "".join(words).lower():
        raise ValueError(f"the tokens spell {spelled!r}; expected {''.join(words).lower()!r}")
    return places


def strongest_links(
    weights: np.ndarray, target_places: list[list[int]], source_places: list[list[int]]
) -> set[tuple[int, int]]:
    """One link for each target word: to the source word on which most weight lies.

    Args:
        weights: (T, S), where each target token looks.
        target_places, source_places: from ``word_places``; of a word's rows the mean counts, of its
            columns the sum.
    """
    rows = np.stack([weights[places].mean(axis=0) for places in target_places])
    words = np.stack([rows[:, places].sum(axis=1) for places in source_places], axis=1)
    return {(t, int(s)) for t, s in enumerate(words.argmax(axis=1))}


def diagonal_links(targets: int, sources: int) -> set[tuple[int, int]]:
    """What whoever knows no word would say: both sentences have the same order."""
    return {(t, min(int((t + 0.5) * sources / targets), sources - 1)) for t in range(targets)}


def alignment_error_rate(links: Sequence[set], gold: Sequence[GoldAlignment]) -> float:
    r"""1 − (|A ∩ S| + |A ∩ P|) / (|A| + |S|), counted over all sentences; 0 is best.

    Args:
        links: A, of each sentence.
        gold: S and P, of each sentence.

    Source: Och and Ney 2003, "A Systematic Comparison of Various Statistical Alignment Models".
    """
    hits = sum(len(a & g.sure) + len(a & g.possible) for a, g in zip(links, gold))
    total = sum(len(a) + len(g.sure) for a, g in zip(links, gold))
    return 1 - hits / total
