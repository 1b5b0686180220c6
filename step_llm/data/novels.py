"""Two novels in English, for language models: the paragraphs of a book, in three splits."""

from __future__ import annotations

import re

from step_llm.data.corpus import DataError
from step_llm.runtime.files import data_folder, shipped

__all__ = ["NOVELS", "read_novel"]

NOVELS = ("pride_and_prejudice", "emma")

_SPLITS = ("train", "val", "test")
_HEADING = re.compile(r"^CHAPTER\s+[\dIVXL]+$", re.IGNORECASE)
_VOLUME = re.compile(r"^VOLUME\s+[IVX]+$")


def read_novel(name: str, split: str) -> tuple[str, ...]:
    """The paragraphs of a split, in the order of the book, each on one line.

    The splits are whole chapters, so that no conversation stands in two of them. Of every ten
    chapters, counted from 1 through all volumes, the fifth is for validation, the tenth for the
    test, the others are for training. Headings are left out, and so are the underscores that mark
    emphasis.

    Args:
        name: "pride_and_prejudice" or "emma", both by Jane Austen (1813, 1815).
        split: "train", "val" or "test".

    Raises:
        DataError: another novel or split, or a file that is missing or has no chapters.
    """
    if name not in NOVELS:
        raise DataError(f"there is no novel {name!r}; expected one of {', '.join(NOVELS)}")
    if split not in _SPLITS:
        raise DataError(f"there is no split {split!r}; expected one of {', '.join(_SPLITS)}")
    path = data_folder() / "novels" / f"{name}.txt"
    if not path.is_file():
        path = shipped(f"data/novels/{name}.txt")
    if not path.is_file():
        raise DataError(f"there is no file {path}; it comes with the project's files")
    chapters = _chapters(path.read_text("utf-8"))
    if not chapters:
        raise DataError(f'{path} has no line such as "Chapter 1"; expected a novel in chapters')
    numbered = enumerate(chapters, start=1)
    return tuple(line for number, chapter in numbered if _split_of(number) == split
                 for line in chapter)  # fmt: skip


def _split_of(chapter: int) -> str:
    return {5: "val", 0: "test"}.get(chapter % 10, "train")


def _chapters(text: str) -> list[list[str]]:
    """Lists of paragraphs; what stands before the first chapter is the title."""
    chapters: list[list[str]] = []
    for block in re.split(r"\n\s*\n", text):
        paragraph = " ".join(block.split())
        if _HEADING.match(paragraph):
            chapters.append([])
        elif chapters and paragraph and not _is_no_text(paragraph):
            chapters[-1].append(paragraph.replace("_", ""))
    return chapters


def _is_no_text(paragraph: str) -> bool:
    return bool(_VOLUME.match(paragraph)) or paragraph in ("FINIS", "THE END")
