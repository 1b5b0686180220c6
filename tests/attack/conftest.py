"""Attacks that take minutes: `make test-attack`. Each counts what it tried, and what failed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from step_llm.data.corpus import read_parallel
from step_llm.data.vocabulary import train_tokenizers

ROOT = Path(__file__).resolve().parents[2]
# ATTACK_SCALE=5 tries five times as many.
SCALE = float(os.environ.get("ATTACK_SCALE", "1"))
# Without dropout, so that a run that was stopped ends as one that was not, to the last bit.
OPTIONS = (
    "--epochs 2 --preset tiny --dropout 0 --batch-tokens 200 --average 2 --warmup-steps 20 "
    "--peak-learning-rate 3e-3 --vocab-size 300 --save-every 2"
).split()
_counts = {}


class Count:
    """How many attacks of a kind were tried, and which failed."""

    def __init__(self, name):
        self.name, self.tried, self.faults = name, 0, []
        _counts[name] = self

    def add(self, fault: str | None) -> None:
        self.tried += 1
        if fault:
            self.faults.append(fault)


@pytest.fixture
def count(request):
    """The test's own count; at its end none may have failed."""
    count = Count(request.node.nodeid.rpartition("/")[2])
    yield count
    assert count.tried
    assert not count.faults


def pytest_terminal_summary(terminalreporter):
    for count in _counts.values():
        line = f"{count.name}: {count.tried} tried, {len(count.faults)} failed"
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """80, 10 and 5 short pairs of the embedded corpus, which fit into one shape."""
    folder = tmp_path_factory.mktemp("corpus")
    text = read_parallel(ROOT / "data" / "mini", "train")
    pairs = [p for p in zip(text.source, text.target) if max(len(s.split()) for s in p) <= 6]
    tokenizer = train_tokenizers(*zip(*pairs[:80]), vocab_size=300).source
    pairs = [p for p in pairs if max(len(tokenizer.encode(s)) for s in p) <= 15]
    for split, chosen in {"train": pairs[:80], "val": pairs[80:90], "test": pairs[90:95]}.items():
        for language, side in zip(("de", "en"), zip(*chosen)):
            text = "".join(line + "\n" for line in side)
            (folder / f"{split}.{language}").write_text(text, encoding="utf-8")
    return folder


def training(corpus, out, **changes) -> subprocess.Popen:
    """Begin a training, or go on with it."""
    words = ["train", "--corpus", corpus, "--out", out, "--resume", *OPTIONS]
    return subprocess.Popen(
        [sys.executable, ROOT / "tests" / "small_job.py", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        text=True,
        **changes,
    )


def ended(process) -> tuple[int, str]:
    """Its status, and the last line that it told."""
    _, errors = process.communicate(timeout=900)
    lines = errors.strip().splitlines() or [""]
    return process.returncode, lines[-1] if "Traceback" not in errors else errors[-500:]


def weights(run) -> dict:
    """The bytes of every checkpoint's weights and optimizer, by their path in the run."""
    files = run.glob("checkpoints/*/*.safetensors")
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.fixture(scope="session")
def uninterrupted(corpus, tmp_path_factory):
    """A run that nobody disturbed, and the seconds that it took."""
    out, started = tmp_path_factory.mktemp("uninterrupted") / "run", time.monotonic()
    assert ended(training(corpus, out))[0] == 0
    return out, time.monotonic() - started
