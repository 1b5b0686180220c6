"""Perplexity of a running text: every token once, and with the context that is promised."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn

from step_llm.evaluation.long_text import loss_by_position, text_losses, text_perplexity
from step_llm.models.decoder_lm import DecoderLM, DecoderLMConfig

V = 13
TEXT = np.random.default_rng(0).integers(0, V, 40)


@pytest.fixture(scope="module")
def model():
    sizes = {"d_model": 16, "num_heads": 2, "num_kv_heads": 1, "d_head": 8, "d_ff": 24}
    model = DecoderLM(DecoderLMConfig(V, num_layers=2, **sizes), seed=1)
    rng = np.random.default_rng(1)
    for weight in model.trainable_params():
        weight.set_data(Tensor(rng.normal(0.0, 0.4, weight.shape).astype(np.float32)))
    return model


class Counting(nn.Cell):
    """Logits that tell how many tokens a place has before it in its window."""

    def construct(self, ids):
        rows, length = ids.shape
        logits = np.zeros((rows, length, V), np.float32)
        for place in range(length):
            logits[:, place, 0] = -place
        return Tensor(logits)


def direct(model, ids, window, stride):
    """One token at a time: the logits of a prefix that begins where its window begins."""
    losses = []
    for place in range(1, len(ids)):
        begin = 0
        while begin + window < place:
            begin += stride
        logits = model(Tensor(np.array([ids[begin:place]], np.int32))).asnumpy()[0, -1]
        logits = logits.astype(np.float64)
        losses.append(np.log(np.exp(logits).sum()) - logits[ids[place]])
    return np.array(losses)


@pytest.mark.parametrize("length", [2, 9, 10, 40])
@pytest.mark.parametrize(("window", "stride"), [(8, 8), (8, 3), (8, 1), (64, 16), (1, 1)])
def test_equals_a_direct_computation(model, length, window, stride):
    ids = TEXT[:length]
    losses = text_losses(model, ids, window, stride, rows=3)
    expected = direct(model, ids, window, stride)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=2e-5)
    found = text_perplexity(model, list(map(int, ids)), window, stride)
    assert found == pytest.approx(math.exp(expected.mean()), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(2, 60),
    window=st.integers(1, 20),
    part=st.integers(1, 20),
    rows=st.integers(1, 5),
)
def test_a_token_has_the_context_that_is_promised(length, window, part, rows):
    stride = min(part, window)
    losses = text_losses(Counting(), np.ones(length, int), window, stride, rows)
    # −log p(1) = log(e^−place + V − 1): it falls with the place, so place is read off.
    places = np.rint(-np.log(np.maximum(np.exp(losses) - (V - 1), 1e-12))).astype(int)
    exact = np.log(np.exp(-np.minimum(np.arange(length - 1), window - 1.0)) + V - 1)
    assert losses.shape == (length - 1,)
    np.testing.assert_allclose(losses[: min(window, length - 1)],
                               exact[: min(window, length - 1)], rtol=1e-5)  # fmt: skip
    # After the first window none has fewer than W − stride before its own input.
    later = places[window:]
    assert all(place >= min(window - stride, 9) for place in later)


def test_more_context_is_not_counted_twice(model):
    """The mean over all tokens, not over windows: a half-filled last one weighs less."""
    losses = text_losses(model, TEXT[:12], 8)
    assert losses.shape == (11,)
    assert text_perplexity(model, TEXT[:12], 8) == pytest.approx(math.exp(losses.mean()), rel=1e-5)


def test_loss_by_position(model):
    losses = loss_by_position(model, TEXT, 8)  # 4 pieces of 8 labels; 7 tokens are left out
    expected = direct(model, TEXT[:33], 8, 8).reshape(4, 8).mean(axis=0)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=2e-5)


def test_training_mode_comes_back(model):
    for is_training in (True, False):
        model.set_train(is_training)
        text_losses(model, TEXT, 8)
        assert model.training == is_training


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: text_losses(m, [1], 4), "the text has 1 tokens; expected at least 2"),
        (lambda m: text_losses(m, TEXT, 0), "window 0, stride 0, rows 8; expected a window"),
        (lambda m: text_losses(m, TEXT, 4, 5), "window 4, stride 5, rows 8"),
        (lambda m: text_losses(m, TEXT, 4, 0), "window 4, stride 0, rows 8"),
        (lambda m: text_losses(m, TEXT, 4, 2, 0), "window 4, stride 2, rows 0"),
        (lambda m: loss_by_position(m, TEXT, 40), "the text has 40 tokens; expected at least 41"),
        (lambda m: loss_by_position(m, TEXT, 0), "window 0"),
    ],
)
def test_what_is_refused(model, call, words):
    with pytest.raises(ValueError, match=words):
        call(model)
