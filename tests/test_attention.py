"""Attention: against NumPy in float64, and the promises about masks."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn, ops

from step_llm.nn.additive_attention import AdditiveAttention
from step_llm.nn.attention import MultiHeadAttention, scaled_dot_product_attention
from step_llm.nn.forms import device_form
from step_llm.nn.masks import causal_mask, padding_mask
from step_llm.nn.rotary import rotary_tables

D_MODEL, HEADS = 12, 3


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def softmax(scores, mask):
    """Weights in float64; a row with nothing allowed gets zeros."""
    scores = np.where(mask, scores, -np.inf)
    highest = scores.max(-1, keepdims=True)
    exponentials = np.exp(scores - np.where(np.isfinite(highest), highest, 0))
    total = exponentials.sum(-1, keepdims=True)
    return exponentials / np.where(total > 0, total, 1)


def attention_by_hand(query, key, value, mask):
    query, key, value = (x.astype(np.float64) for x in (query, key, value))
    scores = np.einsum("...td,...sd->...ts", query, key) / np.sqrt(query.shape[-1])
    weights = softmax(scores, mask)
    return np.einsum("...ts,...sd->...td", weights, value), weights


class Attention(nn.Cell):
    def construct(self, query, key, value, mask):
        return scaled_dot_product_attention(query, key, value, mask)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 5),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
    masked=st.booleans(),
    seed=st.integers(0, 99),
)
def test_attention_equals_numpy(sizes, scale, masked, seed):
    batch, targets, sources, d_key, d_value = sizes
    query = random(seed, batch, 2, targets, d_key) * np.float32(scale)
    key = random(seed + 1, batch, 2, sources, d_key)
    value = random(seed + 2, batch, 2, sources, d_value)
    mask = np.random.default_rng(seed).random((batch, 1, targets, sources)) < 0.7
    output, weights = scaled_dot_product_attention(
        Tensor(query), Tensor(key), Tensor(value), Tensor(mask) if masked else None
    )
    expected = attention_by_hand(query, key, value, mask if masked else True)
    np.testing.assert_allclose(output.asnumpy(), expected[0], rtol=0, atol=5e-5)
    np.testing.assert_allclose(weights.asnumpy(), expected[1], rtol=0, atol=1e-5)


def test_weights_are_shares(in_mode):
    query, key = random(0, 2, 3, 4, 5), random(1, 2, 3, 6, 5)
    mask = np.ones((2, 1, 1, 6), bool)
    mask[0, ..., 4:] = False
    _, weights = in_mode(Attention())(*map(Tensor, (query, key, key, mask)))
    weights = weights.asnumpy()
    assert weights.shape == (2, 3, 4, 6)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=0, atol=1e-6)
    # The convention: False is forbidden, with weight exactly 0.
    assert (weights[0, ..., 4:] == 0).all()
    assert (weights[0, ..., :4] > 0).all()
    assert (weights[1] > 0).all()


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_a_forbidden_key_cannot_come_back(size):
    # Were forbidden scores lowered too little, a large enough key would shine through.
    query = np.full((1, 1, 1, 4), size, np.float32)
    key = np.stack([np.full(4, -1, np.float32), np.full(4, 1, np.float32)])[None, None]
    value = np.array([[[[1.0], [100.0]]]], np.float32)
    mask = Tensor(np.array([True, False]))
    output, _ = scaled_dot_product_attention(Tensor(query), Tensor(key), Tensor(value), mask)
    assert output.asnumpy().item() == 1.0


class Gradient(nn.Cell):
    """Output, and the gradients of query, key and value."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def total(self, query, key, value, mask):
        output, weights = self.attention(query, key, value, mask)
        return (output * output + output).sum(), (output, weights)

    def construct(self, query, key, value, mask):
        measure = ms.value_and_grad(self.total, (0, 1, 2), None, has_aux=True)
        return measure(query, key, value, mask)


