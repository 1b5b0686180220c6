"""The residual connection around every sub-layer: dropout, sum, LayerNorm."""

from __future__ import annotations

from mindspore import nn

from step_llm.nn.forms import device_form
from step_llm.nn.layer_norm import LayerNorm

__all__ = ["NORMS", "Residual"]

NORMS = ("post", "pre")


class Residual(nn.Cell):
    r"""The connection around every sub-layer: dropout, sum, LayerNorm.

    Formula: post-norm LayerNorm(x + Dropout(f(x))); pre-norm x + Dropout(f(LayerNorm(x))).
    A layer calls ``before`` to get the sub-layer's input and ``after`` to join its output:
    ``x = residual.after(x, f(residual.before(x)))``.

    Args:
        d_model: D.
        dropout: share of the sub-layer's output set to zero in training.
        norm: "post" (the paper) or "pre".
        epsilon: ε of the LayerNorm.

    Raises:
        ValueError: an unknown norm.

    Source: Vaswani et al. 2017, sections 3.1 and 5.4 (post); Xiong et al. 2020, "On Layer
    Normalization in the Transformer Architecture" (pre).
    """

    def __init__(self, d_model: int, dropout: float, norm: str, epsilon: float = 1e-5):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm is {norm!r}; expected {' or '.join(NORMS)}")
        self.is_pre = norm == "pre"
        self.norm = LayerNorm(d_model, epsilon)
        self.dropout = device_form(nn.Dropout)(p=dropout)

    def construct(self, x, output):
        return self.after(x, output)

    def final_norm(self):
        """What ends a stack of layers: in pre-norm nothing has normalised their sum yet."""
        return LayerNorm(self.norm.d_model, self.norm.epsilon) if self.is_pre else nn.Identity()

    def before(self, x):
        return self.norm(x) if self.is_pre else x

    def after(self, x, output):
        x = x + self.dropout(output)
        return x if self.is_pre else self.norm(x)
