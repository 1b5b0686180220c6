"""Checks of lesson 08, BERT."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor

from step_llm.course.checks.judge import (
    Wrong,
    as_array,
    call,
    call_class,
    expect_parts,
    expect_shape,
    float_tensor,
    recognise,
)


def exercise_1(pair):
    """[CLS] A [SEP] B [SEP], and the segments."""
    for first, second in (([11, 12, 13], [21, 22]), ([11], [21, 22, 23])):
        answer = call(pair, list(first), list(second), 1, 2)
        parts = expect_parts(answer, 2, "return two lists: the ids, and the segments")
        ids, segments = (as_array(part).tolist() for part in parts)
        whole = [1, *first, 2, *second, 2]
        begin = len(first) + 2
        if ids != whole:
            if ids == whole[:-1]:
                raise Wrong("the second sentence has a [SEP] at its end, too")
            raise Wrong(f"A = {first} and B = {second} gave the ids {ids}; expected {whole}")
        expected = [0] * begin + [1] * (len(whole) - begin)
        if segments != expected:
            hint = "[CLS] and the first [SEP] belong to A, the second [SEP] to B"
            raise Wrong(f"the segments of {ids} are {segments}; expected {expected}: {hint}")
    return "the segments tell the two sentences apart, wherever the first one ends"


def exercise_2(whole_words):
    """A word is hidden as a whole: all of its tokens, or none."""
    word_of = np.array([[-1, 0, 1, 1, 1, 2, -1], [-1, 0, 0, 1, 2, 2, -1]])
    for chosen in (
        [[0, 0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0]],
        [[0, 1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1, 0]],
        [[0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]],
    ):
        is_chosen = np.array(chosen, bool)
        given_choice = is_chosen.copy()
        got = expect_shape(call(whole_words, given_choice, word_of.copy()), word_of.shape)
        if not np.array_equal(given_choice, is_chosen):
            raise Wrong("the choice that you were given has changed; make a new array")
        same = (word_of[:, :, None] == word_of[:, None]) & (word_of >= 0)[:, :, None]
        expected = (same & is_chosen[:, None]).any(-1)
        if np.array_equal(got.astype(bool), expected):
            continue
        case = f"chosen {chosen}, words {word_of.tolist()}: "
        leaked = np.isin(word_of, word_of[is_chosen])
        after = (same & is_chosen[:, None] & np.tri(word_of.shape[1], dtype=bool)).any(-1)
        recognise(
            got,
            (is_chosen, "the rest of a chosen token's word is chosen, too"),
            (leaked, "words have their numbers in each row anew: look at one row at a time"),
            (after, "the tokens before the chosen one belong to its word as well"),
            case=case,
        )
        if got[word_of < 0].any():
            raise Wrong(case + "a special token (word −1) is never chosen")
        raise Wrong(case + f"you return {got.astype(int).tolist()}")
    return "half a word gives its other half away: Chinese BERT models hide whole words (全词掩码)"


def exercise_3(make):
    """The masked-LM head as a Cell, at the asked places alone."""
    batch, length, d, vocabulary = 2, 5, 6, 11
    head = call_class(make, d, vocabulary)
    rng = np.random.default_rng(83)
    hidden = rng.normal(size=(batch, length, d))
    places = np.array([[1, 3], [4, 0]])
    table = rng.normal(size=(vocabulary, d))
    arguments = float_tensor(hidden), Tensor(places.astype(np.int32)), float_tensor(table)
    call(head, *arguments)  # or there is nothing yet
    weights = _set_weights(head, d, vocabulary, rng)
    got = as_array(call(head, *arguments), "the array of logits")
    if got.shape == (batch, length, vocabulary):
        raise Wrong("these are logits of all places; gather the asked ones first")
    expect_shape(got, (batch, places.shape[1], vocabulary), "the array of logits")

    def logits(at, matrix, *, has_gelu=True, has_norm=True):
        x = at @ matrix
        x = x * 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0))) if has_gelu else x
        if has_norm:
            x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
        return x @ table.T + weights["bias"]

    asked = np.stack([row[at] for row, at in zip(hidden, places)])
    mixed = hidden[:, places[0]]
    for matrix in (weights["matrix"].T, weights["matrix"]):  # either way of storing it
        if np.allclose(got, logits(asked, matrix), atol=2e-2):
            break
        recognise(
            got,
            (logits(asked, matrix, has_norm=False), "the LayerNorm after the GELU is missing"),
            (logits(asked, matrix, has_gelu=False), "the GELU between layer and norm is missing"),
            (logits(asked, matrix) - weights["bias"], "the bias c of each word is not added"),
            (logits(mixed, matrix), "each row has its own places; you took the first row's"),
            atol=2e-2,
        )
    else:
        raise Wrong("other logits than LayerNorm(gelu(h Wᵀ + b)) Eᵀ + c at the asked places")

    def total(*inputs):
        return (head(*inputs) ** 2).sum()

    found = call(ms.grad(total, None, ms.ParameterTuple(head.trainable_params())), *arguments)
    for weight, gradient in zip(head.trainable_params(), found):
        if not np.abs(gradient.asnumpy()).max() > 0:
            raise Wrong(f"the loss has no gradient for {weight.name}: does it take part?")
    return "of T places the largest product of the model is computed for 15 % alone"


def _set_weights(head, d, vocabulary, rng):
    """Numbers that are known for the weights of a reader's head, whatever their names."""
    found = {}
    for weight in head.trainable_params():
        shape = tuple(weight.shape)
        if shape == (vocabulary, d):
            raise Wrong("the embedding's rows come as an argument: no table in the head")
        if shape in ((d, d), (vocabulary,)):
            value = rng.normal(size=shape)
            found["matrix" if len(shape) == 2 else "bias"] = value
            weight.set_data(float_tensor(value))
        elif shape == (d,) and not np.allclose(weight.asnumpy(), 1.0):  # not the scale γ
            weight.set_data(float_tensor(np.zeros(d)))
    if "matrix" not in found:
        raise Wrong(f"the head needs a dense layer from {d} to {d} numbers")
    if "bias" not in found:
        raise Wrong(f"the head needs a bias c with a number for each of the {vocabulary} words")
    return found


