"""Checks of lesson 05, Multi30k translation."""

from __future__ import annotations

from collections import Counter

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from step_llm.course.checks.judge import (
    Wrong,
    as_array,
    call,
    expect_close,
    expect_number,
    expect_parts,
    float_tensor,
    recognise,
)
from step_llm.training.loss import label_smoothed_cross_entropy


def exercise_1(learn):
    """The merges of byte-pair encoding, in order."""
    cases = (
        ({"hund": 4, "rund": 2, "hand": 7}, 1),
        ({"hund": 4, "hunde": 3, "rund": 2, "hand": 1}, 3),
        ({"low": 5, "lower": 2, "newest": 6, "widest": 3}, 8),
    )
    for words, rounds in cases:
        merges = call(learn, dict(words), rounds)
        told = f"for {words} and rounds = {rounds}, expected a list of {rounds} pairs of pieces"
        merges = [expect_parts(merge, 2, told) for merge in expect_parts(merges, rounds, told)]
        pieces = {word: list(word) for word in words}
        for number, merge in enumerate(merges, start=1):
            counts = _pairs(pieces, words)
            merge, best = tuple(map(str, merge)), max(counts.values())
            if counts[merge] < best:
                said = f"for {words}, round {number} joins {' + '.join(merge)}, "
                if merge in map(tuple, merges[: number - 1]):
                    raise Wrong(f"{said}which has been joined before. Count pieces, not letters")
                raise Wrong(
                    f"{said}seen {counts[merge]} times, while another pair is seen {best} times. "
                    "A pair counts as often as the word that it stands in"
                )
            pieces = {word: _joined(parts, merge) for word, parts in pieces.items()}
    return "joined again and again, the most frequent neighbours become words"


def _pairs(pieces, words):
    counts = Counter()
    for word, parts in pieces.items():
        for pair in zip(parts, parts[1:]):
            counts[pair] += words[word]
    return counts


def _joined(parts, pair):
    done, place = [], 0
    while place < len(parts):
        is_pair = tuple(parts[place : place + 2]) == pair
        done.append("".join(pair) if is_pair else parts[place])
        place += 2 if is_pair else 1
    return done


def exercise_2(batches):
    """Batches of a few fixed lengths."""
    buckets, room = (4, 8, 16), 40
    lengths = np.array([3, 8, 4, 17, 5, 16, 2, 9, 7, 8, 6, 4, 8, 16, 1], np.int64)
    made = call(batches, lengths.copy(), buckets, room)
    told = "expected a list of pairs: the length of a bucket, and a list of places"
    try:
        made = [expect_parts(batch, 2, told) for batch in list(made)]
        made = [(int(expect_number(length)), as_array(rows)) for length, rows in made]
        made = [(length, [int(row) for row in rows]) for length, rows in made]
    except TypeError:
        raise Wrong(told) from None
    seen = Counter(row for _, rows in made for row in rows)
    for length, rows in made:
        for row in rows:
            if not 0 <= row < len(lengths):
                raise Wrong(f"there is no place {row}; expected 0 … {len(lengths) - 1}")
            fitting = [size for size in buckets if size >= lengths[row]]
            if not fitting:
                raise Wrong(f"a pair of length {lengths[row]} fits no bucket of {buckets}")
            if length != fitting[0]:
                raise Wrong(
                    f"the pair at place {row} has length {lengths[row]} and goes into a batch of "
                    f"length {length}; expected {fitting[0]}, the shortest that holds it"
                )
        if len(rows) * length > room:
            raise Wrong(f"{len(rows)} rows of length {length} are more than {room} positions")
    for row, length in enumerate(lengths):
        if length <= buckets[-1] and seen[row] != 1:
            raise Wrong(f"the pair at place {row} is in {seen[row]} batches; expected 1")
    for size in buckets:
        shorter = max((0, *(other for other in buckets if other < size)))
        pairs, rows = int(np.sum((lengths > shorter) & (lengths <= size))), room // size
        least, found = -(-pairs // rows), sum(length == size for length, _ in made)
        if found != least:
            raise Wrong(
                f"{found} batches of length {size}; {pairs} pairs need {least}: fill a batch "
                "before you begin the next"
            )
    return "a few fixed lengths: each is compiled once, and little of it is padding"


def exercise_3(loss):
    """A mended loss: told by what a parrot gets, and what padding changes."""
    target = np.array([[1, 5, 3, 7, 2], [1, 4, 2, 0, 0]], np.int32)
    source = Tensor(np.array([[4, 2], [6, 2]], np.int32))
    table = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)

    def parrot(source, ids):
        return ops.one_hot(ids, 8, Tensor(30.0), Tensor(0.0))

    def guess(source, ids):
        return ops.gather(Tensor(table), ids, 0)

    if expect_number(call(loss, parrot, source, Tensor(target)), "the loss") < 1.0:
        raise Wrong(
            "a model that only says again the token which it has just read gets a loss of almost 0"
        )
    got = expect_number(call(loss, guess, source, Tensor(target)), "the loss")
    padded = np.pad(target, ((0, 0), (0, 3)))
    more = expect_number(call(loss, guess, source, Tensor(padded)), "the loss")
    if abs(got - more) > 1e-4:
        raise Wrong(f"three more columns of padding change the loss from {got:.3f} to {more:.3f}")
    log_p = table - np.log(np.exp(table).sum(axis=1, keepdims=True))
    read, said = target[:, :-1], target[:, 1:]
    right = -log_p[read, said][said != 0]
    recognise(
        got,
        (-log_p[said, read][said != 0].mean(), "the model reads the future to say the past"),
        (right.sum(), "that is the sum over the words; expected the mean"),
        atol=1e-4,
    )
    hint = "Each word after <BOS> counts once, <EOS> too; padding does not."
    expect_close(got, right.mean(), hint, "the loss")
    return "a parrot gains nothing now, and padding costs nothing"


