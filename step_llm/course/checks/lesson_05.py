"""Checks of lesson 05, Multi30k translation."""

from __future__ import annotations

import numpy as np

from step_llm.course.checks.judge import (
    Wrong,
    call,
    expect_close,
    expect_number,
    expect_parts,
    expect_shape,
)


def exercise_1(share):
    """The share of a batch that is not padding."""
    for ids in ([[5, 6, 2], [7, 2, 0]], [[4, 2, 0, 0]], [[9, 8, 7, 2]] * 3):
        ids = np.array(ids, np.int32)
        got = expect_number(call(share, ids), "the share")
        if got > 1:
            raise Wrong(f"a share lies between 0 and 1, but yours is {got:.3g} for {ids.tolist()}")
        hint = f"Count the ids that are not 0 in {ids.tolist()}."
        expect_close(got, (ids != 0).mean(), hint, "the share")
    return "the rest of the batch is padding, which costs time and teaches nothing"


def exercise_2(target):
    """The distribution that label smoothing asks for."""
    for y, size, smoothing in ((2, 6, 0.1), (0, 4, 0.0), (9, 10, 0.3)):
        got = expect_shape(call(target, y, size, smoothing), (size,), "the target")
        if abs(got.sum() - 1) > 1e-5:
            raise Wrong(
                f"your probabilities add up to {got.sum():.4f}; expected 1. The right word gets "
                "its own share of the spread part too"
            )
        expected = np.full(size, smoothing / size)
        expected[y] += 1 - smoothing
        hint = "Each of the V words gets ε / V; the right word gets 1 − ε more."
        expect_close(got, expected, hint, "the target")
    return "no word has probability 0, so no score has to grow without end"


def exercise_3(bucket):
    """The bucket that holds both sides of a pair."""
    buckets = (12, 16, 25)
    # A pair that fits nowhere has the answer None, so an empty answer shows in the other pairs.
    for source, target, expected in ((5, 9, 12), (12, 12, 12), (13, 4, 16), (3, 20, 25)):
        got = call(bucket, source, target, buckets)
        if got != expected:
            raise Wrong(
                f"for lengths {source} and {target} and buckets {buckets} you return {got}; "
                f"expected {expected}, the shortest that holds both"
            )
    try:
        got = bucket(26, 3, buckets)
    except Exception as error:
        raise Wrong(f"a pair that is too long raised {type(error).__name__}: {error}") from None
    if got is not None:
        raise Wrong(f"lengths 26 and 3 fit no bucket of {buckets}, but you return {got}")
    return "a few fixed lengths: each is compiled once"


def exercise_4(best_pair):
    """One round of byte-pair encoding."""
    cases = (
        ({tuple("hund"): 4, tuple("rund"): 2, tuple("hand"): 7}, ("n", "d")),
        ({("a", "b"): 1, ("b", "c", "a", "b"): 1, ("b", "c"): 2}, ("b", "c")),
        ({("un", "d"): 5, ("h", "un", "d"): 3, ("u", "n"): 7}, ("un", "d")),
    )
    for words, expected in cases:
        got = call(best_pair, dict(words))
        got = tuple(expect_parts(got, 2, f"expected a pair of pieces, got {got!r}"))
        if got != expected:
            raise Wrong(
                f"for {words} you return {got}; expected {expected}. A pair counts as often "
                "as the word that it stands in"
            )
    return "joined again and again, the most frequent neighbours become words"


def exercise_5(average):
    """The mean of several checkpoints."""
    rng = np.random.default_rng(0)
    shapes = {"weight": (2, 3), "bias": (3,)}
    sets = [{n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()} for _ in range(3)]
    copies = [{name: value.copy() for name, value in weights.items()} for weights in sets]
    got = call(average, sets)
    if not isinstance(got, dict) or set(got) != set(shapes):
        raise Wrong(f"expected a dictionary with the names {sorted(shapes)}")
    if any((a[name] != b[name]).any() for a, b in zip(sets, copies) for name in shapes):
        raise Wrong("the arrays that you were given have changed; add into a new array")
    for name in shapes:
        expected = np.mean([weights[name] for weights in copies], axis=0)
        expect_close(got[name], expected, "Add the arrays, divide by their number.", name)
    return "the average is often better than each of its parts"
