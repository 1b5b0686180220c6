"""n-gram models: by hand, by the laws of probability, and against nltk.lm."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.lm import KneserNeyInterpolated, Lidstone, Vocabulary

from step_llm.data.vocabulary import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from step_llm.decoding.language import PrefixModel
from step_llm.decoding.sampling import Sampling, generate
from step_llm.models.ngram import AddK, KneserNey

A, B, C = 4, 5, 6
TEXTS = [[A, B], [A, C], [A, B]]


def random_texts(seed, count, vocab_size):
    """Texts in which a token depends on the one before, so that contexts repeat."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        text = [int(rng.integers(4, vocab_size))]
        while rng.random() < 0.85:
            jump = int(rng.choice([1, 2, 5], p=[0.6, 0.3, 0.1]))
            text.append(4 + (text[-1] - 4 + jump) % (vocab_size - 4))
        texts.append(text)
    return texts


# By hand


def test_add_k_by_hand():
    model = AddK(TEXTS, 2, 7, k=0.5)  # A, B, C, EOS and UNK may come
    assert model.probability(B, [A]) == pytest.approx(2.5 / 5.5)
    assert model.probability(EOS_ID, [A]) == pytest.approx(0.5 / 5.5)
    assert model.probability(A, [BOS_ID]) == pytest.approx(3.5 / 5.5)
    assert model.probability(A, [UNK_ID]) == pytest.approx(1 / 5)  # a context never seen
    unigram = AddK(TEXTS, 1, 7, k=0.0)
    assert unigram.probability(A, []) == unigram.probability(A, [C, B]) == pytest.approx(3 / 9)
    p = (3.5 / 5.5) * (2.5 / 5.5) * (2.5 / 4.5)
    assert model.log_probability([A, B]) == pytest.approx(math.log(p))
    assert model.perplexity([[A, B]]) == pytest.approx(p ** (-1 / 3))


def test_kneser_ney_by_hand():
    """Of the bigrams BOS·A, A·B, A·C, B·EOS, C·EOS two end in EOS: kinds count, not tokens."""
    model = KneserNey(TEXTS, 2, 7, discount=0.5)
    uniform = 0.5 * 4 / 5 * (1 / 5)  # 4 kinds of 5 lose 0.5 each, for 5 tokens that may come
    eos, b = 1.5 / 5 + uniform, 0.5 / 5 + uniform
    assert model.probability(EOS_ID, []) == pytest.approx(eos)
    assert model.probability(B, [A]) == pytest.approx(1.5 / 3 + 0.5 * 2 / 3 * b)
    assert model.probability(EOS_ID, [A]) == pytest.approx(0.5 * 2 / 3 * eos)
    assert model.probability(B, [UNK_ID]) == pytest.approx(b)
    assert model.probability(UNK_ID, [A]) == pytest.approx(0.5 * 2 / 3 * uniform)


def test_what_is_impossible():
    for model in (AddK(TEXTS, 2, 7, k=0.0), KneserNey(TEXTS, 2, 7, 0.5, unigram_discount=0.0)):
        assert model.probability(UNK_ID, [A]) == 0.0
        assert model.log_probability([UNK_ID]) == -math.inf
        assert model.perplexity([[A, B], [UNK_ID]]) == math.inf


@pytest.mark.parametrize("make", [AddK, KneserNey])
def test_the_ids_of_the_special_tokens_are_only_names(make):
    """The same texts with every id d replaced by 6 − d."""
    turned = [[6 - token for token in text] for text in TEXTS]
    one, other = make(TEXTS, 3, 7), make(turned, 3, 7, bos_id=5, eos_id=4, pad_id=6)
    assert one.log_probability([A, C]) == other.log_probability([6 - A, 6 - C])
    prefixes = [[BOS_ID], [BOS_ID, A, B]]
    turned = [[6 - token for token in prefix] for prefix in prefixes]
    np.testing.assert_array_equal(one.log_probs(prefixes), other.log_probs(turned)[:, ::-1])


# Laws

MODELS = [
    lambda texts, order, size: AddK(texts, order, size, k=0.3),
    lambda texts, order, size: KneserNey(texts, order, size),
    lambda texts, order, size: KneserNey(texts, order, size, 0.4, 0.9),
]


@pytest.mark.parametrize("make", MODELS)
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(7, 12), st.integers(0, 99), st.data())
def test_the_probabilities_of_a_context_sum_to_1(make, order, vocab_size, seed, data):
    model = make(random_texts(seed, 6, vocab_size), order, vocab_size)
    token = st.sampled_from([BOS_ID, *range(2, vocab_size)])
    context = data.draw(st.lists(token, max_size=5))
    every = [model.probability(t, context) for t in [EOS_ID, *range(3, vocab_size)]]
    assert min(every) > 0.0
    assert sum(every) == pytest.approx(1.0)


