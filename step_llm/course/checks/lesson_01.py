"""Checks of lesson 01, From language models to attention."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from step_llm.course.checks.judge import (
    Wrong,
    call,
    call_class,
    expect_close,
    expect_number,
    expect_shape,
    recognise,
)


def exercise_1(perplexity):
    """Perplexity from the probabilities of the tokens of several sentences."""
    for probabilities in ([[0.5, 0.25], [0.1]], [[0.2] * 3, [0.9] * 9, [0.01]], [[1.0, 1.0]]):
        given = [list(sentence) for sentence in probabilities]
        got = expect_number(call(perplexity, given))
        logs = [np.log(sentence) for sentence in probabilities]
        every = np.concatenate(logs)
        expected = np.exp(-every.mean())
        if np.isclose(got, expected):
            continue
        recognise(
            got,
            (-every.mean(), "this is the mean of −log p; perplexity is exp of it"),
            (np.exp(every.mean()), "the sign is missing: perplexity is at least 1"),
            (np.exp(-every.sum()), "this is 1 / p of the text; take the mean over the tokens"),
            (2 ** -every.mean(), "2 to the power of natural logarithms; take exp"),
            (1 / np.exp(every).mean(), "this is 1 over the mean probability; average logarithms"),
            (
                np.exp(-np.mean([log.mean() for log in logs])),
                "each sentence counts alike here; all tokens should, so long ones count more",
            ),
            (np.exp(-every.sum() / len(logs)), "divide by the number of tokens, not of sentences"),
        )
        raise Wrong(f"for {probabilities} you return {got:.4f}; expected {expected:.4f}")
    return "one very improbable token costs more than many good guesses bring in"


def exercise_2(add_k):
    """Add-k smoothing of a whole table of bigram counts."""
    counts = np.array([[3, 1, 0, 0], [0, 0, 0, 0], [0, 2, 2, 4], [1, 0, 0, 0]])
    for k in (1.0, 0.25):
        given = counts.copy()
        got = expect_shape(call(add_k, given, k), counts.shape, "the table")
        if (given != counts).any():
            raise Wrong("the counts that you were given have changed; make a new table")
        expected = (counts + k) / (counts.sum(axis=1, keepdims=True) + k * 4)
        if np.allclose(got, expected):
            continue
        if not np.isfinite(got).all():
            raise Wrong("some values are not finite: a row without counts is divided by 0")
        if np.allclose(got, (counts + k) / (counts.sum(axis=0) + k * 4)):
            raise Wrong("divided by the sums of the columns; the word before stands in the row")
        if np.allclose(got, (counts + k) / (counts.sum() + k * 16)):
            raise Wrong("this is the probability of the pair; divide by the count of its row")
        sums = got.sum(axis=1)
        if not np.allclose(sums, 1):
            raise Wrong(
                f"with k = {k} the rows sum to {sums.round(3).tolist()}; expected 1 each: below "
                "the line stands k for every column"
            )
        raise Wrong(f"with k = {k} the first row is {got[0].round(3)}; expected {expected[0]}")
    return "a row without counts becomes level: where nothing was seen, nothing is preferred"


def exercise_3(kinds):
    """The share of each word among the kinds of pairs."""
    counts = np.array([[0, 5, 1, 0], [0, 0, 7, 0], [0, 1, 0, 90], [0, 2, 1, 0]])
    got = expect_shape(call(kinds, counts.copy()), (4,), "the shares")
    seen = counts > 0
    expected = seen.sum(axis=0) / seen.sum()
    if np.allclose(got, expected):
        return "the last word is by far the most frequent, and yet the least likely elsewhere"
    recognise(
        got,
        (counts.sum(axis=0) / counts.sum(), "these are shares of the counts; a kind counts once"),
        (seen.sum(axis=1) / seen.sum(), "these are the kinds after each word; wanted: before it"),
        (seen.sum(axis=0), "the numbers of kinds; divide by their sum"),
        (seen.mean(axis=0), "divide by the number of all kinds of pairs, so that the sum is 1"),
    )
    raise Wrong(f"you return {got.round(3).tolist()}; expected {expected.round(3).tolist()}")


def exercise_4(gru_cell):
    """A GRU cell: its weights, its values, and a gradient in a compiled function."""
    inputs, size = 6, 4
    cell = call_class(gru_cell, inputs, size)
    rng = np.random.default_rng(14)
    x, h = (rng.normal(size=(3, n)).astype(np.float32) for n in (inputs, size))
    call(cell, Tensor(x), Tensor(h))
    weights = {}
    for name, columns in (("of_input", inputs), ("of_state", size)):
        layer = getattr(cell, name, None)
        if not isinstance(layer, nn.Dense):
            raise Wrong(f"self.{name} should be an nn.Dense; it is {type(layer).__name__}")
        shape = layer.weight.shape
        if shape != (3 * size, columns):
            raise Wrong(
                f"the weight of self.{name} is {shape}; expected {(3 * size, columns)}: three "
                f"parts, for r, z and n, each from {columns} numbers to {size}"
            )
        if not layer.has_bias:
            raise Wrong(f"self.{name} has no bias; expected one")
        for part in (layer.weight, layer.bias):
            part.set_data(Tensor(rng.normal(size=part.shape).astype(np.float32)))
        weights[name] = layer.weight.asnumpy(), layer.bias.asnumpy()
    got = expect_shape(call(cell, Tensor(x), Tensor(h)), (3, size), "the new state")

    def part(name, vectors, place):
        """What one of the layers gives for r (0), z (1) or n (2)."""
        weight, bias = (values[place * size : (place + 1) * size] for values in weights[name])
        return vectors @ weight.T + bias

    def gate(place):
        return 1 / (1 + np.exp(-part("of_input", x, place) - part("of_state", h, place)))

    r, z = gate(0), gate(1)
    n_of_x, n_of_h = part("of_input", x, 2), part("of_state", h, 2)
    n = np.tanh(n_of_x + r * n_of_h)
    early = np.tanh(n_of_x + part("of_state", r * h, 2))
    recognise(
        got,
        (z * n + (1 - z) * h, "z and 1 − z have changed places: z keeps the old state"),
        (n, "this is the new content n alone; mix it with the old state by z"),
        ((1 - z) * early + z * h, "r multiplies U h + b here, not h before the product"),
        ((1 - z) * np.tanh(n_of_x + n_of_h) + z * h, "the gate r is missing in n"),
        (
            (1 - r) * np.tanh(n_of_x + z * n_of_h) + r * h,
            "r and z have changed places: the first part of the layers is r, the second z",
        ),
        atol=1e-4,
    )
    expected = (1 - z) * n + z * h
    hint = "Look at the formula gate by gate: r, z, n, then the mix."
    expect_close(got, expected, hint, tolerance=1e-3)

    def slope(x, h):
        return ms.grad(lambda h: cell(x, h).sum())(h)

    compiled = call(ms.jit(slope), Tensor(x), Tensor(h))
    step = 1e-2
    for place in range(size):
        move = step * np.eye(size, dtype=np.float32)[place]
        ahead, behind = (call(cell, Tensor(x), Tensor(h + sign * move)) for sign in (1, -1))
        by_hand = (ahead.asnumpy() - behind.asnumpy()).sum(1) / (2 * step)
        if not np.allclose(compiled.asnumpy()[:, place], by_hand, atol=1e-2):
            raise Wrong(
                "the values are right, but compiled, the gradient to h is not: use ops alone"
            )
    return "where z is near 1 the state passes unchanged: that is how a GRU remembers for long"
