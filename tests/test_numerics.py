"""How far an accelerator's products may be off: the golden cases with the inputs of every product
rounded as the device rounds them, forward and backward. Sums stay in float32, as they do there.

An Ascend 910A or 310P rounds float32 inputs to float16; a 910B takes them as they are, or rounds
them to HF32 where that is allowed. `check-device` allows
somewhat more than what is measured here.
"""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from step_llm.cli import check, golden
from step_llm.nn.forms import cpu

# Bits of the significand, the leading one among them: HF32 has float32's exponents.
BITS = {"float16": 11, "hf32": 12, "bfloat16": 8}


def rounded(array: np.ndarray, name: str) -> np.ndarray:
    """To the nearest number of so many bits, ties to even; float16's range is its own."""
    if name == "float16":
        return array.astype(np.float16).astype(np.float32)
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.rint(np.ldexp(mantissa, BITS[name])), exponent - BITS[name])


@pytest.mark.parametrize("name", BITS)
def test_rounding_keeps_so_many_bits(name):
    array = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    once = rounded(array, name)
    np.testing.assert_array_equal(rounded(once, name), once)
    relative = np.abs(once / array - 1)
    assert 0.9 * 2.0 ** -BITS[name] < relative.max() <= 2.0 ** -BITS[name]


class RoundedBackward(nn.Cell):
    """x itself; the gradient that a product gets is rounded."""

    def __init__(self, name):
        super().__init__()
        self.rounding = name

    def construct(self, x):
        return x

    def bprop(self, x, output, gradient):
        return (Tensor(rounded(gradient.asnumpy(), self.rounding)),)


@pytest.fixture
def rounding(monkeypatch):
    """Has every product of the textbook's forms round, in PyNative mode."""

    def start(name):
        def straight_through(x):
            near = Tensor(rounded(x.asnumpy(), name))
            return x + ops.stop_gradient(near - x)

        def with_rounding(primitive):
            def make(**options):
                product = primitive(**options)

                def call(a, b):
                    return RoundedBackward(name)(product(straight_through(a), straight_through(b)))

                return call

            return make

        for product in ("MatMul", "BatchMatMul"):
            monkeypatch.setattr(ops, product, with_rounding(getattr(ops, product)))

    monkeypatch.setattr(cpu, "FORMS", {})
    return start


# The largest difference of an output or a gradient, as a share of its tensor's largest value.
FURTHEST = {"float16": 3.2e-3, "hf32": 1.5e-3, "bfloat16": 2.7e-1}


@pytest.mark.parametrize("name", BITS)
def test_the_golden_cases_are_off_by_so_much(rounding, name):
    rounding(name)
    found = [
        value
        for case in golden.CASES
        if not case.startswith("loss")  # it has no product
        for value in golden.measure(case, golden.MODES["pynative"]).values()
    ]
    assert 0.5 * FURTHEST[name] < max(found) < 1.1 * FURTHEST[name]


def test_what_is_allowed_on_a_device_covers_how_it_rounds():
    """Three times what rounding alone does, and no more than ten times."""
    assert 3 * FURTHEST["float16"] < check._EARLY_TOLERANCE < 10 * FURTHEST["float16"]
