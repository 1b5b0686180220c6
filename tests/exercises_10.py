"""Right and wrong answers to the exercises of lesson 10."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, nn, ops

from step_llm.runtime.graph_mode import compiled


def scale(scale, count, is_finite, window):
    if not is_finite:
        return max(1.0, scale / 2), 0
    if count + 1 == window:
        return 2 * scale, 0
    return scale, count + 1


def scale_without_floor(old, count, is_finite, window):
    return scale(old, count, is_finite, window) if is_finite else (old / 2, 0)


def scale_that_keeps_counting(old, count, is_finite, window):
    new, _ = scale(old, count, is_finite, window)
    return new, count + 1


def scale_one_late(old, count, is_finite, window):
    return scale(old, count, is_finite, window + 1)


def scale_alone(old, count, is_finite, window):
    return scale(old, count, is_finite, window)[0]


def loss(means, counts):
    real = counts > 0
    return (means[real] * counts[real]).sum() / counts.sum()


def loss_with_nan(means, counts):
    return (means * counts).sum() / counts.sum()


def loss_as_a_mean_of_means(means, counts):
    return np.nanmean(means)


def loss_as_a_sum(means, counts):
    return np.nansum(means * counts)


def share(batch, rank, size):
    missing = -len(batch) % size
    rows = np.concatenate([batch, np.zeros((missing, batch.shape[1]), batch.dtype)])
    return rows[rank::size]


def share_without_padding(batch, rank, size):
    return batch[rank::size]


def share_in_blocks(batch, rank, size):
    rows = -(-len(batch) // size)
    filled = np.concatenate([batch, np.zeros((rows * size - len(batch), batch.shape[1]))])
    return filled[rank * rows : (rank + 1) * rows]


def share_padded_in_front(batch, rank, size):
    rows = share(batch, rank, size)
    return rows[::-1]


def ring(pieces, rounds=None, direction=1, adds=True):
    pieces = pieces.copy()
    n = len(pieces)
    for t in range(n - 1 if rounds is None else rounds(n)):
        for r in range(n):
            c, to = (r - direction * t) % n, (r + direction) % n
            pieces[to, c] = pieces[r, c] + (pieces[to, c] if adds else 0)
    return pieces


def memory(parameters, copies, is_sharded):
    return parameters * (4 + 12 / (copies if is_sharded else 1))


def scale_in_an_array(old, count, is_finite, window):
    return np.array(scale(old, count, is_finite, window))


class Accumulation(nn.Cell):
    sign, keeps = -1.0, False

    def __init__(self, loss, weights):
        super().__init__(auto_prefix=False)
        self.weights = weights
        self.sums = ParameterTuple(
            Parameter(ops.zeros_like(weight), name=f"sum.{weight.name}") for weight in weights
        )
        self.gradient = ms.value_and_grad(loss, None, weights, has_aux=True)

    @compiled
    def construct(self, *batch):
        (_, count), gradients = self.gradient(*batch)
        for place in range(len(gradients)):
            count = ops.depend(count, self.add(self.sums[place], gradients[place], count))
        return count

    def add(self, total, gradient, count):
        return ops.assign_add(total, gradient)

    @compiled
    def update(self, rate, count):
        for place in range(len(self.sums)):
            change = rate * self.divided(self.sums[place], count)
            done = ops.assign_add(self.weights[place], self.sign * change)
            if not self.keeps:
                zeros = ops.zeros_like(ops.depend(change, done))
                rate = ops.depend(rate, ops.assign(self.sums[place], zeros))
        return rate

    def divided(self, total, count):
        return total / count


class AccumulationThatReplaces(Accumulation):
    def add(self, total, gradient, count):
        return ops.assign(total, gradient)


class AccumulationOfMeans(Accumulation):
    def add(self, total, gradient, count):
        return ops.assign_add(total, gradient / count)

    def divided(self, total, count):
        return total / (3.0 if count > 4.5 else 2.0)


class AccumulationThatKeeps(Accumulation):
    keeps = True


class AccumulationUphill(Accumulation):
    sign = 1.0


class AccumulationOfSums(Accumulation):
    def divided(self, total, count):
        return total


class AccumulationInPython(Accumulation):
    def construct(self, *batch):
        return super().construct(*batch)


class AccumulationWithoutUpdate(nn.Cell):
    def __init__(self, loss, weights):
        super().__init__()

    @compiled
    def construct(self, *batch):
        return batch[-1].sum()


RIGHT = {
    "10.1": (scale,), "10.2": (loss,), "10.3": (Accumulation,), "10.4": (share,),
    "10.5": (ring,), "10.6": (memory,),
}  # fmt: skip

WRONG = {
    "10.1": [
        (scale_without_floor,),
        (scale_that_keeps_counting,),
        (scale_one_late,),
        (scale_alone,),
    ],
    "10.2": [(loss_with_nan,), (loss_as_a_mean_of_means,), (loss_as_a_sum,)],
    "10.3": [
        (AccumulationThatReplaces,),
        (AccumulationOfMeans,),
        (AccumulationThatKeeps,),
        (AccumulationUphill,),
        (AccumulationOfSums,),
        (AccumulationInPython,),
        (AccumulationWithoutUpdate,),
    ],
    "10.4": [(share_without_padding,), (share_in_blocks,), (share_padded_in_front,)],
    "10.5": [
        (lambda pieces: pieces,),
        (lambda pieces: ring(pieces, rounds=lambda n: n),),
        (lambda pieces: ring(pieces, direction=-1),),
        (lambda pieces: ring(pieces, adds=False),),
        (lambda pieces: np.broadcast_to(pieces.sum(axis=0), pieces.shape),),
    ],
    "10.6": [
        (lambda parameters, copies, is_sharded: 16 * parameters,),
        (lambda parameters, copies, is_sharded: 16 * parameters / copies,),
        (lambda parameters, copies, is_sharded: parameters * (4 + 12 / copies),),
        (lambda parameters, copies, is_sharded: parameters * (4 / copies + 12),),
    ],
}
ALSO_RIGHT = [
    ("10.1", (scale_in_an_array,)),
    ("10.1", (lambda *state: iter(scale(*state)),)),
    ("10.4", (lambda *arguments: iter(share(*arguments).tolist()),)),
    ("10.5", (lambda pieces: [list(row) for row in ring(pieces)],)),
]
NAMED = {
    "10.3": [
        ((AccumulationThatReplaces,), "only the last part"),
        ((AccumulationOfMeans,), "the parts' means"),
        ((AccumulationThatKeeps,), "0 again"),
        ((AccumulationUphill,), "uphill"),
        ((AccumulationOfSums,), "divide the sum"),
        ((AccumulationInPython,), "@compiled"),
        ((AccumulationWithoutUpdate,), "no update"),
    ],
}
