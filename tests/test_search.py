"""Greedy and beam search: on the model, and against brute force on small tables."""

from __future__ import annotations

import itertools
from contextlib import contextmanager

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from step_llm.data.vocabulary import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from step_llm.decoding import decoders
from step_llm.decoding.decoders import CachedDecoder, PlainDecoder
from step_llm.decoding.search import Hypothesis, beam_search, greedy_search, length_penalty
from step_llm.models.config import TransformerConfig
from step_llm.models.transformer import Transformer

SOURCE = np.array([[5, 9, 4, 7, 2], [8, 2, 0, 0, 0], [6, 3, 2, 0, 0]], np.int32)


def random_model(seed=0, vocab_size=12, **changes):
    """A small model whose probabilities differ clearly, so that rounding decides nothing."""
    sizes = {"d_model": 16, "num_heads": 2, "d_ff": 16, "max_length": 16}
    layers = {"num_encoder_layers": 1, "num_decoder_layers": 2}
    config = TransformerConfig(vocab_size, vocab_size, **sizes, **layers, **changes)
    model = Transformer(config, seed=seed)
    # Token v calls for v + 5 most of all: initial weights would repeat one token for ever.
    embedding = 3 * model.target_embedding.weight.asnumpy()
    model.target_embedding.weight.set_data(Tensor(embedding))
    output = 2 * model.output_weight.asnumpy() + np.roll(embedding, 5, axis=0)
    model.output_weight.set_data(Tensor(output))
    return model


class TableDecoder:
    """Random next-token probabilities, a fixed function of the source and the whole prefix."""

    def __init__(self, seed, vocab_size):
        self.max_length = None
        self.seed = seed
        self.vocab_size = vocab_size
        self.steps = 0

    @contextmanager
    def running(self):
        yield

    def start(self, source, beam_size=1):
        rows = [tuple(row) for row in np.repeat(source, beam_size, axis=0)]
        return rows, np.full(len(rows), BOS_ID, np.int32)

    def step(self, state, tokens, parents=None):
        self.steps += 1
        if parents is not None:
            state = [state[parent] for parent in parents]
        state = [(*row, int(token)) for row, token in zip(state, tokens)]
        return np.stack([self.log_probs(row) for row in state]), state

    def log_probs(self, row):
        logits = np.random.default_rng((self.seed, *row)).normal(0, 2, self.vocab_size)
        return (logits - np.log(np.exp(logits).sum())).astype(np.float32)

    def finished(self, source, max_length):
        """Every sequence that ends within max_length, with its log-probability."""
        for length in range(max_length):
            for ids in itertools.product(range(UNK_ID, self.vocab_size), repeat=length):
                row, log_prob = (*source, BOS_ID), 0.0
                for token in (*ids, EOS_ID):
                    log_prob += float(self.log_probs(row)[token])
                    row = (*row, token)
                yield ids, log_prob


@pytest.fixture(scope="module")
def model():
    return random_model(seed=4)


@pytest.fixture(scope="module")
def cached(model):
    return CachedDecoder(model)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary"])
def test_the_cache_changes_no_token_of_beam_search(positions, norm):
    model = random_model(seed=4, positions=positions, norm=norm)
    fast_beams = beam_search(CachedDecoder(model), SOURCE, 3, 6, 0.6, n_best=3)
    slow_beams = beam_search(PlainDecoder(model), SOURCE, 3, 6, 0.6, n_best=3)
    for fast, slow in zip(fast_beams, slow_beams):
        assert [h.ids for h in fast] == [h.ids for h in slow]
        assert [h.score for h in fast] == pytest.approx([h.score for h in slow], abs=1e-4)


def test_a_state_can_be_continued_again(model):
    """It is not changed by a step, nor by the searches after it."""
    decoder = CachedDecoder(model)
    with decoder.running():
        first, begin = decoder.start(SOURCE, 1)
        expected, second = decoder.step(first, begin)
        tokens = np.array([5, 6, 7], np.int32)
        after, _ = decoder.step(second, tokens)
        decoder.step(decoder.start(SOURCE[::-1], 1)[0], tokens)
        np.testing.assert_array_equal(decoder.step(first, begin)[0], expected)
        np.testing.assert_array_equal(decoder.step(second, tokens)[0], after)


