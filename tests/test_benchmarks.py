"""The README's tables are those that the stored results give."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from step_llm.cli.parser import make_parser
from step_llm.training.recipes import RECIPES

ROOT = Path(__file__).resolve().parent.parent
MACHINE = {"processor": "P", "cores": 1, "python": "3.12.1", "mindspore": "2.10.0"}


@pytest.fixture
def readme(monkeypatch, tmp_path):
    """benchmarks/readme.py, with its results in a folder of the test's."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("readme")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


def test_the_readme_shows_the_stored_results():
    command = [sys.executable, "benchmarks/readme.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def translator(name, bleu):
    return {
        "name": name, "seed": 1, "parameters": 1234567, "epochs": 3, "minutes": 2.5, "bleu": bleu,
        "signature": "s", "machine": MACHINE, "date": "2026-01-01",
    }  # fmt: skip


def test_the_family_has_a_row_for_each_result_that_is_there(readme, tmp_path):
    assert readme.family_tables() == "To be measured."
    language = {
        "name": "kneser_ney", "seed": 1, "parameters": 5, "minutes": 0.01, "vocab_size": 2000,
        "validation_perplexity": 8.0, "test_perplexity": 9.0, "test_tokens": 70,
        "chosen": {"order": 4, "discount": 0.75}, "machine": MACHINE, "date": "2026-01-01",
    }  # fmt: skip
    content = {
        "language": {"kneser_ney": language},
        # In the table the order is the course's, not that of the runs.
        "mini": {n: translator(n, b) for n, b in (("gru-attention", 90.0), ("rnn", 12.0))},
        "multi30k": {
            "transformer": {
                **translator("transformer", 39.0), "seed": 2, "remark": "Held to one core.",
            }
        },
    }  # fmt: skip
    (tmp_path / "family.json").write_text(json.dumps(content))
    rows = [line for line in readme.family_tables().split("\n") if line.startswith("| ")]
    assert [row for row in rows if not row.endswith((" perplexity |", "beam 5 |"))] == [
        "| n-gram, Kneser-Ney (n = 4, discount = 0.75) | 5 | 0.01 | 8.00 | 9.00 |",
        "| embedded (de→en) | RNN | 1,234,567 | 3 | 2.5 | 12.00 |",
        "| embedded (de→en) | GRU with attention | 1,234,567 | 3 | 2.5 | 90.00 |",
        "| Multi30k (de→en) | Transformer | 1,234,567 | 3 | 2.5 | 39.00 |",
    ]
    notes = [line for line in readme.family_tables().split("\n") if line.startswith("- ")]
    assert notes == [
        "- Perplexity per token of 2,000 joint byte pairs, over 70 tokens of the test captions.",
        "- language models: n-gram, Kneser-Ney; embedded (de→en): RNN, GRU with attention – "
        "1 core of P, MindSpore 2.10.0, Python 3.12.1, 2026-01-01, seed 1.",
        "- Multi30k (de→en): Transformer – "
        "1 core of P, MindSpore 2.10.0, Python 3.12.1, 2026-01-01, seed 2. Held to one core.",
        "- `s`.",
    ]


@pytest.fixture
def recipe(monkeypatch, tmp_path):
    """benchmarks/recipe.py, with a training that takes no time and results of the test's."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("recipe")
    common = importlib.import_module("common")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(common, "ROOT", tmp_path)
    for split in ("val", "test"):
        for language in ("en", "de"):
            (tmp_path / f"{split}.{language}").write_text("Ein Hund, der „hüpft“ .\n" * 2)
    monkeypatch.setattr(module, "corpus_folder", lambda name: tmp_path)
    calls = []

    def step_llm(*words, capture=False, input=None):
        calls.append(list(map(str, words)))
        make_parser().parse_args(calls[-1])  # options that the command has
        if words[0] == "translate":
            return input.replace("hüpft", "läuft", 1)
        if words[0] == "evaluate":
            scores = {"bleu": 40.0 + len(calls), "chrf": 60.0, "signature": "s", "sentences": 9}
            return json.dumps(scores)
        out = tmp_path / words[words.index("--out") + 1] / "checkpoints" / "step-0000001"
        out.mkdir(parents=True)
        run = {"last": "checkpoints/step-0000001", "best": "checkpoints/step-0000001"}
        (out.parents[1] / "run.json").write_text(json.dumps(run))
        history = [
            {"seconds": 60.0, "validation_loss": 2.0, "validation_bleu": 30.0},
            {"seconds": 120.0, "validation_loss": 1.5, "validation_bleu": 37.0},
        ]
        progress = {"step": 1, "seconds": 120.0, "history": history}
        (out / "state.json").write_text(json.dumps({"training": progress, "config": {}}))
        return None

    monkeypatch.setattr(module, "step_llm", step_llm)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["recipe.py", "--runs", str(tmp_path / "runs"), *words])
        before = len(calls)
        module.main()
        return calls[before:]

    return run


def test_a_recipe_is_trained_once_and_sees_the_test_set_once(recipe, tmp_path, capsys):
    first = recipe("--seeds", "1")
    trained = [words for words in first if words[0] == "train"]
    assert len(trained) == len(importlib.import_module("recipe").LADDER)
    assert {words[words.index("--split") + 1] for words in first if words[0] == "evaluate"} == {
        "val"
    }
    assert recipe("--seeds", "1") == []
    (second,) = recipe("--steps", "r_drop", "--seeds", "1", "--test")
    assert second[:1] + second[2:4] == ["evaluate", "--split", "test"]
    assert recipe("--steps", "r_drop", "--seeds", "1", "--test") == []
    stored = json.loads((tmp_path / "recipe.json").read_text())
    assert stored["r_drop"]["runs"][0]["minutes"] == 2.0
    assert "test" in stored["r_drop"]["runs"][0]
    assert "test" not in stored["fast"]["runs"][0]
    with pytest.raises(SystemExit):
        recipe("--steps", "r_drop", "--seeds", "2", "--test")
    assert "r_drop with seed 2 is not trained yet" in capsys.readouterr().err


def test_into_german_there_is_a_score_over_the_published_tokens_too(recipe, tmp_path):
    recipe("--steps", "en_de", "--seeds", "1")
    (run,) = json.loads((tmp_path / "recipe.json").read_text())["en_de"]["runs"]
    # ein hund , der " hüpft " . – twice, and one word of the 16 is another.
    n_grams = (15 / 16, 12 / 14, 9 / 12, 7 / 10)
    assert run["validation"]["tokenised_bleu"] == round(100 * np.prod(n_grams) ** 0.25, 2)
    tokenised_bleu = importlib.import_module("recipe").tokenised_bleu
    same = tokenised_bleu(["Ein “Hund” rennt, schnell"], ['ein "hund" rennt , SCHNELL'], "de")
    assert same == pytest.approx(100)


@pytest.mark.parametrize(
    ("name", "step"), [("best", "r_drop_long"), ("fast", "fast_rotary")]
)
def test_a_recipe_with_a_name_is_the_step_that_was_measured(recipe, name, step):
    plain, chosen = RECIPES["multi30k"], RECIPES[f"multi30k-{name}"]
    options = importlib.import_module("recipe").LADDER[step]
    changes = {key[2:].replace("-", "_"): value for key, value in options.items()}
    expected = {"positions": "sinusoidal", **plain.model, **plain.training, **changes}
    assert {**chosen.model, **chosen.training} == expected
    assert (chosen.preset, chosen.vocab_size) == (plain.preset, plain.vocab_size)


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_run_names_its_commit_and_says_if_the_code_was_another(recipe, tmp_path, monkeypatch):
    module, clone = importlib.import_module("recipe"), tmp_path / "clone"
    monkeypatch.setattr(module, "ROOT", clone)
    clone.mkdir()
    assert module.commit() is None
    (clone / "benchmarks" / "results").mkdir(parents=True)
    code, results = clone / "code.py", clone / "benchmarks" / "results" / "recipe.json"
    code.write_text("1")
    results.write_text("1")
    me = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    for words in (("init", "-q"), ("add", "."), (*me, "commit", "-qm", "first")):
        subprocess.run(["git", "-C", str(clone), *words], check=True)
    name = module.commit()
    assert re.fullmatch("[0-9a-f]{7,}", name)
    results.write_text("2")
    assert module.commit() == name
    code.write_text("2")
    assert module.commit() == f"{name}-dirty"


def test_the_ladder_has_a_row_for_each_step_with_its_means(recipe, readme, tmp_path):
    assert readme.recipe_table() == "To be measured: `python benchmarks/recipe.py`."
    recipe("--steps", "fast", "--seeds", "1", "2", "--remark", "On a train.")
    recipe("--steps", "r_drop", "--seeds", "1")
    recipe("--steps", "r_drop", "--seeds", "1", "--test")
    lines = readme.recipe_table().split("\n")
    rows = {cells[1]: cells[3:9] for cells in map(split_row, lines) if len(cells) == 11}
    assert rows["fast"] == ["1, 2", "2", "2", "–", "43.00", "–"]  # calls 2 and 4 were scored
    assert rows["r_drop"] == ["1", "2", "2", "–", "46.00", "47.00"]
    assert "| `--dropout 0.1 --epochs 8 --average 3` |" in lines[2]
    assert lines[-2].endswith(" On a train.")
    assert not lines[-1].endswith(" On a train.")


def split_row(line):
    return [cell.strip() for cell in line.split("|")]


def test_waiting_for_the_compiler_is_a_row_for_each_run(readme, tmp_path):
    assert readme.compiling_table().startswith("To be measured")
    spread = {"median": 6.9, "min": 6.6, "max": 7.2}
    runs = {"first_update_seconds": spread, "all_shapes_seconds": spread, "shapes": 8}
    content = {"machine": MACHINE, "date": "2026-01-01", "results": {"first run": runs}}
    (tmp_path / "compiling.json").write_text(json.dumps(content))
    lines = readme.compiling_table().split("\n")
    assert lines[2] == "| first run | 6.90 (6.60–7.20) | 6.90 (6.60–7.20) |"
    assert lines[-1].startswith("- 8 shapes; 1 core of P, MindSpore 2.10.0")


def test_processes_are_held_against_one_with_as_many_threads(readme, tmp_path):
    assert readme.parallel_table() == "To be measured."
    rates = {"1x1": 100.0, "1x2": 160.0, "2x1": 120.0, "1x4": 200.0, "2x2": 150.0, "4x1": 100.0}
    content = {
        "machine": MACHINE, "date": "2026-01-01",
        "options": {"preset": "tiny", "rows": 128, "length": 24},
        "tokens_per_second": {
            name: dict.fromkeys(("median", "min", "max"), rate) for name, rate in rates.items()
        },
    }  # fmt: skip
    (tmp_path / "parallel.json").write_text(json.dumps(content))
    lines = readme.parallel_table().split("\n")
    assert "| 2 × 1 | 120 | 1.20 |" in lines
    assert "2 × 1 75%, 2 × 2 75%, 4 × 1 50%." in lines[-1]