def test_a_longer_context_helps_until_the_counts_are_too_few():
    train, test = random_texts(1, 400, 30), random_texts(2, 100, 30)
    of_order = [KneserNey(train, order, 30).perplexity(test) for order in (1, 2, 3)]
    assert of_order[1] < 0.5 * of_order[0]
    assert of_order[2] < 1.2 * of_order[1]  # a token depends on one before it, and no more
    assert KneserNey(train, 3, 30).perplexity(test) < AddK(train, 3, 30).perplexity(test)


# nltk


def grams_of(texts, order):
    """What nltk counts: n-grams of every order that end in a token which may come."""
    for text in texts:
        padded = [BOS_ID] * (order - 1) + [*text, EOS_ID]
        words = [f"t{token}" for token in padded]
        yield [
            tuple(words[place + order - length : place + order])
            for place in range(len(text) + 1)
            for length in range(1, order + 1)
        ]


def perplexity_of(model, texts, order):
    """nltk's perplexity, over the n-grams of the full order alone."""
    grams = (grams[order - 1 :: order] for grams in grams_of(texts, order))
    return model.perplexity([gram for text in grams for gram in text])


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_add_k_agrees_with_nltk(order):
    size, train, test = 15, random_texts(3, 60, 14), random_texts(4, 30, 15)
    # nltk's vocabulary counts BOS, and UNK as a word of its own: as many tokens as ours has with
    # one id more.
    words = Vocabulary([f"t{t}" for t in range(1, size) if t != UNK_ID], unk_label=f"t{UNK_ID}")
    theirs = Lidstone(0.2, order, vocabulary=words)
    theirs.fit(grams_of(train, order))
    ours = AddK(train, order, size + 1, k=0.2)
    assert len(words) == ours.choices
    expected = perplexity_of(theirs, test, order)
    assert ours.perplexity(test) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("discount", [0.1, 0.75])
def test_kneser_ney_agrees_with_nltk(order, discount):
    """nltk does not interpolate below the unigrams, so every token must have been seen."""
    size, train, test = 15, random_texts(3, 80, 15), random_texts(4, 25, 15)
    assert {t for text in train for t in text} == set(range(4, size))
    words = Vocabulary([f"t{t}" for t in range(1, size)])
    theirs = KneserNeyInterpolated(order, discount=discount, vocabulary=words)
    theirs.fit(grams_of(train, order))
    ours = KneserNey(train, order, size, discount, unigram_discount=0.0)
    expected = perplexity_of(theirs, test, order)
    assert ours.perplexity(test) == pytest.approx(expected, rel=1e-9)


# Generation, bad input


def test_texts_drawn_from_a_bigram_model():
    model = AddK([[A, B, C, A, B]], 2, 7, k=0.0)
    source = PrefixModel(model.log_probs)
    log_probs = model.log_probs([[BOS_ID], [BOS_ID, A, B]])
    assert log_probs.shape == (2, 7)
    np.testing.assert_allclose(np.exp(log_probs[0]), [0, 0, 0, 0, 1, 0, 0])
    np.testing.assert_allclose(np.exp(log_probs[1]), [0, 0, 0.5, 0, 0, 0, 0.5])
    texts = generate(source, [[BOS_ID]] * 20, 12, Sampling(seed=1), end_id=EOS_ID)
    assert {tuple(text[:2]) for text in texts} == {(A, B)}
    assert len({len(text) for text in texts}) > 1


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: AddK(TEXTS, 0, 7), "order is 0; expected at least 1"),
        (lambda: AddK([], 2, 7), "there is no text to count"),
        (lambda: AddK(TEXTS, 2, 7, k=-1), "k is -1; expected at least 0"),
        (lambda: AddK(TEXTS, 2, 6), "token id 6 cannot come"),
        (lambda: AddK(TEXTS, 2, 7, eos_id=1), "bos_id is 1, eos_id 1 and pad_id 0; expected three"),
        (lambda: KneserNey(TEXTS, 2, 7, pad_id=-1), r"pad_id -1; .* different ids in 0 … 6"),
        (lambda: KneserNey(TEXTS, 2, 7, bos_id=7), "bos_id is 7"),
        (lambda: AddK([[PAD_ID]], 2, 7), "token id 0 cannot come"),
        (lambda: AddK(TEXTS, 2, 7).probability(BOS_ID, []), "token id 1 cannot come"),
        (lambda: AddK(TEXTS, 2, 7).perplexity([]), "there is no text to measure"),
        (lambda: KneserNey(TEXTS, 2, 7, 0.0), r"discount is 0.0 .*expected \(0, 1\)"),
        (lambda: KneserNey(TEXTS, 2, 7, 0.5, 1.0), "unigram_discount 1.0"),
    ],
)
def test_what_is_refused(function, words):
    with pytest.raises(ValueError, match=words):
        function()
