"""Lesson 04: a right answer to each exercise, and answers that must be refused."""

from __future__ import annotations

import numpy as np
from mindspore import nn, ops

from step_llm import FeedForward, MultiHeadAttention, combine_masks


def silent(x, weight, bias):
    return float(((ops.matmul(x, weight.T) + bias).asnumpy() <= 0).mean())


def active(x, weight, bias):
    return float(((ops.matmul(x, weight.T) + bias).asnumpy() > 0).mean())


def silent_without_bias(x, weight, bias):
    return float((ops.matmul(x, weight.T).asnumpy() <= 0).mean())


def silent_transposed(x, weight, bias):
    return float(((ops.matmul(x, weight) + bias).asnumpy() <= 0).mean())


def rms_norm(x, gamma, epsilon=1e-5):
    return x * ops.rsqrt(ops.mean(x * x, -1, True) + epsilon) * gamma


def rms_with_mean_removed(x, gamma, epsilon=1e-5):
    return rms_norm(x - ops.mean(x, -1, True), gamma, epsilon)


def rms_without_root(x, gamma, epsilon=1e-5):
    return x / (ops.mean(x * x, -1, True) + epsilon) * gamma


def rms_without_gamma(x, gamma, epsilon=1e-5):
    return rms_norm(x, ops.ones_like(gamma), epsilon)


def rms_over_all(x, gamma, epsilon=1e-5):
    return x * ops.rsqrt(ops.mean(x * x) + epsilon) * gamma


def masked_batch_norm(x, mask, epsilon=1e-5):
    x, mask = x.asnumpy(), mask.asnumpy()
    real = x[mask]  # (tokens, D)
    y = (x - real.mean(0)) / np.sqrt(real.var(0) + epsilon)
    return y * mask[:, :, None]


def batch_norm_with_padding(x, mask, epsilon=1e-5):
    x, mask = x.asnumpy(), mask.asnumpy()
    y = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + epsilon)
    return y * mask[:, :, None]


def masked_batch_norm_divided_by_all(x, mask, epsilon=1e-5):
    x, real = x.asnumpy(), mask.asnumpy()[:, :, None]
    centred = (x - (x * real).mean((0, 1))) * real
    return centred / np.sqrt((centred**2).mean((0, 1)) + epsilon)


def masked_batch_norm_padding_left(x, mask, epsilon=1e-5):
    x, mask = x.asnumpy(), mask.asnumpy()
    real = x[mask]
    return (x - real.mean(0)) / np.sqrt(real.var(0) + epsilon)


def masked_layer_norm(x, mask, epsilon=1e-5):
    x, mask = x.asnumpy(), mask.asnumpy()
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return y * mask[:, :, None]


class PostNorm(nn.Cell):
    def __init__(self, attention, feed_forward, d_model):
        super().__init__()
        self.attention = attention
        self.feed_forward = feed_forward
        self.attention_norm = nn.LayerNorm((d_model,), epsilon=1e-5)
        self.feed_forward_norm = nn.LayerNorm((d_model,), epsilon=1e-5)

    def construct(self, x, mask):
        x = self.attention_norm(x + self.attention(x, x, x, mask))
        return self.feed_forward_norm(x + self.feed_forward(x))


class PreNorm(PostNorm):
    def construct(self, x, mask):
        h = self.attention_norm(x)
        x = x + self.attention(h, h, h, mask)
        return x + self.feed_forward(self.feed_forward_norm(x))


class NormOfTheOutput(PostNorm):
    def construct(self, x, mask):
        x = x + self.attention_norm(self.attention(x, x, x, mask))
        return x + self.feed_forward_norm(self.feed_forward(x))


class PostNormWithoutSums(PostNorm):
    def construct(self, x, mask):
        x = self.attention_norm(self.attention(x, x, x, mask))
        return self.feed_forward_norm(self.feed_forward(x))


class PostNormWithoutMask(PostNorm):
    def construct(self, x, mask):
        return super().construct(x, None)


class PostNormWithOneNorm(PostNorm):
    def __init__(self, attention, feed_forward, d_model):
        super().__init__(attention, feed_forward, d_model)
        self.feed_forward_norm = self.attention_norm


class PostNormOfOneSubLayer(PostNorm):
    def construct(self, x, mask):
        return self.attention_norm(x + self.attention(x, x, x, mask))


class Layer(nn.Cell):
    """The decoder layer of the lesson."""

    def __init__(self, d_model, num_heads, d_ff, dropout):
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, num_heads)
        self.cross_attention = MultiHeadAttention(d_model, num_heads)
        self.feed_forward = FeedForward(d_model, d_ff)
        self.self_norm = nn.LayerNorm((d_model,), epsilon=1e-5)
        self.cross_norm = nn.LayerNorm((d_model,), epsilon=1e-5)
        self.feed_forward_norm = nn.LayerNorm((d_model,), epsilon=1e-5)

    def construct(self, x, memory, self_mask, memory_mask):
        h = self.self_norm(x)
        x = x + self.self_attention(h, h, h, self_mask)
        x = x + self.cross_attention(self.cross_norm(x), memory, memory, memory_mask)
        return x + self.feed_forward(self.feed_forward_norm(x))


