"""The translator that comes with the library: what it is, how it was made, and that it works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from safetensors.numpy import load_file

from step_llm.data.corpus import corpus_folder, read_parallel
from step_llm.data.vocabulary import train_tokenizers
from step_llm.decoding.translator import Translator
from step_llm.evaluation.metrics import score
from step_llm.evaluation.plots import plot_attention
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training.checkpoint import load_model, read_state
from step_llm.training.config import TrainingConfig
from step_llm.training.recipes import RECIPES
from step_llm.training.run_folder import find_checkpoint
from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "data" / "translator"


@pytest.fixture(scope="module")
def shipped():
    return load_model("mini")


def test_it_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 4 << 20


def test_it_is_the_recipe_of_the_embedded_corpus(shipped):
    """What `train --corpus mini --seed 1` makes: its settings, its sizes and its vocabulary."""
    state = read_state(FOLDER, "training", "config", "notes")
    assert state["notes"]["corpus"] == "mini"
    recipe = RECIPES["mini"]
    assert TrainingConfig.from_dict(state["config"]) == TrainingConfig(**recipe.training, seed=1)
    assert state["training"]["epoch"] == recipe.training["epochs"]
    model, tokenizers = shipped
    for name, value in recipe.model.items():
        assert getattr(model.config, name) == value
    text = read_parallel(corpus_folder("mini"), "train")
    own = train_tokenizers(text.source, text.target, recipe.tokens, recipe.vocab_size)
    assert own.source.pieces() == tokenizers.source.pieces()


def test_float16_is_in_the_file_and_float32_in_the_model(shipped):
    stored = load_file(FOLDER / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {np.dtype(np.float16)}
    for name, parameter in shipped[0].parameters_and_names():
        assert parameter.asnumpy().dtype == np.float32
        assert (parameter.asnumpy() == stored[name]).all()


def test_it_translates_the_embedded_corpus(shipped):
    """The first fifth of the test text, greedy; its own validation says what was to be expected."""
    text = read_parallel(corpus_folder("mini"), "test")
    with graph_mode():
        found = Translator(*shipped).translate(text.source[:100])
    assert score(found, text.target[:100]).bleu > 95


def test_a_folder_of_this_name_comes_first(tmp_path, monkeypatch):
    assert find_checkpoint("mini") == FOLDER
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "model.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint("mini") == Path("mini")


def test_the_front_pages_picture_is_what_it_attends_to(shipped, tmp_path):
    """docs/pictures/attention.png, by the command that stands below it in the README."""
    sentence = "Ein kleiner Junge spielt im Garten mit einem Ball."
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f'translate mini "{sentence}"' in text.replace("\n", " ")
    with graph_mode():
        attention = Translator(*shipped).attention(sentence)
    plot_attention(*attention, path=tmp_path / "attention.png")
    new, stored = (
        matplotlib.image.imread(path)
        for path in (tmp_path / "attention.png", ROOT / "docs" / "pictures" / "attention.png")
    )
    assert new.shape == stored.shape
    assert np.abs(new - stored).mean() < 0.002


@pytest.mark.slow
def test_the_command_translates_with_it(tmp_path):
    sentence = "Zwei Frauen trinken Kaffee."
    command = [sys.executable, "-m", "step_llm", "translate", "mini", sentence]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=True
    )
    assert done.stdout.strip() == "two women are drinking coffee."


def test_the_script_writes_it_again(tmp_path):
    """From the shipped folder itself, which is a checkpoint: the same bytes."""
    folder = tmp_path / "made"
    folder.mkdir()
    load_script(ROOT / "data" / "make_translator.py").write(FOLDER, folder)
    for path in folder.iterdir():
        assert path.read_bytes() == (FOLDER / path.name).read_bytes(), path.name
    assert {path.name for path in FOLDER.iterdir()} == {
        "README.md", *(path.name for path in folder.iterdir())
    }  # fmt: skip
    assert json.loads((folder / "state.json").read_text())["versions"]
