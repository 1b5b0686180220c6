"""All of what tests/test_hostile.py takes a share of: each attack with each command."""

from __future__ import annotations

import json

import pytest

from step_llm.data.vocabulary import Tokenizer, train_tokenizers
from step_llm.models.registry import ARCHITECTURES
from step_llm.models.weights import CheckpointError
from step_llm.training.checkpoint import load_model, save_checkpoint
from tests.support.attacks import (
    COMMANDS,
    ENGLISH,
    GERMAN,
    copy_of,
    damages,
    fault,
    hostile_contents,
    make_run,
    within,
    without_computing,
    wrong_values,
)
from tests.support.small_models import small_models


@pytest.mark.parametrize("kind", [damages, wrong_values])
def test_every_file_and_field(kind, tmp_path, monkeypatch, count):
    run = make_run(tmp_path / "original" / "run")
    with without_computing(monkeypatch):
        for name, change in kind(run):
            for command in COMMANDS:
                copy = copy_of(run, tmp_path / "run")
                change(copy)
                found = fault(copy, command)
                count.add(found and f"{name}: {found}")


def answers(read, path, kind, count):
    """Each hostile content of a JSON file; only errors of one kind may come."""
    for name, text in [*hostile_contents(json.loads(path.read_text(encoding="utf-8")))]:
        path.write_text(text, encoding="utf-8")
        found = None
        with within(20):
            try:
                read()
            except kind:
                pass
            except BaseException as error:
                found = f"{name}: {type(error).__name__}: {error}"
        count.add(found)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_configuration(name, tmp_path, count):
    pair = train_tokenizers(GERMAN, ENGLISH, kind="word", min_freq=1)
    model, _ = small_models(pair)[name]
    folder = save_checkpoint(tmp_path / "model", model, pair)
    answers(lambda: load_model(folder), folder / "config.json", CheckpointError, count)


@pytest.mark.parametrize("kind", ["bpe", "word"])
def test_every_tokenizer(kind, tmp_path, count):
    path = tmp_path / "tokenizer.json"
    Tokenizer.train(GERMAN, kind, vocab_size=60, min_freq=1).save(path)
    answers(lambda: Tokenizer.load(path), path, ValueError, count)