def test_weights_that_became_nan_are_told_and_leave_nothing_behind():
    model = random_model(seed=4)
    decoder = CachedDecoder(model)
    expected = greedy_search(decoder, SOURCE, 5)
    weight = model.decoder.layers[0].self_attention.value_projection.weight
    kept = weight.asnumpy().copy()
    weight.set_data(Tensor(np.full_like(kept, np.nan)))
    with pytest.raises(ValueError, match="row 0: the model gives no token a probability"):
        greedy_search(decoder, SOURCE, 5)
    with pytest.raises(ValueError, match="look for weights that are not finite"):
        beam_search(decoder, SOURCE, 3, 5)
    weight.set_data(Tensor(kept))
    assert greedy_search(decoder, SOURCE, 5) == expected


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_distribution_without_a_token_is_told(value):
    decoder = TableDecoder(0, vocab_size=6)
    decoder.log_probs = lambda row: np.array([0, 0, *[value] * 4], np.float32)
    with pytest.raises(ValueError, match="gives no token a probability"):
        greedy_search(decoder, SOURCE, 5)
    with pytest.raises(ValueError, match="gives no token a probability"):
        beam_search(decoder, SOURCE, 3, 5)


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
def test_the_cache_changes_no_token_of_greedy_search(positions):
    model = random_model(seed=4, positions=positions)
    fast = greedy_search(CachedDecoder(model), SOURCE, 5)
    slow = greedy_search(PlainDecoder(model), SOURCE, 5)
    assert max(len(hypothesis.ids) for hypothesis in fast) > 3
    assert [h.ids for h in fast] == [h.ids for h in slow]
    assert [h.log_prob for h in fast] == pytest.approx([h.log_prob for h in slow], abs=1e-4)


def test_a_cache_that_has_to_grow_changes_no_token(model, cached, monkeypatch):
    expected = greedy_search(cached, SOURCE, 7)
    assert max(len(hypothesis.ids) for hypothesis in expected) == 7
    monkeypatch.setattr(decoders, "FIRST_ROOM", 4)
    grown = greedy_search(CachedDecoder(model), SOURCE, 7)
    assert [h.ids for h in grown] == [h.ids for h in expected]


def test_a_sentence_is_decoded_alone_as_in_a_batch(cached):
    together = beam_search(cached, SOURCE, 3, 7, 0.6)
    padded = SOURCE[1]
    ((alone,),) = beam_search(cached, padded[None, padded != PAD_ID], 3, 7, 0.6)
    assert alone.ids == together[1][0].ids
    assert alone.score == pytest.approx(together[1][0].score, abs=1e-4)


def test_a_row_of_padding_gives_an_empty_hypothesis(cached):
    source = SOURCE.copy()
    source[1] = PAD_ID
    for found in (
        greedy_search(cached, source, 7),
        [hypotheses[0] for hypotheses in beam_search(cached, source, 3, 7)],
    ):
        assert found[1] == Hypothesis((), 0.0, 0.0, True)
        assert all(np.isfinite(hypothesis.log_prob) for hypothesis in found)
    assert greedy_search(cached, np.zeros((0, 5), np.int32), 7) == []


def test_every_sentence_has_its_own_limit_and_no_special_token(cached):
    limits = np.array([7, 2, 4])
    found = greedy_search(cached, SOURCE, limits)
    beams = beam_search(cached, SOURCE, 3, limits, n_best=3)
    for limit, hypothesis, beam in zip(limits, found, beams):
        for one in (hypothesis, *beam):
            assert len(one.ids) + one.is_finished <= limit
            assert not {PAD_ID, BOS_ID, EOS_ID} & set(one.ids)


def test_search_leaves_the_model_as_it_was(model, cached):
    names = [parameter.name for parameter in random_model().get_parameters()]
    mode = ms.get_context("mode")
    model.set_train(True)
    try:
        first = greedy_search(cached, SOURCE, 7)
        assert model.training
        assert model.dropout.training
        assert greedy_search(cached, SOURCE, 7) == first  # so dropout was off
    finally:
        model.set_train(False)
    assert ms.get_context("mode") == mode
    assert [parameter.name for parameter in model.get_parameters()] == names


def test_new_weights_count_at_once(model, cached):
    before = greedy_search(cached, SOURCE, 7)
    kept = model.output_weight.value().asnumpy()
    try:
        model.output_weight.set_data(Tensor(np.roll(kept, 1, axis=0)))
        after = greedy_search(cached, SOURCE, 7)
    finally:
        model.output_weight.set_data(Tensor(kept))
    assert [h.ids for h in after] != [h.ids for h in before]
    assert greedy_search(cached, SOURCE, 7) == before


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 3.0])
def test_a_beam_of_one_is_greedy_search(alpha):
    for seed in range(30):
        decoder = TableDecoder(seed, vocab_size=7)
        greedy = greedy_search(decoder, SOURCE, 5)
        beams = beam_search(decoder, SOURCE, 1, 5, alpha)
        for one, (other,) in zip(greedy, beams):
            assert (one.ids, one.is_finished) == (other.ids, other.is_finished)
            assert one.log_prob == pytest.approx(other.log_prob)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 3.0])
