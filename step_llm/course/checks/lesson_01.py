"""Checks of lesson 01, From language models to attention."""

from __future__ import annotations

import numpy as np

from step_llm.course.checks.judge import (
    Wrong,
    call,
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


def exercise_4(step):
    """One step of a GRU without biases."""
    rng = np.random.default_rng(14)
    x, h = rng.normal(size=(2, 4))
    matrices = [rng.normal(size=(4, 4)) for _ in range(6)]
    got = expect_shape(call(step, x.copy(), h.copy(), *(m.copy() for m in matrices)), (4,))
    w_r, u_r, w_z, u_z, w_n, u_n = matrices

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    r, z = sigmoid(w_r @ x + u_r @ h), sigmoid(w_z @ x + u_z @ h)
    n = np.tanh(w_n @ x + r * (u_n @ h))
    recognise(
        got,
        (z * n + (1 - z) * h, "z and 1 − z have changed places: z keeps the old state"),
        (n, "this is the new content n alone; mix it with the old state by z"),
        (
            (1 - z) * np.tanh(w_n @ x + u_n @ (r * h)) + z * h,
            "r multiplies U h here, not h before the product",
        ),
        ((1 - z) * np.tanh(w_n @ x + u_n @ h) + z * h, "the gate r is missing in n"),
    )
    expected = (1 - z) * n + z * h
    expect_close(got, expected, "Look at the formula gate by gate: r, z, n, then the mix.")
    return "where z is near 1 the state passes unchanged: that is how a GRU remembers for long"
