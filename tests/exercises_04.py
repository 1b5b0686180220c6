"""Lesson 04: a right answer to each exercise, and answers that must be refused."""

from __future__ import annotations

import numpy as np
from mindspore import ops


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


def pre_norm(layer, x, mask):
    h = layer.attention_residual.norm(x)
    x = x + layer.self_attention(h, h, h, mask)
    return x + layer.feed_forward(layer.feed_forward_residual.norm(x))


def post_norm(layer, x, mask):
    x = layer.attention_residual.norm(x + layer.self_attention(x, x, x, mask))
    return layer.feed_forward_residual.norm(x + layer.feed_forward(x))


def pre_norm_residual_from_norm(layer, x, mask):
    x = layer.attention_residual.norm(x)
    x = x + layer.self_attention(x, x, x, mask)
    x = layer.feed_forward_residual.norm(x)
    return x + layer.feed_forward(x)


def pre_norm_query_alone(layer, x, mask):
    x = x + layer.self_attention(layer.attention_residual.norm(x), x, x, mask)
    return x + layer.feed_forward(layer.feed_forward_residual.norm(x))


def pre_norm_without_mask(layer, x, mask):
    return pre_norm(layer, x, None)


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
    "4.4": (pre_norm,),
    "4.5": (gpt_count,),
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
        (post_norm,),
        (pre_norm_residual_from_norm,),
        (pre_norm_query_alone,),
        (pre_norm_without_mask,),
    ],
    "4.5": [
        (gpt_without_biases,),
        (gpt_with_cross_attention,),
        (gpt_untied,),
        (gpt_without_final_norm,),
    ],
}
NAMED = {
    "4.4": [((lambda layer, x, mask: layer(x, mask),), "expected one Tensor")],
    "4.5": [
        ((gpt_without_final_norm,), "the LayerNorm at the end is missing"),
        ((gpt_without_second_bias,), "bias after the second matrix"),
        ((gpt_without_first_bias,), "bias after the first matrix"),
    ],
}