def exercise_4(cell):
    """The smoothed loss as a cell: its value, and its gradient."""
    logits, labels = _scores(7), np.array([[2, 5, 0], [1, 6, 3]], np.int32)
    inputs = float_tensor(logits), Tensor(labels)
    for smoothing in (0.1, 0.0, 0.3):
        loss = call(cell, smoothing)
        if not callable(loss):
            raise Wrong(f"expected an nn.Cell, got {type(loss).__name__}")
        got = expect_number(call(loss, *inputs), "the loss")
        total, real = label_smoothed_cross_entropy(*inputs, smoothing)
        log_p = ops.log_softmax(inputs[0], -1).asnumpy()
        picked = np.take_along_axis(log_p, labels[..., None], 2)[..., 0]
        every = -(1 - smoothing) * picked - smoothing * log_p.mean(axis=2)
        others = (log_p.sum(axis=2) - picked) / (log_p.shape[2] - 1)
        without_y = -(1 - smoothing) * picked - smoothing * others
        is_real = labels != 0
        case, expected = f"with ε = {smoothing}, ", (total / real).asnumpy()
        if abs(got - expected) > 1e-4:
            recognise(
                got,
                (every.mean(), "you divide by all positions, and count padding"),
                ((every * is_real).mean(), "you divide by all positions; divide by real tokens"),
                ((every * is_real).sum(), "you give the sum; expected the mean per real token"),
                (-picked[is_real].mean(), "you give the loss without smoothing"),
                (without_y[is_real].mean(), "the right word gets its part of ε, too: ε / V"),
                case=case, atol=1e-4,
            )  # fmt: skip
        hint = f"{case}compare with the formula of section 4, word by word."
        expect_close(got, expected, hint, "the loss")
        gradient = call(ms.grad(loss), *inputs)

        def library(logits, labels, smoothing=smoothing):
            total, real = label_smoothed_cross_entropy(logits, labels, smoothing)
            return total / real

        hint = "The value is right; does a NumPy array, or ops.stop_gradient, stand in between?"
        expect_close(gradient, ms.grad(library)(*inputs), hint, "the gradient")
    return "no word has probability 0, so no score has to grow without end"


def _scores(seed):
    return np.random.default_rng(seed).normal(size=(2, 3, 8))


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
    return "one model in place of several; whether it is better, validation has to say"


def exercise_6(without):
    """The output projection without one head."""
    rng = np.random.default_rng(0)
    for heads, head in ((4, 2), (2, 0), (1, 0)):
        weight = rng.normal(size=(8, 8)).astype(np.float32)
        kept, width = weight.copy(), 8 // heads
        got = as_array(call(without, weight, heads, head))
        if (weight != kept).any():
            raise Wrong("the array that you were given has changed; work on a copy")
        columns = slice(head * width, (head + 1) * width)
        expected, rows, others = kept.copy(), kept.copy(), np.zeros_like(kept)
        expected[:, columns], rows[columns] = 0.0, 0.0
        others[:, columns] = kept[:, columns]
        if heads > 1 and got.shape == (8, 8):
            recognise(
                got,
                (rows, "you clear rows, which are outputs; a head's values come in by columns"),
                (others, "you keep the one head and clear the others"),
                (kept, "nothing is cleared"),
            )
        hint = f"With {heads} heads of width {width}, head {head} has columns {columns.start} …"
        expect_close(got, expected, hint, "the weight")
    return "what the head found is multiplied by 0"
