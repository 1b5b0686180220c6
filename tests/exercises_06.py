"""Right and wrong answers to the exercises of lesson 06."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from mindspore import nn, ops


def log_prob(table, ids):
    path = [1, *ids, 2]
    return sum(math.log(table[a, b]) for a, b in zip(path, path[1:]))


def log_prob_without_the_end(table, ids):
    path = [1, *ids]
    return sum(math.log(table[a, b]) for a, b in zip(path, path[1:]))


def probability(table, ids):
    return math.exp(log_prob(table, ids))


def mean_log_prob(table, ids):
    return log_prob(table, ids) / (len(ids) + 1)


def brevity(c, lengths):
    r = min(lengths, key=lambda length: (abs(length - c), length))
    return min(1.0, math.exp(1 - r / c))


def brevity_with_a_bonus(c, lengths):
    r = min(lengths, key=lambda length: (abs(length - c), length))
    return math.exp(1 - r / c)


def brevity_of_the_first(c, lengths):
    return min(1.0, math.exp(1 - lengths[0] / c))


def brevity_of_the_longer(c, lengths):
    r = min(lengths, key=lambda length: (abs(length - c), -length))
    return min(1.0, math.exp(1 - r / c))


def brevity_turned_round(c, lengths):
    r = min(lengths, key=lambda length: (abs(length - c), length))
    return min(1.0, math.exp(1 - c / r))


def ngrams(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def matches(hypothesis, references, n):
    ours, most = ngrams(hypothesis, n), Counter()
    for reference in references:
        most |= ngrams(reference, n)
    return sum((ours & most).values()), sum(ours.values())


def matches_unclipped(hypothesis, references, n):
    ours = ngrams(hypothesis, n)
    known = set().union(*(ngrams(reference, n) for reference in references))
    return sum(count for gram, count in ours.items() if gram in known), sum(ours.values())


def matches_added(hypothesis, references, n):
    ours, most = ngrams(hypothesis, n), Counter()
    for reference in references:
        most += ngrams(reference, n)
    return sum((ours & most).values()), sum(ours.values())


def matches_of_the_first(hypothesis, references, n):
    return matches(hypothesis, references[:1], n)


def precision(hypothesis, references, n):
    found, total = matches(hypothesis, references, n)
    return found / max(total, 1)


def tie(log_prob_short, length_short, log_prob_long, length_long):
    return math.log(log_prob_long / log_prob_short) / math.log(
        (5 + length_long) / (5 + length_short)
    )


def tie_without_five(log_prob_short, length_short, log_prob_long, length_long):
    return math.log(log_prob_long / log_prob_short) / math.log(length_long / length_short)


def tie_of_the_wrong_sign(log_prob_short, length_short, log_prob_long, length_long):
    return -tie(log_prob_short, length_short, log_prob_long, length_long)


def tie_without_logarithms(log_prob_short, length_short, log_prob_long, length_long):
    return log_prob_long / log_prob_short / ((5 + length_long) / (5 + length_short))


def top_p(probabilities, p):
    order = np.argsort(-probabilities)
    before = probabilities[order].cumsum() - probabilities[order]
    kept = np.zeros_like(probabilities)
    kept[order[before < p]] = probabilities[order[before < p]]
    return kept / kept.sum()


def top_p_not_divided(probabilities, p):
    return np.where(top_p(probabilities, p) > 0, probabilities, 0)


def top_p_without_the_last(probabilities, p):
    order = np.argsort(-probabilities)
    kept = np.zeros_like(probabilities)
    inside = order[probabilities[order].cumsum() <= p]
    kept[inside] = probabilities[inside]
    return kept / max(kept.sum(), 1e-9)


def top_p_as_a_threshold(probabilities, p):
    kept = np.where(probabilities >= p, probabilities, 0)
    return kept / max(kept.sum(), 1e-9)


def top_p_in_the_given_order(probabilities, p):
    before = probabilities.cumsum() - probabilities
    kept = np.where(before < p, probabilities, 0)
    return kept / kept.sum()


def brevity_of_the_shortest(c, lengths):
    return min(1.0, math.exp(1 - min(lengths) / c))


def brevity_of_the_longest(c, lengths):
    return min(1.0, math.exp(1 - max(lengths) / c))


def matches_in_an_array(hypothesis, references, n):
    return np.array(matches(hypothesis, references, n))


def matches_of_the_best(hypothesis, references, n):
    return max(matches(hypothesis, [reference], n) for reference in references)


def top_p_without_room_for_rounding(probabilities, p):
    order = np.argsort(-probabilities)
    size = np.argmax(probabilities[order].cumsum() >= p) + 1
    kept = np.zeros_like(probabilities)
    kept[order[:size]] = probabilities[order[:size]]
    return kept / kept.sum()


class Scorer(nn.Cell):
    counts_padding = False
    power = 1.0  # of the penalty
    five = 5

    def __init__(self, model, alpha):
        super().__init__()
        self.model, self.alpha = model, alpha

    def construct(self, source, decoder_input, labels):
        log_probs = ops.log_softmax(self.model(source, decoder_input), -1)
        found = ops.gather_elements(log_probs, 2, labels.expand_dims(-1)).squeeze(-1)
        is_real = (labels != 0).astype(found.dtype)
        total = found.sum(1) if self.counts_padding else (found * is_real).sum(1)
        divisor = ((self.five + is_real.sum(1)) / 6) ** self.alpha
        return total / divisor**self.power


class ScorerWithPadding(Scorer):
    counts_padding = True


class ScorerWithoutPenalty(Scorer):
    power = 0.0


class ScorerThatMultiplies(Scorer):
    power = -1.0


class ScorerWithoutTheEnd(Scorer):
    five = 4


class ScorerOfTheBatch(Scorer):
    def construct(self, source, decoder_input, labels):
        return super().construct(source, decoder_input, labels).sum()


def scorer_that_is_no_cell(model, alpha):
    return lambda source, decoder_input, labels: labels.sum(1)


def one_by_one(attention, x, room, last=0, shift=0, has_mask=True):
    shape = (x.shape[0], attention.num_heads, room, attention.d_head)
    keys, values = ops.zeros(shape), ops.zeros(shape)
    places = ops.arange(room)
    rows = []
    for t in range(x.shape[1]):
        new = x[:, t : t + 1]
        key, value = attention.project_key_value(new, new)
        is_here = (places == t + shift).reshape((1, 1, room, 1))
        keys, values = ops.where(is_here, key, keys), ops.where(is_here, value, values)
        mask = (places <= t + last).reshape((1, 1, 1, room)) if has_mask else None
        rows.append(attention.attend(new, keys, values, mask)[0])
    return ops.cat(rows, 1)


def one_by_one_without_itself(attention, x, room):
    return one_by_one(attention, x, room, last=-1)


def one_by_one_written_too_late(attention, x, room):
    return one_by_one(attention, x, room, shift=1)


def one_by_one_with_an_empty_place(attention, x, room):
    return one_by_one(attention, x, room, last=1)


def one_by_one_without_mask(attention, x, room):
    return one_by_one(attention, x, room, has_mask=False)


def one_by_one_that_forgets(attention, x, room):
    return ops.cat([one_by_one(attention, x[:, t : t + 1], room) for t in range(x.shape[1])], 1)


def all_at_once_without_mask(attention, x, room):
    return attention(x, x, x)


RIGHT = {
    "6.1": (log_prob,),
    "6.2": (brevity,),
    "6.3": (matches,),
    "6.4": (tie,),
    "6.5": (top_p,),
    "6.6": (Scorer,),
    "6.7": (one_by_one,),
}
WRONG = {
    "6.1": [(log_prob_without_the_end,), (probability,), (mean_log_prob,)],
    "6.2": [
        (brevity_with_a_bonus,),
        (brevity_of_the_first,),
        (brevity_of_the_longer,),
        (brevity_turned_round,),
    ],
    "6.3": [(matches_unclipped,), (matches_added,), (matches_of_the_first,), (precision,)],
    "6.4": [(tie_without_five,), (tie_of_the_wrong_sign,), (tie_without_logarithms,)],
    "6.5": [
        (top_p_not_divided,),
        (top_p_without_the_last,),
        (top_p_as_a_threshold,),
        (top_p_in_the_given_order,),
    ],
    "6.6": [
        (ScorerWithPadding,),
        (ScorerWithoutPenalty,),
        (ScorerThatMultiplies,),
        (ScorerWithoutTheEnd,),
        (ScorerOfTheBatch,),
        (scorer_that_is_no_cell,),
    ],
    "6.7": [
        (one_by_one_without_itself,),
        (one_by_one_written_too_late,),
        (one_by_one_with_an_empty_place,),
        (one_by_one_without_mask,),
        (one_by_one_that_forgets,),
        (all_at_once_without_mask,),
    ],
}


def matches_in_a_zip(hypothesis, references, n):
    found, total = matches(hypothesis, references, n)
    return (number for number in (found, total))


ALSO_RIGHT = [("6.3", (matches_in_an_array,)), ("6.3", (matches_in_a_zip,))]
NAMED = {
    "6.2": [
        ((brevity_of_the_shortest,), "not the shortest reference counts"),
        ((brevity_of_the_longest,), "not the longest reference counts"),
        ((brevity_of_the_longer,), "the shorter one counts"),
        ((brevity_turned_round,), "changed places"),
    ],
    "6.3": [
        ((matches_of_the_best,), "you match all n-grams in one reference"),
        ((matches_of_the_first,), "only the first reference"),
    ],
    "6.5": [((top_p_without_room_for_rounding,), "rounding error below 1")],
    "6.6": [
        ((ScorerWithPadding,), "padding has a part"),
        ((ScorerWithoutPenalty,), "this is log p alone"),
        ((ScorerThatMultiplies,), "you multiply"),
        ((ScorerWithoutTheEnd,), "the end token counts"),
        ((scorer_that_is_no_cell,), "expected a subclass of nn.Cell"),
    ],
    "6.7": [
        ((one_by_one_without_itself,), "have no part in its own row, and the first row"),
        ((one_by_one_with_an_empty_place,), "differ from those of all positions"),
        ((one_by_one_without_mask,), "depend on the room"),
        ((one_by_one_that_forgets,), "does not reach the rows behind"),
        ((all_at_once_without_mask,), "what is yet to come"),
    ],
}
