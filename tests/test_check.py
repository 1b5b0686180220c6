"""`python -m step_llm check`: the report, what fails it, and one whole run on this device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from step_llm.cli import check
from step_llm.cli import commands as cli
from step_llm.cli.check import Outcome, Report, check_device
from step_llm.runtime.device import DeviceChoice, use_device

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "_compare_with_golden_files": (True, "26 comparisons"),
    "_train": (True, "loss 7 to 4"),
    "_decode": (True, "as fast | as ever"),
    "_try_precisions": (True, "float32: yes"),
}


@pytest.fixture
def parts(monkeypatch):
    """The parts of the check, replaced by their outcomes (or by what they raise)."""

    def pretend(**changes):
        for name, outcome in {**PARTS, **changes}.items():

            def part(*arguments, outcome=outcome, name=name):
                if name == "_train":
                    arguments[1].append((None, None, None))
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome

            monkeypatch.setattr(check, name, part)
        return check_device(DeviceChoice("CPU", "a test"), say=lambda line: None)

    return pretend


def test_a_report_is_a_table_that_can_be_pasted(parts):
    text = str(parts())
    assert text.startswith("### step_llm check: pass\n")
    for line in ("| device | CPU (a test) |", "| training, 50 steps | pass | loss 7 to 4 |"):
        assert line in text
    assert "as fast / as ever" in text  # no bar may end a cell
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") in (3, 4) for line in rows)
    assert "MindSpore" in text


@pytest.mark.parametrize("name", PARTS)
def test_one_failing_part_fails_the_check_and_the_others_still_run(parts, name):
    report = parts(**{name: (False, "wrong")})
    assert not report.passed
    assert [outcome.passed for outcome in report.outcomes].count(False) == 1
    assert str(report).startswith("### step_llm check: FAIL\n")
    report = parts(**{name: RuntimeError("no kernel\nfor it")})
    (failed,) = [outcome for outcome in report.outcomes if not outcome.passed]
    assert "| FAIL | RuntimeError: no kernel for it |" in str(report)
    assert len(report.outcomes) == 4
    assert failed.figures.startswith("RuntimeError")


def test_an_empty_report_has_not_passed():
    assert not Report({}).passed
    assert not Report({}, [Outcome("a", True, ""), Outcome("b", False, "")]).passed


def test_the_command_writes_the_report_and_tells_its_status(monkeypatch, tmp_path, capsys):
    outcomes = [Outcome("decoding", True, "fast")]
    monkeypatch.setattr(check, "check_device", lambda *a, **k: Report({"a": "b"}, outcomes))
    path = tmp_path / "new" / "report.md"
    assert cli.main(["check", "--out", str(path)]) == 0
    assert path.read_text(encoding="utf-8").startswith("### step_llm check: pass")
    assert path.read_text(encoding="utf-8") in capsys.readouterr().out
    outcomes.append(Outcome("training", False, "nan"))
    assert cli.main(["check", "--out", str(path)]) == 1
    assert "FAIL" in path.read_text(encoding="utf-8")
    assert cli.main(["check", "--steps", "1"]) == 2
    assert "--steps is 1; expected at least 2" in capsys.readouterr().err


@pytest.mark.parametrize("worst", [2e-5, float("nan")])
def test_a_golden_file_that_differs_fails(monkeypatch, worst):
    def measure(case, kind):
        is_wrong = case == "encoder_layer_pre"
        return {"output.x": worst if is_wrong else 1e-6, "gradient.y": 1e-7}

    monkeypatch.setattr(check.golden, "measure", measure)
    passed, figures = check._compare_with_golden_files(1e-5)
    assert not passed
    assert "encoder_layer_pre, pynative" in figures.split("beyond it: ")[1]
    assert "transformer_post" not in figures
    passed, _ = check._compare_with_golden_files(1e-3)
    assert passed != np.isnan(worst)


@pytest.mark.slow
def test_the_whole_check_on_this_device(tmp_path):
    path = tmp_path / "check.md"
    kept = {name: value for name, value in os.environ.items() if name != "GLOG_v"}
    done = subprocess.run(
        [sys.executable, "-m", "step_llm", "check", "--out", str(path)],
        capture_output=True, text=True, timeout=600, env={**kept, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    text = path.read_text(encoding="utf-8")
    assert text in done.stdout
    assert text.count("| pass |") == 4
    assert f"| device | {use_device().name} (" in text
    assert "target tokens a second" in text
    assert "float32: yes" in text
