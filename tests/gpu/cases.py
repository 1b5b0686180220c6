"""The cases of tests/ascend/cases.py, on the stand-in for CUDA.

    python -m tests.gpu.cases translator/float32 gpt/decoding

A case has passed when it says so.
"""

from __future__ import annotations

import sys

import numpy as np
from mindspore import Tensor, nn

from step_llm.runtime.device import use_device
from step_llm.runtime.graph_mode import compiled, graph_mode
from tests.ascend import cases
from tests.support.stand_in import carry_out

__all__ = ["CASES", "CONTROLS", "QUICK"]

# MindSpore has no products of bfloat16 for a GPU, and the library refuses that precision there.
# What several processes say to each other goes through NCCL, which has no stand-in.
CASES = {
    name: case for name, case in cases.CASES.items() if not name.endswith(("/bfloat16", "/msrun"))
}
# What every run of the tests takes.
QUICK = ("translator/float32", "gpt/decoding", "vit/float16", "rnn/float16")


class _Gru(nn.Cell):
    """MindSpore's own GRU: its documentation names the GPU, and the plugin has no kernel for it."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(16, 16)

    @compiled
    def construct(self, x):
        return self.gru(x)[0]


def _mindspores_gru():
    with graph_mode():
        _Gru()(Tensor(np.ones((3, 2, 16), np.float32))).asnumpy()


# Must not reach the end: they show that an operator which a GPU lacks is found.
CONTROLS = {
    "control-gru/float32": _mindspores_gru,
    "control-bfloat16/bfloat16": lambda: cases._train("translator", "bfloat16"),
}


def main(names):
    cases._mark = lambda text: None  # a line in CANN's record
    use_device("GPU")
    carry_out(names, {**CASES, **CONTROLS})


if __name__ == "__main__":
    main(sys.argv[1:])
