"""BERT: what a position sees, and the data of its two tasks. Parity: test_pretrained.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor

from step_llm.data.masking import mask_tokens, masked_batch, next_sentence_pairs, pair_arrays
from step_llm.models.bert import (
    Bert,
    BertConfig,
    BertForClassification,
    BertForMaskedLM,
    BertForPreTraining,
)

CONFIG = BertConfig(13, d_model=12, num_heads=3, num_layers=2, d_ff=20, max_length=9)
IDS = np.array([[3, 1, 4, 1, 5], [2, 6, 5, 3, 8]], np.int32)


def call(cell, *arrays):
    outputs = cell(*(Tensor(array) for array in arrays))
    return outputs if isinstance(outputs, tuple) else (outputs,)


# The models


def test_every_position_sees_both_sides(in_mode):
    model = in_mode(Bert(CONFIG, seed=1).set_train(False))
    (before,) = call(model, IDS)
    assert before.shape == (2, 5, 12)
    ids = IDS.copy()
    ids[:, 2] = 9
    (after,) = call(model, ids)
    assert (np.abs(after.asnumpy() - before.asnumpy()).max(axis=-1) > 1e-6).all()


def test_padding_changes_nothing(in_mode):
    model = BertForPreTraining(CONFIG, seed=1).set_train(False)
    padded = np.pad(IDS, ((0, 0), (0, 4)))
    padded[1, 3:] = 0
    long, short = call(in_mode(model), padded), call(in_mode(model), IDS[:1])
    np.testing.assert_allclose(long[0].asnumpy()[:1, :5], short[0].asnumpy(), atol=1e-6)
    np.testing.assert_allclose(long[1].asnumpy()[:1], short[1].asnumpy(), atol=1e-6)
    (alone,) = call(in_mode(model), IDS[1:, :3])[1:]
    np.testing.assert_allclose(long[1].asnumpy()[1:], alone.asnumpy(), atol=1e-6)


def test_segments_make_a_difference():
    model = Bert(CONFIG, seed=1).set_train(False)
    (first,), (second,) = call(model, IDS, np.zeros_like(IDS)), call(model, IDS, IDS // 4 % 2)
    np.testing.assert_array_equal(first.asnumpy(), call(model, IDS)[0].asnumpy())
    assert not np.allclose(first.asnumpy(), second.asnumpy(), atol=1e-4)


def test_the_heads_shapes_and_shared_weights():
    bert = Bert(CONFIG, seed=1).set_train(False)
    model = BertForClassification(CONFIG, 4, bert, seed=2).set_train(False)
    (logits,) = call(model, IDS)
    assert logits.shape == (2, 4)
    assert model.bert is bert  # fine-tuning goes on with the body that it was given
    assert call(BertForMaskedLM(CONFIG), IDS)[0].shape == (2, 5, 13)
    with pytest.raises(ValueError, match="num_classes is 0"):
        BertForClassification(CONFIG, 0)
    with pytest.raises(ValueError, match="another configuration, or no pooler"):
        BertForClassification(CONFIG, 2, Bert(CONFIG, has_pooler=False))


def test_segments_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"segments has shape \(2, 4\); expected \(2, 5\)"):
        call(Bert(CONFIG), IDS, IDS[:, 1:])
    with pytest.raises(ValueError, match="length 10 is longer than the 9 learned positions"):
        call(Bert(CONFIG), np.ones((1, 10), np.int32))


# Masking


def test_the_shares_of_masking():
    """15 % of the ordinary tokens; of these 80 % masks, 10 % random, 10 % as they were."""
    rng = np.random.default_rng(3)
    ids = rng.integers(0, 50, (2000, 100))
    inputs, labels = mask_tokens(ids, 50, mask_id=4, special_ids=(1, 2, 3), seed=5)
    assert inputs.dtype == labels.dtype == np.int32
    is_special = ids <= 4
    chosen = labels != 0
    assert not chosen[is_special].any()
    np.testing.assert_array_equal(labels[chosen], ids[chosen])
    np.testing.assert_array_equal(inputs[~chosen], ids[~chosen])

    def near(count, total, share):
        return abs(count - total * share) <= 4 * math.sqrt(total * share * (1 - share))

    ordinary, found = (~is_special).sum(), chosen.sum()
    assert near(found, ordinary, 0.15)
    is_mask = inputs[chosen] == 4
    assert near(is_mask.sum(), found, 0.8)
    # One random token in 45 is the one that was there.
    assert near((inputs[chosen] == ids[chosen]).sum(), found, 0.1 + 0.1 / 45)
    is_random = ~is_mask & (inputs[chosen] != ids[chosen])
    assert near(is_random.sum(), found, 0.1 * 44 / 45)
    values, counts = np.unique(inputs[chosen][is_random], return_counts=True)
    assert values.min() >= 5  # never a special token
    assert len(values) == 45
    assert counts.max() < 2 * counts.min()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(6, 30), st.floats(0.01, 1.0), st.integers(0, 100), st.integers(1, 4),
    st.integers(1, 9),
)  # fmt: skip
def test_masking_hides_only_what_it_labels(vocab_size, rate, seed, rows, length):
    ids = np.random.default_rng(seed).integers(0, vocab_size, (rows, length))
    inputs, labels = mask_tokens(ids, vocab_size, 4, (1, 2, 3), seed, rate=rate)
    chosen = labels != 0
    np.testing.assert_array_equal(np.where(chosen, labels, inputs), ids)
    assert (ids[chosen] > 4).all()
    again, _ = mask_tokens(ids, vocab_size, 4, (1, 2, 3), seed, rate=rate)
    np.testing.assert_array_equal(inputs, again)
    if rate == 1.0:
        np.testing.assert_array_equal(chosen, ids > 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate": 0.0}, r"rate is 0.0; expected a share in \(0, 1\]"),
        ({"rate": 1.5}, "rate is 1.5"),
        ({"vocab_size": 8}, "ids reach from 1 to 8; expected 0 … 7"),
        ({"mask_id": 20}, "special ids reach from 0 to 20"),
        ({"special_ids": range(13)}, "all 13 tokens are special"),
    ],
)
def test_masking_that_is_refused(changes, words):
    options = {"vocab_size": 13, "mask_id": 4, "special_ids": (1, 2), "seed": 0, **changes}
    with pytest.raises(ValueError, match=words):
        mask_tokens(IDS, **options)


def test_a_batch_is_masked_with_its_own_generator():
    change = masked_batch(50, 4, (1, 2, 3), rate=0.5)
    ids = np.random.default_rng(1).integers(5, 50, (3, 20))
    segments, rest = np.ones_like(ids), np.arange(3)
    inputs, same_segments, labels, same_rest = change(np.random.default_rng(7), ids, segments, rest)
    expected = mask_tokens(ids, 50, 4, (1, 2, 3), np.random.default_rng(7), rate=0.5)
    np.testing.assert_array_equal(inputs, expected[0])
    np.testing.assert_array_equal(labels, expected[1])
    assert same_segments is segments
    assert same_rest is rest


# Next sentences


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=12), st.integers(0, 50))
def test_half_of_the_pairs_follow_each_other(lengths, seed):
    documents = [[(d, n) for n in range(length)] for d, length in enumerate(lengths)]
    total = sum(max(length - 1, 0) for length in lengths)
    if total == 0 or sum(length > 0 for length in lengths) < 2:
        with pytest.raises(ValueError, match="expected at least 2 documents"):
            next_sentence_pairs(documents, seed)
        return
    firsts, seconds, labels = next_sentence_pairs(documents, seed)
    # Each sentence but a document's last is A once.
    assert firsts == [s for document in documents for s in document[:-1]]
    assert len(firsts) == len(seconds) == len(labels) == total
    assert labels.sum() == total // 2
    for first, second, is_random in zip(firsts, seconds, labels):
        if is_random:
            assert second[0] != first[0]
        else:
            assert second == (first[0], first[1] + 1)
    assert next_sentence_pairs(documents, seed)[1] == seconds


def test_pairs_as_bert_reads_them():
    ids, segments = pair_arrays([[7, 8], [9]], [[10], []], 7, cls_id=1, sep_id=2)
    np.testing.assert_array_equal(ids, [[1, 7, 8, 2, 10, 2, 0], [1, 9, 2, 0, 0, 0, 0]])
    np.testing.assert_array_equal(segments, [[0, 0, 0, 0, 1, 1, 0], [0] * 7])
    assert ids.dtype == segments.dtype == np.int32
    with pytest.raises(ValueError, match="pair 0 has 6 tokens; expected at most 5"):
        pair_arrays([[7, 8]], [[10]], 5, 1, 2)
    with pytest.raises(ValueError, match="1 firsts and 0 seconds"):
        pair_arrays([[7, 8]], [], 5, 1, 2)
