"""Sampling: the knobs by hand and by their laws, and generation with and without a cache."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mindspore import Tensor

from step_llm.decoding.language import CachedGPT, PlainGPT, PrefixModel
from step_llm.decoding.sampling import Sampling, generate, next_token_probabilities
from step_llm.models.gpt import GPT, GPTConfig

PROBABILITIES = np.array([0.15, 0.5, 0.1, 0.25])
LOGITS = np.log(PROBABILITIES) + 3.0

logits_of_rows = arrays(
    np.float64, st.tuples(st.integers(1, 3), st.integers(1, 12)), elements=st.floats(-30, 30)
)


# The distribution


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({}, [0.15, 0.5, 0.1, 0.25]),
        ({"temperature": 0.5}, np.array([0.0225, 0.25, 0.01, 0.0625]) / 0.345),
        ({"top_k": 2}, [0, 2 / 3, 0, 1 / 3]),
        ({"top_k": 9}, [0.15, 0.5, 0.1, 0.25]),
        ({"top_p": 0.4}, [0, 1, 0, 0]),
        ({"top_p": 0.7}, [0, 2 / 3, 0, 1 / 3]),
        ({"top_p": 0.8}, [1 / 6, 5 / 9, 0, 5 / 18]),
        # Of the two most probable, the first has 2/3: it alone reaches 0.6, though not before.
        ({"top_k": 2, "top_p": 0.6}, [0, 1, 0, 0]),
        # Sharpened, the first has 0.72.
        ({"temperature": 0.5, "top_p": 0.7}, [0, 1, 0, 0]),
    ],
)
def test_the_knobs_by_hand(knobs, expected):
    for logits in (LOGITS, Tensor(LOGITS.astype(np.float32)), np.stack([LOGITS, LOGITS - 5])):
        found = next_token_probabilities(logits, **knobs)
        assert found.shape == tuple(logits.shape)
        np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-6)


def test_of_equals_the_smaller_id_comes_first():
    found = next_token_probabilities(np.array([0.0, 1.0, 1.0, 1.0]), top_k=2)
    np.testing.assert_allclose(found, [0, 0.5, 0.5, 0])


def test_what_may_not_come_never_comes():
    found = next_token_probabilities(np.array([-np.inf, 0.0, -np.inf, 0.0]), top_k=3)
    np.testing.assert_allclose(found, [0, 0.5, 0, 0.5])


@settings(max_examples=40, deadline=None)
@given(logits_of_rows, st.floats(0.05, 20), st.none() | st.integers(1, 14), st.floats(0.01, 1))
def test_what_is_kept_is_a_distribution_over_the_most_probable(logits, temperature, k, p):
    found = next_token_probabilities(logits, temperature, k, p)
    everything = next_token_probabilities(logits, temperature)
    np.testing.assert_allclose(found.sum(axis=-1), 1.0, atol=1e-12)
    kept = found > 0
    assert kept.any(axis=-1).all()
    for row, whole, is_kept in zip(found, everything, kept):
        assert is_kept.sum() <= (k or len(row))
        assert whole[is_kept].min() >= whole[~is_kept].max(initial=0.0)
        # Among themselves, those that are kept are as probable as they were.
        np.testing.assert_allclose(
            row[is_kept], whole[is_kept] / whole[is_kept].sum(), rtol=1e-9, atol=1e-15
        )


@settings(max_examples=40, deadline=None)
@given(logits_of_rows, st.floats(0.01, 0.99))
def test_top_p_keeps_no_more_than_it_needs(logits, p):
    found = next_token_probabilities(logits, top_p=p)
    for row, whole in zip(found, next_token_probabilities(logits)):
        kept = np.sort(whole[row > 0])
        assert kept.sum() >= p - 1e-12
        assert kept[1:].sum() < p + 1e-12


@settings(max_examples=40, deadline=None)
@given(logits_of_rows, st.floats(0.1, 0.9), st.floats(-1e3, 1e3))
def test_a_low_temperature_favours_the_best_and_a_constant_changes_nothing(logits, low, constant):
    plain = next_token_probabilities(logits)
    assert (next_token_probabilities(logits, low).max(-1) >= plain.max(-1) - 1e-12).all()
    assert (next_token_probabilities(logits, 1 / low).max(-1) <= plain.max(-1) + 1e-12).all()
    np.testing.assert_allclose(next_token_probabilities(logits + constant), plain, atol=1e-9)


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; expected more than 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"top_p": 0.0}, "top_p is 0.0; expected a share in (0, 1]"),
        ({"top_p": 1.01}, "top_p is 1.01"),
        ({"top_p": math.nan}, "top_p is nan"),
        ({"top_k": 0}, "top_k is 0; expected at least 1"),
    ],
)
def test_a_knob_outside_its_range(knobs, words):
    for function in (lambda: Sampling(**knobs), lambda: next_token_probabilities(LOGITS, **knobs)):
        with pytest.raises(ValueError, match=re.escape(words)):
            function()


@pytest.mark.parametrize("wrong", [[0.0, math.nan], [-math.inf, -math.inf], [0.0, math.inf]])
def test_logits_that_are_no_distribution(wrong):
    with pytest.raises(ValueError, match="not finite"):
        next_token_probabilities(np.array([[0.0, 1.0], wrong]))


# Generation with any model


def next_in_a_circle(prefixes):
    """A model that is nearly sure that 0 1 2 3 4 0 1 … follow one another."""
    logits = np.zeros((len(prefixes), 5))
    for row, prefix in enumerate(prefixes):
        logits[row, (prefix[-1] + 1) % 5] = 9.0
    return logits


def always(prefixes):
    return np.tile(LOGITS, (len(prefixes), 1))


def test_greedy_generation():
    model = PrefixModel(next_in_a_circle)
    assert generate(model, [[0], [4, 2]], 6) == [[1, 2, 3, 4, 0, 1], [3, 4, 0, 1, 2, 3]]
    assert generate(model, [[0], [4, 2]], 6, end_id=4) == [[1, 2, 3], [3]]
    assert generate(model, [[3]], 6, end_id=4) == [[]]


def test_the_texts_are_drawn_from_the_distribution():
    count = 4000
    for knobs in ({}, {"temperature": 2.0}, {"top_k": 3}, {"top_p": 0.7}):
        texts = generate(PrefixModel(always), [[0]] * count, 1, Sampling(seed=5, **knobs))
        found = Counter(text[0] for text in texts)
        for token, p in enumerate(next_token_probabilities(LOGITS, **knobs)):
            assert abs(found[token] / count - p) <= 4 * math.sqrt(p * (1 - p) / count)


def test_the_seed_and_the_row_decide_the_text():
    prompts = [[0], [0], [3, 1]]
    texts = generate(PrefixModel(always), prompts, 30, Sampling(seed=7))
    assert texts == generate(PrefixModel(always), prompts, 30, Sampling(seed=7))
    assert texts != generate(PrefixModel(always), prompts, 30, Sampling(seed=8))
    assert texts[0] != texts[1]
    assert texts[:2] == generate(PrefixModel(always), prompts[:2], 30, Sampling(seed=7))


@pytest.mark.parametrize(
    ("prompts", "tokens", "words"),
    [
        ([], 1, "a prompt is empty"),
        ([[1], []], 1, "a prompt is empty"),
        ([[1]], 0, "max_new_tokens is 0; expected at least 1"),
        ([[1], [1] * 9], 1, "a prompt has 9 tokens, but the model has 8 positions"),
        ([[1] * 6], 4, "expected at most 3 new tokens"),
    ],
)
def test_what_cannot_be_generated(prompts, tokens, words):
    gpt = PlainGPT(GPT(GPTConfig(7, d_model=4, num_heads=1, num_layers=1, d_ff=4, max_length=8)))
    for model in (PrefixModel(next_in_a_circle, 8), gpt):
        with pytest.raises(ValueError, match=words):
            generate(model, prompts, tokens)


def test_the_last_position_can_be_used():
    assert generate(PrefixModel(next_in_a_circle, 8), [[0] * 6], 3) == [[1, 2, 3]]


# Generation with a GPT


@pytest.fixture(scope="module")
def gpt():
    config = GPTConfig(19, d_model=12, num_heads=3, num_layers=2, d_ff=20, max_length=40)
    model = GPT(config, seed=4)
    rng = np.random.default_rng(2)
    for parameter in model.get_parameters():  # far from uniform, so that a wrong place shows
        noise = rng.normal(0, 0.3, parameter.shape).astype(np.float32)
        parameter.set_data(Tensor(parameter.asnumpy() + noise))
    return model


def test_with_and_without_cache(gpt):
    """Prompts of different length, and texts that outgrow the cache's first room of 32."""
    cached, prompts = CachedGPT(gpt), [[3, 1, 4], [1] + [5, 9, 2, 6] * 6, [7]]
    for sampling in (None, Sampling(1.5, top_k=9, top_p=0.95, seed=3)):
        texts = generate(cached, prompts, 10, sampling)
        assert texts == generate(PlainGPT(gpt), prompts, 10, sampling)
        assert sampling is None or all(len(set(text)) > 3 for text in texts)
    assert len(cached._step.compile_cache) == 2  # rooms of 32 and 40


