"""The reader's record of exercises: what is counted, when, and what a damaged file does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from step_llm import exercises
from step_llm.course import progress

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("STEP_LLM_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def reader(runs, capsys, monkeypatch):
    """As in a terminal, with no test around."""
    monkeypatch.delenv("PYTEST_VERSION", raising=False)
    for name in ("JPY_SESSION_NAME", "STEP_LLM_RECORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
    return runs / "progress.json"


def test_a_check_counts_its_result_and_prints_what_it_printed(reader, capsys):
    exercises.check("2.1", None)
    exercises.check("2.1", [0.2] * 5)
    exercises.check("2.1", [0.076, 0.076, 0.564, 0.076, 0.207])
    exercises.check("2.2", None)
    assert len(capsys.readouterr().out.splitlines()) == 4
    kept = json.loads(reader.read_text(encoding="utf-8"))
    counts = {number: [entry[s] for s in progress.STATUSES] for number, entry in kept.items()}
    assert counts == {"2.1": [1, 1, 1], "2.2": [1, 0, 0]}
    assert [path.name for path in reader.parent.iterdir()] == ["progress.json"]


def test_under_pytest_nothing_is_counted(runs, capsys, monkeypatch):
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
    exercises.check("2.1", None)
    assert not runs.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("STEP_LLM_RECORD", "0"), ("JPY_SESSION_NAME", "/home/ada/notebooks/solutions/02.ipynb"),
     ("PYTEST_VERSION", "8.3.5")],
)  # fmt: skip
def test_what_is_no_readers_answer_is_not_counted(reader, monkeypatch, name, value):
    assert progress.is_recorded()
    monkeypatch.setenv(name, value)
    exercises.check("2.1", None)
    assert not reader.exists()


def test_the_table_names_every_exercise(runs, capsys):
    for number, status in (
        ("0.1", "passed"),
        ("0.1", "wrong"),
        ("0.2", "wrong"),
        ("0.3", "not yet"),
    ):
        progress.record(number, status)
    exercises.progress()
    head, *rows, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["lesson", *"✓ passed, ~ tried, · open passed".split()]
    assert rows[0].split("  ")[0] == "0"
    assert "0.1 ✓  0.2 ~  0.3 ·  0.4 ·" in rows[0]
    assert rows[0].endswith("  1 of 4")
    asked = len(exercises.numbers())
    assert last == f"1 passed, 1 tried, {asked - 2} open ({runs / 'progress.json'})"


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff\xfe", b"[]", b'{"2.1": 3}', b'{"2.1": {"wrong": "x"}}', b"[" * 100_000],
)
def test_a_damaged_record_is_put_aside(runs, text, capsys):
    runs.mkdir()
    (runs / "progress.damaged-1.json").write_bytes(b"older")
    (runs / "progress.json").write_bytes(text)
    progress.record("2.1", "passed")
    assert progress.state(progress.load(runs / "progress.json")["2.1"]) == "passed"
    assert (runs / "progress.damaged-2.json").read_bytes() == text
    assert (runs / "progress.damaged-1.json").read_bytes() == b"older"


def test_a_disk_that_refuses_is_a_warning(runs, monkeypatch):
    runs.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="the record of the exercises was not written"):
        progress.record("2.1", "passed")


def test_another_kernel_is_waited_for(runs, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.05)
    runs.mkdir()
    with progress.hold(runs), pytest.warns(UserWarning, match="not written"):
        progress.record("2.1", "passed")
    progress.record("2.1", "passed")
    assert progress.load(runs / "progress.json")["2.1"]["passed"] == 1


def test_several_kernels_lose_no_entry(runs):
    """The module alone is loaded: MindSpore would take most of the time."""
    program = (
        "import sys, types\n"
        "package = types.ModuleType('step_llm.course')\n"
        f"package.__path__ = [{str(ROOT / 'step_llm' / 'course')!r}]\n"
        "sys.modules['step_llm.course'] = package\n"
        "from step_llm.course.progress import record\n"
        "for n in range(25): record(f'2.{n % 5}', sys.argv[1])\n"
    )
    kernels = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", program, status], cwd=ROOT)
        for status in ("passed", "wrong", "not yet")
    ]
    assert [kernel.wait() for kernel in kernels] == [0, 0, 0]
    entries = progress.load(runs / "progress.json")
    assert all(entry[status] == 5 for entry in entries.values() for status in progress.STATUSES)
    assert len(entries) == 5
