"""Checks of lesson 07, GPT."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor

from step_llm.course.checks.judge import (
    Wrong,
    call,
    call_class,
    expect_gradients,
    expect_layer_output,
    expect_number,
    expect_parts,
    expect_shape,
    recognise,
    softmax,
)
from step_llm.data.vocabulary import BOS_ID, EOS_ID
from step_llm.nn.attention import scaled_dot_product_attention
from step_llm.nn.encoder import EncoderLayer
from step_llm.nn.masks import causal_mask


def exercise_1(loss):
    """The mean cross-entropy of the labels that are not padding."""
    rng = np.random.default_rng(71)
    for lengths, size in (((5, 3), 7), ((2, 6, 1), 11)):
        logits = rng.normal(size=(len(lengths), max(lengths), size)) * 3
        labels = rng.integers(1, size, (len(lengths), max(lengths)))
        for row, length in enumerate(lengths):
            labels[row, length:] = 0
        is_real = labels != 0

        def log_p_of_labels(axis=-1, logits=logits, labels=labels):
            log_p = logits - np.log(np.exp(logits).sum(axis, keepdims=True))
            return np.take_along_axis(log_p, labels[..., None], -1)[..., 0]

        found = log_p_of_labels()
        expected = -found[is_real].mean()
        got = expect_number(call(loss, logits.copy(), labels.copy()))
        if np.isclose(got, expected, atol=1e-4):
            continue
        raw = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
        later = log_p_of_labels(logits=logits[:, :-1], labels=labels[:, 1:])
        recognise(
            got,
            (-found.mean(), "padding counts in your mean; leave out the places with label 0"),
            (-(found * is_real).mean(), "the sum is right; divide it by the real labels alone"),
            (-found[is_real].sum(), "this is the sum; the mean is wanted"),
            (-expected, "the sign: the loss is the mean of −log p, above 0"),
            (np.exp(expected), "this is the perplexity; the loss is its logarithm"),
            (expected / np.log(2), "this is in bits; take the natural logarithm"),
            (-raw[is_real].mean(), "a logit is no log-probability: take the log-softmax first"),
            (
                np.mean([-row[real].mean() for row, real in zip(found, is_real)]),
                "every token counts alike, not every text",
            ),
            (-later[is_real[:, 1:]].mean(), "labels[:, t] belongs to logits[:, t]; shift nothing"),
            (
                -log_p_of_labels(axis=1)[is_real].mean(),
                "the softmax goes over the vocabulary, the last axis",
            ),
            atol=1e-4,
        )
        raise Wrong(f"for labels of shape {labels.shape} you return {got:.4f}, not {expected:.4f}")
    return "exp of this number is the perplexity; TrainStep lowers it"


def exercise_2(probabilities):
    """Keep the tokens that have at least a share of the largest probability."""
    rng = np.random.default_rng(72)
    cases = [(np.log([0.5, 0.3, 0.04, 0.16]), 0.1), (np.log([0.2, 0.2, 0.3, 0.3]), 0.5)]
    cases += [(rng.normal(size=20) * 2, share) for share in (0.05, 0.3, 1.0)]
    for logits, share in cases:
        p = np.exp(logits - logits.max())
        p /= p.sum()
        kept = p >= share * p.max() * (1 - 1e-9)
        expected = np.where(kept, p, 0) / p[kept].sum()
        got = expect_shape(call(probabilities, logits.copy(), share), logits.shape, "the answer")
        if np.allclose(got, expected, atol=1e-6):
            continue
        case = f"min_p = {share}, probabilities {p[:4].round(3).tolist()}: "
        if not np.isfinite(got).all():
            raise Wrong(case + "your answer holds values that are not finite")
        if np.allclose(got, np.where(kept, p, 0), atol=1e-6):
            raise Wrong(case + "the right tokens; divide by the sum of what is kept")
        fixed = p >= share
        if fixed.any() and np.allclose(got, np.where(fixed, p, 0) / p[fixed].sum(), atol=1e-6):
            raise Wrong(case + "min_p is a share of the largest probability, not a probability")
        if np.array_equal(got > 0, kept):
            raise Wrong(case + "the right tokens, but their probabilities should sum to 1")
        raise Wrong(case + f"you keep {(got > 0).sum()} tokens; expected {kept.sum()}")
    return "like top-p it keeps few tokens where the model is sure; and it needs no sorting"


def exercise_3(size):
    """The bytes of all keys and values of a GPT."""
    for case in ((1, 1024, 12, 12, 768, 4), (8, 20, 3, 4, 128, 2)):
        batch, length, layers, heads, d_model, each = case
        expected = 2 * batch * length * layers * d_model * each
        got = expect_number(call(size, *case))
        if got == expected:
            continue
        recognise(
            got,
            (expected / 2, "there are keys and values: twice as many numbers"),
            (expected * heads, "d_model is the width of all heads together"),
            (expected / heads, "every head has keys and values of its own; count them all"),
            (expected / layers, "every layer has a cache of its own"),
            (expected / each, "this is how many numbers there are; each takes some bytes"),
            (expected / batch, "every text of the batch has a cache of its own"),
            (expected / 2 * length, "keys and values are kept, not the scores of all pairs"),
            (expected * length, "keys and values are kept, not the scores of all pairs"),
        )
        raise Wrong(f"for {batch} texts of {length} tokens you say {got:,.0f}, not {expected:,}")
    return "72 MiB for one text in the smallest GPT-2; how many heads share d_model is no matter"


def exercise_4(split):
    """GPT-2's c_attn, cut into query, key and value."""
    rng = np.random.default_rng(74)
    names = ("query", "key", "value")
    for d in (4, 6):
        weight, bias = rng.normal(size=(d, 3 * d)), rng.normal(size=3 * d)
        answer = call(split, weight.copy(), bias.copy())
        words = "return three pairs (weight, bias): of query, key and value"
        pairs = expect_parts(answer, 3, words)
        for number, (name, pair) in enumerate(zip(names, pairs)):
            words = f"the part of the {name} should be a pair (weight, bias)"
            its_weight, its_bias = expect_parts(pair, 2, words)
            columns = slice(number * d, (number + 1) * d)
            got = expect_shape(its_weight, (d, d), f"the weight of the {name}")
            if not np.allclose(got, weight[:, columns].T):
                if np.allclose(got, weight[:, columns]):
                    raise Wrong(f"the {name}'s numbers are right; Dense wants them transposed")
                every_third = weight[:, number::3]
                if np.allclose(got, every_third) or np.allclose(got, every_third.T):
                    raise Wrong(f"the {name}'s columns stand side by side, not every third one")
                raise Wrong(f"the weight of the {name} is made of other columns")
            got = expect_shape(its_bias, (d,), f"the bias of the {name}")
            if not np.allclose(got, bias[columns]):
                raise Wrong(f"the weight of the {name} is right, its bias is not")
    return "that is what from_pretrained does; the other Conv1D weights are only transposed"


