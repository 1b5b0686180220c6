"""Checks of lesson 04, Transformer."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor

from step_llm.course.checks.judge import (
    Wrong,
    call,
    call_class,
    expect_close,
    expect_number,
    expect_shape,
    float_tensor,
    recognise,
)


def exercise_1(silent_share):
    """The share of hidden units that ReLU sets to zero."""
    rng = np.random.default_rng(4)
    x, weight = rng.normal(size=(2, 3, 8)), rng.normal(size=(16, 8))
    bias = rng.normal(size=16) + 1.5
    before = x @ weight.T + bias
    got = call(silent_share, float_tensor(x), float_tensor(weight), float_tensor(bias))
    got = expect_number(got, "the share")
    expected = (before <= 0).mean()
    if abs(got - (1 - expected)) < 1e-6:
        raise Wrong("this is the share of the units that speak; the silent ones are the rest")
    if abs(got - (x @ weight.T <= 0).mean()) < 1e-6:
        raise Wrong("the bias is missing: a unit's input is x · weightᵀ + bias")
    hint = "Count where x · weightᵀ + bias is not positive, and divide by the number of all."
    expect_close(got, expected, hint, "the share")
    return "for each token other units speak: this is what makes the network non-linear"


def exercise_2(rms_norm):
    """RMSNorm over the last axis."""
    rng = np.random.default_rng(5)
    x, gamma = rng.normal(1.0, 3.0, (2, 3, 8)), rng.normal(size=8)
    got = expect_shape(call(rms_norm, float_tensor(x), float_tensor(gamma)), x.shape)

    def expected(x, epsilon=1e-5):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon)

    if np.allclose(got, expected(x), atol=1e-3):
        raise Wrong("γ is missing: it scales each feature")
    centred = x - x.mean(-1, keepdims=True)
    if np.allclose(got, expected(centred) * gamma, atol=1e-3):
        raise Wrong("this subtracts the mean, as LayerNorm does; RMSNorm leaves it alone")
    hint = "Divide by the square root of the mean of x², over the last axis; keep that axis."
    expect_close(got, expected(x) * gamma, hint)
    zero = call(rms_norm, float_tensor(np.zeros((1, 1, 8))), float_tensor(gamma))
    expect_close(zero, np.zeros((1, 1, 8)), "For a vector of zeros, ε saves the division.")
    return "it saves a mean and a shift; many large language models use it"


def exercise_3(masked_batch_norm):
    """BatchNorm whose statistics leave the padding out."""
    rng = np.random.default_rng(6)
    x = rng.normal(2.0, 3.0, (3, 5, 4))
    mask = np.arange(5) < np.array([5, 3, 2])[:, None]  # (B, T)
    real = x[mask]
    expected = (x - real.mean(0)) / np.sqrt(real.var(0) + 1e-5) * mask[:, :, None]
    got = call(masked_batch_norm, float_tensor(x), Tensor(mask))
    got = expect_shape(got, x.shape)
    plain = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-5)
    if np.allclose(got[mask], plain[mask], atol=1e-3):
        raise Wrong("the padding is still part of mean and variance")
    if np.allclose(got[mask], expected[mask], atol=1e-3):
        hint = "The real tokens are right; the padding has to be 0 at the end."
    else:
        hint = (
            "For each feature, sum over the real tokens of all sentences and divide by their "
            f"number (here {mask.sum()}, not {mask.size}), for the mean and for the variance."
        )
    expect_close(got, expected, hint, tolerance=1e-3)
    return "the padding is out of it, but a sentence still depends on those beside it"


def exercise_4(post_norm_layer):
    """The encoder layer of the paper as a cell."""
    from step_llm.nn.encoder import EncoderLayer

    rng = np.random.default_rng(7)
    library = EncoderLayer(8, 2, 16, dropout=0.0, norm="post")
    attention, feed_forward = library.self_attention, library.feed_forward
    layer = call_class(post_norm_layer, attention, feed_forward, 8)
    x = float_tensor(rng.normal(1.0, 2.0, (2, 4, 8)))
    mask = Tensor((np.arange(4) < np.array([4, 2])[:, None]).reshape(2, 1, 1, 4))

    def norm(x):
        return library.attention_residual.norm(x)  # all norms are still alike

    def attend(x, mask=mask):
        return attention(x, x, x, mask)

    got = expect_shape(call(layer, x, mask), x.shape)
    pre = x + attend(norm(x))
    inside = x + norm(attend(x))
    without = attend(x)
    recognise(
        got,
        (
            (pre + feed_forward(norm(pre))).asnumpy(),
            "this is pre-norm: in the paper's layer LayerNorm acts on the sum",
        ),
        (
            (inside + norm(feed_forward(inside))).asnumpy(),
            "LayerNorm acts on the sub-layer's output; in the paper's layer it acts on the sum",
        ),
        (norm(feed_forward(norm(without))).asnumpy(), "the sums are missing: add x to each output"),
        (
            library(x)[0].asnumpy(),
            "the mask is missing: give it to attention(query, key, value, mask)",
        ),
        atol=1e-4,
    )
    hint = "Twice: x = LayerNorm(x + sub-layer(x)), first with attention, then with feed_forward."
    expect_close(got, library(x, mask)[0], hint, tolerance=1e-3)
    owned = {id(w) for cell in (attention, feed_forward) for w in cell.get_parameters()}
    norms = sum(w.size for w in layer.get_parameters() if id(w) not in owned)
    if norms != 4 * 8:
        raise Wrong(
            f"your norms have {norms} weights; expected 2 LayerNorms with 2 · 8 each, every "
            "sub-layer with its own"
        )
    weights = float_tensor(rng.normal(size=x.shape))
    mine = ms.grad(lambda x: (layer(x, mask) * weights).sum())(x)
    theirs = ms.grad(lambda x: (library(x, mask)[0] * weights).sum())(x)
    expect_close(mine, theirs, "Let all of it be MindSpore's operators.", "the gradient", 1e-3)
    return "output and gradient equal the library's post-norm layer"


def exercise_5(layer_class):
    """A decoder layer whose residual line is free and whose masks are right."""
    rng = np.random.default_rng(8)
    layer = call_class(layer_class, 8, 2, 16, 0.0).set_train(False)
    x = rng.normal(1.0, 2.0, (2, 4, 8)).astype(np.float32)
    memory = rng.normal(size=(2, 4, 8)).astype(np.float32)
    causal = Tensor(np.tril(np.ones((4, 4), bool))[None, None])
    real = np.arange(4) < np.array([4, 2])[:, None]

    def run(x=x, memory=memory):
        output = call(layer, Tensor(x), Tensor(memory), causal, Tensor(real[:, None, None, :]))
        return expect_shape(output, x.shape)

    output = run()
    padded = np.where(real[:, :, None], memory, 9.0).astype(np.float32)
    if np.abs(run(memory=padded) - output).max() > 1e-4:
        raise Wrong(
            "other numbers in the padding of the memory change the output: which mask does "
            "cross-attention get?"
        )
    other = memory.copy()
    other[0, 3] += 1.0
    if np.abs(run(memory=other) - output)[0, 0].max() < 1e-6:
        raise Wrong(
            "the first position does not see the last one of the memory; the whole source is "
            "there from the beginning"
        )
    later = x.copy()
    later[:, 3] = rng.normal(size=8)  # not plus a constant: LayerNorm would take it away
    if np.abs(run(x=later) - output)[:, :3].max() > 1e-4:
        raise Wrong("a position sees later ones: which mask does self-attention get?")
    for weight in layer.get_parameters():
        if weight.ndim == 2:  # the matrices; the biases are 0 at first
            weight.set_data(float_tensor(np.zeros(weight.shape)))
    silent = run()
    if not np.allclose(silent, x, atol=1e-5):
        raise Wrong(
            "with silent sub-layers the layer returns something else than its input x: what is "
            "added to a sub-layer's output must be the x from before the norm"
        )
    return "the residual line runs from input to output untouched, and both masks are in place"


def exercise_6(gpt_count):
    """The number of weights of a decoder-only model."""
    for vocab_size, d, d_ff, layers, max_length in (
        (1000, 64, 200, 3, 128),
        (50257, 768, 3072, 12, 1024),
    ):
        attention, feed_forward, norm = 4 * (d * d + d), 2 * d * d_ff + d_ff + d, 2 * d
        embeddings = (vocab_size + max_length) * d
        expected = embeddings + layers * (attention + feed_forward + 2 * norm) + norm
        got = expect_number(call(gpt_count, vocab_size, d, d_ff, layers, max_length))
        hints = {
            norm: "the LayerNorm at the end is missing",
            -vocab_size * d: "the unembedding is tied: it has no weights of its own",
            max_length * d: "the vectors of the positions are missing",
            layers * (5 * d + d_ff): "the biases are missing: 4 of attention, 2 of feed-forward",
            layers * d: "the bias after the second matrix of the feed-forward layer is missing",
            layers * d_ff: "the bias after the first matrix of the feed-forward layer is missing",
            layers * 2 * norm: "4 · D are missing in each layer: two LayerNorms, or the biases of "
            "attention",
            -layers * attention: "there is no cross-attention: one attention per layer",
            -layers * (attention + norm): "there is no cross-attention, nor its LayerNorm",
        }
        short = expected - int(got)
        if short:
            hint = hints.get(short, "count embedding, positions, layers, and the last LayerNorm")
            raise Wrong(
                f"for vocab_size {vocab_size}, d_model {d}, d_ff {d_ff}, layers {layers}, "
                f"max_length {max_length} you return {int(got):,}; {hint}"
            )
    return f"the second test is GPT-2's size: {expected:,} weights"
