"""Activations: against their formulas, and where the feed-forward network uses them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mindspore import Tensor

from step_llm.nn.activations import ACTIVATIONS, gelu, gelu_tanh
from step_llm.nn.feed_forward import FeedForward

X = np.linspace(-6, 6, 241).astype(np.float32)


def test_gelu():
    expected = [x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in X.astype(float)]
    np.testing.assert_allclose(gelu(Tensor(X)).asnumpy(), expected, atol=1e-6)


def test_gelu_tanh_is_near_gelu_but_not_gelu():
    x = X.astype(float)
    expected = x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    found = gelu_tanh(Tensor(X)).asnumpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert 1e-4 < np.abs(found - gelu(Tensor(X)).asnumpy()).max() < 5e-4


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_feed_forward_network_uses_it(name, in_mode):
    layer = FeedForward(4, 6, name)
    x = Tensor(np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32))
    expected = layer.outer(ACTIVATIONS[name](layer.inner(x))).asnumpy()
    np.testing.assert_allclose(in_mode(layer)(x).asnumpy(), expected, atol=1e-6)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation is 'swish'; expected one of relu, gelu"):
        FeedForward(4, 6, "swish")
