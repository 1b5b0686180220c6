"""The README's tables are those that the stored results give."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

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