def exercise_4(rows):
    """A row for each ordinary token, with the mask in its place."""
    for ids in ([1, 7, 8, 9, 2], [1, 5, 5, 2, 6, 2]):
        places = [n for n, token in enumerate(ids) if token not in (1, 2)]
        answer = call(rows, list(ids), 99, (0, 1, 2, 3))
        got = as_array(answer)
        if got.shape == (len(ids), len(ids)):
            raise Wrong("special tokens are not hidden: a row for each other token alone")
        expect_shape(got, (len(places), len(ids)))
        token = np.array(ids)
        by_value = np.where(token == token[places][:, None], 99, token)
        expected = np.where(np.arange(len(ids)) == np.array(places)[:, None], 99, token)
        if np.array_equal(got, expected):
            continue
        if np.array_equal(got, by_value):
            raise Wrong("a word that stands twice is hidden twice; hide one place in each row")
        if ((got == 99).sum(axis=1) > 1).any():
            raise Wrong("a row hides more than one token; begin each row with a fresh copy")
        raise Wrong(f"{ids} gave {got.tolist()}; expected {expected.tolist()}")
    return "T tokens cost T passes; GPT needs one for the whole sentence"


def exercise_5(judge):
    """Whether two shares differ by more than twice the standard error of their difference."""
    rng = np.random.default_rng(85)
    cases = [(0.8, 0.9, 400), (0.5, 0.5, 10), (1.0, 1.0, 50), (0.9, 0.8, 90), (0.51, 0.5, 20000)]
    while len(cases) < 300:
        n, first = int(rng.integers(30, 5000)), rng.uniform(0.02, 0.98)
        # A second share near the border, on either side of it: a wrong formula gives itself away.
        error = np.sqrt(2 * first * (1 - first) / n)
        second = first + rng.choice([-1, 1]) * rng.uniform(0.5, 4.0) * error
        if 0.0 <= second <= 1.0:
            cases.append((float(first), float(second), n))
    for first, second, n in cases:
        distance = abs(first - second)
        limit = 2 * np.sqrt((first * (1 - first) + second * (1 - second)) / n)
        if limit and abs(distance / limit - 1) < 0.01:
            continue  # rounding may decide
        got = bool(expect_shape(call(judge, first, second, n), (), "the answer"))
        if got != bool(distance > limit):
            raise Wrong(
                f"for {first:.3f} and {second:.3f} of {n} sentences you say {got}: their distance "
                f"is {distance:.4f}, twice the standard error of it {limit:.4f}"
            )
    return "a few points on a few hundred sentences may be chance; more sentences tell"
