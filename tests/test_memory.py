"""A model that does not fit into memory is refused before any is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from step_llm.models import weights
from step_llm.models.pretrained import from_pretrained
from step_llm.models.weights import CheckpointError
from step_llm.runtime import memory

GOLDEN = Path(__file__).resolve().parent / "golden" / "huggingface"


@pytest.fixture
def system(monkeypatch, tmp_path):
    """A system that says this of its memory."""

    def say(meminfo=None, *bounds):
        paths = [tmp_path / f"bound{n}" for n in range(len(bounds))]
        for path, bound in zip(paths, bounds):
            path.write_text(f"{bound}\n")
        monkeypatch.setattr(memory, "_BOUNDS", (*paths, tmp_path / "nothing"))
        monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
        if meminfo is not None:
            (tmp_path / "meminfo").write_text(meminfo)
        return memory.available_memory()

    return say


def test_what_the_system_says(system):
    assert system() is None
    text = "MemTotal:       9000 kB\nMemFree: 5 kB\nMemAvailable:   8000 kB\n"
    assert system(text) == 8000 * 1024
    assert system(text, "max") == 8000 * 1024
    assert system(text, 5000, 2**63) == 5000
    assert system("MemFree: 5 kB\n") is None
    assert memory.available_memory() is None


def test_a_model_that_is_too_large(monkeypatch):
    monkeypatch.setattr(weights, "available_memory", lambda: 1000)
    told = r"the model takes [\d,]+ bytes of memory in float32, but 1,000 are free"
    with pytest.raises(CheckpointError, match=told):
        from_pretrained(GOLDEN / "llama")


@pytest.mark.parametrize("there", [None, 10**9])
def test_one_that_fits(monkeypatch, there):
    monkeypatch.setattr(weights, "available_memory", lambda: there)
    assert from_pretrained(GOLDEN / "llama").config.num_layers == 2
