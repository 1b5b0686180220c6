"""How the library runs MindSpore, apart from what it computes."""

from __future__ import annotations

from contextlib import contextmanager

import mindspore as ms

from step_llm.runtime.graph_cache import cached_graphs

__all__ = ["compiled", "graph_mode"]


def compiled(function):
    """``ms.jit`` on MindSpore's own backend, which compiles for every device.

    Without a word of it, some versions take another one on an Ascend 910A, which is deprecated
    since 2.9.
    """
    return ms.jit(function, backend="ms_backend")


@contextmanager
def graph_mode():
    """Run compiled functions in MindSpore's graph mode, and restore the mode afterwards.

    In PyNative mode the Python thread spins while it waits for a compiled function, and so takes
    one core from it. On two cores a training step of the tiny preset took 1.18 s that way, and
    0.59 s in graph mode. What an earlier process has compiled is taken from the disk, see
    ``graph_cache``.
    """
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        with cached_graphs():
            yield
    finally:
        ms.set_context(mode=before)
