"""Layers: feed-forward, LayerNorm, the residual connection, and the encoder and decoder layer.

Letters: B batch, T target length, S source length, H heads, D model width, Dk head width.
"""

from __future__ import annotations

from mindspore import nn

from step_llm.nn._checks import check_last_axis
from step_llm.nn.activations import ACTIVATIONS

__all__ = ["FeedForward"]


class FeedForward(nn.Cell):
    r"""The same two-layer network at every position.

    Formula: FFN(x) = f(x W₁ + b₁) W₂ + b₂, in the paper with f(x) = max(0, x).

    Args:
        d_model: D, width of input and output.
        d_ff: inner width.
        activation: f: "relu", "gelu" or "gelu_tanh" (see ``activations``).

    Shapes: (B, T, D) to (B, T, D), or (B, D) to (B, D).

    Raises:
        ValueError: an unknown activation, or an input whose last axis is not d_model.

    Source: Vaswani et al. 2017, section 3.3.
    """

    def __init__(self, d_model: int, d_ff: int, activation: str = "relu"):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation is {activation!r}; expected one of {', '.join(ACTIVATIONS)}"
            )
        self.d_model = d_model
        self.activation = ACTIVATIONS[activation]
        self.inner = nn.Dense(d_model, d_ff)
        self.outer = nn.Dense(d_ff, d_model)

    def construct(self, x):
        check_last_axis("x", x.shape, self.d_model, "(B, T, d_model)")
        return self.outer(self.activation(self.inner(x)))
