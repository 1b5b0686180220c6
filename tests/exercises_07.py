"""Right and wrong answers to the exercises of lesson 07."""

from __future__ import annotations

import math

import numpy as np
from mindspore import nn, ops

from step_llm.nn.masks import causal_mask


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


class Block(nn.Cell):
    is_causal, is_scaled, is_pre, is_one_head, activation = True, True, True, False, ops.gelu

    def __init__(self, d_model, num_heads, d_ff):
        super().__init__()
        self.num_heads = 1 if self.is_one_head else num_heads
        self.norm_1, self.norm_2 = nn.LayerNorm((d_model,)), nn.LayerNorm((d_model,))
        self.query, self.key = nn.Dense(d_model, d_model), nn.Dense(d_model, d_model)
        self.value, self.output = nn.Dense(d_model, d_model), nn.Dense(d_model, d_model)
        self.inner, self.outer = nn.Dense(d_model, d_ff), nn.Dense(d_ff, d_model)

    def heads(self, x):
        batch, length, width = x.shape
        x = x.reshape((batch, length, self.num_heads, width // self.num_heads))
        return x.transpose((0, 2, 1, 3))

    def attend(self, x):
        query, key, value = (self.heads(part(x)) for part in (self.query, self.key, self.value))
        scores = ops.matmul(query, key.transpose((0, 1, 3, 2)))
        if self.is_scaled:
            scores = scores / math.sqrt(query.shape[-1])
        if self.is_causal:
            scores = ops.masked_fill(scores, ~causal_mask(x.shape[1]), -1e9)
        mixed = ops.matmul(ops.softmax(scores, -1), value)
        return self.output(mixed.transpose((0, 2, 1, 3)).reshape(x.shape))

    def construct(self, x):
        if not self.is_pre:
            x = self.norm_1(x + self.attend(x))
            return self.norm_2(x + self.outer(type(self).activation(self.inner(x))))
        x = x + self.attend(self.norm_1(x))
        return x + self.outer(type(self).activation(self.inner(self.norm_2(x))))


class BlockWithoutMask(Block):
    is_causal = False


class BlockWithoutScale(Block):
    is_scaled = False


class PostNormBlock(Block):
    is_pre = False


class BlockOfOneHead(Block):
    is_one_head = True


class BlockWithRelu(Block):
    activation = ops.relu


class BlockWithoutSums(Block):
    def construct(self, x):
        x = self.attend(self.norm_1(x))
        return self.outer(ops.gelu(self.inner(self.norm_2(x))))


class BlockOfOtherNames(nn.Cell):
    def __init__(self, d_model, num_heads, d_ff):
        super().__init__()
        self.attention = nn.Dense(d_model, d_model)

    def construct(self, x):
        return x + self.attention(x)


class BlockWithFrozenKeys(Block):
    def heads(self, x):
        return ops.stop_gradient(super().heads(x))


def batch(texts, of_inputs=slice(None, -1), of_labels=slice(1, None), end=2):
    length = max(map(len, texts)) + 2
    ids = np.zeros((len(texts), length), np.int32)
    for row, text in zip(ids, texts):
        row[: len(text) + 2] = [1, *text, end]
    return ids[:, of_inputs], ids[:, of_labels]


def batch_unshifted(texts):
    return batch(texts, of_labels=slice(None, -1))


def batch_shifted_twice(texts):
    inputs, labels = batch(texts)
    return inputs, np.pad(labels, ((0, 0), (0, 1)))[:, 1:]


def batch_turned_round(texts):
    inputs, _ = batch(texts)
    return inputs, np.pad(inputs, ((0, 0), (1, 0)))[:, :-1]


def batch_without_end(texts):
    return batch(texts, end=0)


def batch_padded_with_ends(texts):
    inputs, labels = batch(texts)
    return inputs, np.where(labels == 0, 2, labels)


def causal_attention(query, key, value, hidden=lambda t, s: s > t, axis=-1):
    scores = ops.matmul(query, key.transpose((0, 1, 3, 2))) / math.sqrt(query.shape[-1])
    place = ops.arange(query.shape[2])
    scores = ops.masked_fill(scores, hidden(place.reshape((-1, 1)), place.reshape((1, -1))), -1e9)
    return ops.matmul(ops.softmax(scores, axis), value)


def attention_turned_round(query, key, value):
    return causal_attention(query, key, value, lambda t, s: s <= t)


def attention_without_itself(query, key, value):
    return causal_attention(query, key, value, lambda t, s: s >= t)


def attention_to_the_last(query, key, value):
    return causal_attention(query, key, value, lambda t, s: s != t)


def attention_without_mask(query, key, value):
    return causal_attention(query, key, value, lambda t, s: s + t < 0)


def attention_over_queries(query, key, value):
    return causal_attention(query, key, value, axis=-2)


RIGHT = {
    "7.1": (loss,),
    "7.2": (min_p,),
    "7.3": (cache_bytes,),
    "7.4": (split,),
    "7.5": (Block,),
    "7.6": (batch,),
    "7.7": (causal_attention,),
}

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
    "7.5": [
        (BlockWithoutMask,),
        (BlockWithoutScale,),
        (PostNormBlock,),
        (BlockOfOneHead,),
        (BlockWithRelu,),
        (BlockWithoutSums,),
        (BlockOfOtherNames,),
        (BlockWithFrozenKeys,),
    ],
    "7.6": [
        (batch_unshifted,),
        (batch_shifted_twice,),
        (batch_turned_round,),
        (batch_without_end,),
        (batch_padded_with_ends,),
    ],
    "7.7": [
        (attention_turned_round,),
        (attention_without_itself,),
        (attention_to_the_last,),
        (attention_without_mask,),
        (attention_over_queries,),
    ],
}
ALSO_RIGHT = [("7.4", (split_lazily,))]
NAMED = {
    "7.1": [
        ((loss_shifted_again,), "shift nothing"),
        ((loss_over_positions,), "over the vocabulary"),
    ],
    "7.5": [
        ((BlockWithoutMask,), "causal mask is missing"),
        ((BlockWithoutScale,), "√Dk"),
        ((PostNormBlock,), "post-norm"),
        ((BlockOfOneHead,), "one wide head"),
        ((BlockWithRelu,), "not ReLU"),
        ((BlockWithoutSums,), "residual sums are missing"),
        ((BlockOfOtherNames,), "self.query"),
        ((BlockWithFrozenKeys,), "has no gradient"),
    ],
    "7.6": [
        ((batch_unshifted,), "repeating what it reads"),
        ((batch_shifted_twice,), "two places on"),
        ((batch_turned_round,), "go back"),
        ((batch_without_end,), "the end token is no label"),
        ((batch_padded_with_ends,), "behind the end"),
    ],
    "7.7": [
        ((attention_turned_round,), "those behind it do not"),
        ((attention_without_itself,), "rows before it move"),
        ((attention_to_the_last,), "some have no part"),
        ((attention_without_mask,), "they see what they are to predict"),
        ((attention_over_queries,), "do not sum to 1"),
    ],
}
