"""Right and wrong answers to the exercises of lesson 02."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops

from step_llm.nn.attention import (
    merge_heads,
    repeat_heads,
    scaled_dot_product_attention,
    split_heads,
)
from step_llm.nn.masks import LOWEST, causal_mask, combine_masks, padding_mask

WEIGHTS = [0.076, 0.076, 0.564, 0.076, 0.207]


def attention(query, key, value, temperature):
    return scaled_dot_product_attention(query / temperature, key, value)


def attention_multiplied(query, key, value, temperature):
    return scaled_dot_product_attention(query * temperature, key, value)


def attention_without_scale(query, key, value, temperature):
    weights = ops.softmax(ops.matmul(query, key.swapaxes(-1, -2)) / temperature, -1)
    return ops.matmul(weights, value), weights


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


def multi_query_of_the_library(query, key, value):
    shape = (query.shape[0], -1, query.shape[-1])
    return scaled_dot_product_attention(query.reshape(shape), key, value)


class Grouped(nn.Cell):
    """Right; the classes below change one thing each."""

    order = staticmethod(repeat_heads)
    width = 1.0  # the factor on 1/√Dk
    bias = True

    def __init__(self, d_model, num_heads, num_kv_heads=None):
        super().__init__()
        self.num_heads = num_heads
        self.kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        narrow = d_model // num_heads * self.kv_heads
        self.query_projection = nn.Dense(d_model, d_model, has_bias=self.bias)
        self.key_projection = nn.Dense(d_model, narrow, has_bias=self.bias)
        self.value_projection = nn.Dense(d_model, narrow, has_bias=self.bias)
        self.output_projection = nn.Dense(d_model, d_model, has_bias=self.bias)

    def cut(self, x, num_heads):
        return split_heads(x, num_heads)

    def construct(self, query, key, value, mask=None):
        groups = self.num_heads // self.kv_heads
        q = self.cut(self.query_projection(query), self.num_heads)
        k = self.order(self.cut(self.key_projection(key), self.kv_heads), groups)
        v = self.order(self.cut(self.value_projection(value), self.kv_heads), groups)
        output, _ = scaled_dot_product_attention(q * self.width, k, v, self.seen(mask))
        return self.output_projection(merge_heads(output))

    def seen(self, mask):
        return mask


class GroupedInTurn(Grouped):
    order = staticmethod(lambda x, groups: ops.tile(x, (1, groups, 1, 1)))


class GroupedWithoutScale(Grouped):
    def construct(self, query, key, value, mask=None):
        self.width = (query.shape[-1] // self.num_heads) ** 0.5
        return super().construct(query, key, value, mask)


class GroupedWithoutBias(Grouped):
    bias = False


class GroupedWithoutMask(Grouped):
    def seen(self, mask):
        return None


class GroupedAndCut(Grouped):
    """No gradient reaches the projection of the query."""

    def cut(self, x, num_heads):
        return split_heads(ops.stop_gradient(x), num_heads)


class GroupedOfFullWidth(Grouped):
    def __init__(self, d_model, num_heads, num_kv_heads):
        super().__init__(d_model, num_heads)


class MixedPlaces(Grouped):
    """The cell of exercise 2.8, with the scale mended."""

    def cut(self, x, num_heads):
        batch, length, width = x.shape
        return x.reshape((batch, num_heads, length, width // num_heads))


class ScaledByTheModel(Grouped):
    """The same cell, with its heads mended."""

    def construct(self, query, key, value, mask):
        self.width = self.num_heads**-0.5
        return super().construct(query, key, value, mask)


class StillStrange(MixedPlaces, ScaledByTheModel):
    pass


def mended(query, key, value, mask, axis=-1, invert=True, scale=True):
    scores = ops.matmul(query, key.swapaxes(-1, -2)) / (query.shape[-1] ** 0.5 if scale else 1.0)
    weights = ops.softmax(
        ops.masked_fill(scores, ops.logical_not(mask) if invert else mask, LOWEST), axis
    )
    return ops.matmul(weights, value), weights


def strange(query, key, value, mask):
    return mended(query, key, value, mask, axis=1, invert=False)


def mended_axis_alone(query, key, value, mask):
    return mended(query, key, value, mask, invert=False)


def mended_mask_alone(query, key, value, mask):
    return mended(query, key, value, mask, axis=1)


def mended_to_the_wrong_axis(query, key, value, mask):
    return mended(query, key, value, mask, axis=2)


def mended_and_scale_lost(query, key, value, mask):
    return mended(query, key, value, mask, scale=False)


def mended_without_any_mask(query, key, value, mask):
    return mended(query, key, value, ops.ones_like(mask))


def mended_always_causal(query, key, value, mask):
    return mended(query, key, value, causal_mask(query.shape[2]))


RIGHT = {
    "2.1": (WEIGHTS,),
    "2.2": (attention,),
    "2.3": (local,),
    "2.4": (masks,),
    "2.5": (multi_query,),
    "2.6": (Grouped,),
    "2.7": (mended,),
    "2.8": (Grouped,),
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
    "2.6": [
        (GroupedInTurn,),
        (GroupedWithoutScale,),
        (GroupedWithoutBias,),
        (GroupedWithoutMask,),
        (GroupedAndCut,),
        (GroupedOfFullWidth,),
        (multi_query,),
    ],
    "2.7": [
        (strange,),
        (mended_axis_alone,),
        (mended_mask_alone,),
        (mended_to_the_wrong_axis,),
        (mended_and_scale_lost,),
        (mended_without_any_mask,),
        (mended_always_causal,),
    ],
    "2.8": [(StillStrange,), (MixedPlaces,), (ScaledByTheModel,), (GroupedAndCut,)],
}
# A part of what is said about a mistake.
NAMED = {
    "2.3": [((local_opposite,), "inverted")],
    "2.4": [((masks_opposite,), "encoder mask is inverted")],
    "2.5": [
        ((multi_query_and_weights,), "expected one Tensor, the output"),
        ((multi_query_of_the_library,), "pair of output and weights"),
    ],
    "2.6": [
        ((GroupedInTurn,), "you deal them out"),
        ((GroupedWithoutScale,), "the factor 1/√Dk is missing"),
        ((GroupedWithoutBias,), "there is no weight query_projection.bias"),
        ((GroupedWithoutMask,), "Is the mask used?"),
        ((GroupedAndCut,), "the gradient of query_projection.weight"),
        ((GroupedOfFullWidth,), "key_projection.weight has shape (12, 12)"),
    ],
    "2.7": [
        ((strange,), "Added up over the heads they are 1"),
        ((mended_axis_alone,), "and none to those that it allows"),
        ((mended_mask_alone,), "Added up over the heads they are 1"),
        ((mended_and_scale_lost,), "it was right before"),
    ],
    "2.8": [
        ((StillStrange,), "the mask is causal"),
        ((MixedPlaces,), "the mask is causal"),
        ((ScaledByTheModel,), "too even"),
    ],
}
