"""Checks of lesson 11, a decoder of today."""

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
    expect_shape,
    recognise,
    softmax,
)
from step_llm.nn.rotary import apply_rotary, rotary_frequencies, rotary_tables


def exercise_1(folded):
    """The matrix that holds an RMSNorm's scale as well."""
    rng = np.random.default_rng(111)
    for width, outputs in ((4, 6), (5, 5)):
        gamma, weight = rng.normal(size=width) + 2, rng.normal(size=(outputs, width))
        got = expect_shape(call(folded, gamma.copy(), weight.copy()), weight.shape, "the matrix")
        if np.allclose(got, weight * gamma):
            continue
        case = f"D = {width}, N = {outputs}: "
        if outputs == width:
            recognise(
                got,
                (weight * gamma[:, None], "γ scales the inputs, which are the columns of W"),
                case=case,
            )
        recognise(got, (weight / gamma, "multiply by γ; the norm no longer does it"), case=case)
        raise Wrong(case + "x̂ times your matrix is not (γ ⊙ x̂) times the old one")
    return "after this, a norm has no weights, and the model computes what it did"


def exercise_2(width):
    """The inner width of a SwiGLU."""
    for d_ff, multiple in ((16384, 256), (512, 8), (600, 100), (3072, 64), (100, 1)):
        expected = -(-(2 * d_ff // 3) // multiple) * multiple
        got = expect_number(call(width, d_ff, multiple))
        if got == expected:
            continue
        recognise(
            got,
            (2 * d_ff // 3 // multiple * multiple, "round up to the multiple, not down"),
            (2 * d_ff // 3, "this is two thirds; round it up to the multiple"),
            (-(-d_ff // multiple) * multiple, "two thirds of d_ff: there are three matrices"),
            (
                (2 * d_ff // 3 // multiple + 1) * multiple,
                "what is a multiple already stays as it is",
            ),
        )
        raise Wrong(f"for d_ff {d_ff} and {multiple} you say {got:,.0f}, not {expected:,}")
    return "11,008 for a d_ff of 16,384: the inner width of Llama 7B"


def exercise_3(longest):
    """How many tokens of context fit beside the weights."""
    cases = ((24, 8_030_261_248, 1, 32, 8, 128), (24, 494_032_768, 16, 24, 2, 64),
             (80, 8_030_261_248, 3, 32, 32, 128), (8, 8_030_261_248, 1, 32, 8, 128))  # fmt: skip
    for case in cases:
        gib, weights, users, layers, heads, d_head = case
        left = gib * 2**30 - 2 * weights
        each = 2 * 2 * users * layers * heads * d_head
        expected = max(left // each, 0)
        got = expect_number(call(longest, *case))
        if got == expected:
            continue
        words = f"for {gib} GiB, {weights:,} weights and {users} users: "
        if expected == 0:
            raise Wrong(words + f"the weights alone do not fit; expected 0, not {got:,.0f}")
        recognise(
            got,
            (left / each, "a whole number of tokens: cut the fraction off"),
            (gib * 2**30 // each, "the weights take their part of the memory first"),
            (left * users // each, "every user has a cache"),
            (2 * left // each, "there are keys and values, of 2 bytes each"),
            (4 * left // each, "there are keys and values, of 2 bytes each"),
            (left * layers // each, "every layer has keys and values of its own"),
            ((gib * 10**9 - 2 * weights) // each, "a GiB is 2³⁰ bytes"),
            ((gib * 2**30 - weights) // each, "a weight takes 2 bytes"),
            case=words,
            atol=0.5,
        )
        raise Wrong(words + f"you say {got:,.0f}, not {expected:,}")
    return "and each user's context comes out of what the others leave"


def exercise_4(layer):
    """A whole layer: attention and SwiGLU, each with an RMSNorm before and a sum behind."""
    sizes = {"d_model": 16, "num_heads": 4, "num_kv_heads": 2, "d_ff": 12}
    ours = call_class(layer, *sizes.values())
    rng = np.random.default_rng(114)
    x = rng.normal(size=(2, 6, 16)).astype(np.float32)
    expect_shape(call(ours, Tensor(x)), x.shape, "what construct returns")
    weights, parameters = {}, []
    for name, shape in _SHAPES.items():
        holder = getattr(ours, name, None)
        parameter = holder if name.endswith("gamma") else getattr(holder, "weight", None)
        if parameter is None:
            kind = "a Parameter" if name.endswith("gamma") else "an nn.Dense"
            raise Wrong(f"there is no self.{name}; expected {kind}")
        if getattr(holder, "has_bias", False):
            raise Wrong(f"self.{name} has a bias; expected nn.Dense(…, has_bias=False)")
        if tuple(parameter.shape) != shape:
            raise Wrong(f"self.{name} has shape {tuple(parameter.shape)}; expected {shape}")
        scale = 0.3 if name.endswith("gamma") else 0.5
        value = rng.normal(size=shape) * scale + name.endswith("gamma")
        parameter.set_data(Tensor(value.astype(np.float32)))
        weights[name] = parameter.asnumpy().astype(np.float64)
        parameters.append((name, parameter))
    got = expect_shape(call(ours.set_train(False), Tensor(x)), x.shape)
    expected = _layer(x, weights)
    mistakes = ((_layer(x, weights, **wrong), words) for wrong, words in _MISTAKES)
    expect_layer_output(got, expected, mistakes, "the output differs")
    expect_gradients(ours, Tensor(x), expected, parameters)
    return "32 of these, 4,096 wide, are Llama 3 8B"


_SHAPES = {
    "query": (16, 16), "key": (8, 16), "value": (8, 16), "output": (16, 16),
    "gate": (12, 16), "up": (12, 16), "down": (16, 12),
    "attention_gamma": (16,), "feed_forward_gamma": (16,),
}  # fmt: skip
_MISTAKES = (
    ({"is_causal": False}, "a token sees those behind it: the causal mask is missing"),
    ({"is_scaled": False}, "the scores are not divided by √Dk"),
    ({"is_turned": False}, "queries and keys are not turned by their positions"),
    ({"pairs": "neighbours"}, "coordinate i turns together with i + Dk/2, not with its neighbour"),
    ({"turns": "value"}, "values are not turned: positions decide where to look alone"),
    ({"shares": "tile"}, "neighbouring heads share keys: heads 0 and 1 read head 0"),
    ({"norm": "layer"}, "this is LayerNorm: RMSNorm takes no mean off"),
    ({"norm": "none"}, "the norms have no part"),
    ({"has_sums": False}, "the residual sums are missing: each part adds to what it was given"),
    ({"gate": "sigmoid"}, "the gate is silu(z) = z · σ(z), not σ(z) alone"),
    ({"gate": "swapped"}, "gate and up are swapped: silu belongs to the gate"),
)


def _layer(
    x, weights, is_causal=True, is_scaled=True, is_turned=True, pairs="halves", turns="key",
    shares="repeat", norm="rms", has_sums=True, gate="silu",
):  # fmt: skip
    """The layer in NumPy, with the mistakes that readers make."""
    heads, kv_heads = 4, 2
    d_head = x.shape[-1] // heads
    length = x.shape[1]

    def normed(name, x):
        if norm == "none":
            return x
        if norm == "layer":
            x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * weights[name]

    def cut(name, x, heads):
        y = x @ weights[name].T
        return y.reshape(*y.shape[:2], heads, d_head).transpose(0, 2, 1, 3)

    def turn(x):
        angle = np.arange(length)[:, None] * rotary_frequencies(d_head)
        cosine, sine = np.cos(angle), np.sin(angle)
        if pairs == "neighbours":
            first, second = x[..., 0::2], x[..., 1::2]
        else:
            first, second = np.split(x, 2, axis=-1)
        turned = first * cosine - second * sine, second * cosine + first * sine
        if pairs == "neighbours":
            return np.stack(turned, axis=-1).reshape(x.shape)
        return np.concatenate(turned, axis=-1)

    def attend(x):
        query = cut("query", x, heads)
        key, value = cut("key", x, kv_heads), cut("value", x, kv_heads)
        if is_turned:
            query, key = turn(query), turn(key)
        if turns == "value":
            value = turn(value)
        group = heads // kv_heads
        order = np.arange(heads) // group if shares == "repeat" else np.arange(heads) % kv_heads
        scores = query @ key[:, order].transpose(0, 1, 3, 2)
        if is_scaled:
            scores = scores / np.sqrt(d_head)
        if is_causal:
            scores = np.where(np.tril(np.ones((length, length), bool)), scores, -1e9)
        mixed = (softmax(scores) @ value[:, order]).transpose(0, 2, 1, 3)
        return mixed.reshape(x.shape) @ weights["output"].T

    def feed_forward(x):
        opened, up = x @ weights["gate"].T, x @ weights["up"].T
        if gate == "swapped":
            opened, up = up, opened
        sigmoid = 1 / (1 + np.exp(-opened))
        opened = sigmoid if gate == "sigmoid" else opened * sigmoid
        return (opened * up) @ weights["down"].T

    h = attend(normed("attention_gamma", x))
    x = x + h if has_sums else h
    h = feed_forward(normed("feed_forward_gamma", x))
    return x + h if has_sums else h


def exercise_5(repeated):
    """Heads of keys repeated so that neighbouring heads of queries share one."""
    rng = np.random.default_rng(115)
    for kv_heads, group in ((2, 2), (3, 2), (2, 4), (4, 1), (1, 3)):
        heads = rng.normal(size=(2, kv_heads, 3, 4)).astype(np.float32)
        expected = np.repeat(heads, group, axis=1)
        got = expect_shape(call(repeated, Tensor(heads), group), expected.shape, "the answer")
        if np.allclose(got, expected):
            continue
        case = f"{kv_heads} heads of keys, groups of {group}: "
        if np.allclose(got, np.tile(heads, (1, group, 1, 1))):
            raise Wrong(case + "the heads follow in turn; neighbours should share one")
        raise Wrong(case + "head h of the queries should read head h // group")
    return "0 0 1 1; from random weights either order learns, published weights know one"


def exercise_6(turned):
    """One token's queries or keys, turned as at its own place."""
    rng = np.random.default_rng(116)
    for position, shape in ((0, (1, 2, 1, 8)), (1, (2, 1, 1, 4)), (5, (2, 3, 1, 8))):
        x = rng.normal(size=shape).astype(np.float32)
        cosine, sine = rotary_tables(position + 2, shape[-1])

        def at(place, x=x, cosine=cosine, sine=sine):
            return apply_rotary(Tensor(x), (cosine[place], sine[place])).asnumpy()

        got = expect_shape(call(turned, Tensor(x), position), shape, "the answer")
        if np.allclose(got, at(position), atol=1e-4):
            continue
        recognise(
            got,
            (at(0), "your token is turned as at place 0"),
            (at(position + 1), "this is one place too far: places count from 0"),
            (at(position - 1) if position else at(0), "this is one place too few"),
            case=f"position {position}: ",
            atol=1e-4,
        )
        raise Wrong(f"position {position}: the vector is not turned as at this place")
    return "the cache keeps keys as they were turned; only the new token needs its angle"
