"""Right and wrong answers to the exercises of lesson 05."""

from __future__ import annotations

from collections import Counter

import numpy as np
from mindspore import Tensor, nn, ops

from step_llm.training.loss import label_smoothed_cross_entropy


def learn(words, rounds, is_counted=True, is_joined=True):
    pieces = {word: list(word) for word in words}
    merges = []
    for _ in range(rounds):
        counts = Counter()
        for word, parts in pieces.items():
            for pair in zip(parts, parts[1:]):
                counts[pair] += words[word] if is_counted else 1
        (a, b), _ = counts.most_common(1)[0]
        merges.append((a, b))
        for word, parts in pieces.items():
            if is_joined:
                pieces[word] = "\x00".join(parts).replace(f"{a}\x00{b}", a + b).split("\x00")
    return merges


def learn_without_counts(words, rounds):
    return learn(words, rounds, is_counted=False)


def learn_without_joining(words, rounds):
    return learn(words, rounds, is_joined=False)


def learn_once(words, rounds):
    return learn(words, 1)


def learn_joined(words, rounds):
    return ["".join(pair) for pair in learn(words, rounds)]


def batches(lengths, buckets, batch_tokens):
    made, shorter = [], 0
    for length in buckets:
        rows = [n for n, size in enumerate(lengths) if shorter < size <= length]
        room = batch_tokens // length
        made += [(length, rows[i : i + room]) for i in range(0, len(rows), room)]
        shorter = length
    return made


def batches_of_one(lengths, buckets, batch_tokens):
    return [
        (length, [row]) for length, rows in batches(lengths, buckets, batch_tokens) for row in rows
    ]


def batches_too_large(lengths, buckets, batch_tokens):
    return batches(lengths, buckets, 2 * batch_tokens)


def batches_with_all(lengths, buckets, batch_tokens):
    return [*batches(lengths, buckets, batch_tokens), (buckets[-1], [3])]


def batches_twice(lengths, buckets, batch_tokens):
    return batches(lengths, buckets, batch_tokens) * 2


def batches_without_the_last(lengths, buckets, batch_tokens):
    return batches(lengths, buckets, batch_tokens)[:-1]


def batches_of_the_longest(lengths, buckets, batch_tokens):
    return batches(lengths, buckets[-1:], batch_tokens)


class Loss(nn.Cell):
    def __init__(self, smoothing):
        super().__init__()
        self.smoothing = smoothing

    def construct(self, logits, labels):
        log_p = ops.log_softmax(logits, -1)
        picked = ops.gather_elements(log_p, 2, ops.expand_dims(labels, 2))[:, :, 0]
        loss = -(1 - self.smoothing) * picked - self.smoothing * log_p.mean(-1)
        real = (labels != 0).astype(logits.dtype)
        return self.mean(loss, real)

    def mean(self, loss, real):
        return (loss * real).sum() / real.sum()


class LossOfAll(Loss):
    def mean(self, loss, real):
        return loss.mean()


class LossPerPosition(Loss):
    def mean(self, loss, real):
        return (loss * real).mean()


class LossSum(Loss):
    def mean(self, loss, real):
        return (loss * real).sum()


class LossUnsmoothed(Loss):
    def __init__(self, smoothing):
        super().__init__(0.0)


class LossOverTheOthers(nn.Cell):
    def __init__(self, smoothing):
        super().__init__()
        self.smoothing = smoothing

    def construct(self, logits, labels):
        size = logits.shape[-1]
        log_p = ops.log_softmax(logits, -1)
        picked = ops.gather_elements(log_p, 2, ops.expand_dims(labels, 2))[:, :, 0]
        others = (log_p.sum(-1) - picked) / (size - 1)
        real = (labels != 0).astype(logits.dtype)
        loss = -(1 - self.smoothing) * picked - self.smoothing * others
        return (loss * real).sum() / real.sum()


class LossWithoutGradient(Loss):
    def mean(self, loss, real):
        return ops.stop_gradient(super().mean(loss, real)) + 0.0 * loss.sum()


class LossOfTheLibrary(Loss):
    def construct(self, logits, labels):
        total, real = label_smoothed_cross_entropy(logits, labels, self.smoothing)
        return total / real


def picked(log_p, labels):
    return -ops.gather_elements(log_p, 2, ops.expand_dims(labels, 2))[:, :, 0]


def batch_loss(model, source, target):
    labels = target[:, 1:]
    loss = picked(ops.log_softmax(model(source, target[:, :-1]), -1), labels)
    real = (labels != 0).astype(loss.dtype)
    return (loss * real).sum() / real.sum()


def batch_loss_shifted_afterwards(model, source, target):
    labels = target[:, 1:]
    loss = picked(ops.log_softmax(model(source, target)[:, :-1], -1), labels)
    real = (labels != 0).astype(loss.dtype)
    return (loss * real).sum() / real.sum()


