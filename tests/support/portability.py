"""The graphs that MindSpore compiles, as it writes them to a folder: after its optimisations, and
before any device has a part in them."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import mindspore as ms

__all__ = ["compiled_graphs", "saved_graphs"]


@contextmanager
def saved_graphs(folder: str | Path):
    """Let MindSpore write what it compiles inside this block to ``folder``; ``compiled_graphs``
    finds it."""
    ms.set_context(save_graphs=1, save_graphs_path=str(folder))
    try:
        yield
    finally:
        ms.set_context(save_graphs=0)


def compiled_graphs(folder: str | Path) -> list[Path]:
    """A file for each graph that was compiled while graphs were saved to ``folder``."""
    return sorted(Path(folder).rglob("*validate_*.ir"))
