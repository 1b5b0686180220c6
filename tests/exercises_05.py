"""Right and wrong answers to the exercises of lesson 05."""

from __future__ import annotations

from collections import Counter

import numpy as np


def share(ids):
    return (ids != 0).mean()


def padding_share(ids):
    return (ids == 0).mean()


def count(ids):
    return int((ids != 0).sum())


def target(y, vocab_size, smoothing):
    q = np.full(vocab_size, smoothing / vocab_size)
    q[y] += 1 - smoothing
    return q


def target_without_its_spread(y, vocab_size, smoothing):
    q = np.full(vocab_size, smoothing / vocab_size)
    q[y] = 1 - smoothing
    return q


def target_spread_over_the_others(y, vocab_size, smoothing):
    q = np.full(vocab_size, smoothing / (vocab_size - 1))
    q[y] = 1 - smoothing
    return q


def bucket(source_length, target_length, buckets):
    longer = max(source_length, target_length)
    return next((length for length in buckets if length >= longer), None)


def bucket_of_the_source(source_length, target_length, buckets):
    return next((length for length in buckets if length >= source_length), None)


def bucket_strictly_longer(source_length, target_length, buckets):
    longer = max(source_length, target_length)
    return next((length for length in buckets if length > longer), None)


def bucket_that_cuts(source_length, target_length, buckets):
    longer = max(source_length, target_length)
    return next((length for length in buckets if length >= longer), buckets[-1])


def best_pair(words):
    pairs = Counter()
    for word, number in words.items():
        for pair in zip(word, word[1:]):
            pairs[pair] += number
    return pairs.most_common(1)[0][0]


def best_pair_without_counts(words):
    return Counter(pair for word in words for pair in zip(word, word[1:])).most_common(1)[0][0]


def best_pair_joined(words):
    return "".join(best_pair(words))


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


RIGHT = {
    "5.1": (share,),
    "5.2": (target,),
    "5.3": (bucket,),
    "5.4": (best_pair,),
    "5.5": (average,),
}
WRONG = {
    "5.1": [(padding_share,), (count,), (0.5,)],
    "5.2": [(target_without_its_spread,), (target_spread_over_the_others,)],
    "5.3": [(bucket_of_the_source,), (bucket_strictly_longer,), (bucket_that_cuts,)],
    "5.4": [(best_pair_without_counts,), (best_pair_joined,)],
    "5.5": [(total,), (average_in_place,)],
}
