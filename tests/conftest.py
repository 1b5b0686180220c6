"""What the tests share: quiet MindSpore, workers that keep apart, the two ways to run a cell."""

from __future__ import annotations

import os
import re

# MindSpore reads this when it is first imported: errors only, no notes on missing accelerators.
os.environ.setdefault("GLOG_v", "3")

import mindspore as ms
import pytest
from mindspore import nn

# Set in each process that shares the tests with others (`make test`).
WORKER = os.environ.get("PYTEST_XDIST_WORKER")


def pytest_configure():
    """Of several workers, each keeps to its share of the cores, with all that it starts.

    MindSpore's threads wait by spinning, and slow whoever shares their core.
    """
    if WORKER and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        share = cores[int(WORKER[2:]) :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]
        os.sched_setaffinity(0, share or cores)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    """Keep together what one worker must run in order (`--dist loadgroup`).

    That is a file; and the lessons that take the model which an earlier one trained.
    """
    if not WORKER:
        return
    for item in items:
        file = item.nodeid.split("::")[0]
        takes_a_model = re.match(r"notebooks/(solutions/)?0[456]_", file)
        group = "lessons 04 to 06" if takes_a_model else file
        item.add_marker(pytest.mark.xdist_group(group))


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
