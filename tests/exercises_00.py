"""Lesson 00: a right answer to each exercise, and answers that must be refused."""

from __future__ import annotations

from mindspore import nn, ops


def centre(x):
    return x - ops.mean(x, -1, True)


def centre_over_all(x):
    return x - ops.mean(x)


def centre_over_positions(x):
    return x - ops.mean(x, 1, True)


def centre_without_the_axis(x):
    return x - ops.mean(x, -1)


def means_alone(x):
    return ops.mean(x, -1, True)


def slope(x):
    return 3 * x**2 - 2


def value(x):
    return x**3 - 2 * x


def slope_without_the_second_term(x):
    return 3 * x**2


def _gradient(w, b, x, y):
    error = w * x + b - y
    return (2 * error * x).mean(), (2 * error).mean()


def update(w, b, x, y, rate):
    dw, db = _gradient(w, b, x, y)
    return w - rate * dw, b - rate * db


def update_upwards(w, b, x, y, rate):
    dw, db = _gradient(w, b, x, y)
    return w + rate * dw, b + rate * db


def update_with_the_sum(w, b, x, y, rate):
    dw, db = _gradient(w, b, x, y)
    return w - rate * dw * x.size, b - rate * db * x.size


def update_one_after_the_other(w, b, x, y, rate):
    w = w - rate * _gradient(w, b, x, y)[0]
    return w, b - rate * _gradient(w, b, x, y)[1]


def update_of_one(w, b, x, y, rate):
    return w - rate * _gradient(w, b, x, y)[0]


class Block(nn.Cell):
    def __init__(self, width, hidden):
        super().__init__()
        self.inner = nn.Dense(width, hidden)
        self.outer = nn.Dense(hidden, width)

    def construct(self, x):
        return x + self.outer(ops.tanh(self.inner(x)))


class BlockWithoutSum(Block):
    def construct(self, x):
        return self.outer(ops.tanh(self.inner(x)))


class BlockWithoutTanh(Block):
    def construct(self, x):
        return x + self.outer(self.inner(x))


class BlockWithLateTanh(Block):
    def construct(self, x):
        return x + ops.tanh(self.outer(self.inner(x)))


class BlockOfOneLayer(nn.Cell):
    def __init__(self, width, hidden):
        super().__init__()
        self.layer = nn.Dense(width, width)

    def construct(self, x):
        return x + ops.tanh(self.layer(x))


class BlockWithLayersInConstruct(nn.Cell):
    def __init__(self, width, hidden):
        super().__init__()
        self.sizes = width, hidden

    def construct(self, x):
        width, hidden = self.sizes
        return x + nn.Dense(hidden, width)(ops.tanh(nn.Dense(width, hidden)(x)))


RIGHT = {"0.1": (centre,), "0.2": (slope,), "0.3": (update,), "0.4": (Block,)}
WRONG = {
    "0.1": [
        (centre_over_all,),
        (centre_over_positions,),
        (centre_without_the_axis,),
        (means_alone,),
    ],
    "0.2": [(value,), (slope_without_the_second_term,), (2.0,)],
    "0.3": [
        (update_upwards,),
        (update_with_the_sum,),
        (update_one_after_the_other,),
        (update_of_one,),
    ],
    "0.4": [
        (BlockWithoutSum,),
        (BlockWithoutTanh,),
        (BlockWithLateTanh,),
        (BlockOfOneLayer,),
        (BlockWithLayersInConstruct,),
        (Block(4, 6),),
    ],
}
NAMED = {
    "0.4": [
        ((BlockWithoutSum,), "add x"),
        ((BlockWithoutTanh,), "the tanh between the two layers is missing"),
        ((BlockWithLateTanh,), "between the two layers, not behind"),
        ((BlockWithLayersInConstruct,), "no weights"),
    ],
}
