"""Checks of lesson 03, Positional encoding."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor

from step_llm.course.checks.judge import Wrong, call, expect_close, expect_shape, recognise, softmax


def exercise_1(restore):
    """Undo a permutation of rows."""
    rng = np.random.default_rng(31)
    for order in ([2, 0, 3, 1], [4, 2, 0, 5, 1, 3]):
        order = np.array(order)
        original = rng.normal(size=(len(order), 3)).astype(np.float32)
        shuffled = original[order]
        got = expect_shape(call(restore, shuffled.copy(), order.copy()), original.shape)
        if np.allclose(got, shuffled[order]):
            raise Wrong(
                "indexing with order shuffles a second time; you need the inverse permutation: "
                "where in order does word 0 stand, where word 1, …?"
            )
        if np.allclose(got, shuffled):
            raise Wrong("the rows are still in their shuffled order")
        expect_close(got, original, "Row i of shuffled must become row order[i].")
    return "attention moves outputs with the words, so undoing the shuffle gives all of them back"


def exercise_2(position_of):
    """Positions read from sinusoidal encodings."""
    rng = np.random.default_rng(32)
    for width in (16, 64):
        positions = rng.permutation(100)[:20]
        angle = positions[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
        vectors = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(20, width)
        got = expect_shape(call(position_of, vectors.astype(np.float32)), (20,))
        if np.allclose(got, positions + 1):
            raise Wrong("every answer is one too large: the first position is 0")
        if np.allclose(np.cos(got - positions), 1, atol=1e-3) and not np.allclose(got, positions):
            raise Wrong(
                "the fastest hand is right, but after 2π positions it starts again; "
                "use all pairs of coordinates"
            )
        wrong = np.flatnonzero(~np.isclose(got, positions))
        if len(wrong):
            raise Wrong(
                f"the encoding of position {positions[wrong[0]]} was read as {got[wrong[0]]:g}. "
                "The dot product with the right row of the table is the largest one"
            )
    return (
        "the dot product of two encodings is largest at distance 0, so every position can be read"
    )


def exercise_3(rotate):
    """Rotary positions whose pairs are neighbours."""
    x = np.random.default_rng(33).normal(size=(9, 8))
    place = np.arange(9)[:, None]
    angle = place * 10000.0 ** (-np.arange(0, 8, 2) / 8)  # (T, Dk/2)
    slow = place * 10000.0 ** (-np.arange(4) / 8)
    pairs, halves = x[:, 0::2] + 1j * x[:, 1::2], x[:, :4] + 1j * x[:, 4:]
    turned = pairs * np.exp(1j * angle)

    def side_by_side(numbers):
        return np.stack([numbers.real, numbers.imag], -1).reshape(9, 8)

    def apart(numbers):
        return np.concatenate([numbers.real, numbers.imag], 1)

    got = expect_shape(call(rotate, Tensor(x.astype(np.float32))), (9, 8))
    recognise(
        got,
        (
            side_by_side(pairs * np.exp(-1j * angle)),
            "you turn the other way: look at the signs of the sines",
        ),
        (
            apart(halves * np.exp(1j * angle)),
            "these pairs are (i, i + Dk/2), as in the library; here a pair is (2i, 2i + 1)",
        ),
        (
            apart(turned),
            "the pairs turn rightly; now put the two coordinates of a pair side by side again",
        ),
        (
            side_by_side(pairs * np.exp(1j * slow)),
            "pair i turns with speed 10000^(−2i/Dk); the 2 is missing",
        ),
        atol=1e-4,
    )
    hint = "Row 0 stays as it is; in row t pair i turns by t·θᵢ."
    expect_close(got, side_by_side(turned), hint)
    return "which coordinates form a pair does not matter, as long as query and key agree"


def exercise_4(attention):
    """Attention whose scores fall with the distance."""
    rng = np.random.default_rng(34)
    query, key, value = (rng.normal(size=(6, 4)) for _ in range(3))
    given = [Tensor(array.astype(np.float32)) for array in (query, key, value)]
    distance = np.abs(np.arange(6)[:, None] - np.arange(6))
    product = query @ key.T
    for slope in (0.5, 0.1):
        scores = product / 2 - slope * distance
        got = expect_shape(call(attention, *given, slope), (6, 4))
        signed = np.arange(6)[:, None] - np.arange(6)
        for guess, hint in (
            (product / 2 + slope * distance, "far words gain: the penalty is subtracted"),
            (product - slope * distance, "the factor 1/√Dk is missing"),
            (
                (product - slope * distance) / 2,
                "only the dot product is divided by √Dk, not the penalty",
            ),
            (
                product / 2 - slope * signed,
                "the penalty must be |t − s|: without the bars, words to the right gain",
            ),
            (
                product / 2 + slope * signed,
                "the penalty must be |t − s|: without the bars, words to the left gain",
            ),
            (product / 2, "this is plain attention; the distance has no effect"),
        ):
            if np.allclose(got, softmax(guess) @ value, atol=1e-4):
                raise Wrong(hint)
        if np.allclose(got, (softmax(product / 2) - slope * distance) @ value, atol=1e-4):
            raise Wrong("the penalty belongs to the scores, before the softmax")
        expect_close(got, softmax(scores) @ value, "Compute softmax(scores) · value.")
    return "near words weigh more, at any length; left and right are the same to this scheme"
