"""Where files are: those that come with the library but are no code, and those that it makes.

In a checkout all of them lie beside the package. An installed package has a copy of what it needs
inside, and writes nothing there: what it fetches goes to the user's cache, and what it trains to
the folder in which it was started.

And how a file or a folder is written so that it is never half there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "check_length", "data_folder", "new_folder", "read_text", "replacing", "runs_folder",
    "shipped", "user_cache",
]  # fmt: skip

_PACKAGE = Path(__file__).resolve().parents[1]
_COPY = _PACKAGE / "_shipped"  # setup.py puts it there
_VARIABLE = "STEP_LLM_DATA"
_RUNS = "STEP_LLM_RUNS"
_LONGEST = 1 << 28  # bytes of a text; the longest tokenizers have a tenth of it


def read_text(path: Path) -> str:
    """A text file in UTF-8, that somebody else may have put there.

    Raises:
        OSError: it is missing, or cannot be read.
        ValueError: it is no file (a pipe would be waited for, a device never end), longer than any
            of these files is, or not UTF-8.
    """
    check_length(path)
    return path.read_text(encoding="utf-8")


def check_length(path: Path) -> None:
    """Raise what ``read_text`` raises of a file that it would not read."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path.name} is no file")
    if path.stat().st_size > _LONGEST:
        raise ValueError(
            f"{path.name} has {path.stat().st_size:,} bytes; expected at most {_LONGEST:,}"
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to; what stands there at the end of the block takes the place of ``path``.

    Whatever comes in between, a kill or a full disk, the old file is still whole.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        _flush(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name at the end of the block: it is never half there.

    Args:
        folder: its name; nothing may be there.
    """
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        for path in partial.iterdir():
            _flush(path)
        partial.rename(folder)
    except BaseException:  # an interrupt, too
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _flush(path):
    """Make sure that a file's bytes are on the disk before it, or its folder, is renamed."""
    with open(path, "r+b") as file:  # Windows flushes only what may be written
        os.fsync(file.fileno())


def shipped(name: str) -> Path:
    """A file or folder of the project, by its path there: "data/mini", for example."""
    inside = _COPY / name
    return inside if inside.exists() else _PACKAGE.parent / name


def data_folder() -> Path:
    """Where corpora lie: what STEP_LLM_DATA names, else data/ of a checkout, else the user's cache.

    The cache is that of ``user_cache``.
    """
    if os.environ.get(_VARIABLE):
        return Path(os.environ[_VARIABLE])
    if not _COPY.is_dir():
        return _PACKAGE.parent / "data"
    return user_cache()


def user_cache() -> Path:
    """``~/.cache/step_llm``, or ``step_llm`` in what XDG_CACHE_HOME names."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "step_llm"


def runs_folder() -> Path:
    """Where lessons keep what they train: what STEP_LLM_RUNS names, else runs/ of a checkout, else
    runs/ where Python started."""
    if os.environ.get(_RUNS):
        return Path(os.environ[_RUNS])
    return (Path.cwd() if _COPY.is_dir() else _PACKAGE.parent) / "runs"
