"""The whole model: embeddings, encoder, decoder, and the projection to the vocabulary.

Letters: B batch, T target length, S source length, H heads, D model width, V vocabulary.
"""

from __future__ import annotations

import math

import numpy as np
from mindspore import Tensor, nn

__all__ = ["initialise", "initialise_normal"]


def initialise_normal(
    model: nn.Cell, seed: int, deviation: float = 0.02, residual_layers: int = 0
) -> None:
    """Draw the weights as GPT-2, BERT and ViT do: normal, biases 0, the scales of LayerNorm 1.

    Args:
        model: its weights are set.
        seed: the same seed gives the same weights.
        deviation: the standard deviation.
        residual_layers: where above 0, matrices that end a residual branch get the deviation
            divided by the square root of this number, so that the sum of all branches keeps its
            size (Radford et al. 2019, section 2.3).
    """
    rng = np.random.default_rng(seed)
    for name, parameter in model.parameters_and_names():
        if name.endswith(("bias", "beta")):
            value = np.zeros(parameter.shape)
        elif name.endswith("gamma"):
            value = np.ones(parameter.shape)
        else:
            value = rng.normal(0.0, deviation, parameter.shape)
            if residual_layers and name.endswith(("output_projection.weight", "outer.weight")):
                value /= math.sqrt(residual_layers)
        parameter.set_data(Tensor(value.astype(np.float32)))


def initialise(cell: nn.Cell, seed: int) -> None:
    """Set all weights of a cell to the initial values of the paper's reference, for this seed.

    Matrices Xavier-uniform, embeddings (and learned positions) normal with standard deviation
    D^(−1/2), biases 0, LayerNorm's scale 1. Which is which, the parameter's name tells.

    Source: Glorot and Bengio 2010; github.com/tensorflow/tensor2tensor.
    """
    rng = np.random.default_rng(seed)
    for parameter in cell.get_parameters():
        name, shape = parameter.name, parameter.shape
        if name.endswith(("bias", "beta")):
            value = np.zeros(shape)
        elif name.endswith("gamma"):
            value = np.ones(shape)
        elif "embedding" in name or "positions" in name or name.endswith("output_weight"):
            value = rng.normal(0.0, shape[1] ** -0.5, shape)
        else:
            bound = math.sqrt(6.0 / sum(shape))
            value = rng.uniform(-bound, bound, shape)
        parameter.set_data(Tensor(value.astype(np.float32)))
