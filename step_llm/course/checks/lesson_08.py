"""Checks of lesson 08, BERT."""

from __future__ import annotations

import numpy as np

from step_llm.course.checks.judge import (
    Wrong,
    as_array,
    call,
    expect_number,
    expect_parts,
    expect_shape,
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


def exercise_2(blanks):
    """The 80-10-10 rule from given random numbers."""
    rng = np.random.default_rng(82)
    ids, other = rng.integers(4, 50, (6, 12)), rng.integers(4, 50, (6, 12))
    is_chosen, fate = rng.random((6, 12)) < 0.5, rng.random((6, 12))
    given = ids.copy()
    got = expect_shape(call(blanks, given, is_chosen.copy(), fate.copy(), other, 50), ids.shape)
    if not np.array_equal(given, ids):
        raise Wrong("the ids that you were given have changed; make a new array")
    is_mask, is_random = is_chosen & (fate < 0.8), is_chosen & (fate >= 0.8) & (fate < 0.9)
    expected = np.where(is_random, other, np.where(is_mask, 50, ids))
    if np.array_equal(got, expected):
        return "all three kinds are predicted, so the model must have an opinion about every word"
    if (got != ids)[~is_chosen].any():
        raise Wrong("tokens that were not chosen have changed; they stay as they are")
    for name, part in (
        ("with fate below 0.8 a chosen token becomes the mask", is_mask),
        ("with fate from 0.8 to below 0.9 it becomes the random token", is_random),
        ("with fate from 0.9 on it stays as it is", is_chosen & (fate >= 0.9)),
    ):
        if (got != expected)[part].any():
            raise Wrong(f"{name}; {(got != expected)[part].sum()} of {part.sum()} do not")
    raise Wrong("these are not the ids that the rule gives")


def exercise_3(loss):
    """The mean of −log p over the places that are asked."""
    rng = np.random.default_rng(83)
    log_p = np.log(rng.dirichlet(np.ones(7), (3, 5)))
    labels = np.where(rng.random((3, 5)) < 0.4, rng.integers(1, 7, (3, 5)), 0)
    labels[1] = 0  # a row in which nothing is asked
    got = expect_number(call(loss, log_p.copy(), labels.copy(), 0))
    all_places = -np.take_along_axis(log_p, labels[..., None], -1)[..., 0]
    asked = labels != 0
    expected = all_places[asked].mean()
    if np.isclose(got, expected, atol=1e-5):
        return "only about one place in seven teaches anything: BERT needs more passes than GPT"
    recognise(
        got,
        (all_places.mean(), "padding labels count as well here; leave them out"),
        (all_places[asked].sum(), "this is the sum; divide by the number of places asked"),
        (all_places[asked].sum() / labels.size, "divide by the number of places asked, not by all"),
        (-expected, "the sign is wrong: log p is negative, the loss is not"),
        atol=1e-5,
    )
    raise Wrong(f"you return {got:.4f}; expected {expected:.4f}")


def exercise_4(rows):
    """A row for each ordinary token, with the mask in its place."""
    for ids in ([1, 7, 8, 9, 2], [1, 5, 5, 2, 6, 2]):
        places = [n for n, token in enumerate(ids) if token not in (1, 2)]
        answer = call(rows, list(ids), 99, (0, 1, 2, 3))
        got = as_array(answer)
        if got.shape == (len(ids), len(ids)):
            raise Wrong("special tokens are not hidden: a row for each other token alone")
        expect_shape(answer, (len(places), len(ids)))
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
    for first, second, n, expected in (
        (0.90, 0.80, 90, False),
        (0.90, 0.80, 400, True),
        (0.80, 0.90, 400, True),
        (0.80, 0.70, 200, True),
        (0.51, 0.50, 1000, False),
        (0.55, 0.50, 300, False),
        (0.99, 0.95, 300, True),
        (0.75, 0.66, 200, False),
        (1.0, 1.0, 50, False),
    ):
        got = call(judge, first, second, n)
        if bool(expect_shape(got, (), "the answer")) == expected:
            continue
        error = np.sqrt((first * (1 - first) + second * (1 - second)) / n)
        raise Wrong(
            f"for {first} and {second} of {n} captions you say {bool(got)}: their distance is "
            f"{abs(first - second):.3f}, twice the standard error of it {2 * error:.3f}"
        )
    return "a few points on a few hundred captions may be chance; more captions tell"
