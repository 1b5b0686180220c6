"""Where the files are that belong to the library but are no code: the corpus, the fetcher."""

from __future__ import annotations

from pathlib import Path

__all__ = ["shipped"]

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """A file or folder of the project, by its path there: "data/mini", for example.

    In a checkout it lies beside the package; an installed package holds a copy.
    """
    inside = _PACKAGE / "_shipped" / name
    return inside if inside.exists() else _PACKAGE.parent / name
