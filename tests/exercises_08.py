"""Right and wrong answers to the exercises of lesson 08."""

from __future__ import annotations

import math

import numpy as np
from mindspore import Parameter, nn, ops

from step_llm import LayerNorm, Linear, gelu


def pair(first, second, cls_id, sep_id):
    a, b = [cls_id, *first, sep_id], [*second, sep_id]
    return a + b, [0] * len(a) + [1] * len(b)


def pair_without_the_last_end(first, second, cls_id, sep_id):
    a, b = [cls_id, *first, sep_id], [*second]
    return a + b, [0] * len(a) + [1] * len(b)


def pair_with_the_first_end_in_b(first, second, cls_id, sep_id):
    a, b = [cls_id, *first], [sep_id, *second, sep_id]
    return a + b, [0] * len(a) + [1] * len(b)


def ids_alone(first, second, cls_id, sep_id):
    return [cls_id, *first, sep_id, *second, sep_id]


def whole_words(is_chosen, word_of):
    result = np.zeros(is_chosen.shape, bool)
    for row in range(len(is_chosen)):
        for word in word_of[row][is_chosen[row]]:
            result[row] |= word_of[row] == word
    return result & (word_of >= 0)


def whole_words_in_a_list(is_chosen, word_of):
    return whole_words(is_chosen, word_of).tolist()


def words_of_all_rows(is_chosen, word_of):
    return np.isin(word_of, word_of[is_chosen])


def words_from_the_chosen_on(is_chosen, word_of):
    result = is_chosen.copy()
    for place in range(1, word_of.shape[1]):
        same = word_of[:, place] == word_of[:, place - 1]
        result[:, place] |= result[:, place - 1] & same
    return result


def words_with_special_tokens(is_chosen, word_of):
    return whole_words(is_chosen, word_of) | (word_of < 0)


def words_chosen_in_place(is_chosen, word_of):
    is_chosen[:] = whole_words(is_chosen, word_of)
    return is_chosen


class Head(nn.Cell):
    has_gelu, has_norm, has_bias, gathers = True, True, True, "rows"

    def __init__(self, d_model, vocab_size):
        super().__init__()
        self.transform = Linear(d_model, d_model)
        self.norm = LayerNorm(d_model)
        self.bias = Parameter(ops.zeros(vocab_size), name="bias")

    def construct(self, hidden, places, words):
        if self.gathers == "rows":
            index = ops.broadcast_to(places.expand_dims(-1), (*places.shape, hidden.shape[-1]))
            hidden = ops.gather_elements(hidden, 1, index)
        elif self.gathers == "first":
            hidden = ops.gather(hidden, places[0], 1)
        x = self.transform(hidden)
        x = gelu(x) if self.has_gelu else x
        x = self.norm(x) if self.has_norm else x
        logits = ops.matmul(x, words.T)
        return logits + self.bias if self.has_bias else logits


class HeadOfDense(nn.Cell):
    """With MindSpore's own layers, whose bias begins at random numbers."""

    def __init__(self, d_model, vocab_size):
        super().__init__()
        self.transform = nn.Dense(d_model, d_model, activation=nn.GELU(approximate=False))
        self.norm = nn.LayerNorm((d_model,))
        self.bias = Parameter(ops.zeros(vocab_size), name="bias")

    def construct(self, hidden, places, words):
        asked = ops.stack([hidden[row][places[row]] for row in range(len(hidden))])
        return ops.matmul(self.norm(self.transform(asked)), words.T) + self.bias


class HeadWithoutGelu(Head):
    has_gelu = False


class HeadWithoutNorm(Head):
    has_norm = False


class HeadThatForgetsItsBias(Head):
    has_bias = False


class HeadOfAllPlaces(Head):
    gathers = "none"


class HeadOfTheFirstRowsPlaces(Head):
    gathers = "first"


class HeadWithATable(Head):
    def __init__(self, d_model, vocab_size):
        super().__init__(d_model, vocab_size)
        self.table = Parameter(ops.ones((vocab_size, d_model)), name="table")


class HeadWithoutADenseLayer(nn.Cell):
    def __init__(self, d_model, vocab_size):
        super().__init__()
        self.bias = Parameter(ops.zeros(vocab_size), name="bias")

    def construct(self, hidden, places, words):
        return hidden


def one_blank_each(ids, mask_id, special_ids):
    rows = []
    for place, token in enumerate(ids):
        if token not in special_ids:
            rows.append([*ids[:place], mask_id, *ids[place + 1 :]])
    return np.array(rows)


