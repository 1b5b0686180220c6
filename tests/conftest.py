"""What the tests share: quiet MindSpore, workers that keep apart, the two ways to run a cell."""

from __future__ import annotations

import os

# MindSpore reads this when it is first imported: errors only, no notes on missing accelerators.
os.environ.setdefault("GLOG_v", "3")
os.environ["STEP_LLM_LANGUAGE"] = "en"  # tests read what is said in English

import mindspore as ms
import pytest
from mindspore import nn

# Outside of graphs, each operator at once: handing it from thread to thread takes the processor 15
# times as long as the small models here compute.
ms.runtime.launch_blocking()

# Set in each process that shares the tests with others (`make test`).
WORKER = os.environ.get("PYTEST_XDIST_WORKER")


def pytest_configure():
    """Of several workers, each keeps to its share of the cores, with all that it starts.

    MindSpore's threads wait by spinning, and slow whoever shares their core.
    """
    if WORKER and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        first = int(WORKER[2:]) % len(cores)
        os.sched_setaffinity(0, cores[first :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])])


class Compiled(nn.Cell):
    """Runs a cell inside a compiled function."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    @ms.jit
    def construct(self, *inputs):
        return self.cell(*inputs)


def as_it_is(cell):
    """Runs a cell operator by operator, in PyNative mode."""
    return cell


@pytest.fixture
def compiled():
    """Wraps a cell so that it runs compiled."""
    return Compiled


@pytest.fixture(params=[as_it_is, Compiled], ids=["pynative", "compiled"])
def in_mode(request):
    """Wraps a cell so that it runs in one of the two modes; the test runs once in each."""
    return request.param


@pytest.fixture
def change(tmp_path):
    """Makes a changed copy of a golden folder, see ``changed_copy``."""
    from tests.support.golden_folders import changed_copy

    def copy(case, fields=None, tensors=None):
        return changed_copy(case, tmp_path / case, fields, tensors)

    return copy
