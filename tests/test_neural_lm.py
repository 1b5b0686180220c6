"""The feed-forward language model: its formula in NumPy, what it reads, its word vectors."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor

from step_llm.data.vocabulary import BOS_ID
from step_llm.decoding.language import PrefixModel
from step_llm.decoding.sampling import generate
from step_llm.models.neural_lm import NeuralLM, NeuralLMConfig, nearest_tokens

IDS = np.array([[1, 5, 6, 7, 4], [1, 8, 9, 4, 10]], np.int32)


def model_of(order=4, has_direct=False, seed=1, bos_id=BOS_ID):
    config = NeuralLMConfig(11, order, d_model=6, hidden_size=7, has_direct=has_direct)
    model = NeuralLM(config, seed, bos_id=bos_id).set_train(False)
    rng = np.random.default_rng(3)
    for name, parameter in model.parameters_and_names():
        if name.endswith("bias"):  # the first biases are 0: they hide errors
            parameter.set_data(Tensor(rng.normal(size=parameter.shape).astype(np.float32)))
    return model


@pytest.mark.parametrize("has_direct", [False, True])
@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("bos_id", [BOS_ID, 9])
def test_the_formula(bos_id, order, has_direct, in_mode):
    model = model_of(order, has_direct, bos_id=bos_id)
    found = in_mode(model)(Tensor(IDS)).asnumpy()
    weight = {name: p.asnumpy().astype(float) for name, p in model.parameters_and_names()}
    padded = np.concatenate([np.full((2, order - 2), bos_id), IDS], axis=1)
    for row in range(2):
        for place in range(5):
            words = padded[row, place : place + order - 1]
            x = np.concatenate([weight["embedding.weight"][word] for word in words])
            hidden = np.tanh(weight["hidden.weight"] @ x + weight["hidden.bias"])
            logits = weight["output.weight"] @ hidden + weight["output.bias"]
            if has_direct:
                logits = logits + weight["direct.weight"] @ x
            np.testing.assert_allclose(found[row, place], logits, atol=1e-5)


def test_a_token_depends_on_the_last_few_alone():
    model = model_of(order=3)
    before = model(Tensor(IDS)).asnumpy()
    ids = IDS.copy()
    ids[:, 2] = 3
    after = model(Tensor(ids)).asnumpy()
    changed = np.abs(after - before).max(axis=(0, 2)) > 1e-6
    np.testing.assert_array_equal(changed, [False, False, True, True, False])


def test_it_is_a_model_of_prefixes():
    model = model_of()
    log_probs = model.log_probs([[1], [1, 5, 6, 7, 4], [1, 8]])
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1.0, atol=1e-5)
    logits = model(Tensor(IDS)).asnumpy()
    for row, expected in ((0, logits[0, 0]), (1, logits[0, 4]), (2, logits[1, 1])):
        expected = expected - np.log(np.exp(expected).sum())
        np.testing.assert_allclose(log_probs[row], expected, atol=1e-5)
    (text,) = generate(PrefixModel(model.log_probs), [[1]], 4)
    best = model(Tensor(np.array([[1, *text[:3]]], np.int32))).asnumpy()[0].argmax(axis=1)
    assert text == best.tolist()


def test_before_a_text_stands_the_token_that_begins_it():
    model = model_of(bos_id=9)
    short, long = model.log_probs([[5], [9, 9, 5]])
    np.testing.assert_array_equal(short, long)
    assert np.abs(short - model_of().log_probs([[5]])[0]).max() > 1e-3


def test_nearest_tokens():
    vectors = np.array([[1, 0], [3, 1], [0, 2], [-1, 0], [0, 0]], np.float32)
    found = nearest_tokens(vectors, 0, 4)
    assert [token for token, _ in found] == [1, 2, 4, 3]
    assert [cosine for _, cosine in found] == pytest.approx([3 / np.sqrt(10), 0, 0, -1])
    assert nearest_tokens(Tensor(vectors), 0, 1)[0][0] == 1
    for token, count in ((5, 1), (-1, 1), (0, 5), (0, 0)):
        with pytest.raises(ValueError, match=f"token id {token} and count {count}"):
            nearest_tokens(vectors, token, count)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"order": 1}, "order is 1; expected at least 2"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"dropout": -0.1}, "dropout is -0.1"),
    ],
)
def test_sizes_that_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        NeuralLMConfig(11, **changes)


def test_ids_that_are_refused():
    with pytest.raises(ValueError, match=r"expected \(B, T\)"):
        model_of()(Tensor(IDS[0]))