def test_a_wide_beam_finds_the_best_sequences_of_all(alpha):
    for seed in range(10):
        decoder = TableDecoder(seed, vocab_size=6)
        beams = beam_search(decoder, SOURCE, 150, 4, alpha, n_best=5)
        for row, found in zip(SOURCE, beams):
            scored = [
                (log_prob / length_penalty(len(ids) + 1, alpha), ids)
                for ids, log_prob in decoder.finished(row, 4)
            ]
            best = sorted(scored, reverse=True)[:5]
            assert [h.ids for h in found] == [ids for _, ids in best]
            assert [h.score for h in found] == pytest.approx([score for score, _ in best])
            assert all(h.is_finished for h in found)


def test_a_wide_beam_finds_the_best_sequence_of_a_model():
    model = random_model(seed=2, vocab_size=6)
    model.set_train(False)
    source = np.array([[4, 5, 2]], np.int32)
    every = [
        (*ids, EOS_ID) for n in range(4) for ids in itertools.product(range(UNK_ID, 6), repeat=n)
    ]
    target = np.full((len(every), 5), PAD_ID, np.int32)
    for row, ids in zip(target, every):
        row[: len(ids) + 1] = (BOS_ID, *ids)
    sources = np.repeat(source, len(every), axis=0)
    logits = model(Tensor(sources), Tensor(target[:, :-1])).asnumpy().astype(np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    taken = np.take_along_axis(log_probs, target[:, 1:, None], axis=2)[:, :, 0]
    log_prob = np.where(target[:, 1:] == PAD_ID, 0.0, taken).sum(axis=1)
    decoder = CachedDecoder(model)
    for alpha in (0.0, 1.0):
        scores = log_prob / length_penalty(np.array([len(ids) for ids in every]), alpha)
        ((found,),) = beam_search(decoder, source, 40, 4, alpha)
        assert (*found.ids, EOS_ID) == every[scores.argmax()]
        assert found.score == pytest.approx(scores.max(), abs=1e-4)


def test_a_search_that_stops_early_misses_nothing():
    decoder = TableDecoder(0, vocab_size=6)
    early = beam_search(decoder, SOURCE, 4, 12)
    assert decoder.steps < 12
    late = beam_search(decoder, SOURCE, 4, 12, n_best=4)
    assert [h[0] for h in early] == [h[0] for h in late]


def test_sequences_that_did_not_end_rank_last():
    decoder = TableDecoder(0, vocab_size=6)
    end = {3: 0.1}  # a sentence can end after a 3 only, and is not likely to

    def log_probs(row):
        p = np.array([0.0, 0.0, end.get(row[-1], 0.0), 0.3, 0.3, 0.2])
        return np.log(p, where=p > 0, out=np.full(6, -np.inf)).astype(np.float32)

    decoder.log_probs = log_probs
    (found,) = beam_search(decoder, SOURCE[:1], 20, 2, n_best=3)
    assert [h.is_finished for h in found] == [True, False, False]
    assert found[0].ids == (3,)
    assert found[0].log_prob < found[1].log_prob


def test_the_length_penalty_is_the_papers():
    assert length_penalty(7, 0.0) == 1.0
    assert length_penalty(1, 0.6) == 1.0
    assert length_penalty(7, 1.0) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": SOURCE[0]}, r"source has shape \(5,\)"),
        ({"source": SOURCE.astype(np.float32)}, "expected integers"),
        ({"beam_size": 0}, "beam_size is 0"),
        ({"beam_size": 100_000}, "beam_size is 100000; expected 1 … 1,000"),
        ({"length_penalty": 1e308}, r"length_penalty is 1e\+308; expected .* at most 10"),
        ({"n_best": 4}, "expected 1 <= n_best <= beam_size"),
        ({"length_penalty": -1.0}, "length_penalty is -1.0; expected a number of at least 0"),
        ({"length_penalty": np.nan}, "length_penalty is nan"),
        ({"length_penalty": np.inf}, "length_penalty is inf"),
        ({"max_length": 0}, "max_length is 0"),
        ({"max_length": 17}, "expected at most 16, the number of positions"),
    ],
)
def test_what_cannot_be_searched_is_refused(changes, message):
    decoder = PlainDecoder(random_model(positions="learned"))
    arguments = {"source": SOURCE, "beam_size": 3, "max_length": 6, **changes}
    with pytest.raises(ValueError, match=message):
        beam_search(decoder, **arguments)