def batch_loss_as_given(model, source, target):
    return picked(ops.log_softmax(model(source, target), -1), target).mean()


def batch_loss_without_shift(model, source, target):
    loss = picked(ops.log_softmax(model(source, target), -1), target)
    real = (target != 0).astype(loss.dtype)
    return (loss * real).sum() / real.sum()


def batch_loss_with_padding(model, source, target):
    return picked(ops.log_softmax(model(source, target[:, :-1]), -1), target[:, 1:]).mean()


def batch_loss_backward(model, source, target):
    labels, read = target[:, :-1], target[:, 1:]
    loss = picked(ops.log_softmax(model(source, read), -1), labels)
    real = (read != 0).astype(loss.dtype)
    return (loss * real).sum() / real.sum()


def batch_loss_summed(model, source, target):
    labels = target[:, 1:]
    loss = picked(ops.log_softmax(model(source, target[:, :-1]), -1), labels)
    return (loss * (labels != 0).astype(loss.dtype)).sum()


def average(checkpoints):
    return {
        name: np.mean([weights[name] for weights in checkpoints], axis=0) for name in checkpoints[0]
    }


def total(checkpoints):
    return {
        name: np.sum([weights[name] for weights in checkpoints], axis=0) for name in checkpoints[0]
    }


def average_in_place(checkpoints):
    mean = checkpoints[0]
    for weights in checkpoints[1:]:
        for name in mean:
            mean[name] += weights[name]
    for name in mean:
        mean[name] /= len(checkpoints)
    return mean


def without_head(weight, num_heads, head):
    width = weight.shape[1] // num_heads
    cleared = weight.copy()
    cleared[:, head * width : (head + 1) * width] = 0
    return cleared


def without_head_by_rows(weight, num_heads, head):
    return without_head(weight.T, num_heads, head).T


def only_head(weight, num_heads, head):
    return weight - without_head(weight, num_heads, head)


def without_head_in_place(weight, num_heads, head):
    weight[:] = without_head(weight, num_heads, head)
    return weight


def without_next_head(weight, num_heads, head):
    return without_head(weight, num_heads, (head + 1) % num_heads)


RIGHT = {
    "5.1": (learn,),
    "5.2": (batches,),
    "5.4": (Loss,),
    "5.3": (batch_loss,),
    "5.5": (average,),
    "5.6": (without_head,),
}
ALSO_RIGHT = [
    ("5.1", (lambda words, rounds: [list(pair) for pair in learn(words, rounds)],)),
    ("5.1", (lambda words, rounds: iter(learn(words, rounds)),)),
    ("5.2", (lambda *a: [(length, np.array(rows)) for length, rows in batches(*a)],)),
    ("5.2", (lambda *a: iter(batches(*a)[::-1]),)),
    ("5.4", (LossOfTheLibrary,)),
    ("5.3", (batch_loss_shifted_afterwards,)),
    ("5.6", (lambda *a: Tensor(without_head(*a)),)),
]
WRONG = {
    "5.1": [(learn_without_counts,), (learn_once,), (learn_joined,), (learn_without_joining,)],
    "5.2": [(batches_of_one,), (batches_without_the_last,), (batches_of_the_longest,)],
    "5.4": [(LossOfAll,), (LossWithoutGradient,), (3.5,)],
    "5.3": [(batch_loss_as_given,), (batch_loss_backward,)],
    "5.5": [(total,), (average_in_place,)],
    "5.6": [(without_head_in_place,), (without_next_head,)],
}
NAMED = {
    "5.1": [
        ((learn_without_counts,), "counts as often as the word"),
        ((learn_without_joining,), "joined before"),
    ],
    "5.2": [
        ((batches_too_large,), "more than 40 positions"),
        ((batches_with_all,), "fits no bucket"),
        ((batches_twice,), "is in 2 batches"),
        ((batches_of_one,), "fill a batch"),
        ((batches_of_the_longest,), "the shortest that holds it"),
    ],
    "5.4": [
        ((LossOfAll,), "count padding"),
        ((LossPerPosition,), "divide by real tokens"),
        ((LossSum,), "the sum"),
        ((LossUnsmoothed,), "without smoothing"),
        ((LossOverTheOthers,), "its part of ε"),
        ((LossWithoutGradient,), "the gradient is off"),
    ],
    "5.3": [
        ((batch_loss_as_given,), "just read"),
        ((batch_loss_without_shift,), "just read"),
        ((batch_loss_with_padding,), "three more columns of padding"),
        ((batch_loss_backward,), "reads the future"),
        ((batch_loss_summed,), "the sum over the words"),
    ],
    "5.6": [
        ((without_head_by_rows,), "you clear rows"),
        ((only_head,), "keep the one head"),
        ((lambda weight, num_heads, head: weight.copy(),), "nothing is cleared"),
    ],
}