def one_blank_at_every_place(ids, mask_id, special_ids):
    rows = np.tile(ids, (len(ids), 1))
    np.fill_diagonal(rows, mask_id)
    return rows


def growing_blanks(ids, mask_id, special_ids):
    row, rows = list(ids), []
    for place, token in enumerate(ids):
        if token not in special_ids:
            row[place] = mask_id
            rows.append(list(row))
    return np.array(rows)


def is_more_than_chance(share_1, share_2, n):
    errors = share_1 * (1 - share_1) / n + share_2 * (1 - share_2) / n
    return abs(share_1 - share_2) > 2 * math.sqrt(errors)


def is_more_than_one_error(share_1, share_2, n):
    errors = share_1 * (1 - share_1) / n + share_2 * (1 - share_2) / n
    return abs(share_1 - share_2) > math.sqrt(errors)


def is_more_without_sign(share_1, share_2, n):
    errors = share_1 * (1 - share_1) / n + share_2 * (1 - share_2) / n
    return share_1 - share_2 > 2 * math.sqrt(errors)


def every_such_word_blank(ids, mask_id, special_ids):
    ids = np.array(ids)
    return np.array(
        [np.where(ids == token, mask_id, ids) for token in ids if token not in special_ids]
    )


def is_more_than_the_sum_of_errors(share_1, share_2, n):
    errors = [math.sqrt(share * (1 - share) / n) for share in (share_1, share_2)]
    return abs(share_1 - share_2) > 2 * sum(errors)


def is_more_by_rule_of_thumb(share_1, share_2, n):
    return abs(share_1 - share_2) > 0.03 and n >= 300


def is_more_by_a_mean_error(share_1, share_2, n):
    mean = (share_1 + share_2) / 2
    return abs(share_1 - share_2) > 2 * math.sqrt(mean * (1 - mean) / n)


def is_more_by_the_larger_error(share_1, share_2, n):
    errors = [math.sqrt(share * (1 - share) / n) for share in (share_1, share_2)]
    return abs(share_1 - share_2) > 2 * max(errors)


RIGHT = {
    "8.1": (pair,),
    "8.2": (whole_words,),
    "8.3": (Head,),
    "8.4": (one_blank_each,),
    "8.5": (is_more_than_chance,),
}
ALSO_RIGHT = [
    ("8.1", (lambda *sentences: zip(*zip(*pair(*sentences))),)),
    ("8.2", (whole_words_in_a_list,)),
    ("8.3", (HeadOfDense,)),
    ("8.4", (lambda *arguments: iter(one_blank_each(*arguments).tolist()),)),
]
WRONG = {
    "8.1": [(pair_without_the_last_end,), (pair_with_the_first_end_in_b,), (ids_alone,)],
    "8.2": [
        (lambda is_chosen, word_of: is_chosen,),
        (words_of_all_rows,),
        (words_from_the_chosen_on,),
        (words_with_special_tokens,),
        (words_chosen_in_place,),
    ],
    "8.3": [
        (HeadWithoutGelu,),
        (HeadWithoutNorm,),
        (HeadThatForgetsItsBias,),
        (HeadOfAllPlaces,),
        (HeadOfTheFirstRowsPlaces,),
        (HeadWithATable,),
        (HeadWithoutADenseLayer,),
    ],
    "8.4": [(one_blank_at_every_place,), (growing_blanks,)],
    "8.5": [
        (is_more_than_one_error,),
        (is_more_without_sign,),
        (is_more_than_the_sum_of_errors,),
        (is_more_by_rule_of_thumb,),
        (is_more_by_a_mean_error,),
        (is_more_by_the_larger_error,),
    ],
}
NAMED = {
    "8.2": [
        ((words_of_all_rows,), "in each row anew"),
        ((words_from_the_chosen_on,), "before the chosen one"),
        ((words_with_special_tokens,), "a special token"),
    ],
    "8.3": [
        ((HeadWithoutGelu,), "GELU"),
        ((HeadWithoutNorm,), "LayerNorm"),
        ((HeadThatForgetsItsBias,), "bias c"),
        ((HeadOfAllPlaces,), "gather"),
        ((HeadOfTheFirstRowsPlaces,), "its own places"),
    ],
    "8.4": [
        ((every_such_word_blank,), "a word that stands twice is hidden twice"),
        ((growing_blanks,), "a fresh copy"),
    ],
}
