"""Right and wrong answers to the exercises of lesson 07."""

from __future__ import annotations

import numpy as np


def log_probs(logits, labels):
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return np.take_along_axis(log_p, labels[..., None], -1)[..., 0]


def loss(logits, labels):
    return -log_probs(logits, labels)[labels != 0].mean()


def loss_with_padding(logits, labels):
    return -log_probs(logits, labels).mean()


def loss_divided_by_all(logits, labels):
    return -(log_probs(logits, labels) * (labels != 0)).mean()


def loss_of_logits(logits, labels):
    return -np.take_along_axis(logits, labels[..., None], -1)[..., 0][labels != 0].mean()


def loss_of_texts(logits, labels):
    rows = zip(log_probs(logits, labels), labels)
    return np.mean([-row[label != 0].mean() for row, label in rows])


def softmax(logits):
    p = np.exp(logits - logits.max())
    return p / p.sum()


def min_p(logits, share):
    p = softmax(logits)
    p[p < share * p.max()] = 0
    return p / p.sum()


def min_p_without_sum(logits, share):
    p = softmax(logits)
    p[p < share * p.max()] = 0
    return p


def min_p_absolute(logits, share):
    p = softmax(logits)
    p[p < min(share, p.max())] = 0
    return p / p.sum()


def min_p_evenly(logits, share):
    p = softmax(logits)
    kept = p >= share * p.max()
    return kept / kept.sum()


def cache_bytes(batch, length, num_layers, num_heads, d_model, bytes_each):
    return 2 * batch * length * num_layers * d_model * bytes_each


def cache_of_keys(batch, length, num_layers, num_heads, d_model, bytes_each):
    return batch * length * num_layers * d_model * bytes_each


def cache_times_heads(batch, length, num_layers, num_heads, d_model, bytes_each):
    return 2 * batch * length * num_layers * num_heads * d_model * bytes_each


def cache_in_numbers(batch, length, num_layers, num_heads, d_model, bytes_each):
    return 2 * batch * length * num_layers * d_model


def split(weight, bias):
    weights, biases = np.split(weight, 3, axis=1), np.split(bias, 3)
    return [(w.T, b) for w, b in zip(weights, biases)]


def split_untransposed(weight, bias):
    return [(w.T, b) for w, b in split(weight, bias)]


def split_every_third(weight, bias):
    return [(weight[:, i::3].T, bias[i::3]) for i in range(3)]


def split_in_another_order(weight, bias):
    return split(weight, bias)[::-1]


def split_with_one_bias(weight, bias):
    return [(w, bias[: len(w)]) for w, _ in split(weight, bias)]


def split_lazily(weight, bias):
    return zip((w for w, _ in split(weight, bias)), (b for _, b in split(weight, bias)))


def loss_shifted_again(logits, labels):
    return loss(logits[:, :-1], labels[:, 1:])


def loss_over_positions(logits, labels):
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    found = np.take_along_axis(log_p, labels[..., None], -1)[..., 0]
    return -found[labels != 0].mean()


RIGHT = {"7.1": (loss,), "7.2": (min_p,), "7.3": (cache_bytes,), "7.4": (split,)}

WRONG = {
    "7.1": [(loss_with_padding,), (loss_divided_by_all,), (loss_of_logits,), (loss_of_texts,)],
    "7.2": [(min_p_without_sum,), (min_p_absolute,), (min_p_evenly,)],
    "7.3": [(cache_of_keys,), (cache_times_heads,), (cache_in_numbers,)],
    "7.4": [
        (split_untransposed,),
        (split_every_third,),
        (split_in_another_order,),
        (split_with_one_bias,),
    ],
}
ALSO_RIGHT = [("7.4", (split_lazily,))]
NAMED = {
    "7.1": [
        ((loss_shifted_again,), "shift nothing"),
        ((loss_over_positions,), "over the vocabulary"),
    ],
}
