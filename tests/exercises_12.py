"""Right and wrong answers to the exercises of lesson 12."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops


def row(prompt, answer, length, pad_id):
    text = [*prompt, *answer]
    inputs = text[:-1] + [pad_id] * (length + 1 - len(text))
    labels = [pad_id] * (len(prompt) - 1) + answer
    return inputs, labels + [pad_id] * (length - len(labels))


def row_as_arrays(prompt, answer, length, pad_id):
    return tuple(map(np.array, row(prompt, answer, length, pad_id)))


def row_with_the_prompt(prompt, answer, length, pad_id):
    text = [*prompt, *answer]
    rest = [pad_id] * (length + 1 - len(text))
    return text[:-1] + rest, text[1:] + rest


def row_in_its_own_place(prompt, answer, length, pad_id):
    inputs, labels = row(prompt, answer, length, pad_id)
    return inputs, [pad_id, *labels[:-1]]


def row_without_the_first(prompt, answer, length, pad_id):
    inputs, labels = row(prompt, answer, length, pad_id)
    labels[len(prompt) - 1] = pad_id
    return inputs, labels


def row_with_the_end_as_input(prompt, answer, length, pad_id):
    text = [*prompt, *answer]
    inputs = (text + [pad_id] * length)[:length]
    return inputs, row(prompt, answer, length, pad_id)[1]


class Embedding(nn.Cell):
    """LoRA for a table; the ways to get it wrong are subclasses."""

    factor = staticmethod(lambda alpha, rank: alpha / rank)
    freezes = True

    def __init__(self, table, rank, alpha):
        super().__init__()
        size, width = table.shape
        self.table = Parameter(Tensor(table), name="table", requires_grad=not self.freezes)
        begin = np.random.default_rng(0).normal(size=(size, rank)).astype(np.float32)
        self.a = Parameter(Tensor(begin), name="a")
        self.b = Parameter(Tensor(np.zeros((width, rank), np.float32)), name="b")
        self.scale = self.factor(alpha, rank)

    def construct(self, ids):
        added = ops.matmul(ops.gather(self.a, ids, 0), ops.transpose(self.b, (1, 0)))
        return ops.gather(self.table, ids, 0) + self.scale * added


class EmbeddingAsTensor(Embedding):
    def __init__(self, table, rank, alpha):
        super().__init__(table, rank, alpha)
        del self.table
        self.values = Tensor(table)

    def construct(self, ids):
        added = ops.matmul(ops.gather(self.a, ids, 0), ops.transpose(self.b, (1, 0)))
        return ops.gather(self.values, ids, 0) + self.scale * added


class EmbeddingWithoutFactor(Embedding):
    factor = staticmethod(lambda alpha, rank: 1.0)


class EmbeddingWithAlpha(Embedding):
    factor = staticmethod(lambda alpha, rank: alpha)


class EmbeddingThatLearns(Embedding):
    freezes = False


class EmbeddingAlone(Embedding):
    def construct(self, ids):
        return ops.gather(self.table, ids, 0)


class EmbeddingOfZeros(Embedding):
    def __init__(self, table, rank, alpha):
        super().__init__(table, rank, alpha)
        self.a.set_data(ops.zeros(self.a.shape, ms.float32))


class EmbeddingOfNoise(Embedding):
    def __init__(self, table, rank, alpha):
        super().__init__(table, rank, alpha)
        self.b.set_data(ops.ones(self.b.shape, ms.float32))


class EmbeddingTurned(Embedding):
    def __init__(self, table, rank, alpha):
        super().__init__(table, rank, alpha)
        self.a = Parameter(Tensor(np.ones((rank, table.shape[0]), np.float32)), name="a")


def margin(chosen, rejected, chosen_reference, rejected_reference):
    return (chosen - chosen_reference) - (rejected - rejected_reference)


def pull(chosen, rejected, chosen_reference, rejected_reference, beta):
    z = margin(chosen, rejected, chosen_reference, rejected_reference)
    return -beta / (1 + np.exp(beta * z))


def four_bits(weight, group, most=7, largest=lambda g: np.abs(g).max(-1), rounding=np.rint):
    groups = weight.reshape(len(weight), -1, group)
    scales = largest(groups) / most
    scales = np.where(scales == 0, 1.0, scales)
    numbers = np.clip(rounding(groups / scales[..., None]), -7, 7)
    return numbers.reshape(weight.shape), scales


def four_bits_with_nan(weight, group):
    groups = weight.reshape(len(weight), -1, group)
    with np.errstate(invalid="ignore"):
        scales = np.abs(groups).max(-1) / 7
        return np.rint(groups / scales[..., None]).reshape(weight.shape), scales


def windows(labels, window, stride):
    triples, begin, done = [], 0, 0
    while done < labels:
        end = min(begin + window, labels)
        triples.append((begin, done, end))
        begin, done = begin + stride, end
    return triples


def windows_counted_twice(labels, window, stride):
    triples, begin = [], 0
    while True:
        end = min(begin + window, labels)
        triples.append((begin, begin, end))
        if end == labels:
            return triples
        begin += stride


def windows_without_overlap(labels, window, stride):
    return windows(labels, window, window)


def windows_that_forget_the_end(labels, window, stride):
    return windows(labels, window, stride)[:-1] or [(0, 0, 1)]


def windows_that_count_late(labels, window, stride):
    """The later of two windows counts what both have read."""
    triples = windows(labels, window, stride)
    begins = [begin for begin, _, _ in triples] + [labels]
    return [(b, b, min(following, labels)) for b, following in zip(begins, begins[1:])]


RIGHT = {
    "12.1": (row,),
    "12.2": (Embedding,),
    "12.3": (pull,),
    "12.4": (four_bits,),
    "12.5": (windows,),
}
ALSO_RIGHT = [
    ("12.1", (row_as_arrays,)),
    ("12.2", (EmbeddingAsTensor,)),
    ("12.5", (lambda *sizes: [list(triple) for triple in windows(*sizes)],)),
]
NAMED = {
    "12.1": [
        ((row_with_the_prompt,), "the prompt's tokens are labels, too"),
        ((row_in_its_own_place,), "the model would repeat what it reads"),
        ((row_without_the_first,), "the answer's first token is no label"),
        ((row_with_the_end_as_input,), "the last token of the answer is no input"),
    ],
    "12.2": [
        ((EmbeddingWithoutFactor,), "the factor α / r is missing"),
        ((EmbeddingWithAlpha,), "the factor is α / r, not α"),
        ((EmbeddingThatLearns,), "a and b alone should learn"),
        ((EmbeddingAlone,), "what A and B hold has no part"),
        ((EmbeddingOfZeros,), "neither has a gradient"),
        ((EmbeddingOfNoise,), "b should begin at 0"),
        ((EmbeddingTurned,), "self.a has shape"),
    ],
    "12.3": [
        ((lambda *four: -pull(*four),), "the sign"),
        ((lambda *four: pull(*four) / four[-1],), "the inner derivative β is missing"),
        ((lambda *four: -four[-1] - pull(*four),), "it is σ(−βz)"),
        ((lambda *four: np.log1p(np.exp(-four[-1] * margin(*four[:4]))),), "this is the loss"),
        ((lambda w, y, wr, yr, b: pull(w, y, 0, 0, b),), "the reference has no part"),
    ],
    "12.4": [
        ((lambda w, g: four_bits(w, g, most=8),), "the scale is max |w| / 7"),
        ((lambda w, g: four_bits(w, g, most=127),), "that is the scale of 8 bits"),
        ((lambda w, g: four_bits(w, g, rounding=np.floor),), "more than half a step"),
        ((four_bits_with_nan,), "a group of zeros divides by 0"),
    ],
    "12.5": [
        ((windows_counted_twice,), "more than once"),
        ((windows_that_forget_the_end,), "some predictions are not counted"),
        ((windows_without_overlap,), "expected every 64"),
        ((windows_that_count_late,), "the first window that reaches it"),
    ],
}
WRONG = {number: [answer for answer, _ in cases] for number, cases in NAMED.items()}
