"""LayerNorm: each vector gets mean 0 and variance 1, then a learned scale and shift."""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from step_llm.nn._checks import check_last_axis
from step_llm.nn.forms import device_form
from step_llm.nn.initial import constant

__all__ = ["LayerNorm", "layer_norm"]


def layer_norm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float = 1e-5) -> Tensor:
    r"""Give each vector mean 0 and variance 1, then a learned scale and shift.

    Formula: y = (x − mean(x)) / √(var(x) + ε) · γ + β, mean and variance over the last axis.

    Args:
        x: (…, D).
        gamma, beta: (D,).
        epsilon: ε, keeps a constant vector from a division by zero.

    Returns:
        (…, D).

    Source: Ba et al. 2016, "Layer Normalization".
    """
    centred = x - ops.mean(x, -1, True)
    variance = ops.mean(centred * centred, -1, True)
    return centred * ops.rsqrt(variance + epsilon) * gamma + beta


class LayerNorm(nn.Cell):
    """``layer_norm`` with its scale γ (ones at first) and shift β (zeros at first).

    Args:
        d_model: D, size of the last axis.
        epsilon: ε, see ``layer_norm``.

    Shapes: (…, D) to (…, D), of x's type; computed in float32, since float16 has too few digits for
    a mean.

    Raises:
        ValueError: an input whose last axis is not d_model.
    """

    def __init__(self, d_model: int, epsilon: float = 1e-5):
        super().__init__()
        self.d_model = d_model
        self.epsilon = epsilon
        self.gamma = constant(1.0, d_model, name="gamma")
        self.beta = constant(0.0, d_model, name="beta")
        self.layer_norm = device_form(layer_norm)

    def construct(self, x):
        check_last_axis("x", x.shape, self.d_model, "(…, d_model)")
        exact = ops.cast(x, mstype.float32)
        return ops.cast(self.layer_norm(exact, self.gamma, self.beta, self.epsilon), x.dtype)