def exercise_5(block):
    """A decoder block as an nn.Cell, against the library's with the same weights."""
    d_model, num_heads, d_ff = 8, 2, 12
    theirs = EncoderLayer(d_model, num_heads, d_ff, 0.0, "pre", "gelu_tanh")
    rng = np.random.default_rng(75)
    for weight in theirs.trainable_params():
        noise = rng.normal(size=weight.shape) * 0.5
        weight.set_data(Tensor((noise + weight.asnumpy()).astype(np.float32)))
    ours = call_class(block, d_model, num_heads, d_ff)
    x = rng.normal(size=(2, 5, d_model)).astype(np.float32)
    got = expect_shape(call(ours, Tensor(x)), x.shape, "what construct returns")
    pairs = _pairs_of_weights(ours, theirs)
    weights = {}
    for name, mine, other in pairs:
        if mine.shape != other.shape:
            raise Wrong(f"{name} has shape {mine.shape}; expected {other.shape}")
        mine.set_data(other)
        weights[name] = other.asnumpy().astype(np.float64)
    got = expect_shape(call(ours.set_train(False), Tensor(x)), x.shape)
    expected = theirs(Tensor(x), causal_mask(5))[0].asnumpy()
    mistakes = ((_block(x, weights, num_heads, **m), words) for m, words in _BLOCK_MISTAKES)
    otherwise = "with the weights of EncoderLayer the output differs"
    expect_layer_output(got, expected, mistakes, otherwise)
    # The softmax does not change if all scores of a row move alike, as a key's bias moves them.
    parameters = [(name, mine) for name, mine, _ in pairs]
    expect_gradients(ours, Tensor(x), expected, parameters, without=("key.bias",))
    return "a GPT is an embedding, some of these, a LayerNorm and the embedding once more"


