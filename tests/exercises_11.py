"""Right and wrong answers to the exercises of lesson 11."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from step_llm.nn.masks import causal_mask
from step_llm.nn.rotary import apply_rotary, rotary_tables


def folded(gamma, weight):
    return weight * gamma


def folded_rows(gamma, weight):
    return weight * np.resize(gamma, len(weight))[:, None]


def folded_inverse(gamma, weight):
    return weight / gamma


def width(d_ff, multiple):
    inner = 2 * d_ff // 3
    return (inner + multiple - 1) // multiple * multiple


def width_down(d_ff, multiple):
    return 2 * d_ff // 3 // multiple * multiple


def width_always_more(d_ff, multiple):
    return (2 * d_ff // 3 // multiple + 1) * multiple


def width_of_all(d_ff, multiple):
    return -(-d_ff // multiple) * multiple


def width_unrounded(d_ff, multiple):
    return 2 * d_ff // 3


def longest(gib, weights, users, num_layers, num_kv_heads, d_head):
    left = gib * 2**30 - 2 * weights
    return max(0, left // (4 * users * num_layers * num_kv_heads * d_head))


def longest_negative(gib, weights, users, num_layers, num_kv_heads, d_head):
    left = gib * 2**30 - 2 * weights
    return left // (4 * users * num_layers * num_kv_heads * d_head)


def longest_without_weights(gib, weights, users, num_layers, num_kv_heads, d_head):
    return gib * 2**30 // (4 * users * num_layers * num_kv_heads * d_head)


def longest_of_keys(gib, weights, users, num_layers, num_kv_heads, d_head):
    left = gib * 2**30 - 2 * weights
    return max(0, left // (2 * users * num_layers * num_kv_heads * d_head))


def longest_of_one(gib, weights, users, num_layers, num_kv_heads, d_head):
    left = gib * 2**30 - 2 * weights
    return max(0, left // (4 * num_layers * num_kv_heads * d_head))


class Layer(nn.Cell):
    """The layer; subclasses each make one mistake."""

    has_bias = False

    def __init__(self, d_model, num_heads, num_kv_heads, d_ff):
        super().__init__()
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads
        self.d_head = d_model // num_heads
        kv_width = self.d_head * num_kv_heads
        self.query = nn.Dense(d_model, d_model, has_bias=self.has_bias)
        self.key = nn.Dense(d_model, kv_width, has_bias=False)
        self.value = nn.Dense(d_model, kv_width, has_bias=False)
        self.output = nn.Dense(d_model, d_model, has_bias=False)
        self.gate = nn.Dense(d_model, d_ff, has_bias=False)
        self.up = nn.Dense(d_model, d_ff, has_bias=False)
        self.down = nn.Dense(d_ff, d_model, has_bias=False)
        ones = np.ones(d_model, np.float32)
        self.attention_gamma = Parameter(Tensor(ones), name="attention_gamma")
        self.feed_forward_gamma = Parameter(Tensor(ones), name="feed_forward_gamma")

    def norm(self, x, gamma):
        return x * ops.rsqrt((x * x).mean(-1, keep_dims=True) + 1e-6) * gamma

    def split(self, x, heads):
        return x.reshape((*x.shape[:2], heads, self.d_head)).transpose((0, 2, 1, 3))

    def turn(self, x):
        return apply_rotary(x, rotary_tables(x.shape[2], self.d_head))

    def repeat(self, x):
        return ops.repeat_interleave(x, self.num_heads // self.num_kv_heads, axis=1)

    def mask(self, scores):
        return ops.masked_fill(scores, ops.logical_not(causal_mask(scores.shape[-1])), -1e9)

    def attend(self, x):
        query = self.turn(self.split(self.query(x), self.num_heads))
        key = self.repeat(self.turn(self.split(self.key(x), self.num_kv_heads)))
        value = self.repeat(self.split(self.value(x), self.num_kv_heads))
        scores = ops.matmul(query, key.transpose((0, 1, 3, 2))) / self.d_head**0.5
        mixed = ops.matmul(ops.softmax(self.mask(scores), -1), value)
        return self.output(mixed.transpose((0, 2, 1, 3)).reshape(x.shape))

    def feed_forward(self, x):
        gate = self.gate(x)
        return self.down(gate * ops.sigmoid(gate) * self.up(x))

    def construct(self, x):
        x = x + self.attend(self.norm(x, self.attention_gamma))
        return x + self.feed_forward(self.norm(x, self.feed_forward_gamma))


class NotCausal(Layer):
    def mask(self, scores):
        return scores


class Unturned(Layer):
    def turn(self, x):
        return x


class Tiled(Layer):
    def repeat(self, x):
        return ops.tile(x, (1, self.num_heads // self.num_kv_heads, 1, 1))


class Centred(Layer):
    def norm(self, x, gamma):
        return super().norm(x - x.mean(-1, keep_dims=True), gamma)


class WithoutSilu(Layer):
    def feed_forward(self, x):
        return self.down(ops.sigmoid(self.gate(x)) * self.up(x))


class Swapped(Layer):
    def feed_forward(self, x):
        up = self.up(x)
        return self.down(up * ops.sigmoid(up) * self.gate(x))


class WithoutSums(Layer):
    def construct(self, x):
        x = self.attend(self.norm(x, self.attention_gamma))
        return self.feed_forward(self.norm(x, self.feed_forward_gamma))


class Biased(Layer):
    has_bias = True


class FixedNorm(Layer):
    def norm(self, x, gamma):
        return super().norm(x, Tensor(gamma.asnumpy()))  # a copy: nothing flows back


class OtherNames(nn.Cell):
    def __init__(self, d_model, num_heads, num_kv_heads, d_ff):
        super().__init__()
        self.dense = nn.Dense(d_model, d_model)

    def construct(self, x):
        return self.dense(x)


def repeated(heads, group):
    return ops.repeat_interleave(heads, group, axis=1)


def repeated_by_shape(heads, group):
    batch, kv_heads, length, width = heads.shape
    heads = heads.reshape((batch, kv_heads, 1, length, width))
    heads = ops.broadcast_to(heads, (batch, kv_heads, group, length, width))
    return heads.reshape((batch, kv_heads * group, length, width))


def tiled(heads, group):
    return ops.tile(heads, (1, group, 1, 1))


def turned(x, position):
    cosine, sine = rotary_tables(position + 1, x.shape[3])
    return apply_rotary(x, (cosine[position:], sine[position:]))


def turned_at_0(x, position):
    cosine, sine = rotary_tables(1, x.shape[3])
    return apply_rotary(x, (cosine, sine))


def turned_one_more(x, position):
    cosine, sine = rotary_tables(position + 2, x.shape[3])
    return apply_rotary(x, (cosine[position + 1 :], sine[position + 1 :]))


def turned_back(x, position):
    cosine, sine = rotary_tables(position + 1, x.shape[3])
    return apply_rotary(x, (cosine[position:], -sine[position:]))


RIGHT = {
    "11.1": (folded,),
    "11.2": (width,),
    "11.3": (longest,),
    "11.4": (Layer,),
    "11.5": (repeated,),
    "11.6": (turned,),
}
ALSO_RIGHT = [
    ("11.1", (lambda gamma, weight: weight @ np.diag(gamma),)),
    ("11.5", (repeated_by_shape,)),
]
WRONG = {
    "11.1": [(folded_rows,), (folded_inverse,), (lambda gamma, weight: weight,)],
    "11.2": [(width_down,), (width_always_more,), (width_of_all,), (width_unrounded,)],
    "11.3": [(longest_negative,), (longest_without_weights,), (longest_of_keys,),
             (longest_of_one,)],
    "11.4": [(NotCausal,), (Unturned,), (Tiled,), (Centred,), (WithoutSilu,), (Swapped,),
             (WithoutSums,), (Biased,), (OtherNames,), (FixedNorm,)],
    "11.5": [(tiled,), (lambda heads, group: heads,)],
    "11.6": [(turned_at_0,), (turned_one_more,), (turned_back,)],
}  # fmt: skip
NAMED = {
    "11.1": [((folded_inverse,), "multiply by γ")],
    "11.2": [((width_down,), "round up"), ((width_always_more,), "stays as it is")],
    "11.3": [
        ((longest_negative,), "do not fit"),
        ((longest_without_weights,), "their part of the memory"),
        ((longest_of_keys,), "keys and values"),
        ((longest_of_one,), "every user"),
    ],
    "11.4": [
        ((NotCausal,), "causal mask is missing"),
        ((Unturned,), "not turned"),
        ((Tiled,), "neighbouring heads share"),
        ((Centred,), "takes no mean off"),
        ((WithoutSilu,), "not σ(z) alone"),
        ((Swapped,), "swapped"),
        ((WithoutSums,), "residual sums"),
        ((Biased,), "has a bias"),
        ((OtherNames,), "no self.query"),
        ((FixedNorm,), "has no gradient"),
    ],
    "11.5": [((tiled,), "follow in turn")],
    "11.6": [((turned_at_0,), "as at place 0"), ((turned_one_more,), "too far")],
}
