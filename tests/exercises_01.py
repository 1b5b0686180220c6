"""Right and wrong answers to the exercises of lesson 01."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops


def perplexity(probabilities):
    logs = np.concatenate([np.log(sentence) for sentence in probabilities])
    return np.exp(-logs.mean())


def perplexity_by_sentence(probabilities):
    return np.exp(-np.mean([np.log(sentence).mean() for sentence in probabilities]))


def cross_entropy(probabilities):
    return -np.concatenate([np.log(sentence) for sentence in probabilities]).mean()


def inverse_of_the_mean(probabilities):
    return 1 / np.concatenate(probabilities).mean()


def add_k(counts, k):
    return (counts + k) / (counts.sum(axis=1, keepdims=True) + k * counts.shape[1])


def add_k_above_only(counts, k):
    return (counts + k) / (counts.sum(axis=1, keepdims=True) + k)


def add_k_by_column(counts, k):
    return (counts + k) / (counts.sum(axis=0) + k * len(counts))


def add_k_to_seen_alone(counts, k):
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=1, keepdims=True)


def kinds(counts):
    return (counts > 0).sum(axis=0) / (counts > 0).sum()


def shares(counts):
    return counts.sum(axis=0) / counts.sum()


def kinds_after(counts):
    return (counts > 0).sum(axis=1) / (counts > 0).sum()


def numbers_of_kinds(counts):
    return (counts > 0).sum(axis=0)


class GRUCell(nn.Cell):
    def __init__(self, inputs, size):
        super().__init__()
        self.size = size
        self.of_input = nn.Dense(inputs, 3 * size)
        self.of_state = nn.Dense(size, 3 * size)

    def parts(self, x, h):
        return ops.split(self.of_input(x), self.size, 1), ops.split(self.of_state(h), self.size, 1)

    def construct(self, x, h):
        (r_x, z_x, n_x), (r_h, z_h, n_h) = self.parts(x, h)
        r, z = ops.sigmoid(r_x + r_h), ops.sigmoid(z_x + z_h)
        return (1 - z) * ops.tanh(n_x + r * n_h) + z * h


class GRUCellTurnedRound(GRUCell):
    def construct(self, x, h):
        (r_x, z_x, n_x), (r_h, z_h, n_h) = self.parts(x, h)
        r, z = ops.sigmoid(r_x + r_h), ops.sigmoid(z_x + z_h)
        return z * ops.tanh(n_x + r * n_h) + (1 - z) * h


class GRUCellWithZFirst(GRUCell):
    def construct(self, x, h):
        (z_x, r_x, n_x), (z_h, r_h, n_h) = self.parts(x, h)
        r, z = ops.sigmoid(r_x + r_h), ops.sigmoid(z_x + z_h)
        return (1 - z) * ops.tanh(n_x + r * n_h) + z * h


class GRUCellWithAnEarlyGate(GRUCell):
    def construct(self, x, h):
        (r_x, z_x, n_x), (r_h, z_h, _) = self.parts(x, h)
        r, z = ops.sigmoid(r_x + r_h), ops.sigmoid(z_x + z_h)
        n_h = ops.split(self.of_state(r * h), self.size, 1)[2]
        return (1 - z) * ops.tanh(n_x + n_h) + z * h


class GRUCellWithoutReset(GRUCell):
    def construct(self, x, h):
        (_, z_x, n_x), (_, z_h, n_h) = self.parts(x, h)
        z = ops.sigmoid(z_x + z_h)
        return (1 - z) * ops.tanh(n_x + n_h) + z * h


class GRUCellWithoutSigmoid(GRUCell):
    def construct(self, x, h):
        (r_x, z_x, n_x), (r_h, z_h, n_h) = self.parts(x, h)
        r, z = ops.tanh(r_x + r_h), ops.tanh(z_x + z_h)
        return (1 - z) * ops.tanh(n_x + r * n_h) + z * h


class GRUCellInNumPy(GRUCell):
    """Right values, and no gradient."""

    def construct(self, x, h):
        return Tensor(GRUCell.construct(self, x, h).asnumpy())


class GRUCellWithNarrowLayers(GRUCell):
    def __init__(self, inputs, size):
        super().__init__(inputs, size)
        self.of_state = nn.Dense(size, size)

    def construct(self, x, h):
        return ops.tanh(self.of_state(h))


class GRUCellWithOtherNames(nn.Cell):
    def __init__(self, inputs, size):
        super().__init__()
        self.cell = GRUCell(inputs, size)

    def construct(self, x, h):
        return self.cell(x, h)


RIGHT = {
    "1.1": (perplexity,),
    "1.2": (add_k,),
    "1.3": (kinds,),
    "1.4": (GRUCell,),
}
WRONG = {
    "1.1": [(perplexity_by_sentence,), (cross_entropy,), (inverse_of_the_mean,)],
    "1.2": [(add_k_above_only,), (add_k_by_column,), (add_k_to_seen_alone,)],
    "1.3": [(shares,), (kinds_after,), (numbers_of_kinds,)],
    "1.4": [
        (GRUCellTurnedRound,),
        (GRUCellWithZFirst,),
        (GRUCellWithAnEarlyGate,),
        (GRUCellWithoutReset,),
        (GRUCellWithoutSigmoid,),
        (GRUCellInNumPy,),
        (GRUCellWithNarrowLayers,),
        (GRUCellWithOtherNames,),
        (GRUCell(6, 4),),
    ],
}
NAMED = {
    "1.4": [
        ((GRUCellTurnedRound,), "z and 1 − z"),
        ((GRUCellWithZFirst,), "r and z have changed places"),
        ((GRUCellWithAnEarlyGate,), "not h before the product"),
        ((GRUCellWithoutReset,), "the gate r is missing"),
        ((GRUCellWithNarrowLayers,), "three parts, for r, z and n"),
        ((GRUCellWithOtherNames,), "self.of_input should be an nn.Dense"),
    ],
}
