"""Checks of lesson 03, Positional encoding."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor

from step_llm.course.checks.judge import (
    Wrong,
    call,
    call_class,
    expect_close,
    expect_shape,
    float_tensor,
    recognise,
    softmax,
)


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
    """Positions read from sinusoidal encodings with noise."""
    rng = np.random.default_rng(32)
    for width in (16, 64):
        positions = rng.permutation(100)[:20]
        angle = np.arange(100)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
        table = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(100, width)
        vectors = table[positions] + rng.normal(0, 0.1, (20, width))
        got = expect_shape(call(position_of, vectors.astype(np.float32)), (20,))
        if np.allclose(got, positions):
            continue
        recognise(
            got,
            (positions + 1, "every answer is one too large: the first position is 0"),
            (
                (vectors @ table.T).argmin(1),
                "these are the places with the smallest dot product; wanted is the largest",
            ),
        )
        if np.allclose(np.cos(got - positions), 1, atol=0.1):
            raise Wrong(
                "these are the times of the fastest hand, which starts again after 2π places; "
                "use all pairs of coordinates"
            )
        wrong = np.flatnonzero(~np.isclose(got, positions))
        few = [
            np.abs(vectors[:, None, :n] - table[:, :n]).sum(-1).argmin(1) for n in (1, 2)
        ]  # read from the first number, or from the first pair, alone
        if any(np.mean(np.isclose(got, guess)) > 0.8 for guess in few):
            raise Wrong(
                f"{len(wrong)} of 20 are wrong: the numbers are noisy, and the fastest hand alone "
                "points nearly the same way at many places; use all pairs of coordinates"
            )
        raise Wrong(
            f"the encoding of position {positions[wrong[0]]} was read as {got[wrong[0]]:g}. "
            "The dot product with the right row of the table is the largest one"
        )
    return (
        "the dot product of two encodings is largest at distance 0, and all hands together keep "
        "that so under noise"
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
        answer = call(attention, *given, slope)
        if isinstance(answer, (tuple, list)):
            raise Wrong(
                f"you return a {type(answer).__name__} of {len(answer)}; expected one Tensor, the "
                "output (T, Dk), without the weights"
            )
        got = expect_shape(answer, (6, 4))
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


def exercise_5(cell_class):
    """A cell with one bias for each head and distance."""
    rng = np.random.default_rng(35)
    for num_heads, most, length in ((2, 2, 6), (3, 4, 4)):
        cell = call_class(cell_class, num_heads, most)
        call(cell, length)  # not yet, if it is still empty
        weights = cell.trainable_params()
        shape = (num_heads, 2 * most + 1)
        if [weight.shape for weight in weights] != [shape]:
            there = ", ".join(str(weight.shape) for weight in weights) or "none"
            raise Wrong(
                f"expected one Parameter of shape (H, 2m + 1) = {shape}; your cell has {there}"
            )
        table = rng.normal(size=shape)
        weights[0].set_data(float_tensor(table))
        case = f"H = {num_heads}, m = {most}, length {length}: "
        got = expect_shape(call(cell, length), (num_heads, length, length), case + "the bias")
        place = np.arange(length)
        distance = place - place[:, None]  # s − t, in row t and column s
        index = np.clip(distance, -most, most) + most
        recognise(
            got,
            (table[:, index.T], "you take t − s; the numbers stand in the order of s − t"),
            (
                table[:, np.clip(distance, -most, most)],
                "distance −m is number 0 of the table: add m to the clipped distance",
            ),
            (
                table[:, np.clip(np.abs(distance), 0, most) + most],
                "left and right have numbers of their own: take s − t without bars",
            ),
            case=case,
            atol=1e-5,
        )
        near = np.abs(distance) <= most
        if np.allclose(got[:, near], table[:, index][:, near], atol=1e-5) and not near.all():
            far = got[:, ~near] - table[:, index][:, ~near]
            if np.abs(far).max() > 1e-5:
                raise Wrong(case + "up to distance m all is right; those beyond m share its number")
        hint = "Row t, column s holds the number of distance s − t."
        expect_close(got, table[:, index], hint, case + "the bias")

        def total(cell=cell, length=length):
            return cell(length).sum()

        (gradient,) = call(ms.grad(total, None, weights))
        uses = np.bincount(index.ravel(), minlength=shape[1])
        hint = (
            "It counts how often each number is used; build the bias with operators of MindSpore."
        )
        expect_close(gradient, np.tile(uses, (num_heads, 1)), hint, case + "the gradient")
    return "the bias costs H · (2m + 1) numbers, and is there at every length"