class BothBugs(Layer):
    def construct(self, x, memory, self_mask, memory_mask):
        x = self.self_norm(x)
        x = x + self.self_attention(x, x, x, self_mask)
        x = self.cross_norm(x)
        x = x + self.cross_attention(x, memory, memory, self_mask)
        x = self.feed_forward_norm(x)
        return x + self.feed_forward(x)


class WrongMask(Layer):
    def construct(self, x, memory, self_mask, memory_mask):
        return super().construct(x, memory, self_mask, self_mask)


class WrongLine(BothBugs):
    def construct(self, x, memory, self_mask, memory_mask):
        x = self.self_norm(x)
        x = x + self.self_attention(x, x, x, self_mask)
        x = x + self.cross_attention(self.cross_norm(x), memory, memory, memory_mask)
        return x + self.feed_forward(self.feed_forward_norm(x))


class NotCausal(Layer):
    def construct(self, x, memory, self_mask, memory_mask):
        return super().construct(x, memory, None, memory_mask)


class BothMasks(Layer):
    def construct(self, x, memory, self_mask, memory_mask):
        return super().construct(x, memory, self_mask, combine_masks(self_mask, memory_mask))


def gpt_count(vocab_size, d_model, d_ff, layers, max_length):
    attention = 4 * (d_model * d_model + d_model)
    feed_forward = 2 * d_model * d_ff + d_ff + d_model
    norm = 2 * d_model
    embeddings = (vocab_size + max_length) * d_model
    return embeddings + layers * (attention + feed_forward + 2 * norm) + norm


def gpt_without_biases(vocab_size, d_model, d_ff, layers, max_length):
    layer = 4 * d_model * d_model + 2 * d_model * d_ff + 4 * d_model
    return (vocab_size + max_length) * d_model + layers * layer + 2 * d_model


def gpt_with_cross_attention(vocab_size, d_model, d_ff, layers, max_length):
    extra = layers * (4 * (d_model * d_model + d_model) + 2 * d_model)
    return gpt_count(vocab_size, d_model, d_ff, layers, max_length) + extra


def gpt_untied(vocab_size, d_model, d_ff, layers, max_length):
    return gpt_count(vocab_size, d_model, d_ff, layers, max_length) + vocab_size * d_model


def gpt_without_final_norm(vocab_size, d_model, d_ff, layers, max_length):
    return gpt_count(vocab_size, d_model, d_ff, layers, max_length) - 2 * d_model


def gpt_without_second_bias(vocab_size, d_model, d_ff, layers, max_length):
    return gpt_count(vocab_size, d_model, d_ff, layers, max_length) - layers * d_model


def gpt_without_first_bias(vocab_size, d_model, d_ff, layers, max_length):
    return gpt_count(vocab_size, d_model, d_ff, layers, max_length) - layers * d_ff


RIGHT = {
    "4.1": (silent,),
    "4.2": (rms_norm,),
    "4.3": (masked_batch_norm,),
    "4.4": (PostNorm,),
    "4.5": (Layer,),
    "4.6": (gpt_count,),
}
WRONG = {
    "4.1": [(active,), (silent_without_bias,), (silent_transposed,), (0.5,)],
    "4.2": [
        (rms_with_mean_removed,),
        (rms_without_root,),
        (rms_without_gamma,),
        (rms_over_all,),
    ],
    "4.3": [
        (batch_norm_with_padding,),
        (masked_batch_norm_divided_by_all,),
        (masked_batch_norm_padding_left,),
        (masked_layer_norm,),
    ],
    "4.4": [
        (PreNorm,),
        (NormOfTheOutput,),
        (PostNormWithoutSums,),
        (PostNormWithoutMask,),
        (PostNormWithOneNorm,),
        (PostNormOfOneSubLayer,),
    ],
    "4.5": [(BothBugs,), (WrongMask,), (WrongLine,), (NotCausal,), (BothMasks,)],
    "4.6": [
        (gpt_without_biases,),
        (gpt_with_cross_attention,),
        (gpt_untied,),
        (gpt_without_final_norm,),
    ],
}
NAMED = {
    "4.4": [
        ((PreNorm,), "this is pre-norm"),
        ((NormOfTheOutput,), "acts on the sub-layer's output"),
        ((PostNormWithoutSums,), "the sums are missing"),
        ((PostNormWithoutMask,), "the mask is missing"),
        ((PostNormWithOneNorm,), "every sub-layer with its own"),
    ],
    "4.5": [
        ((BothBugs,), "which mask does cross-attention get?"),
        ((WrongMask,), "which mask does cross-attention get?"),
        ((WrongLine,), "from before the norm"),
        ((NotCausal,), "which mask does self-attention get?"),
        ((BothMasks,), "the whole source is there"),
    ],
    "4.6": [
        ((gpt_without_final_norm,), "the LayerNorm at the end is missing"),
        ((gpt_without_second_bias,), "bias after the second matrix"),
        ((gpt_without_first_bias,), "bias after the first matrix"),
    ],
}
