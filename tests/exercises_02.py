"""Right and wrong answers to the exercises of lesson 02."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, ops

from step_llm.nn.attention import scaled_dot_product_attention
from step_llm.nn.masks import causal_mask, combine_masks, padding_mask

WEIGHTS = [0.076, 0.076, 0.564, 0.076, 0.207]


def attention(query, key, value, temperature):
    return scaled_dot_product_attention(query / temperature, key, value)


def attention_multiplied(query, key, value, temperature):
    return scaled_dot_product_attention(query * temperature, key, value)


def attention_without_scale(query, key, value, temperature):
    scores = ops.BatchMatMul(transpose_b=True)(query, key) / temperature
    weights = ops.softmax(scores, -1)
    return ops.BatchMatMul()(weights, value), weights


def attention_without_temperature(query, key, value, temperature):
    return scaled_dot_product_attention(query, key, value)


def attention_output_alone(query, key, value, temperature):
    return attention(query, key, value, temperature)[0]


def local(length, window):
    t, s = np.arange(length)[:, None], np.arange(length)[None, :]
    return Tensor(((s <= t) & (s > t - window))[None, None])


def local_one_too_wide(length, window):
    return local(length, window + 1)


def local_both_sides(length, window):
    t, s = np.arange(length)[:, None], np.arange(length)[None, :]
    return Tensor((abs(t - s) < window)[None, None])


def local_opposite(length, window):
    return ops.logical_not(local(length, window))


def local_of_numbers(length, window):
    return ops.cast(local(length, window), Tensor(0.0).dtype)


def local_without_itself(length, window):
    t, s = np.arange(length)[:, None], np.arange(length)[None, :]
    return Tensor(((s < t) & (s >= t - window))[None, None])


def local_of_two_axes(length, window):
    return local(length, window).reshape((length, length))


def decoder_mask(target):
    return combine_masks(padding_mask(target), causal_mask(target.shape[1]))


def masks(source, target):
    return padding_mask(source), decoder_mask(target), padding_mask(source)


def masks_cross_from_target(source, target):
    return padding_mask(source), decoder_mask(target), padding_mask(target)


def masks_decoder_or_for_and(source, target):
    real = padding_mask(source)
    return real, ops.logical_or(causal_mask(target.shape[1]), padding_mask(target)), real


def masks_decoder_causal_alone(source, target):
    return padding_mask(source), causal_mask(target.shape[1]), padding_mask(source)


def masks_decoder_without_causal(source, target):
    return padding_mask(source), padding_mask(target), padding_mask(source)


def masks_encoder_causal(source, target):
    return decoder_mask(source), decoder_mask(target), padding_mask(source)


def masks_of_the_cross_all_true(source, target):
    everything = ops.ones_like(padding_mask(source))
    return padding_mask(source), decoder_mask(target), everything


def multi_query(query, key, value):
    batch, heads, targets, d_key = query.shape
    queries = query.reshape((batch, heads * targets, d_key))
    output, _ = scaled_dot_product_attention(queries, key, value)
    return output.reshape((batch, heads, targets, value.shape[-1]))


def multi_query_axes_swapped(query, key, value):
    batch, heads, targets, d_key = query.shape
    queries = query.transpose((0, 2, 1, 3)).reshape((batch, heads * targets, d_key))
    output, _ = scaled_dot_product_attention(queries, key, value)
    return output.reshape((batch, heads, targets, value.shape[-1]))


def multi_query_without_scale(query, key, value):
    return multi_query(query * query.shape[-1] ** 0.5, key, value)


def multi_query_first_head_alone(query, key, value):
    return scaled_dot_product_attention(query[:, 0], key, value)[0]


def masks_opposite(source, target):
    return tuple(ops.logical_not(mask) for mask in masks(source, target))


def multi_query_and_weights(query, key, value):
    return multi_query(query, key, value), query


RIGHT = {
    "2.1": (WEIGHTS,),
    "2.2": (attention,),
    "2.3": (local,),
    "2.4": (masks,),
    "2.5": (multi_query,),
}
WRONG = {
    "2.1": [
        ([0.015, 0.015, 0.852, 0.015, 0.115],),  # no scale
        ([0, 0, 2, 0, 1],),  # scaled scores
        ([0, 0, 4, 0, 2],),  # dot products
        ([1, 1, 7.39, 1, 2.72],),  # not normalised
        ([0, 0, 0.67, 0, 0.33],),  # no exponential
        ([0.2, 0.2, 0.2, 0.2, 0.2],),
        (sorted(WEIGHTS),),
        (WEIGHTS[:4],),
    ],
    "2.2": [
        (attention_multiplied,),
        (attention_without_scale,),
        (attention_without_temperature,),
        (attention_output_alone,),
    ],
    "2.3": [
        (local_one_too_wide,),
        (local_both_sides,),
        (local_opposite,),
        (local_of_numbers,),
        (local_without_itself,),
        (local_of_two_axes,),
    ],
    "2.4": [
        (masks_cross_from_target,),
        (masks_decoder_or_for_and,),
        (masks_decoder_causal_alone,),
        (masks_decoder_without_causal,),
        (masks_encoder_causal,),
        (masks_of_the_cross_all_true,),
    ],
    "2.5": [
        (multi_query_axes_swapped,),
        (multi_query_without_scale,),
        (multi_query_first_head_alone,),
    ],
}
# A part of what is said about a mistake.
NAMED = {
    "2.4": [((masks_opposite,), "encoder mask is the opposite")],
    "2.5": [((multi_query_and_weights,), "expected one Tensor")],
}
