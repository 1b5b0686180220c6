"""Right and wrong answers to the exercises of lesson 03."""

from __future__ import annotations

import math

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from step_llm.nn.positions import sinusoidal_encoding
from step_llm.nn.rotary import apply_rotary, rotary_tables


def restore(shuffled, order):
    return shuffled[np.argsort(order)]


def shuffle_again(shuffled, order):
    return shuffled[order]


def leave_shuffled(shuffled, order):
    return shuffled


def reverse(shuffled, order):
    return shuffled[::-1]


def position_of(vectors):
    table = sinusoidal_encoding(100, vectors.shape[1]).asnumpy()
    return (vectors @ table.T).argmax(1)


def farthest(vectors):
    table = sinusoidal_encoding(100, vectors.shape[1]).asnumpy()
    return (vectors @ table.T).argmin(1)


def counted_from_one(vectors):
    return position_of(vectors) + 1


def fastest_hand_alone(vectors):
    return np.arctan2(vectors[:, 0], vectors[:, 1]) % (2 * math.pi)


def first_number_alone(vectors):
    table = sinusoidal_encoding(100, vectors.shape[1]).asnumpy()
    return np.abs(vectors[:, :1] - table[:, 0]).argmin(1)


def first_pair_alone(vectors):
    table = sinusoidal_encoding(100, vectors.shape[1]).asnumpy()
    return (vectors[:, :2] @ table[:, :2].T).argmax(1)


def all_products(vectors):
    return vectors @ sinusoidal_encoding(100, vectors.shape[1]).asnumpy().T


def rotated(x, sign=1.0, step=2):
    length, width = x.shape
    theta = 10000.0 ** (-step * np.arange(width // 2) / width)
    angle = sign * np.arange(length)[:, None] * theta
    cosine, sine = (Tensor(f(angle).astype(np.float32)) for f in (np.cos, np.sin))
    first, second = x[:, 0::2], x[:, 1::2]
    return first * cosine - second * sine, first * sine + second * cosine


def rotate_neighbours(x):
    return ops.stack(rotated(x), -1).reshape(x.shape)


def rotate_backwards(x):
    return ops.stack(rotated(x, sign=-1.0), -1).reshape(x.shape)


def rotate_with_slow_pairs(x):
    return ops.stack(rotated(x, step=1), -1).reshape(x.shape)


def rotate_and_leave_apart(x):
    return ops.concat(rotated(x), 1)


def rotate_halves(x):
    length, width = x.shape
    return apply_rotary(x.reshape((1, 1, length, width)), rotary_tables(length, width))[0, 0]


def forget_the_batch(x):
    return rotate_neighbours(x).reshape((1, *x.shape))


def attend(query, key, value, slope, scale=True, bars=True):
    place = np.arange(query.shape[0])
    distance = place[:, None] - place
    distance = Tensor((np.abs(distance) if bars else distance).astype(np.float32))
    scores = ops.matmul(query, key.T) / (math.sqrt(query.shape[1]) if scale else 1.0)
    return ops.matmul(ops.softmax(scores - slope * distance, -1), value)


def attend_far(query, key, value, slope):
    return attend(query, key, value, -slope)


def attend_without_scale(query, key, value, slope):
    return attend(query, key, value, slope, scale=False)


def attend_without_bars(query, key, value, slope):
    return attend(query, key, value, slope, bars=False)


def attend_everywhere(query, key, value, slope):
    return attend(query, key, value, 0.0)


def penalty_after_the_softmax(query, key, value, slope):
    place = np.arange(query.shape[0])
    distance = Tensor(np.abs(place[:, None] - place).astype(np.float32))
    weights = ops.softmax(ops.matmul(query, key.T) / math.sqrt(query.shape[1]), -1)
    return ops.matmul(weights - slope * distance, value)


def attend_and_weights(query, key, value, slope):
    return attend(query, key, value, slope), ops.matmul(query, key.T)


class RelativeBias(nn.Cell):
    """Right; the classes below change one thing each."""

    extra = 1

    def __init__(self, num_heads, max_distance):
        super().__init__()
        self.most = max_distance
        table = np.zeros((num_heads, 2 * max_distance + self.extra), np.float32)
        self.weight = Parameter(Tensor(table), name="weight")

    def index(self, distance):
        return np.clip(distance, -self.most, self.most) + self.most

    def construct(self, length):
        place = np.arange(length)
        index = Tensor(self.index(place - place[:, None]).astype(np.int32))
        return ops.gather(self.weight, index, 1)


class BiasOfTMinusS(RelativeBias):
    def index(self, distance):
        return super().index(-distance)


class BiasWithoutShift(RelativeBias):
    def index(self, distance):
        return np.clip(distance, -self.most, self.most) % (2 * self.most + 1)


class BiasWithoutClip(RelativeBias):
    def index(self, distance):
        return (distance + self.most) % (2 * self.most + 1)


class BiasOfTheSize(RelativeBias):
    def index(self, distance):
        return super().index(np.abs(distance))


class BiasTooShort(RelativeBias):
    extra = 0

    def index(self, distance):
        return np.minimum(super().index(distance), 2 * self.most - 1)


class BiasWithoutGradient(RelativeBias):
    def construct(self, length):
        return ops.stop_gradient(super().construct(length))


class BiasOfOneHead(RelativeBias):
    def construct(self, length):
        return super().construct(length)[0]


RIGHT = {
    "3.1": (restore,),
    "3.2": (position_of,),
    "3.3": (rotate_neighbours,),
    "3.4": (attend,),
    "3.5": (RelativeBias,),
}
WRONG = {
    "3.1": [(shuffle_again,), (leave_shuffled,), (reverse,)],
    "3.2": [
        (farthest,),
        (counted_from_one,),
        (fastest_hand_alone,),
        (first_number_alone,),
        (first_pair_alone,),
        (all_products,),
    ],
    "3.3": [
        (rotate_backwards,),
        (rotate_with_slow_pairs,),
        (rotate_and_leave_apart,),
        (rotate_halves,),
        (forget_the_batch,),
    ],
    "3.4": [
        (attend_far,),
        (attend_without_scale,),
        (attend_without_bars,),
        (attend_everywhere,),
        (penalty_after_the_softmax,),
    ],
    "3.5": [
        (BiasOfTMinusS,),
        (BiasWithoutShift,),
        (BiasWithoutClip,),
        (BiasOfTheSize,),
        (BiasTooShort,),
        (BiasWithoutGradient,),
        (BiasOfOneHead,),
        (restore,),
    ],
}
NAMED = {
    "3.2": [
        ((first_number_alone,), "use all pairs"),
        ((first_pair_alone,), "use all pairs"),
        ((fastest_hand_alone,), "starts again after 2π"),
        ((farthest,), "smallest dot product"),
    ],
    "3.4": [((attend_and_weights,), "expected one Tensor, the output")],
    "3.5": [
        ((BiasOfTMinusS,), "you take t − s"),
        ((BiasWithoutShift,), "add m to the clipped distance"),
        ((BiasOfTheSize,), "without bars"),
        ((BiasWithoutClip,), "those beyond m share its number"),
        ((BiasTooShort,), "(H, 2m + 1) = (2, 5)"),
        ((BiasWithoutGradient,), "the gradient"),
    ],
}
