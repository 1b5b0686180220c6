"""Quantised weights: what rounding may change, that packing loses nothing, and how many bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mindspore import Tensor

from step_llm.decoding.language import CachedGPT, PlainGPT
from step_llm.decoding.sampling import generate
from step_llm.models.decoder_lm import DecoderLM, DecoderLMConfig
from step_llm.models.gpt import GPT, GPTConfig
from step_llm.nn.linear import Linear
from step_llm.nn.lora import add_lora
from step_llm.nn.quantised import (
    QuantisedLinear,
    pack,
    quantise,
    round_to_scale,
    unpack,
    weight_bytes,
)

IDS = np.array([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]], np.int32)
LINEARS = {"decoder_lm": 2 * 7, "gpt": 2 * 6}


def decoder_lm():
    sizes = {"d_model": 16, "num_heads": 2, "num_kv_heads": 1, "d_head": 8, "d_ff": 24}
    return DecoderLM(DecoderLMConfig(11, num_layers=2, **sizes), seed=1)


def gpt():
    return GPT(GPTConfig(11, d_model=16, num_heads=2, num_layers=2, d_ff=24), seed=1)


def weight_of(linear):
    return linear.weight().asnumpy()


def test_8_bits_by_hand():
    weight = np.array([[1.27, -0.5, 0.004, 0.0], [0, 0, 0, 0], [2.54, 1.0, -2.54, 0.03]])
    numbers, scales = round_to_scale(weight, 8, 4)
    np.testing.assert_allclose(scales, [[0.01], [1.0], [0.02]], rtol=1e-6)
    assert numbers.tolist() == [[127, -50, 0, 0], [0, 0, 0, 0], [127, 50, -127, 2]]
    assert numbers.dtype == np.int8


def test_4_bits_by_hand():
    weight = np.array([[0.7, -0.2, 0.04, 7.0, 1.4, -3.6]])
    numbers, scales = round_to_scale(weight, 4, 3)
    np.testing.assert_allclose(scales, [[0.1, 1.0]], rtol=1e-6)
    assert numbers.tolist() == [[7, -2, 0, 7, 1, -4]]
    assert pack(numbers).tolist() == [[15 * 16 + 6, 8 * 16 + 15, 9 * 16 + 4]]


WEIGHTS = arrays(
    np.float32, (3, 12), elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
)


@settings(max_examples=60, deadline=None)
@given(weight=WEIGHTS, bits=st.sampled_from([8, 4]), group=st.sampled_from([1, 2, 4, 6, 12]))
def test_no_weight_moves_by_more_than_half_a_step(weight, bits, group):
    numbers, scales = round_to_scale(weight, bits, group)
    steps = np.repeat(scales.astype(np.float64), group, axis=1)
    assert (np.abs(weight - steps * numbers) <= steps * (0.5 + 1e-5)).all()
    assert np.abs(numbers).max() <= 2 ** (bits - 1) - 1
    assert (numbers[weight == 0] == 0).all()


@settings(max_examples=60, deadline=None)
@given(
    numbers=arrays(
        np.int8,
        st.tuples(st.integers(1, 4), st.integers(1, 5).map(lambda half: 2 * half)),
        elements=st.integers(-8, 7),
    )
)
def test_packing_loses_nothing(numbers):
    packed = pack(numbers)
    assert packed.dtype == np.uint8
    assert packed.nbytes == numbers.size // 2
    np.testing.assert_array_equal(unpack(Tensor(packed)).asnumpy(), numbers)


@pytest.mark.parametrize(("bits", "group"), [(8, None), (8, 4), (4, None), (4, 6)])
def test_a_layer_computes_with_its_rounded_weight(bits, group, in_mode):
    base = Linear(12, 5)
    rng = np.random.default_rng(1)
    base.weight.set_data(Tensor(rng.normal(size=(5, 12)).astype(np.float32)))
    base.bias.set_data(Tensor(rng.normal(size=5).astype(np.float32)))
    x = rng.normal(size=(2, 3, 12)).astype(np.float32)
    layer = QuantisedLinear(base, bits, group)
    numbers, scales = round_to_scale(base.weight.asnumpy(), bits, group or 12)
    expected = np.repeat(scales, group or 12, axis=1) * numbers
    np.testing.assert_allclose(weight_of(layer), expected, rtol=1e-6)
    output = in_mode(layer)(Tensor(x)).asnumpy()
    np.testing.assert_allclose(output, x @ expected.T + base.bias.asnumpy(), rtol=0, atol=1e-5)
    assert not layer.numbers.requires_grad


@pytest.mark.parametrize("make", [decoder_lm, gpt])
@pytest.mark.parametrize(("bits", "group"), [(8, None), (4, 8)])
def test_a_model_generates_with_its_rounded_weights(make, bits, group):
    model = make().set_train(False)
    plain = model(Tensor(IDS)).asnumpy()
    paths = quantise(model, bits, group)
    assert len(paths) == LINEARS[make.__name__]
    names = [parameter.name for parameter in model.get_parameters()]
    assert len(set(names)) == len(names)
    rounded = model(Tensor(IDS)).asnumpy()
    assert 0 < np.abs(rounded - plain).max() < 0.2 * np.abs(plain).max()
    prompts = [[3, 1, 4], [2, 6]]
    cached = generate(CachedGPT(model), prompts, 8)
    assert cached == generate(PlainGPT(model), prompts, 8)
    assert all(len(text) == 8 for text in cached)


@pytest.mark.parametrize(("bits", "group"), [(8, None), (4, 8)])
def test_the_bytes_are_counted(bits, group):
    model = decoder_lm()
    before = weight_bytes(model)
    assert before == 4 * sum(parameter.size for parameter in model.get_parameters())
    sizes = [cell.weight.shape for cell in model.cells_and_names() for cell in cell[1:]
             if type(cell) is Linear]  # fmt: skip
    quantise(model, bits, group)
    linears = sum(outputs * inputs for outputs, inputs in sizes)
    scales = sum(outputs * (inputs // (group or inputs)) for outputs, inputs in sizes)
    assert weight_bytes(model) == before - 4 * linears + linears * bits // 8 + 4 * scales


def test_a_pattern_takes_some_layers():
    model = decoder_lm()
    paths = quantise(model, 8, None, "feed_forward")
    assert len(paths) == 6
    assert all("feed_forward" in path for path in paths)
    cells = dict(model.cells_and_names())
    assert all(type(cells[path]) is QuantisedLinear for path in paths)
    assert type(cells["layers.layers.0.self_attention.query_projection"]) is Linear


@pytest.mark.parametrize("bits", [2, 16, 0, 8.5, True, None, "8"])
def test_bits_that_are_refused(bits):
    model = decoder_lm()
    with pytest.raises(ValueError, match=f"bits is {bits!r}; expected one of 8, 4"):
        quantise(model, bits)
    assert len(model.trainable_params()) == len(list(model.get_parameters()))  # as it was


@pytest.mark.parametrize("group", [0, -1, 5, 32, 2.0, True])
def test_groups_that_are_refused(group):
    with pytest.raises(ValueError, match=f"group is {group!r}; expected a divisor of the 16 inp"):
        quantise(decoder_lm(), 4, group)


def test_what_else_is_refused():
    with pytest.raises(ValueError, match="no layer's path matches 'q_proj'"):
        quantise(decoder_lm(), 8, None, "q_proj")
    with pytest.raises(ValueError, match="3 numbers in a row; expected an even number"):
        QuantisedLinear(Linear(3, 2), 4)
    with pytest.raises(ValueError, match="expected −8 … 7"):
        pack(np.array([[8, 0]]))
    base = Linear(2, 2)
    base.weight.set_data(Tensor(np.array([[np.nan, 1], [0, 1]], np.float32)))
    with pytest.raises(ValueError, match="a number that is not finite"):
        QuantisedLinear(base)
    model = decoder_lm()
    quantise(model)
    with pytest.raises(ValueError, match="no Linear at all"):
        add_lora(model, "query")
