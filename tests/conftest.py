"""What the tests share: quiet MindSpore, and the two ways to run a cell."""

from __future__ import annotations

import os

# MindSpore reads this when it is first imported: errors only, no notes on missing accelerators.
os.environ.setdefault("GLOG_v", "3")

import mindspore as ms
import pytest
from mindspore import nn


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
