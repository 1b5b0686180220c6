"""Sentences of product reviews, and whether people found them positive or negative.

The file is ``data/reviews/reviews.tsv``; its README.md says where it is from. A line is
``review_sentence``, the mean rating of 20 people from −4 to 4, and the sentence, between tabs.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from step_llm.data.corpus import DataError
from step_llm.runtime.files import shipped

__all__ = ["ReviewSentences", "read_reviews"]

_ID = re.compile(r"([0-9]{1,9})_([0-9]{1,9})")


class ReviewSentences(NamedTuple):
    """Sentences of a split, line by line.

    Args:
        texts: the sentences.
        labels: (N,) int32, 1 = positive, 0 = negative.
        ratings: (N,) float32, the mean rating of each.
        reviews: (N,) int32, the review that each stands in.
    """

    texts: tuple[str, ...]
    labels: np.ndarray
    ratings: np.ndarray
    reviews: np.ndarray


def read_reviews(split: str, path: str | Path | None = None, least: float = 0.5) -> ReviewSentences:
    """The sentences of a split that are clearly positive or clearly negative.

    No review is in two splits: of each five reviews in their numbering, number 0 modulo 5 is for
    testing, 1 for validation, the other three for training. The products follow each other in the
    numbering, so that each split has its share of all of them.

    Args:
        split: "train", "val" or "test".
        path: of a file in the same layout; None is the one that comes with the course.
        least: sentences with a mean rating between −least and least are left out.

    Raises:
        DataError: a file that is missing or not UTF-8, a line of another layout, or a split without
            a positive or without a negative sentence.
        ValueError: another split, or a ``least`` that is not above 0.
    """
    if split not in ("train", "val", "test"):
        raise ValueError(f"split is {split!r}; expected train, val or test")
    if not least > 0:
        raise ValueError(f"least is {least!r}; expected a number above 0")
    path = shipped("data/reviews/reviews.tsv") if path is None else Path(path)
    rows = [
        (text, rating, review)
        for review, rating, text in _lines(path)
        if split == ("test", "val", "train", "train", "train")[review % 5] and abs(rating) >= least
    ]
    if len({rating > 0 for _, rating, _ in rows}) < 2:
        raise DataError(
            f"{path}: the split {split!r} has {len(rows)} sentences rated beyond ±{least:g}; "
            "expected positive and negative ones"
        )
    texts, ratings, reviews = zip(*rows)
    ratings = np.array(ratings, np.float32)
    return ReviewSentences(
        texts, (ratings > 0).astype(np.int32), ratings, np.array(reviews, np.int32)
    )


def _lines(path):
    """The number of its review, the rating and the text of each sentence."""
    if not path.is_file():
        raise DataError(f"there is no file {path}; expected lines of id, rating and sentence")
    for number, line in enumerate(path.read_bytes().removesuffix(b"\n").split(b"\n"), start=1):
        try:
            parts = line.decode("utf-8").removesuffix("\r").split("\t")
        except UnicodeDecodeError:
            raise DataError(f"{path}, line {number}: not UTF-8") from None
        name = _ID.fullmatch(parts[0])
        try:
            rating = float(parts[1])
        except (IndexError, ValueError):
            rating = math.nan
        if len(parts) != 3 or not name or not -4 <= rating <= 4 or not parts[2].strip():
            raise DataError(
                f"{path}, line {number}: expected three parts between tabs: review_sentence, a "
                f"rating from -4 to 4, and the sentence; found {line[:60]!r}"
            )
        yield int(name[1]), rating, parts[2]
