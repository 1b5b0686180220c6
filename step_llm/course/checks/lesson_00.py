"""Checks of lesson 00, Start here."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor

from step_llm.course.checks.judge import (
    Wrong,
    call,
    call_class,
    expect_close,
    expect_number,
    expect_parts,
    expect_shape,
    recognise,
)


def exercise_1(centre):
    """Each vector without its mean."""
    x = np.random.default_rng(0).normal(2.0, 3.0, (4, 4, 4)).astype(np.float32)
    got = expect_shape(call(centre, Tensor(x)), x.shape)
    mean = x.mean(-1, keepdims=True)
    if np.allclose(got, np.broadcast_to(mean, x.shape), atol=1e-4):
        raise Wrong("these are the means; subtract them from x")
    if np.allclose(got, x - x.mean(-1), atol=1e-4):
        raise Wrong("the mean has lost its axis, and was broadcast along another; keep the axis")
    if np.allclose(got, x - x.mean(), atol=1e-4):
        raise Wrong("this is one mean for all; each vector has its own, over the last axis")
    expect_close(got, x - mean, "Take the mean over the last axis, and keep the axis.")
    return "a mean that keeps its axis fits what it was taken from"


def exercise_2(slope):
    """The derivative of x³ − 2x."""
    x = np.array([-1.5, 0.0, 0.5, 2.0], np.float32)
    got = expect_shape(call(slope, Tensor(x)), x.shape)
    recognise(got, (x**3 - 2 * x, "this is f itself; expected its derivative"), atol=1e-4)
    hint = "By hand it is 3x² − 2; ms.grad(f)(x) computes it."
    expect_close(got, 3 * x**2 - 2, hint)
    return "no formula of the derivative was needed"


def exercise_3(update):
    """One step of gradient descent for a straight line."""
    rng = np.random.default_rng(1)
    x = rng.normal(1.0, 1.0, 20).astype(np.float32)
    y = (3 * x + 1 + rng.normal(0.0, 0.1, 20)).astype(np.float32)
    w, b, rate = 0.5, -0.5, 0.05
    got = call(update, *(Tensor(np.float32(v)) for v in (w, b)), Tensor(x), Tensor(y), rate)
    got = expect_parts(got, 2, "expected two values, the new w and the new b")
    got = [expect_number(value, name) for value, name in zip(got, ("w", "b"))]
    error = w * x + b - y
    dw, db = float((2 * error * x).mean()), float((2 * error).mean())
    recognise(
        got,
        ([w + rate * dw, b + rate * db], "this goes uphill; subtract rate times the gradient"),
        (
            [w - 20 * rate * dw, b - 20 * rate * db],
            "the loss is the mean of the squares, not the sum; yours is 20 times too steep for "
            "20 points",
        ),
    )
    if np.isclose(got[0], w - rate * dw, rtol=1e-4) and not np.isclose(got[1], b - rate * db, 1e-4):
        raise Wrong("w is right, b is not; take both derivatives at the old w and b")
    hint = "New value = old value − rate · derivative of the mean squared error."
    expect_close(got, [w - rate * dw, b - rate * db], hint, "(w, b)", tolerance=1e-3)
    return "again and again, this is all of gradient descent"


def exercise_4(block):
    """A cell of two layers whose output is added to its input."""
    width, hidden = 4, 6
    cell = call_class(block, width, hidden)
    rng = np.random.default_rng(4)
    x = rng.normal(size=(3, width)).astype(np.float32)
    call(cell, Tensor(x))
    weights = list(cell.get_parameters())
    if not weights:
        raise Wrong("the cell has no weights: make its layers in __init__, as self.…")
    shapes = sorted(weight.shape for weight in weights)
    expected = sorted([(hidden, width), (hidden,), (width, hidden), (width,)])
    if shapes != expected:
        raise Wrong(
            f"the weights have the shapes {', '.join(map(str, shapes))}; expected those of "
            "nn.Dense(width, hidden) and nn.Dense(hidden, width)"
        )
    value = {}
    for weight in weights:
        value[weight.shape] = rng.normal(size=weight.shape).astype(np.float32)
        weight.set_data(Tensor(value[weight.shape]))
    got = expect_shape(call(cell, Tensor(x)), x.shape)
    inner = x @ value[hidden, width].T + value[hidden,]
    outer = np.tanh(inner) @ value[width, hidden].T + value[width,]
    plain = inner @ value[width, hidden].T + value[width,]
    recognise(
        got,
        (outer, "this is B(tanh(A(x))) alone; add x"),
        (plain, "both tanh and x are missing"),
        (x + plain, "the tanh between the two layers is missing"),
        (x + np.tanh(plain), "tanh belongs between the two layers, not behind them"),
        (np.tanh(x + outer), "nothing is computed after the sum: no tanh there"),
        (x + np.tanh(outer), "nothing is computed after the second layer: no tanh there"),
        atol=1e-4,
    )
    expect_close(got, x + outer, "First layer, tanh, second layer, then add x.", tolerance=1e-3)
    return "with both layers at 0 it would give x back: each block of a Transformer is made so"
