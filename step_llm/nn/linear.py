"""Linear: y = x Wᵀ + b, the layer that every other one is made of."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from step_llm.nn._checks import check_last_axis
from step_llm.nn.forms import device_form
from step_llm.nn.initial import InitialWeights, XavierWeights, constant

__all__ = ["Linear", "linear"]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""Multiply each vector by a matrix, and add a bias.

    Formula: y = x Wᵀ + b.

    Args:
        x: (…, inputs).
        weight: (outputs, inputs).
        bias: (outputs,), or None for no bias.

    Returns:
        (…, outputs).
    """
    shape = x.shape
    # One product of two axes: with three, MindSpore 2.10 multiplies row by row on the CPU.
    y = ops.MatMul(transpose_b=True)(x.reshape((-1, shape[-1])), weight)
    if bias is not None:
        y = ops.bias_add(y, ops.cast(bias, y.dtype))  # half, where training makes y so
    return y.reshape((*shape[:-1], weight.shape[0]))


class Linear(nn.Cell):
    """``linear`` with its weight and bias.

    Args:
        inputs, outputs: sizes of the last axis before and after.
        has_bias: False leaves b out.
        ends_branch: whether the output is added to a residual stream, see ``InitialWeights``.
        initial: where the weight begins; the bias begins at 0.

    Shapes: (…, inputs) to (…, outputs).

    Raises:
        ValueError: an input whose last axis is not ``inputs``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        has_bias: bool = True,
        ends_branch: bool = False,
        initial: InitialWeights | None = None,
    ):
        super().__init__()
        initial = initial or XavierWeights()
        draw = initial.branch_end if ends_branch else initial.matrix
        self.inputs = inputs
        self.weight = draw(outputs, inputs)
        self.bias = constant(0.0, outputs, name="bias") if has_bias else None
        self.linear = device_form(linear)

    def construct(self, x):
        check_last_axis("x", x.shape, self.inputs, "(…, inputs)")
        return self.linear(x, self.weight, self.bias)
