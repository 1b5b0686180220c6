"""SwiGLU: a feed-forward network in which one projection opens and closes another."""

from __future__ import annotations

from mindspore import nn

from step_llm.nn.activations import silu
from step_llm.nn.initial import InitialWeights, XavierWeights
from step_llm.nn.linear import Linear

__all__ = ["SwiGLU"]


class SwiGLU(nn.Cell):
    r"""The feed-forward network of Llama: the same three projections at every position.

    Formula: FFN(x) = (silu(x Wg) ⊙ x Wu) Wd, with silu(z) = z · σ(z) and ⊙ element by element: each
    of the inner values has a gate. There are no biases. At 2/3 of its inner width it has the
    weights of a ``FeedForward``.

    Args:
        d_model: D, width of the model.
        d_ff: inner width.
        initial: where the weights begin.

    Shapes: (B, T, D) to (B, T, D).

    Raises:
        ValueError: an input whose last axis is not d_model.

    Source: Shazeer 2020, "GLU Variants Improve Transformer", equation 6.
    """

    def __init__(self, d_model: int, d_ff: int, initial: InitialWeights | None = None):
        super().__init__()
        initial = initial or XavierWeights()
        self.gate = Linear(d_model, d_ff, has_bias=False, initial=initial)
        self.up = Linear(d_model, d_ff, has_bias=False, initial=initial)
        self.down = Linear(d_ff, d_model, has_bias=False, ends_branch=True, initial=initial)

    def construct(self, x):
        return self.down(silu(self.gate(x)) * self.up(x))
