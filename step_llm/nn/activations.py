"""Activation functions of the feed-forward network."""

from __future__ import annotations

import math

from mindspore import Tensor, ops

__all__ = ["ACTIVATIONS", "gelu", "gelu_tanh", "silu", "tanh"]


def gelu(x: Tensor) -> Tensor:
    r"""Let a value pass in proportion to how likely a normal variable is to be smaller.

    Formula: x · Φ(x) = x / 2 · (1 + erf(x / √2)).

    Args:
        x: any shape.

    Returns:
        the shape of x.

    Source: Hendrycks and Gimpel 2016, "Gaussian Error Linear Units"; used by BERT and ViT.
    """
    return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))


def gelu_tanh(x: Tensor) -> Tensor:
    r"""``gelu`` with Φ approximated by a tanh; the two differ by less than 0.0005.

    Formula: x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))).

    Args:
        x: any shape.

    Returns:
        the shape of x.

    Source: Hendrycks and Gimpel 2016, section 2; used by GPT and GPT-2, where it is "gelu_new".
    """
    return ops.gelu(x, approximate="tanh")


def silu(x: Tensor) -> Tensor:
    r"""Let a value pass by its own sigmoid: ``gelu`` with another S-curve in place of Φ.

    Formula: x · σ(x) = x / (1 + e^(−x)).

    Args:
        x: any shape.

    Returns:
        the shape of x.

    Source: Hendrycks and Gimpel 2016, section 2; Ramachandran et al. 2017, "Searching for
    Activation Functions", where it is "Swish".
    """
    return x * ops.sigmoid(x)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent of each element, between −1 and 1."""
    return ops.tanh(x)


ACTIVATIONS = {"relu": ops.relu, "gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu}
