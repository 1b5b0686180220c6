"""Positions: sinusoidal against the formula, learned, and rotary against complex numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn

from step_llm.nn.positions import (
    POSITION_SCHEMES,
    LearnedPositions,
    SinusoidalPositions,
    sinusoidal_encoding,
)
from step_llm.nn.rotary import apply_rotary, rotary_frequencies, rotary_tables


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_the_three_schemes_have_names():
    assert POSITION_SCHEMES == ("sinusoidal", "learned", "rotary")


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 300), d_model=st.integers(1, 9), data=st.data())
def test_sinusoidal_encoding_follows_the_formula(length, d_model, data):
    table = sinusoidal_encoding(length, d_model).asnumpy()
    assert table.shape == (length, d_model)
    assert table.dtype == np.float32
    t = data.draw(st.integers(0, length - 1))
    for j in range(d_model):
        angle = t / 10000 ** (2 * (j // 2) / d_model)
        expected = math.cos(angle) if j % 2 else math.sin(angle)
        assert table[t, j] == pytest.approx(expected, abs=1e-6)


@settings(max_examples=10, deadline=None)
@given(offset=st.integers(1, 30))
def test_an_offset_is_one_rotation_wherever_it_starts(offset):
    # What the paper chose the sines for: PE[t + k] is the same linear function of PE[t] for all t.
    table = sinusoidal_encoding(64, 8).asnumpy().astype(np.float64)
    angle = offset * 10000.0 ** (-np.arange(0, 8, 2) / 8)
    sine, cosine = table[: 64 - offset, 0::2], table[: 64 - offset, 1::2]
    moved = table[offset:]
    expected_sine = sine * np.cos(angle) + cosine * np.sin(angle)
    expected_cosine = cosine * np.cos(angle) - sine * np.sin(angle)
    np.testing.assert_allclose(moved[:, 0::2], expected_sine, rtol=0, atol=1e-6)
    np.testing.assert_allclose(moved[:, 1::2], expected_cosine, rtol=0, atol=1e-6)
    products = (table[: 64 - offset] * moved).sum(-1)
    np.testing.assert_allclose(products, products[0], atol=1e-5)


def test_sinusoidal_positions_are_added_at_any_length(in_mode):
    cell = in_mode(SinusoidalPositions(6))
    for length in (5, 3, 700):  # shorter, then longer than anything before
        x = random(length, 2, length, 6)
        expected = x + sinusoidal_encoding(length, 6).asnumpy()
        np.testing.assert_allclose(cell(Tensor(x)).asnumpy(), expected, rtol=0, atol=1e-6)


def test_sinusoidal_positions_have_no_weights():
    assert not list(SinusoidalPositions(6).get_parameters())


def test_the_beginning_of_a_longer_table_is_the_shorter_table():
    long, short = sinusoidal_encoding(50, 6).asnumpy(), sinusoidal_encoding(7, 6).asnumpy()
    np.testing.assert_array_equal(long[:7], short)


def learned(max_length=5, d_model=4):
    cell = LearnedPositions(max_length, d_model)
    cell.weight.set_data(Tensor(random(0, max_length, d_model)))
    return cell


def test_learned_positions_add_one_vector_a_position(in_mode):
    cell = learned()
    weight = cell.weight.asnumpy()
    run = in_mode(cell)
    for length in (1, 3, 5):
        x = random(length, 2, length, 4)
        np.testing.assert_array_equal(run(Tensor(x)).asnumpy(), x + weight[:length])


def test_learned_positions_are_trained():
    assert [weight.shape for weight in learned().trainable_params()] == [(5, 4)]


def test_more_positions_than_learned_are_refused():
    with pytest.raises(ValueError, match="length 6 is longer than the 5 learned positions"):
        learned()(Tensor(random(0, 2, 6, 4)))


def test_more_positions_than_learned_are_refused_while_compiling(compiled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the compiler leaves a report in the working directory
    with pytest.raises(ValueError, match="length 6 is longer than the 5 learned positions"):
        compiled(learned())(Tensor(random(0, 2, 6, 4)))


@pytest.mark.parametrize("make", [lambda: SinusoidalPositions(4), learned])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 5), (4,)])
def test_an_input_of_a_wrong_shape_is_named(make, shape):
    with pytest.raises(ValueError, match=r"expected \(B, T, d_model\)") as error:
        make()(Tensor(random(0, *shape)))
    assert str(shape) in str(error.value)


class Rotary(nn.Cell):
    def construct(self, x):
        return apply_rotary(x, rotary_tables(x.shape[2], x.shape[3]))


def turned_by_hand(x):
    """Coordinates i and i + Dk/2 are one complex number, turned by e^(i t θ)."""
    length, width = x.shape[-2:]
    half = width // 2
    numbers = x[..., :half].astype(np.float64) + 1j * x[..., half:].astype(np.float64)
    theta = 10000.0 ** (-2 * np.arange(half) / width)
    turned = numbers * np.exp(1j * np.arange(length)[:, None] * theta)
    return np.concatenate([turned.real, turned.imag], -1)


def test_rotary_equals_complex_numbers(in_mode):
    x = random(0, 2, 3, 11, 8)
    turned = in_mode(Rotary())(Tensor(x)).asnumpy()
    np.testing.assert_allclose(turned, turned_by_hand(x), rtol=0, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 40), half=st.integers(1, 8), seed=st.integers(0, 99))
def test_rotary_turns_without_stretching(length, half, seed):
    x = random(seed, 1, 2, length, 2 * half)
    turned = Rotary()(Tensor(x)).asnumpy()
    np.testing.assert_allclose(turned, turned_by_hand(x), rtol=0, atol=2e-5)
    np.testing.assert_allclose(
        np.linalg.norm(turned, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5
    )
    np.testing.assert_array_equal(turned[:, :, 0], x[:, :, 0])  # position 0 is not turned


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), distance=st.integers(0, 6))
def test_rotary_scores_depend_on_the_distance_alone(seed, distance):
    length = 12
    query = np.repeat(random(seed, 1, 1, 1, 8), length, 2)
    key = np.repeat(random(seed + 100, 1, 1, 1, 8), length, 2)
    cell = Rotary()
    scores = cell(Tensor(query)).asnumpy()[0, 0] @ cell(Tensor(key)).asnumpy()[0, 0].T
    for side in (distance, -distance):
        diagonal = np.diagonal(scores, side)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=0, atol=1e-4)
    # … and do depend on it.
    assert np.ptp(scores[0]) > 1e-3


def test_rotary_tables_are_cosine_and_sine():
    cosine, sine = (table.asnumpy() for table in rotary_tables(4, 6))
    assert cosine.shape == sine.shape == (4, 6)
    assert cosine[3, 1] == pytest.approx(math.cos(3 / 10000 ** (2 / 6)), abs=1e-6)
    assert sine[3, 1] == pytest.approx(math.sin(3 / 10000 ** (2 / 6)), abs=1e-6)
    np.testing.assert_array_equal(cosine[:, :3], cosine[:, 3:])
    np.testing.assert_array_equal(sine[:, :3], sine[:, 3:])


def test_an_odd_head_width_cannot_be_turned():
    with pytest.raises(ValueError, match="d_head 5 is odd"):
        rotary_tables(4, 5)


def test_linear_scaling_sets_the_positions_closer_together():
    far = [table.asnumpy()[::4] for table in rotary_tables(13, 6, 100.0, ("linear", 4.0))]
    for one, other in zip(far, rotary_tables(4, 6, 100.0)):
        np.testing.assert_allclose(one, other.asnumpy(), rtol=0, atol=1e-6)


def test_llama3_scaling_slows_down_what_turns_seldom():
    """Of 8,192 positions, as in Llama 3.1: 4 turns and more stay, below 1 is divided by 8."""
    plain = rotary_frequencies(128, 5e5)
    scaled = rotary_frequencies(128, 5e5, ("llama3", 8.0, 1.0, 4.0, 8192))
    turns = 8192 * plain / (2 * np.pi)
    assert (turns >= 4).sum() == 29
    assert (turns <= 1).sum() == 29
    np.testing.assert_array_equal(scaled[turns >= 4], plain[turns >= 4])
    np.testing.assert_allclose(scaled[turns <= 1], plain[turns <= 1] / 8, rtol=1e-15)
    ratio = (plain / scaled)[(turns > 1) & (turns < 4)]
    assert (np.diff(ratio) > 0).all()  # it goes over steadily, from 1 to 8
    assert 1 < ratio.min() < ratio.max() < 8
    # One value by hand: where it turns 2.5 times, half of each.
    base = (8192 / (2 * np.pi * 2.5)) ** 2
    middle = rotary_frequencies(4, base, ("llama3", 8.0, 1.0, 4.0, 8192))[1]
    assert middle == pytest.approx(base**-0.5 * (1 + 1 / 8) / 2, rel=1e-12)


@pytest.mark.parametrize(
    ("base", "scaling", "words"),
    [
        (0.0, (), "base of the rotary positions is 0.0; expected more than 0"),
        (float("nan"), (), "base of the rotary positions is nan"),
        (1e4, ("dynamic", 2.0), "is 'dynamic'; expected one of linear, llama3, or none"),
        (1e4, ("linear",), "expected 'linear' followed by factor"),
        (1e4, ("linear", 2.0, 3.0), "expected 'linear' followed by factor"),
        (1e4, ("linear", 0.0), "factor of the rotary positions is 0.0; expected more than 0"),
        (1e4, ("linear", True), "factor of the rotary positions is True"),
        (1e4, ("linear", "2"), "factor of the rotary positions is '2'"),
        (1e4, ("llama3", 8.0), "followed by factor, low_freq_factor, high_freq_factor, original"),
        (1e4, ("llama3", 8.0, 4.0, 4.0, 8192), "is 4.0; expected less than high_freq_factor"),
    ],
)
def test_rotary_settings_that_are_refused(base, scaling, words):
    with pytest.raises(ValueError, match=words):
        rotary_tables(4, 6, base, scaling)
