"""Checks of lesson 02, Attention."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor

from step_llm.course.checks.judge import (
    Wrong,
    as_array,
    call,
    expect_close,
    expect_parts,
    expect_shape,
    recognise,
    softmax,
)


def exercise_1(weights):
    """The five weights of the query (0, 1, 2, 0)."""
    got = expect_shape(weights, (5,), "your list")
    keys = [[0, 0, 0, 1], [2, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 2], [0, 2, 0, 0]]
    scores = np.array(keys, float) @ np.array([0, 1, 2, 0])
    expected = softmax(scores / 2)
    if np.allclose(got, expected, atol=0.006):
        return "two steps of score between two keys are a factor of e² between their weights"
    recognise(
        got,
        (softmax(scores), "these weights lack the scale: divide each score by √Dk = 2 first"),
        (scores / 2, "these are the scaled scores; now take exp of each, and divide by the sum"),
        (scores, "these are the dot products; divide them by √Dk = 2, then take the softmax"),
        (np.exp(scores / 2), "these are the exponentials; divide each by the sum of all five"),
        (scores / scores.sum(), "divide exponentials, exp(score), by their sum, not the scores"),
        atol=0.02,
    )
    if abs(got.sum() - 1) > 0.03:
        raise Wrong(f"your weights add up to {got.sum():.2f}; weights of a softmax add up to 1")
    place = int(np.abs(got - expected).argmax())
    raise Wrong(f"look again at weight number {place + 1}, counted from 1; keys in their order")


def exercise_2(attention):
    """Attention with a temperature."""
    rng = np.random.default_rng(22)
    query, key, value = (rng.normal(size=(2, n, d)) for n, d in ((3, 4), (5, 4), (5, 6)))
    given = [Tensor(array.astype(np.float32)) for array in (query, key, value)]
    scores = query @ key.transpose(0, 2, 1) / 2
    for temperature in (1.0, 0.25, 4.0):
        answer = call(attention, *given, temperature)
        words = "return two things: the output (B, T, Dv) and the weights (B, T, S)"
        output, weights = expect_parts(answer, 2, words)
        got = expect_shape(weights, (2, 3, 5), "the weights")
        expected = softmax(scores / temperature)
        if temperature != 1 and np.allclose(got, softmax(scores * temperature), atol=1e-4):
            raise Wrong("you multiply by the temperature; a high one must make weights more even")
        if np.allclose(got, softmax(scores * 2 / temperature), atol=1e-4):
            raise Wrong("the factor 1/√Dk is missing: the scores are divided by √Dk · temperature")
        hint = f"At temperature {temperature} it is softmax(q·k / (√Dk · {temperature}))."
        expect_close(got, expected, hint, "the matrix of weights")
        hint = "The output is the weights times the value."
        expect_close(output, expected @ value, hint, "the output")
    return "√Dk is a temperature too: the one that keeps the variance of the scores at 1"


def exercise_3(mask):
    """A causal mask with a sliding window."""
    for length, window in ((6, 3), (5, 1), (4, 10)):
        answer = call(mask, length, window)
        got = expect_shape(answer, (1, 1, length, length), "the mask")
        if got.dtype != bool:
            raise Wrong(f"the mask holds {got.dtype}; expected Boolean, made by a comparison")
        t, s = np.arange(length)[:, None], np.arange(length)[None, :]
        expected = (s <= t) & (s > t - window)
        wrong = np.argwhere(got[0, 0] != expected)
        if not len(wrong):
            continue
        case = f"length {length}, window {window}"
        if (got[0, 0] == ~expected).all():
            raise Wrong("it is the opposite of what is asked for: True means may attend")
        if not got[0, 0].diagonal().all():
            raise Wrong(f"{case}: a position may always attend to itself")
        if got[0, 0][s > t].any():
            raise Wrong(f"{case}: a position attends to a later one; the mask must be causal too")
        t, s = wrong[0]
        raise Wrong(
            f"{case}: query {t} and key {s} should be {bool(expected[t, s])}. A window of "
            f"{window} counts the position itself"
        )
    return "code that skips the forbidden places costs T · window instead of T² products"


def exercise_4(masks):
    """The masks of the three attentions of a translator."""
    source = np.array([[5, 6, 7, 0], [4, 3, 9, 8], [6, 0, 0, 0]], np.int32)
    target = np.array([[2, 7, 9, 4, 0, 0], [2, 5, 0, 0, 0, 0], [0, 2, 3, 4, 6, 8]], np.int32)
    answer = call(masks, Tensor(source), Tensor(target))
    words = "return three masks: encoder, decoder, cross"
    encoder, decoder, cross = expect_parts(answer, 3, words)
    (batch, s), (_, t) = source.shape, target.shape
    causal = np.tril(np.ones((t, t), bool))
    for name, mask, queries, keys, allowed in (
        ("encoder", encoder, source, source, np.ones((s, s), bool)),
        ("decoder", decoder, target, target, causal),
        ("cross", cross, target, source, np.ones((t, s), bool)),
    ):
        got = as_array(mask, f"the {name} mask")
        if got.dtype != bool:
            raise Wrong(f"the {name} mask holds {got.dtype}; expected Boolean")
        shape = (batch, 1, queries.shape[1], keys.shape[1])
        if got.ndim != 4 or any(g not in (1, n) for g, n in zip(got.shape, shape)):
            raise Wrong(
                f"the {name} mask has shape {got.shape}, which does not broadcast to "
                f"(B, 1, queries, keys) = {shape}"
            )
        got = np.broadcast_to(got, shape)[:, 0]
        real_query, real_key = queries[:, :, None] != 0, keys[:, None, :] != 0
        # What a padded query attends to is nobody's business: its output is never used.
        wrong = real_query & (got != (real_key & allowed))
        if (wrong | ~real_query).all():
            raise Wrong(f"the {name} mask is the opposite: True means may attend")
        if (wrong & ~real_key).any():
            raise Wrong(f"the {name} mask lets a real token attend to padding")
        if (wrong & ~allowed).any():
            raise Wrong(f"the {name} mask lets a target position attend to a later one")
        if wrong.any():
            raise Wrong(f"the {name} mask forbids a real token that the query may see")
    return "keys decide about padding; only the decoder's self-attention must not look ahead"


def exercise_5(attention):
    """Multi-query attention: H heads of queries, one head of keys and values."""
    rng = np.random.default_rng(25)
    query, key, value = (rng.normal(size=s) for s in ((2, 3, 4, 8), (2, 5, 8), (2, 5, 6)))
    given = [Tensor(array.astype(np.float32)) for array in (query, key, value)]
    got = expect_shape(call(attention, *given), (2, 3, 4, 6), "the output")
    scores = np.einsum("bhtd,bsd->bhts", query, key)
    expected = np.einsum("bhts,bse->bhte", softmax(scores / np.sqrt(8)), value)
    if np.allclose(got, np.einsum("bhts,bse->bhte", softmax(scores), value), atol=1e-4):
        raise Wrong("the factor 1/√Dk is missing; Dk is the last axis of the query")
    hint = "Every head of the query uses the same key and value; check the order of the axes."
    expect_close(got, expected, hint, "the output")
    return "a decoder's cache then holds one head of keys and values instead of H"
