"""Masks: which positions may be looked at, in one convention (True = may attend)."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from mindspore import Tensor, nn

from step_llm.nn.masks import causal_mask, combine_masks, padding_mask

IDS = st.integers(0, 4)


class Masks(nn.Cell):
    """All three functions in one call."""

    def construct(self, ids):
        padding = padding_mask(ids, 0)
        causal = causal_mask(ids.shape[1])
        return padding, causal, combine_masks(padding, causal)


def test_all_masks_of_a_small_batch(in_mode):
    ids = Tensor(np.array([[5, 6, 7], [8, 0, 0]], np.int32))
    padding, causal, both = in_mode(Masks())(ids)
    assert padding.dtype == causal.dtype == both.dtype == ms.bool_
    assert padding.asnumpy().tolist() == [[[[True, True, True]]], [[[True, False, False]]]]
    assert causal.asnumpy().tolist() == [
        [[[True, False, False], [True, True, False], [True, True, True]]]
    ]
    assert both.shape == (2, 1, 3, 3)
    assert both.asnumpy()[0].tolist() == causal.asnumpy()[0].tolist()
    assert both.asnumpy()[1].tolist() == [[[True, False, False]] * 3]


@settings(max_examples=25, deadline=None)
@given(
    ids=arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=IDS),
    pad_id=IDS,
)
def test_padding_mask_is_true_at_real_tokens(ids, pad_id):
    mask = padding_mask(Tensor(ids), pad_id)
    assert mask.shape == (ids.shape[0], 1, 1, ids.shape[1])
    assert mask.dtype == ms.bool_
    np.testing.assert_array_equal(mask.asnumpy()[:, 0, 0], ids != pad_id)


def test_padding_mask_takes_0_for_padding_unless_told():
    assert padding_mask(Tensor([[1, 0]], ms.int32)).asnumpy().tolist() == [[[[True, False]]]]


@pytest.mark.parametrize("shape", [(3,), (2, 3, 1)])
def test_padding_mask_wants_two_axes(shape):
    with pytest.raises(ValueError, match=r"expected \(B, S\)") as error:
        padding_mask(Tensor(np.ones(shape, np.int32)))
    assert f"ids has shape {shape}" in str(error.value)


@settings(max_examples=10, deadline=None)
@given(length=st.integers(1, 40))
def test_causal_mask_is_the_lower_triangle(length):
    mask = causal_mask(length)
    assert mask.dtype == ms.bool_
    expected = np.tril(np.ones((length, length), bool))[None, None]
    np.testing.assert_array_equal(mask.asnumpy(), expected)


def test_combining_with_none_changes_nothing():
    mask = causal_mask(3)
    assert combine_masks(None, None) is None
    assert combine_masks(mask, None) is mask
    assert combine_masks(None, mask) is mask


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_combined_mask_allows_what_both_allow(data):
    batch, targets, sources = (data.draw(st.integers(1, 4)) for _ in range(3))
    one = data.draw(arrays(bool, (batch, 1, 1, sources)))
    other = data.draw(arrays(bool, (1, 1, targets, sources)))
    both = combine_masks(Tensor(one), Tensor(other))
    assert both.dtype == ms.bool_
    np.testing.assert_array_equal(both.asnumpy(), one & other)


@pytest.mark.parametrize("dtype", [ms.float32, ms.int32])
@pytest.mark.parametrize("first", [True, False])
def test_a_mask_that_is_not_boolean_is_refused(dtype, first):
    wrong = Tensor(np.ones((1, 1, 2, 2)), dtype)
    pair = (wrong, None) if first else (causal_mask(2), wrong)
    with pytest.raises(ValueError, match="Boolean with True = may attend"):
        combine_masks(*pair)
