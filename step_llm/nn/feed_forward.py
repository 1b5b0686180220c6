"""The feed-forward network: the same two layers at every position."""

from __future__ import annotations

from mindspore import nn

from step_llm.nn.activations import ACTIVATIONS
from step_llm.nn.initial import InitialWeights, XavierWeights
from step_llm.nn.linear import Linear

__all__ = ["FeedForward"]


class FeedForward(nn.Cell):
    r"""The same two-layer network at every position.

    Formula: FFN(x) = f(x W₁ + b₁) W₂ + b₂, in the paper with f(x) = max(0, x).

    Args:
        d_model: D, width of the model.
        d_ff: inner width.
        activation: f: "relu", "gelu", "gelu_tanh" or "silu" (see ``activations``).
        initial: where the weights begin.

    Shapes: (B, T, D) to (B, T, D).

    Raises:
        ValueError: an unknown activation, or an input whose last axis is not d_model.

    Source: Vaswani et al. 2017, section 3.3.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: str = "relu",
        initial: InitialWeights | None = None,
    ):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation is {activation!r}; expected one of {', '.join(ACTIVATIONS)}"
            )
        initial = initial or XavierWeights()
        self.activation = ACTIVATIONS[activation]
        self.inner = Linear(d_model, d_ff, initial=initial)
        self.outer = Linear(d_ff, d_model, ends_branch=True, initial=initial)

    def construct(self, x):
        return self.outer(self.activation(self.inner(x)))
