"""RMSNorm: each vector gets a mean square of 1, then a learned scale."""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from step_llm.nn._checks import check_last_axis
from step_llm.nn.forms import device_form
from step_llm.nn.initial import constant

__all__ = ["RMSNorm", "rms_norm"]


def rms_norm(x: Tensor, gamma: Tensor, epsilon: float = 1e-6) -> Tensor:
    r"""Give each vector a mean square of 1, then a learned scale.

    LayerNorm without its two means: nothing is centred, nothing is shifted.

    Formula: y = x / √(mean(x²) + ε) · γ, the mean over the last axis.

    Args:
        x: (…, D).
        gamma: (D,).
        epsilon: ε, keeps a vector of zeros from a division by zero.

    Returns:
        (…, D).

    Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization".
    """
    mean_square = ops.mean(x * x, -1, True)
    return x * ops.rsqrt(mean_square + epsilon) * gamma


class RMSNorm(nn.Cell):
    """``rms_norm`` with its scale γ (ones at first).

    Args:
        d_model: D, size of the last axis.
        epsilon: ε, see ``rms_norm``.

    Shapes: (…, D) to (…, D), of x's type; computed in float32, since float16 has too few digits for
    a mean, and ends where the square of 256 is.

    Raises:
        ValueError: an input whose last axis is not d_model.
    """

    def __init__(self, d_model: int, epsilon: float = 1e-6):
        super().__init__()
        self.d_model = d_model
        self.epsilon = epsilon
        self.gamma = constant(1.0, d_model, name="gamma")
        self.rms_norm = device_form(rms_norm)

    def construct(self, x):
        check_last_axis("x", x.shape, self.d_model, "(…, d_model)")
        exact = ops.cast(x, mstype.float32)
        return ops.cast(self.rms_norm(exact, self.gamma, self.epsilon), x.dtype)