def test_the_log_probabilities_agree_with_the_whole_text(gpt):
    prompts, texts = [[3, 1, 4], [7]], [[2, 8, 5], [11, 0, 6]]
    for kind in (CachedGPT, PlainGPT):
        model = kind(gpt)
        with model.running():
            log_probs, state = model.step(*model.start(prompts))
            for step in range(3):
                for row, (prompt, text) in enumerate(zip(prompts, texts)):
                    logits = gpt(Tensor(np.array([prompt + text[:step]], np.int32)))
                    logits = logits.asnumpy()[0, -1].astype(np.float64)
                    expected = logits - logits.max()
                    expected -= np.log(np.exp(expected).sum())
                    np.testing.assert_allclose(log_probs[row], expected, atol=1e-5)
                log_probs, state = model.step(state, np.array([text[step] for text in texts]))


def test_a_state_can_be_continued_again(gpt):
    cached = CachedGPT(gpt)
    with cached.running():
        first, tokens = cached.start([[3, 1, 4], [7]])
        expected, _ = cached.step(first, tokens)
        np.testing.assert_array_equal(cached.step(first, tokens)[0], expected)


def test_rows_follow_their_parents(gpt):
    """Rows of one prompt begin alike, and then follow the parents that a search names."""
    prompts = [[3, 1, 4], [7]]
    for kind in (CachedGPT, PlainGPT):
        decoder = kind(gpt)
        with decoder.running():
            state, tokens = decoder.start(prompts, beam_size=2)
            assert tokens.tolist() == [4, 4, 7, 7]
            _, state = decoder.step(state, tokens)
            parents = np.array([1, 0, 2, 2], np.int32)
            log_probs, _ = decoder.step(state, np.array([5, 6, 8, 9], np.int32), parents)
        texts = [[3, 1, 4, 5], [3, 1, 4, 6], [7, 8], [7, 9]]
        np.testing.assert_allclose(log_probs, PlainGPT(gpt).log_probs(texts), atol=1e-5)


def test_dropout_is_off_meanwhile_and_the_weights_may_change():
    config = GPTConfig(9, d_model=8, num_heads=2, num_layers=1, d_ff=8, dropout=0.9, max_length=20)
    model = GPT(config, seed=1).set_train(True)
    cached = CachedGPT(model)
    first = generate(cached, [[1, 2]], 8, Sampling(seed=2))
    assert first == generate(PlainGPT(model), [[1, 2]], 8, Sampling(seed=2))
    assert model.training
    table = model.embedding.weight
    table.set_data(Tensor(table.asnumpy()[::-1].copy() * 50))
    second = generate(cached, [[1, 2]], 8, Sampling(seed=2))
    assert second != first
    assert second == generate(PlainGPT(model), [[1, 2]], 8, Sampling(seed=2))
