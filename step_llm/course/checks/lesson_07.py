"""Checks of lesson 07, GPT."""

from __future__ import annotations

import numpy as np

from step_llm.course.checks.judge import (
    Wrong,
    call,
    expect_number,
    expect_parts,
    expect_shape,
    recognise,
)


def exercise_1(loss):
    """The mean cross-entropy of the labels that are not padding."""
    rng = np.random.default_rng(71)
    for lengths, size in (((5, 3), 7), ((2, 6, 1), 11)):
        logits = rng.normal(size=(len(lengths), max(lengths), size)) * 3
        labels = rng.integers(1, size, (len(lengths), max(lengths)))
        for row, length in enumerate(lengths):
            labels[row, length:] = 0
        is_real = labels != 0

        def log_p_of_labels(axis=-1, logits=logits, labels=labels):
            log_p = logits - np.log(np.exp(logits).sum(axis, keepdims=True))
            return np.take_along_axis(log_p, labels[..., None], -1)[..., 0]

        found = log_p_of_labels()
        expected = -found[is_real].mean()
        got = expect_number(call(loss, logits.copy(), labels.copy()))
        if np.isclose(got, expected, atol=1e-4):
            continue
        raw = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
        later = log_p_of_labels(logits=logits[:, :-1], labels=labels[:, 1:])
        recognise(
            got,
            (-found.mean(), "padding counts in your mean; leave out the places with label 0"),
            (-(found * is_real).mean(), "the sum is right; divide it by the real labels alone"),
            (-found[is_real].sum(), "this is the sum; the mean is wanted"),
            (-expected, "the sign: the loss is the mean of −log p, above 0"),
            (np.exp(expected), "this is the perplexity; the loss is its logarithm"),
            (expected / np.log(2), "this is in bits; take the natural logarithm"),
            (-raw[is_real].mean(), "a logit is no log-probability: take the log-softmax first"),
            (
                np.mean([-row[real].mean() for row, real in zip(found, is_real)]),
                "every token counts alike, not every text",
            ),
            (-later[is_real[:, 1:]].mean(), "labels[:, t] belongs to logits[:, t]; shift nothing"),
            (
                -log_p_of_labels(axis=1)[is_real].mean(),
                "the softmax goes over the vocabulary, the last axis",
            ),
            atol=1e-4,
        )
        raise Wrong(f"for labels of shape {labels.shape} you return {got:.4f}, not {expected:.4f}")
    return "exp of this number is the perplexity; TrainStep lowers it"


def exercise_2(probabilities):
    """Keep the tokens that have at least a share of the largest probability."""
    rng = np.random.default_rng(72)
    cases = [(np.log([0.5, 0.3, 0.04, 0.16]), 0.1), (np.log([0.2, 0.2, 0.3, 0.3]), 0.5)]
    cases += [(rng.normal(size=20) * 2, share) for share in (0.05, 0.3, 1.0)]
    for logits, share in cases:
        p = np.exp(logits - logits.max())
        p /= p.sum()
        kept = p >= share * p.max() * (1 - 1e-9)
        expected = np.where(kept, p, 0) / p[kept].sum()
        got = expect_shape(call(probabilities, logits.copy(), share), logits.shape, "the answer")
        if np.allclose(got, expected, atol=1e-6):
            continue
        case = f"min_p = {share}, probabilities {p[:4].round(3).tolist()}: "
        if not np.isfinite(got).all():
            raise Wrong(case + "your answer holds values that are not finite")
        if np.allclose(got, np.where(kept, p, 0), atol=1e-6):
            raise Wrong(case + "the right tokens; divide by the sum of what is kept")
        fixed = p >= share
        if fixed.any() and np.allclose(got, np.where(fixed, p, 0) / p[fixed].sum(), atol=1e-6):
            raise Wrong(case + "min_p is a share of the largest probability, not a probability")
        if np.array_equal(got > 0, kept):
            raise Wrong(case + "the right tokens, but their probabilities should sum to 1")
        raise Wrong(case + f"you keep {(got > 0).sum()} tokens; expected {kept.sum()}")
    return "like top-p it keeps few tokens where the model is sure; and it needs no sorting"


def exercise_3(size):
    """The bytes of all keys and values of a GPT."""
    for case in ((1, 1024, 12, 12, 768, 4), (8, 20, 3, 4, 128, 2)):
        batch, length, layers, heads, d_model, each = case
        expected = 2 * batch * length * layers * d_model * each
        got = expect_number(call(size, *case))
        if got == expected:
            continue
        recognise(
            got,
            (expected / 2, "there are keys and values: twice as many numbers"),
            (expected * heads, "d_model is the width of all heads together"),
            (expected / heads, "every head has keys and values of its own; count them all"),
            (expected / layers, "every layer has a cache of its own"),
            (expected / each, "this is how many numbers there are; each takes some bytes"),
            (expected / batch, "every text of the batch has a cache of its own"),
            (expected / 2 * length, "keys and values are kept, not the scores of all pairs"),
            (expected * length, "keys and values are kept, not the scores of all pairs"),
        )
        raise Wrong(f"for {batch} texts of {length} tokens you say {got:,.0f}, not {expected:,}")
    return "72 MiB for one text in the smallest GPT-2; how many heads share d_model is no matter"


def exercise_4(split):
    """GPT-2's c_attn, cut into query, key and value."""
    rng = np.random.default_rng(74)
    names = ("query", "key", "value")
    for d in (4, 6):
        weight, bias = rng.normal(size=(d, 3 * d)), rng.normal(size=3 * d)
        answer = call(split, weight.copy(), bias.copy())
        words = "return three pairs (weight, bias): of query, key and value"
        pairs = expect_parts(answer, 3, words)
        for number, (name, pair) in enumerate(zip(names, pairs)):
            words = f"the part of the {name} should be a pair (weight, bias)"
            its_weight, its_bias = expect_parts(pair, 2, words)
            columns = slice(number * d, (number + 1) * d)
            got = expect_shape(its_weight, (d, d), f"the weight of the {name}")
            if not np.allclose(got, weight[:, columns].T):
                if np.allclose(got, weight[:, columns]):
                    raise Wrong(f"the {name}'s numbers are right; Dense wants them transposed")
                every_third = weight[:, number::3]
                if np.allclose(got, every_third) or np.allclose(got, every_third.T):
                    raise Wrong(f"the {name}'s columns stand side by side, not every third one")
                raise Wrong(f"the weight of the {name} is made of other columns")
            got = expect_shape(its_bias, (d,), f"the bias of the {name}")
            if not np.allclose(got, bias[columns]):
                raise Wrong(f"the weight of the {name} is right, its bias is not")
    return "that is what from_pretrained does; the other Conv1D weights are only transposed"