def exercise_6(batch):
    """Inputs and labels of a language model, mended: each label is the token that comes next."""
    for texts in ([[5, 6, 7, 8], [9, 4]], [[7, 7, 4], [5, 8, 6, 9, 4], [4]]):
        shape = (len(texts), max(map(len, texts)) + 1)
        answer = call(batch, [list(text) for text in texts])
        parts = expect_parts(answer, 2, "return inputs and labels")
        names = ("the array of inputs", "the array of labels")
        inputs, labels = (expect_shape(p, shape, name) for p, name in zip(parts, names))
        right_inputs, right_labels = np.zeros((2, *shape), int)
        for row, text in enumerate(texts):
            right_inputs[row, : len(text) + 1] = [BOS_ID, *text]
            right_labels[row, : len(text) + 1] = [*text, EOS_ID]
        case = f"texts {texts}: "
        is_real = right_labels != 0
        if not np.array_equal(inputs[is_real], right_inputs[is_real]):
            raise Wrong(case + "the inputs should be the begin token and the text, then padding")
        if np.array_equal(labels, right_labels):
            continue
        if (labels[is_real] == inputs[is_real]).all():
            raise Wrong(
                case
                + "each label is the token in the same place of the inputs. A model lowers this "
                "loss by repeating what it reads; it learns nothing of what follows"
            )
        if np.array_equal(labels[:, :-1], np.pad(right_labels, ((0, 0), (0, 1)))[:, 1:-1]):
            raise Wrong(case + "the labels are two places on: a token is skipped")
        if (labels[:, 1:] == inputs[:, :-1]).all():
            raise Wrong(case + "the labels are the tokens before: the model would learn to go back")
        if EOS_ID not in labels:
            raise Wrong(case + "the end token is no label: a model so trained never ends a text")
        if (labels[~is_real] != 0).any():
            raise Wrong(case + "behind the end the labels should be padding, which does not count")
        raise Wrong(case + f"the labels are {labels.tolist()}; expected {right_labels.tolist()}")
    return "the text is its own label, one place on"


