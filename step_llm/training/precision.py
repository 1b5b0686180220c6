"""Training in half precision: what a device can compute in, and how a function is made to.

A weight is kept in float32; matrix products take copies of it in float16 or bfloat16 (mixed
precision, 混合精度). What needs the range or the digits stays in float32: softmax, LayerNorm, the
residual sums, the loss, the gradient's sum and Adam.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, amp, nn, ops

from step_llm.nn.layer_norm import LayerNorm
from step_llm.nn.rms_norm import RMSNorm
from step_llm.runtime.device import current_device, quiet
from step_llm.runtime.graph_mode import compiled

__all__ = ["PRECISIONS", "PrecisionError", "check_precision", "in_precision", "refused_operators"]

PRECISIONS = ("float32", "float16", "bfloat16")
_HALF = {"float16": ms.float16, "bfloat16": ms.bfloat16}
# What the compiled step computes in half precision.
_IN_HALF = ("MatMul", "BatchMatMul", "Transpose")


class PrecisionError(ValueError):
    """A precision that this device or this MindSpore cannot compute in; says which can be taken."""


def refused_operators(precision: str) -> list[str]:
    """The operators that this device does not have in a precision; each is tried on 16 numbers.

    Args:
        precision: one of ``PRECISIONS``.

    Raises:
        PrecisionError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise PrecisionError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")
    dtype = _HALF.get(precision, ms.float32)
    refused = []
    with quiet():
        for name in _IN_HALF:
            try:
                _Probe(name, dtype)(Tensor(np.ones((4, 4), np.float32))).asnumpy()
            except Exception:  # MindSpore raises several types for a kernel that is not there.
                refused.append(name)
    return refused


class _Probe(nn.Cell):
    """One operator in one precision, compiled as training is: a kernel that is not there is an
    error then. Outside of graphs MindSpore computes later, and the error may come in what follows.
    """

    def __init__(self, name, dtype):
        super().__init__()
        self.name = name
        self.dtype = dtype

    @compiled
    def construct(self, x):
        x = ops.cast(x, self.dtype)
        if self.name == "MatMul":
            x = ops.MatMul()(x, x)
        elif self.name == "BatchMatMul":
            x = ops.BatchMatMul()(x.reshape((1, 4, 4)), x.reshape((1, 4, 4)))
        else:
            x = ops.transpose(x, (1, 0))
        return ops.cast(x, ms.float32)


def check_precision(precision: str) -> None:
    """Refuse a precision in which this device cannot train.

    Raises:
        PrecisionError: names the operators that are missing, and the precisions that can be taken.
    """
    refused = refused_operators(precision)
    if refused:
        others = [name for name in PRECISIONS if not refused_operators(name)]
        raise PrecisionError(
            f"precision is {precision}, but MindSpore {ms.__version__} has no "
            f"{', '.join(refused)} of that type on device {current_device()}; choose "
            f"{' or '.join(others)}"
        )


def in_precision(forward, model, precision: str):
    """A function whose matrix products, compiled, are of a half precision.

    Softmax, logarithms and roots stay in float32, and so do ``LayerNorm``'s means, which are matrix
    products too.

    Args:
        forward: it calls the model.
        model: its LayerNorms and RMSNorms are marked.
        precision: "float16" or "bfloat16".
    """
    for _, cell in model.cells_and_names():
        if isinstance(cell, (LayerNorm, RMSNorm)):
            cell.to_float(ms.float32)
    return amp.auto_mixed_precision(forward, "auto", _HALF[precision])