def test_a_query_that_may_see_nothing_gets_zeros_and_finite_gradients(in_mode):
    query, key, value = random(0, 2, 1, 3, 4), random(1, 2, 1, 5, 4), random(2, 2, 1, 5, 4)
    mask = np.ones((2, 1, 3, 5), bool)
    mask[0, 0, 1] = False  # one query of the first sentence
    mask[1] = False  # the whole second sentence
    (_, (output, weights)), gradients = in_mode(Gradient(Attention()))(
        *map(Tensor, (query, key, value, mask))
    )
    for tensor in (output, weights):
        assert (tensor.asnumpy()[0, 0, 1] == 0).all()
        assert (tensor.asnumpy()[1] == 0).all()
        assert np.abs(tensor.asnumpy()[0, 0, 0]).min() > 0
    for gradient in gradients:
        assert np.isfinite(gradient.asnumpy()).all()
        assert (gradient.asnumpy()[1] == 0).all()
        assert np.abs(gradient.asnumpy()[0]).max() > 0
    assert (gradients[0].asnumpy()[0, 0, 1] == 0).all()


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        (((4,), (4,), (4,)), "at least two axes"),
        (((1, 2, 4), (1, 3, 5), (1, 3, 5)), "same last axis"),
        (((1, 2, 4), (1, 3, 4), (1, 6, 4)), "same length"),
        (((1, 2, 4), (2, 3, 4), (2, 3, 4)), "must agree"),
    ],
)
def test_shapes_that_do_not_fit_are_named(shapes, reason):
    with pytest.raises(ValueError, match=reason) as error:
        scaled_dot_product_attention(*(Tensor(random(0, *shape)) for shape in shapes))
    for shape in shapes:
        assert str(shape) in str(error.value)
    assert "expected (…, T, Dk), (…, S, Dk), (…, S, Dv)" in str(error.value)


@pytest.mark.parametrize("shape", [(2, 1, 1, 4), (1, 2, 3, 3), (1, 2, 1, 3, 3), (2,)])
def test_a_mask_that_does_not_fit_is_named(shape):
    x = Tensor(random(0, 2, 1, 3, 4))
    with pytest.raises(ValueError, match="does not broadcast") as error:
        scaled_dot_product_attention(x, x, x, Tensor(np.ones(shape, bool)))
    assert str(shape) in str(error.value)
    assert "(2, 1, 3, 3)" in str(error.value)


@pytest.mark.parametrize("dtype", [ms.float32, ms.int32])
def test_a_mask_that_is_not_boolean_is_refused(dtype):
    # Elsewhere masks of 0 and −inf are added to the scores; here they would give nonsense.
    x = Tensor(random(0, 2, 1, 3, 4))
    with pytest.raises(ValueError, match="Boolean"):
        scaled_dot_product_attention(x, x, x, Tensor(np.zeros((3, 3)), dtype))[0].asnumpy()


# Additive attention


def additive_by_hand(cell, query, key, value, mask):
    left = query.astype(np.float64) @ cell.query_projection.weight.asnumpy().T
    right = key.astype(np.float64) @ cell.key_projection.weight.asnumpy().T
    hidden = np.tanh(left[:, :, None] + right[:, None])
    weights = softmax(hidden @ cell.score.weight.asnumpy()[0], mask)
    return weights @ value.astype(np.float64), weights


def additive():
    """A cell whose tanh is asked within ±2, where MindSpore's own on the CPU is right to 1e-7."""
    cell = AdditiveAttention(4, 5, 6)
    for i, weight in enumerate(cell.get_parameters()):
        weight.set_data(Tensor(random(i, *weight.shape) * np.float32(0.15)))
    return cell