def exercise_7(attention):
    """Causal attention, mended: a row sees itself and what comes before."""
    rng = np.random.default_rng(77)
    query, key, value = rng.normal(size=(3, 2, 2, 5, 4)).astype(np.float32)

    def run(key, value):
        output = call(attention, *map(Tensor, (query, key, value)))
        return expect_shape(output, query.shape, "the output")

    got = run(key, value)
    if not np.isfinite(got).all():
        raise Wrong("the output has values that are not finite")
    tensors = [Tensor(array) for array in (query, key, value)]
    expected = scaled_dot_product_attention(*tensors, causal_mask(5))[0].asnumpy()
    if np.allclose(got, expected, atol=1e-4):
        return "True means different things to different functions: here it hides, in ours it shows"
    moves = np.zeros((5, 5), bool)  # which row moves if key and value of which place are changed
    for place in range(5):
        other_key, other_value = key.copy(), value.copy()
        other_key[:, :, place] += 1.0
        other_value[:, :, place] -= 1.0
        moves[place] = np.abs(run(other_key, other_value) - got).max(axis=(0, 1, 3)) > 1e-5
    seen = np.tril(np.ones((5, 5), bool)).T
    behind = np.triu(seen, 1)
    behind[:, -1] = False  # a last row from which all is hidden takes the mean of all
    if moves[~seen].any() and not moves[behind].any():
        raise Wrong("change a token, and the rows before it move; those behind it do not")
    if moves[~seen].any():
        raise Wrong("change a token, and rows before it move: they see what they are to predict")
    if not moves[seen].all():
        raise Wrong("a row should see every token up to its own; some have no part in it")
    even = np.full(query.shape, 0.7, np.float32)
    if np.abs(run(key, even) - even).max() > 1e-4:
        raise Wrong(
            "where all values are 0.7, every mean of them is 0.7, and your output is not: the "
            "weights of a row do not sum to 1"
        )
    raise Wrong(f"each row sees the right tokens, but is off by {np.abs(got - expected).max():.2g}")


_DENSE = {
    "query": "self_attention.query_projection",
    "key": "self_attention.key_projection",
    "value": "self_attention.value_projection",
    "output": "self_attention.output_projection",
    "inner": "feed_forward.inner",
    "outer": "feed_forward.outer",
}
_NORMS = {"norm_1": "attention_residual.norm", "norm_2": "feed_forward_residual.norm"}
_BLOCK_MISTAKES = (
    ({"is_causal": False}, "a token sees those behind it: the causal mask is missing"),
    ({"is_scaled": False}, "the scores are not divided by √Dk"),
    ({"norm": "post"}, "this is post-norm: the norm comes before each part, the sum after it"),
    ({"norm": "none"}, "the LayerNorms have no part"),
    ({"has_sums": False}, "the residual sums are missing: each part adds to what it was given"),
    ({"num_heads": 1}, "this is one wide head; split D into num_heads parts"),
    ({"activation": "relu"}, "the activation should be GELU, not ReLU"),
)


def _pairs_of_weights(ours, theirs):
    """Triples of a name, the reader's Parameter and the library's."""
    pairs = []
    for names, parts in ((_DENSE, ("weight", "bias")), (_NORMS, ("gamma", "beta"))):
        for name, path in names.items():
            other = theirs
            for step in path.split("."):
                other = getattr(other, step)
            for part in parts:
                mine = getattr(getattr(ours, name, None), part, None)
                if mine is None:
                    kind = "nn.Dense" if part in ("weight", "bias") else "nn.LayerNorm"
                    raise Wrong(f"there is no self.{name}.{part}; self.{name} should be an {kind}")
                pairs.append((f"{name}.{part}", mine, getattr(other, part)))
    return pairs


def _block(
    x, weights, heads, is_causal=True, is_scaled=True, norm="pre", has_sums=True,
    num_heads=None, activation="gelu",
):  # fmt: skip
    """The block in NumPy, with the mistakes that readers make."""
    heads = num_heads or heads
    batch, length, width = x.shape

    def dense(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def layer_norm(name, x):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}.gamma"] + weights[f"{name}.beta"]

    def attend(x):
        q, k, v = (
            dense(name, x).reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)
            for name in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 1, 3, 2)
        if is_scaled:
            scores = scores / np.sqrt(width // heads)
        if is_causal:
            scores = np.where(np.tril(np.ones((length, length), bool)), scores, -1e9)
        mixed = (softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(batch, length, width)
        return dense("output", mixed)

    def feed_forward(x):
        h = dense("inner", x)
        if activation == "relu":
            h = np.maximum(h, 0)
        else:
            h = h / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
        return dense("outer", h)

    for name, part in (("norm_1", attend), ("norm_2", feed_forward)):
        before = part(layer_norm(name, x)) if norm == "pre" else part(x)
        x = x + before if has_sums else before
        if norm == "post":
            x = layer_norm(name, x)
    return x
