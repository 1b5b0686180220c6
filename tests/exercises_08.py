"""Right and wrong answers to the exercises of lesson 08."""

from __future__ import annotations

import math

import numpy as np


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


def blanks(ids, is_chosen, fate, random_ids, mask_id):
    inputs = np.where(is_chosen & (fate < 0.8), mask_id, ids)
    return np.where(is_chosen & (fate >= 0.8) & (fate < 0.9), random_ids, inputs)


def all_blanks(ids, is_chosen, fate, random_ids, mask_id):
    return np.where(is_chosen, mask_id, ids)


def blanks_everywhere(ids, is_chosen, fate, random_ids, mask_id):
    inputs = np.where(fate < 0.8, mask_id, ids)
    return np.where((fate >= 0.8) & (fate < 0.9), random_ids, inputs)


def blanks_without_unchanged(ids, is_chosen, fate, random_ids, mask_id):
    inputs = np.where(is_chosen & (fate < 0.8), mask_id, ids)
    return np.where(is_chosen & (fate >= 0.8), random_ids, inputs)


def blanks_in_place(ids, is_chosen, fate, random_ids, mask_id):
    ids[is_chosen & (fate < 0.8)] = mask_id
    is_random = is_chosen & (fate >= 0.8) & (fate < 0.9)
    ids[is_random] = random_ids[is_random]
    return ids


def picked(log_p, labels):
    return np.take_along_axis(log_p, labels[..., None], -1)[..., 0]


def loss(log_p, labels, pad_id):
    return -picked(log_p, labels)[labels != pad_id].mean()


def loss_of_all_places(log_p, labels, pad_id):
    return -picked(log_p, labels).mean()


def summed_loss(log_p, labels, pad_id):
    return -picked(log_p, labels)[labels != pad_id].sum()


def loss_over_all_places(log_p, labels, pad_id):
    return -(picked(log_p, labels) * (labels != pad_id)).mean()


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


RIGHT = {
    "8.1": (pair,),
    "8.2": (blanks,),
    "8.3": (loss,),
    "8.4": (one_blank_each,),
    "8.5": (is_more_than_chance,),
}
WRONG = {
    "8.1": [(pair_without_the_last_end,), (pair_with_the_first_end_in_b,), (ids_alone,)],
    "8.2": [(all_blanks,), (blanks_everywhere,), (blanks_without_unchanged,), (blanks_in_place,)],
    "8.3": [(loss_of_all_places,), (summed_loss,), (loss_over_all_places,)],
    "8.4": [(one_blank_at_every_place,), (growing_blanks,)],
    "8.5": [
        (is_more_than_one_error,),
        (is_more_without_sign,),
        (is_more_than_the_sum_of_errors,),
        (is_more_by_rule_of_thumb,),
    ],
}
NAMED = {
    "8.4": [
        ((every_such_word_blank,), "a word that stands twice is hidden twice"),
        ((growing_blanks,), "a fresh copy"),
    ],
}
