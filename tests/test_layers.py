"""Layers: LayerNorm, feed-forward, the residual connection, encoder and decoder layer."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn

from step_llm.nn.cache import empty_cache, reorder, take, with_room, write
from step_llm.nn.decoder import DecoderLayer
from step_llm.nn.encoder import EncoderLayer
from step_llm.nn.feed_forward import FeedForward
from step_llm.nn.layer_norm import LayerNorm, layer_norm
from step_llm.nn.masks import causal_mask, padding_mask, seen_mask
from step_llm.nn.residual import Residual

D_MODEL = 8


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def sizes(**changes):
    return {"d_model": D_MODEL, "num_heads": 2, "d_ff": 12, "dropout": 0.0, **changes}


def stir(cell, seed=0):
    """Random weights: biases of 0 and scales of 1 would hide errors."""
    for i, weight in enumerate(cell.get_parameters()):
        weight.set_data(Tensor(random(seed + i, *weight.shape) * np.float32(0.5)))
    return cell


def norm_by_hand(x, gamma, beta, epsilon=1e-5):
    x = x.astype(np.float64)
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


# LayerNorm


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    spread=st.sampled_from([0.01, 1.0, 100.0]),
    centre=st.sampled_from([0.0, 1.0, -30.0]),
    seed=st.integers(0, 99),
)
def test_layer_norm_equals_numpy(shape, spread, centre, seed):
    x = (random(seed, *shape) * spread + centre * spread).astype(np.float32)
    gamma, beta = random(seed + 1, shape[-1]), random(seed + 2, shape[-1])
    y = layer_norm(Tensor(x), Tensor(gamma), Tensor(beta))
    assert y.shape == tuple(shape)
    np.testing.assert_allclose(y.asnumpy(), norm_by_hand(x, gamma, beta), rtol=0, atol=2e-3)


def test_layer_norm_is_precise(in_mode):
    x = random(0, 3, 5, 64)
    cell = stir(LayerNorm(64))
    expected = norm_by_hand(x, cell.gamma.asnumpy(), cell.beta.asnumpy())
    np.testing.assert_allclose(in_mode(cell)(Tensor(x)).asnumpy(), expected, rtol=0, atol=3e-6)


def test_layer_norm_starts_with_mean_0_and_variance_1():
    y = LayerNorm(64)(Tensor(random(0, 10, 64) * 3 + 7)).asnumpy()
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(-1), 1, atol=1e-4)


def test_layer_norm_does_not_cancel_far_from_0():
    # E[x²] − E[x]² would lose every digit here.
    x = random(0, 4, 16) + np.float32(1000)
    y = LayerNorm(16)(Tensor(x)).asnumpy()
    np.testing.assert_allclose(y, norm_by_hand(x, 1, 0), rtol=0, atol=1e-3)


def test_layer_norm_epsilon_is_inside_the_root():
    x = np.array([[-1e-3, 1e-3]], np.float32)
    y = layer_norm(Tensor(x), Tensor(np.ones(2, np.float32)), Tensor(np.zeros(2, np.float32)))
    assert y.asnumpy()[0, 1] == pytest.approx(1e-3 / np.sqrt(1e-6 + 1e-5), rel=1e-4)


class NormGradient(nn.Cell):
    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def total(self, x):
        y = self.norm(x)
        return (y * y * y).sum(), y

    def construct(self, x):
        return ms.value_and_grad(self.total, 0, None, has_aux=True)(x)


@pytest.mark.parametrize("value", [0.0, 3.0, -7.5])
def test_a_constant_vector_stays_finite(value, in_mode):
    cell = stir(LayerNorm(6))
    x = np.full((2, 6), value, np.float32)
    (_, y), gradient = in_mode(NormGradient(cell))(Tensor(x))
    expected = np.tile(cell.beta.asnumpy(), (2, 1))
    np.testing.assert_allclose(y.asnumpy(), expected, rtol=0, atol=1e-3)
    assert np.isfinite(gradient.asnumpy()).all()


def test_layer_norm_wants_its_width():
    with pytest.raises(ValueError, match=r"x has shape \(2, 5\); expected .* last axis 6"):
        LayerNorm(6)(Tensor(random(0, 2, 5)))


# Feed-forward


def feed_forward_by_hand(cell, x):
    inner = x.astype(np.float64) @ cell.inner.weight.asnumpy().T + cell.inner.bias.asnumpy()
    return np.maximum(inner, 0) @ cell.outer.weight.asnumpy().T + cell.outer.bias.asnumpy()


def test_feed_forward_equals_numpy(in_mode):
    cell = stir(FeedForward(D_MODEL, 12))
    x = random(9, 2, 3, D_MODEL)
    y = in_mode(cell)(Tensor(x)).asnumpy()
    np.testing.assert_allclose(y, feed_forward_by_hand(cell, x), rtol=0, atol=1e-5)


def test_feed_forward_treats_every_position_alike():
    cell = stir(FeedForward(D_MODEL, 12))
    x = random(9, 1, 4, D_MODEL)
    order = [2, 0, 3, 1]
    one, other = cell(Tensor(x)).asnumpy(), cell(Tensor(x[:, order])).asnumpy()
    np.testing.assert_allclose(one[:, order], other, rtol=0, atol=1e-6)


def test_feed_forward_wants_its_width():
    with pytest.raises(ValueError, match=r"x has shape \(2, 3, 7\); expected .* last axis 8"):
        FeedForward(D_MODEL, 12)(Tensor(random(0, 2, 3, 7)))


# Residual


def test_post_norm_normalises_the_sum(in_mode):
    cell = stir(Residual(D_MODEL, 0.0, "post"))
    x, output = random(0, 2, 3, D_MODEL), random(1, 2, 3, D_MODEL)
    gamma, beta = cell.norm.gamma.asnumpy(), cell.norm.beta.asnumpy()
    np.testing.assert_array_equal(cell.before(Tensor(x)).asnumpy(), x)
    y = in_mode(cell)(Tensor(x), Tensor(output)).asnumpy()
    np.testing.assert_allclose(y, norm_by_hand(x + output, gamma, beta), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(y, cell.after(Tensor(x), Tensor(output)).asnumpy())


def test_pre_norm_leaves_the_sum_alone(in_mode):
    cell = stir(Residual(D_MODEL, 0.0, "pre"))
    x, output = random(0, 2, 3, D_MODEL), random(1, 2, 3, D_MODEL)
    gamma, beta = cell.norm.gamma.asnumpy(), cell.norm.beta.asnumpy()
    before = cell.before(Tensor(x)).asnumpy()
    np.testing.assert_allclose(before, norm_by_hand(x, gamma, beta), rtol=0, atol=1e-5)
    y = in_mode(cell)(Tensor(x), Tensor(output)).asnumpy()
    np.testing.assert_allclose(y, x + output, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["Post", "", None])
def test_an_unknown_norm_is_named(norm):
    with pytest.raises(ValueError, match="expected post or pre") as error:
        Residual(D_MODEL, 0.0, norm)
    assert repr(norm) in str(error.value)


def test_dropout_works_in_training_alone_and_keeps_the_mean(in_mode):
    cell = Residual(100, 0.3, "pre")
    zeros = Tensor(np.zeros((10, 100, 100), np.float32))
    ones = Tensor(np.ones((10, 100, 100), np.float32))
    cell.set_train(False)
    np.testing.assert_array_equal(in_mode(cell)(zeros, ones).asnumpy(), 1)
    cell.set_train(True)
    y = in_mode(cell)(zeros, ones).asnumpy()
    # 100,000 draws: the standard deviation of the share is 0.0015, of the mean 0.0021.
    assert np.mean(y == 0) == pytest.approx(0.3, abs=0.01)
    np.testing.assert_allclose(y[y != 0], 1 / 0.7, rtol=1e-5)
    assert y.mean() == pytest.approx(1, abs=0.015)


def test_dropout_spares_what_goes_past_the_sublayer():
    cell = Residual(10, 0.5, "pre")
    cell.set_train(True)
    x = random(0, 3, 4, 10)
    y = cell(Tensor(x), Tensor(np.zeros_like(x))).asnumpy()
    np.testing.assert_array_equal(y, x)


def test_dropout_reaches_a_layer_in_training_alone():
    layer = stir(EncoderLayer(**sizes(dropout=0.5)))
    x = Tensor(random(0, 2, 3, D_MODEL))
    layer.set_train(False)
    calm = layer(x)[0].asnumpy()
    np.testing.assert_array_equal(layer(x)[0].asnumpy(), calm)
    layer.set_train(True)
    assert np.abs(layer(x)[0].asnumpy() - layer(x)[0].asnumpy()).max() > 1e-3


# Encoder and decoder layer (their values: tests/test_golden.py)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_encoder_layer_is_its_parts_in_order(norm, in_mode):
    layer = stir(EncoderLayer(**sizes(norm=norm)))
    x = Tensor(random(0, 2, 5, D_MODEL))
    mask = padding_mask(Tensor(np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)))
    output, weights, _ = in_mode(layer)(x, mask)
    assert output.shape == (2, 5, D_MODEL)
    assert weights.shape == (2, 2, 5, 5)
    assert (weights.asnumpy()[0, ..., 3:] == 0).all()
    first, second = layer.attention_residual, layer.feed_forward_residual
    attention, feed_forward = layer.self_attention, layer.feed_forward
    if norm == "post":
        y = first.norm(x + attention(x, x, x, mask))
        y = second.norm(y + feed_forward(y))
    else:
        h = first.norm(x)
        y = x + attention(h, h, h, mask)
        y = y + feed_forward(second.norm(y))
    np.testing.assert_allclose(output.asnumpy(), y.asnumpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_decoder_layer_is_its_parts_in_order(norm, in_mode):
    layer = stir(DecoderLayer(**sizes(norm=norm)))
    x, memory = Tensor(random(0, 2, 3, D_MODEL)), Tensor(random(1, 2, 5, D_MODEL))
    mask, causal = Tensor(np.arange(5) < 4), causal_mask(3)
    output, own, cross, _ = in_mode(layer)(x, memory, causal, mask)
    assert output.shape == (2, 3, D_MODEL)
    assert own.shape == (2, 2, 3, 3)
    assert cross.shape == (2, 2, 3, 5)
    assert (np.triu(own.asnumpy(), 1) == 0).all()
    assert (cross.asnumpy()[..., 4] == 0).all()
    residuals = layer.self_residual, layer.cross_residual, layer.feed_forward_residual
    first, second, third = (residual.norm for residual in residuals)
    if norm == "post":
        y = first(x + layer.self_attention(x, x, x, causal))
        y = second(y + layer.cross_attention(y, memory, memory, mask))
        y = third(y + layer.feed_forward(y))
    else:
        h = first(x)
        y = x + layer.self_attention(h, h, h, causal)
        y = y + layer.cross_attention(second(y), memory, memory, mask)
        y = y + layer.feed_forward(third(y))
    np.testing.assert_allclose(output.asnumpy(), y.asnumpy(), rtol=0, atol=1e-5)


def test_decoder_layer_does_not_let_the_past_see_the_future():
    layer = stir(DecoderLayer(**sizes()))
    x, memory = random(0, 2, 6, D_MODEL), Tensor(random(1, 2, 5, D_MODEL))
    changed = x.copy()
    changed[:, 3:] += 1
    before = layer(Tensor(x), memory, causal_mask(6))[0].asnumpy()
    after = layer(Tensor(changed), memory, causal_mask(6))[0].asnumpy()
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert np.abs(before[:, 3:] - after[:, 3:]).max() > 1e-3


# The cache


@pytest.mark.parametrize("position", [[2], [0, 3]])
def test_one_position_is_written_to_a_copy(position):
    """All sentences at one position, or each at its own."""
    cached, new = random(0, 2, 3, 4, 5), random(1, 2, 3, 1, 5)
    expected = cached.copy()
    for sentence, place in enumerate(np.broadcast_to(position, 2)):
        expected[sentence, :, place] = new[sentence, :, 0]
    before = Tensor(cached)
    after = write(before, Tensor(new), Tensor(np.array(position, np.int32)))
    np.testing.assert_array_equal(after.asnumpy(), expected)
    np.testing.assert_array_equal(before.asnumpy(), cached)


def test_a_cache_grows_and_its_rows_change_places():
    cache = [(Tensor(random(0, 3, 2, 4, 5)), Tensor(random(1, 3, 2, 4, 5)))]
    ((keys, values),) = with_room(cache, 6)
    assert keys.shape == values.shape == (3, 2, 6, 5)
    np.testing.assert_array_equal(keys.asnumpy()[:, :, :4], cache[0][0].asnumpy())
    assert not keys.asnumpy()[:, :, 4:].any()
    parents = np.array([2, 0, 0], np.int32)
    ((keys, values),) = reorder(cache, Tensor(parents), take)
    np.testing.assert_array_equal(keys.asnumpy(), cache[0][0].asnumpy()[parents])
    np.testing.assert_array_equal(values.asnumpy(), cache[0][1].asnumpy()[parents])
    assert reorder(cache, None, take) is cache
    empty = empty_cache(layers=2, rows=3, num_heads=2, room=6, d_head=5)
    assert [(k.shape, v.shape) for k, v in empty] == [((3, 2, 6, 5), (3, 2, 6, 5))] * 2


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("num_kv_heads", [None, 1])
def test_a_layer_with_a_cache_continues_the_layer_without(norm, num_kv_heads):
    layer = stir(DecoderLayer(**sizes(norm=norm, num_kv_heads=num_kv_heads)))
    x, memory = random(0, 2, 4, D_MODEL), Tensor(random(1, 2, 5, D_MODEL))
    whole = layer(Tensor(x), memory, causal_mask(4))[0].asnumpy()
    heads = 2 if num_kv_heads is None else num_kv_heads
    (cache,) = empty_cache(1, 2, heads, 6, D_MODEL // 2)
    projected = layer.project_memory(memory)
    for place in range(4):
        position = Tensor(np.array([place], np.int32))
        output, _, _, cache = layer(
            Tensor(x[:, place : place + 1]), projected, seen_mask(position, 6),
            cache=cache, position=position,
        )  # fmt: skip
        np.testing.assert_allclose(output.asnumpy()[:, 0], whole[:, place], atol=1e-5)