def test_additive_attention_equals_numpy(in_mode):
    cell = additive()
    query, key, value = random(0, 2, 3, 4), random(1, 2, 7, 5), random(2, 2, 7, 8)
    mask = np.ones((2, 1, 7), bool)
    mask[0, :, 3:] = False
    mask[1] = False  # all of it: zeros, not NaN
    output, weights = in_mode(cell)(*map(Tensor, (query, key, value, mask)))
    expected = additive_by_hand(cell, query, key, value, mask)
    np.testing.assert_allclose(output.asnumpy(), expected[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(weights.asnumpy(), expected[1], rtol=0, atol=1e-6)
    assert (output.asnumpy()[1] == 0).all()
    np.testing.assert_allclose(weights.asnumpy()[0].sum(-1), 1, rtol=0, atol=1e-6)


def test_additive_attention_without_a_mask_sees_all_keys():
    cell = additive()
    query, key = random(0, 2, 3, 4), random(1, 2, 7, 5)
    output, weights = cell(Tensor(query), Tensor(key), Tensor(key))
    expected = additive_by_hand(cell, query, key, key, True)
    np.testing.assert_allclose(output.asnumpy(), expected[0], rtol=0, atol=1e-6)
    assert (weights.asnumpy() > 0).all()


@pytest.mark.parametrize(
    ("query", "key", "value", "names"),
    [
        ((3, 4), (2, 7, 5), (2, 7, 5), ("query", "(3, 4)", "(B, T, query_size)")),
        ((2, 3, 9), (2, 7, 5), (2, 7, 5), ("query", "(2, 3, 9)", "last axis 4")),
        ((2, 3, 4), (2, 7, 9), (2, 7, 5), ("key", "(2, 7, 9)", "last axis 5")),
        ((2, 3, 4), (2, 7, 5), (7, 5), ("value", "(7, 5)", "(B, S, Dv)")),
    ],
)
def test_additive_attention_names_wrong_shapes(query, key, value, names):
    with pytest.raises(ValueError, match="has shape") as error:
        AdditiveAttention(4, 5, 6)(*(Tensor(random(0, *shape)) for shape in (query, key, value)))
    for name in names:
        assert name in str(error.value)


@pytest.mark.parametrize(
    ("query", "key", "value"),
    [
        ((2, 3, 4), (2, 7, 5), (2, 6, 5)),  # lengths of key and value
        ((2, 3, 4), (1, 7, 5), (1, 7, 5)),  # batches
        ((2, 3, 4), (2, 7, 5), (1, 7, 5)),
    ],
)
def test_additive_attention_names_shapes_that_do_not_fit(query, key, value):
    inputs = [Tensor(random(0, *shape)) for shape in (query, key, value)]
    with pytest.raises(ValueError, match=r"expected .*\(B, S, Dv\)") as error:
        # An operator's own error would come late, when somebody reads the result.
        AdditiveAttention(4, 5, 6)(*inputs)[0].asnumpy()
    for shape in (query, key, value):
        assert str(shape) in str(error.value)


# Multi-head attention


def heads(seed=0):
    """A cell whose biases are not 0, so that a forgotten one shows."""
    cell = MultiHeadAttention(D_MODEL, HEADS)
    for i, weight in enumerate(cell.get_parameters()):
        weight.set_data(Tensor(random(seed + i, *weight.shape) * np.float32(0.3)))
    return cell


def multi_head_by_hand(cell, query, key, value, mask):
    """Head after head, each with its own rows of the projections."""
    width = D_MODEL // HEADS

    def project(dense, x, head):
        rows = slice(head * width, (head + 1) * width)
        weight, bias = dense.weight.asnumpy()[rows], dense.bias.asnumpy()[rows]
        return x.astype(np.float64) @ weight.T + bias

    outputs, weights = [], []
    for head in range(HEADS):
        output, shares = attention_by_hand(
            project(cell.query_projection, query, head),
            project(cell.key_projection, key, head),
            project(cell.value_projection, value, head),
            mask,
        )
        outputs.append(output)
        weights.append(shares)
    last = cell.output_projection
    output = np.concatenate(outputs, -1) @ last.weight.asnumpy().T + last.bias.asnumpy()
    return output, np.stack(weights, 1)


def test_multi_head_attention_equals_numpy(in_mode):
    cell = heads()
    query, key, value = random(0, 2, 3, D_MODEL), random(1, 2, 5, D_MODEL), random(2, 2, 5, D_MODEL)
    mask = np.ones((2, 1, 1, 5), bool)
    mask[1, ..., 2:] = False
    expected, shares = multi_head_by_hand(cell, query, key, value, mask[:, 0])
    inputs = [Tensor(x) for x in (query, key, value, mask)]
    output = in_mode(cell)(*inputs)
    assert isinstance(output, Tensor)
    np.testing.assert_allclose(output.asnumpy(), expected, rtol=0, atol=1e-5)
    output, weights = in_mode(cell)(*inputs, None, True)
    assert weights.shape == (2, HEADS, 3, 5)
    np.testing.assert_allclose(output.asnumpy(), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(weights.asnumpy(), shares, rtol=0, atol=1e-6)


def test_a_mask_may_differ_from_head_to_head():
    mask = np.ones((1, HEADS, 4, 4), bool)
    mask[0, 1, :, 2] = False
    x = Tensor(random(0, 1, 4, D_MODEL))
    _, weights = heads()(x, x, x, Tensor(mask), need_weights=True)
    assert ((weights.asnumpy() > 0) == mask).all()


def test_the_past_does_not_see_the_future(in_mode):
    cell = in_mode(heads())
    x = random(0, 2, 6, D_MODEL)
    changed = x.copy()
    changed[:, 4:] += 1
    mask = causal_mask(6)
    before = cell(Tensor(x), Tensor(x), Tensor(x), mask).asnumpy()
    after = cell(Tensor(changed), Tensor(changed), Tensor(changed), mask).asnumpy()
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert np.abs(before[:, 4:] - after[:, 4:]).min(axis=-1).max() > 1e-3


@settings(max_examples=5, deadline=None)
@given(real=st.integers(1, 6), padding=st.integers(1, 4), seed=st.integers(0, 99))
def test_padding_does_not_change_real_positions(real, padding, seed):
    cell = heads()
    x = random(seed, 2, real + padding, D_MODEL)
    ids = np.ones((2, real + padding), np.int32)
    ids[:, real:] = 0
    short, long = Tensor(x[:, :real]), Tensor(x)
    alone = cell(short, short, short).asnumpy()
    padded = cell(long, long, long, padding_mask(Tensor(ids))).asnumpy()
    np.testing.assert_allclose(padded[:, :real], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("is_rotary", [False, True])
def test_position_by_position_with_a_cache_equals_all_at_once(is_rotary):
    cell = heads()
    length = 5
    x = random(0, 2, length, D_MODEL)
    cosine, sine = rotary_tables(length, D_MODEL // HEADS)
    rotation = (cosine, sine) if is_rotary else None
    whole = Tensor(x)
    full, full_weights = cell(whole, whole, whole, causal_mask(length), rotation, need_weights=True)
    keys, values = [], []
    for t in range(length):
        new = Tensor(x[:, t : t + 1])
        turn = (cosine[t : t + 1], sine[t : t + 1]) if is_rotary else None
        key, value = cell.project_key_value(new, new, turn)
        assert key.shape == value.shape == (2, HEADS, 1, D_MODEL // HEADS)
        keys.append(key)
        values.append(value)
        output, weights = cell.attend(new, ops.concat(keys, 2), ops.concat(values, 2), None, turn)
        np.testing.assert_allclose(output.asnumpy()[:, 0], full.asnumpy()[:, t], rtol=0, atol=1e-5)
        np.testing.assert_allclose(
            weights.asnumpy()[:, :, 0], full_weights.asnumpy()[:, :, t, : t + 1], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("num_heads", [5, 0, -1])
def test_heads_must_divide_the_width(num_heads):
    with pytest.raises(ValueError, match=rf"d_model 12 .* num_heads {num_heads};"):
        MultiHeadAttention(12, num_heads)


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("shape", [(2, D_MODEL), (2, 3, D_MODEL + 1), (2, 3, 1, D_MODEL)])
def test_an_input_of_a_wrong_shape_is_named(position, shape):
    inputs = [Tensor(random(0, 2, 3, D_MODEL)) for _ in range(3)]
    inputs[position] = Tensor(random(0, *shape))
    with pytest.raises(ValueError, match=("query", "key", "value")[position]) as error:
        MultiHeadAttention(D_MODEL, HEADS)(*inputs)
    assert str(shape) in str(error.value)
    assert "expected (B, length, d_model)" in str(error.value)


def test_a_wrong_shape_is_named_while_compiling(compiled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the compiler leaves a report in the working directory
    x = Tensor(random(0, 2, 3, D_MODEL + 1))
    with pytest.raises(ValueError, match=r"key has shape \(2, 3, 13\); expected .* last axis 12"):
        compiled(MultiHeadAttention(D_MODEL, HEADS))(x, x, x)


@pytest.mark.parametrize("shape", [(D_MODEL,), (2, 3, 1, D_MODEL)])
def test_the_halves_name_an_input_of_a_wrong_rank(shape):
    attention, x = MultiHeadAttention(D_MODEL, HEADS), Tensor(random(0, *shape))
    heads = Tensor(random(1, 2, HEADS, 3, D_MODEL // HEADS))
    with pytest.raises(ValueError, match=r"key has shape .*expected \(B, length, d_model\)"):
        attention.project_key_value(x, x)
    with pytest.raises(ValueError, match=r"query has shape .*expected \(B, length, d_model\)"):
        attention.attend(x, heads, heads)


# Fewer heads of keys and values


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
@pytest.mark.parametrize("is_rotary", [False, True])
def test_grouped_queries_share_keys_and_values(num_kv_heads, is_rotary, in_mode):
    """As the whole cell with the projections of keys and values repeated for each group."""
    heads, d_model = 4, 16
    d_head, groups = d_model // heads, heads // num_kv_heads
    cell, whole = (
        MultiHeadAttention(d_model, heads, num_kv_heads),
        MultiHeadAttention(d_model, heads),
    )
    rng = np.random.default_rng(0)
    for name, weight in cell.parameters_and_names():
        value = rng.normal(size=weight.shape).astype(np.float32)
        weight.set_data(Tensor(value))
        if name.startswith(("key", "value")):
            value = value.reshape(num_kv_heads, d_head, *value.shape[1:])
            value = np.repeat(value, groups, axis=0).reshape(d_model, *value.shape[2:])
        dict(whole.parameters_and_names())[name].set_data(Tensor(value))
    x = Tensor(random(1, 2, 5, d_model))
    rotation = rotary_tables(5, d_head) if is_rotary else None
    mask = causal_mask(5)
    output, weights = in_mode(cell)(x, x, x, mask, rotation, True)
    expected, expected_weights = whole(x, x, x, mask, rotation, True)
    np.testing.assert_allclose(output.asnumpy(), expected.asnumpy(), rtol=0, atol=2e-5)
    np.testing.assert_allclose(weights.asnumpy(), expected_weights.asnumpy(), rtol=0, atol=1e-5)
    keys, values = cell.project_key_value(x, x, rotation)
    assert keys.shape == values.shape == (2, num_kv_heads, 5, d_head)


@pytest.mark.parametrize("num_kv_heads", [0, 3, 8])
def test_heads_of_keys_that_do_not_divide_are_refused(num_kv_heads):
    with pytest.raises(ValueError, match=f"by num_kv_heads {num_kv_heads}; expected"):
        MultiHeadAttention(16, 4, num_kv_heads)


@pytest.mark.parametrize("biases", ["all", "qkv", "none"])
def test_a_head_may_have_a_width_of_its_own(biases, in_mode):
    """Three heads of width 8 in a model of width 10, with a norm of each head, against NumPy."""
    cell = MultiHeadAttention(10, 3, 1, d_head=8, biases=biases, head_norm_epsilon=1e-2)
    rng = np.random.default_rng(0)
    for _, weight in cell.parameters_and_names():
        weight.set_data(Tensor(rng.normal(size=weight.shape).astype(np.float32)))
    names = set(dict(cell.parameters_and_names()))
    assert ("query_projection.bias" in names) == (biases != "none")
    assert ("output_projection.bias" in names) == (biases == "all")
    x, (cosine, sine) = random(1, 2, 5, 10), rotary_tables(5, 8)

    def project(x, layer):
        bias = 0.0 if layer.bias is None else layer.bias.asnumpy().astype(np.float64)
        return x @ layer.weight.asnumpy().T.astype(np.float64) + bias

    def turned(x, norm):
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-2) * norm.gamma.asnumpy()
        half = np.concatenate([-x[..., 4:], x[..., :4]], -1)
        return x * cosine.asnumpy() + half * sine.asnumpy()

    heads = project(x, cell.query_projection).reshape(2, 5, 3, 8).transpose(0, 2, 1, 3)
    queries = turned(heads, cell.query_norm)
    keys = turned(project(x, cell.key_projection), cell.key_norm)[:, None]
    values = project(x, cell.value_projection)[:, None]
    scores = np.where(np.tri(5, dtype=bool), queries @ keys.swapaxes(2, 3) / 8**0.5, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    merged = (weights @ values).transpose(0, 2, 1, 3).reshape(2, 5, 24)
    expected = project(merged, cell.output_projection)
    x = Tensor(x)
    output, found = in_mode(cell)(x, x, x, causal_mask(5), (cosine, sine), True)
    np.testing.assert_allclose(output.asnumpy(), expected, rtol=0, atol=3e-5)
    np.testing.assert_allclose(found.asnumpy(), weights, rtol=0, atol=1e-5)


def test_biases_have_names():
    with pytest.raises(ValueError, match="biases is True; expected one of all, qkv, none"):
        MultiHeadAttention(8, 2, biases=True)


def test_a_low_score_is_still_a_score():
    """An allowed score far below −1e9 keeps its weight beside forbidden ones."""
    query, key = Tensor([[[2e9]]], ms.float32), Tensor([[[-1.0], [1.0]]], ms.float32)
    mask = Tensor(np.array([[[True, False]]]))
    for function in (scaled_dot_product_attention, device_form(scaled_dot_product_attention)):
        _, weights = function(query, key, key, mask)
        np.testing.assert_array_equal(weights.asnumpy(), [[[1.0, 0.0]]])
