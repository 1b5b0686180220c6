"""Where files are: those that come with the library but are no code, and those that it makes.

In a checkout all of them lie beside the package. An installed package has a copy of what it needs
inside, and writes nothing there: what it fetches goes to the user's cache, and what it trains to
the folder in which it was started.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["data_folder", "runs_folder", "shipped"]

_PACKAGE = Path(__file__).resolve().parents[1]
_COPY = _PACKAGE / "_shipped"  # setup.py puts it there
_VARIABLE = "STEP_LLM_DATA"


def shipped(name: str) -> Path:
    """A file or folder of the project, by its path there: "data/mini", for example."""
    inside = _COPY / name
    return inside if inside.exists() else _PACKAGE.parent / name


def data_folder() -> Path:
    """Where corpora lie: what STEP_LLM_DATA names, else data/ of a checkout, else the user's cache.

    The cache is ``~/.cache/step_llm``, or ``step_llm`` in what XDG_CACHE_HOME names.
    """
    if os.environ.get(_VARIABLE):
        return Path(os.environ[_VARIABLE])
    if not _COPY.is_dir():
        return _PACKAGE.parent / "data"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "step_llm"


def runs_folder() -> Path:
    """Where lessons keep what they train: runs/ of a checkout, else runs/ where Python started."""
    return (Path.cwd() if _COPY.is_dir() else _PACKAGE.parent) / "runs"
