"""Initial weights: each Parameter asks for its first value where it is made.

A model makes one generator from its seed and hands it to its parts. So a seed decides all weights,
and no state is hidden in the library.
"""

from __future__ import annotations

import math

import numpy as np
from mindspore import Parameter, Tensor

__all__ = ["InitialWeights", "NormalWeights", "XavierWeights", "ZeroWeights", "constant"]


def constant(value: float, *shape: int, name: str) -> Parameter:
    """A parameter that is the same number everywhere: biases 0, the scales of LayerNorm 1."""
    return Parameter(Tensor(np.full(shape, value, np.float32)), name=name)


class InitialWeights:
    """Draws the initial value of one weight after another.

    Args:
        seed: the same seed draws the same weights; None takes one from NumPy's generator, which
            ``mindspore.set_seed`` sets.
    """

    def __init__(self, seed: int | None = None):
        if seed is None:
            seed = int(np.random.randint(2**31 - 1))  # noqa: NPY002 (the one that set_seed sets)
        self.generator = np.random.default_rng(seed)

    def matrix(self, outputs: int, inputs: int, name: str = "weight") -> Parameter:
        """The weight (outputs, inputs) of a linear layer."""
        raise NotImplementedError

    def vector(self, size: int, name: str = "bias") -> Parameter:
        """The bias (size,) of a layer; 0 unless a kind of weights draws it."""
        return constant(0.0, size, name=name)

    def branch_end(self, outputs: int, inputs: int, name: str = "weight") -> Parameter:
        """The weight of a linear layer whose output is added to a residual stream."""
        return self.matrix(outputs, inputs, name)

    def table(self, rows: int, width: int, name: str = "weight") -> Parameter:
        """A table of vectors (rows, width): embeddings, learned positions."""
        raise NotImplementedError

    def _normal(self, deviation, shape, name, divisor=1.0):
        value = self.generator.normal(0.0, deviation, shape) / divisor
        return Parameter(Tensor(value.astype(np.float32)), name=name)


class XavierWeights(InitialWeights):
    """As the paper's reference implementation: matrices Xavier-uniform, embeddings normal.

    Formula: a matrix is uniform in ±√(6 / (inputs + outputs)), so that signals keep their variance
    forwards and backwards; a table has the standard deviation D^(−1/2).

    Source: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward
    neural networks"; github.com/tensorflow/tensor2tensor.
    """

    def matrix(self, outputs, inputs, name="weight"):
        bound = math.sqrt(6.0 / (inputs + outputs))
        value = self.generator.uniform(-bound, bound, (outputs, inputs))
        return Parameter(Tensor(value.astype(np.float32)), name=name)

    def table(self, rows, width, name="weight"):
        return self._normal(width**-0.5, (rows, width), name)


class NormalWeights(InitialWeights):
    """As GPT-2, BERT and ViT: all normal with one standard deviation.

    Args:
        seed: as in ``InitialWeights``.
        deviation: the standard deviation.
        branches: where above 0, matrices that end a residual branch get the deviation divided by
            the square root of this number, so that the sum of all branches keeps its size.

    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3;
    Devlin et al. 2019.
    """

    def __init__(self, seed: int | None = None, deviation: float = 0.02, branches: int = 0):
        super().__init__(seed)
        self.deviation = deviation
        self.branches = branches

    def matrix(self, outputs, inputs, name="weight"):
        return self._normal(self.deviation, (outputs, inputs), name)

    def branch_end(self, outputs, inputs, name="weight"):
        divisor = math.sqrt(self.branches) if self.branches else 1.0
        return self._normal(self.deviation, (outputs, inputs), name, divisor)

    def table(self, rows, width, name="weight"):
        return self._normal(self.deviation, (rows, width), name)


class ZeroWeights(InitialWeights):
    """Zeros, for a model that gets its weights from a file at once: nothing is drawn in vain."""

    def __init__(self):
        super().__init__(seed=0)

    def zeros(self, *shape: int, name: str) -> Parameter:
        """What all of them are."""
        return constant(0.0, *shape, name=name)

    def matrix(self, outputs, inputs, name="weight"):
        return self.zeros(outputs, inputs, name=name)

    def vector(self, size, name="bias"):
        return self.zeros(size, name=name)

    def table(self, rows, width, name="weight"):
        return self.zeros(rows, width, name=name)
