"""`python -m step_llm check`: the report, what fails it, its parts.

The whole of it runs from the wheel, in tests/test_package.py.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from mindspore import Tensor, amp, nn, ops

from step_llm.cli import check, check_forms, check_model, check_processes
from step_llm.cli import commands as cli
from step_llm.cli.check import Outcome, Report, check_device, without_names
from step_llm.runtime import device as device_module
from step_llm.runtime.device import DeviceChoice, software
from step_llm.training.precision import PRECISIONS

ROOT = Path(__file__).resolve().parents[1]
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="msrun is for Linux")
PARTS = {
    (check_model, "compare_with_golden_files"): (True, "26 comparisons"),
    (check_model, "train"): (True, "loss 7 to 4"),
    (check_model, "decode"): (True, "as fast | as ever"),
    (check_model, "train_in"): (True, "loss 3 to 2"),
    (check_forms, "compare"): (True, "forward 1.0e-07"),
    (check_forms, "_compare_half"): (True, "forward 1.0e-04"),
    (check_processes, "train_together"): (True, "2 processes"),
    (check_processes, "run_lesson"): (True, "2.0 minutes"),
}
FORMS = len(check_forms.checks(1e-5))
NUMBER = 3 + len(PRECISIONS) + FORMS + 2


@pytest.fixture
def parts(monkeypatch):
    """The parts of the check, replaced by their outcomes (or by what they raise)."""

    def pretend(changed=None, outcome=None, **options):
        for (module, name), usual in PARTS.items():

            def part(*_, outcome=outcome if name == changed else usual):
                if isinstance(outcome, BaseException):
                    raise outcome
                return outcome

            monkeypatch.setattr(module, name, part)
        choice = DeviceChoice("CPU", "a test")
        return check_device(choice, has_lesson=True, say=lambda line: None, **options)

    return pretend


def test_a_report_is_a_table_that_can_be_pasted(parts):
    report = parts()
    text = str(report)
    assert text.startswith("### step_llm check: pass\n")
    for line in ("| device | CPU (a test) |", "| training, 50 steps | pass | 0 s | loss 7 to 4 |"):
        assert line in text
    assert "as fast / as ever" in text  # no bar may end a cell
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") in (3, 5) for line in rows)
    assert "MindSpore" in text
    assert len(report.outcomes) == NUMBER
    assert "| its forms | layer_norm, scaled_dot_product_attention, " in text


def test_without_being_asked_no_lesson_is_run(monkeypatch, parts):
    parts()  # replaces them
    report = check_device(DeviceChoice("CPU", "a test"), say=lambda line: None)
    assert len(report.outcomes) == NUMBER - 1
    assert "lesson" not in str(report)


@pytest.mark.parametrize("name", [name for _, name in PARTS])
def test_one_failing_part_fails_the_check_and_the_others_still_run(parts, name):
    for outcome, told in (
        ((False, "wrong"), "wrong"),
        (RuntimeError("no kernel\nfor it"), "RuntimeError: no kernel for it"),
    ):
        report = parts(name, outcome)
        assert not report.passed
        assert str(report).startswith("### step_llm check: FAIL\n")
        failed = [outcome for outcome in report.outcomes if outcome.passed is False]
        assert len(failed) == {"train_in": len(PRECISIONS), "compare": FORMS - 1}.get(name, 1)
        assert re.search(rf"\| FAIL \| \d+ s \| {told} \|", str(report))
        assert len(report.outcomes) == NUMBER


def test_what_cannot_be_tried_here_is_told_and_fails_nothing(parts):
    report = parts("train_together", (None, "1 GPU here; it takes two"))
    assert report.passed
    assert "| several processes | not here | 0 s | 1 GPU here; it takes two |" in str(report)


def test_a_report_of_nothing_has_not_passed():
    assert not Report({}).passed
    assert not Report({}, [Outcome("a", None, "")]).passed
    assert not Report({}, [Outcome("a", True, ""), Outcome("b", False, "")]).passed
    assert Report({}, [Outcome("a", True, ""), Outcome("b", None, "")]).passed


def test_what_a_crash_leaves_says_where_it_was(parts):
    """A kernel may end the process: the report is kept before each part."""
    kept = []
    with pytest.raises(SystemExit):
        parts("decode", SystemExit(139), keep=lambda report: kept.append(str(report)))
    assert kept[-1].startswith("### step_llm check: it ended in: decoding\n")
    assert "| training, 50 steps | pass |" in kept[-1]
    kept.clear()
    parts(keep=lambda report: kept.append(str(report)))
    assert kept[-1].startswith("### step_llm check: pass\n")


def test_a_report_names_nobody(parts, monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/wanglei"))
    monkeypatch.setattr(getpass, "getuser", lambda: "wanglei")
    monkeypatch.setattr(platform, "node", lambda: "lab-7")
    error = OSError("lab-7: /home/wanglei/course/a.ckpt and /data/wanglei/runs/b.ckpt, wanglei")
    text = str(parts("train", error))
    assert "OSError: HOST: ~/course/a.ckpt and …/runs/b.ckpt, USER" in text
    for name in ("wanglei", "lab-7", "/home", "/data"):
        assert name not in text
    assert without_names(r"C:\Users\wang lei\x: no") == r"…/Users/wang lei\x: no"
    for usual in (
        "https://www.mindspore.cn/install",
        "and/or",
        "nn/forms/cpu.py",
        "1 / 2",
        "a/b/c",
    ):
        assert without_names(usual) == usual
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    assert without_names("the root of it") == "the root of it"


def test_the_command_writes_the_report_and_tells_its_status(monkeypatch, tmp_path, capsys):
    outcomes, asked = [Outcome("decoding", True, "fast")], []

    def found(device, steps, has_lesson, say, keep):
        asked.append((steps, has_lesson))
        report = Report({"a": "b"}, outcomes)
        keep(report)
        return report

    monkeypatch.setattr(check, "check_device", found)
    path = tmp_path / "new" / "report.md"
    assert cli.main(["check", "--out", str(path)]) == 0
    assert path.read_text(encoding="utf-8").startswith("### step_llm check: pass")
    assert path.read_text(encoding="utf-8") in capsys.readouterr().out
    outcomes.append(Outcome("training", False, "nan"))
    assert cli.main(["check", "--lesson", "--steps", "7", "--out", str(path)]) == 1
    assert asked == [(50, False), (7, True)]
    assert "FAIL" in path.read_text(encoding="utf-8")
    assert cli.main(["check", "--steps", "1"]) == 2
    assert "--steps is 1; expected at least 2" in capsys.readouterr().err


def test_of_the_lines_about_a_parts_progress_one_in_some_seconds_is_shown(monkeypatch):
    now, said = [0.0], []
    monkeypatch.setattr(check, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    say = check._now_and_then(said.append)
    for second in range(22):
        now[0] = float(second)
        say(f"step {second}")
    assert said == ["  step 10", "  step 20"]


# ------------------------------------------------------------------------------- the device


def test_the_software_of_a_device(monkeypatch, tmp_path):
    assert software("CPU") == ""
    monkeypatch.setattr(device_module, "_count", lambda name: 2)
    monkeypatch.setattr(device_module, "chip", lambda: "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert software("GPU") == "2 × GPU, nvidia-smi says nothing"
    monkeypatch.setattr(device_module, "chip", lambda: "ascend910b")
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path))
    assert software("Ascend") == "2 × ascend910b, CANN of an unknown version"
    (tmp_path / "compiler").mkdir()
    (tmp_path / "compiler" / "version.info").write_text("a=b\nVersion=8.3.0\nc=d\n")
    assert software("Ascend") == "2 × ascend910b, CANN 8.3.0"


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for nvidia-smi")
def test_the_driver_of_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(device_module, "_count", lambda name: 2)
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "A card, 535.1"\necho "A card, 535.1"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert software("GPU") == "2 × GPU, A card, 535.1"


# ------------------------------------------------------------------------------- models


@pytest.mark.parametrize("worst", [2e-5, float("nan")])
def test_a_golden_file_that_differs_fails(monkeypatch, worst):
    def measure(case, kind):
        is_wrong = case == "encoder_layer_pre"
        return {"output.x": worst if is_wrong else 1e-6, "gradient.y": 1e-7}

    monkeypatch.setattr(check_model.golden, "measure", measure)
    said = []
    passed, figures = check_model.compare_with_golden_files(1e-5, said.append)
    assert said[-1] == "26 of 26 comparisons"
    assert not passed
    assert "encoder_layer_pre, pynative" in figures.split("beyond it: ")[1]
    assert "transformer_post" not in figures
    passed, _ = check_model.compare_with_golden_files(1e-3, said.append)
    assert passed != np.isnan(worst)


def test_without_a_trained_model_there_is_nothing_to_decode_with():
    assert check_model.decode([], 1e-5) == (False, "no model was trained")


class Scripted:
    """A training step whose losses are given; None is an update that overflowed."""

    def __init__(self, *losses):
        self.losses = list(losses)

    def __call__(self, rate, batch):
        loss = self.losses.pop(0) if len(self.losses) > 1 else self.losses[0]
        return SimpleNamespace(loss=Tensor(loss or 0.0), is_made=loss is not None)


@pytest.mark.parametrize(
    ("losses", "passes", "told"),
    [
        ([3.5, 3.0], True, "loss 3.5000 to 3.0000 in 10 updates, the first 0.0e+00 from float32's"),
        ([None, 3.5, 3.0], True, "; 1 skipped"),
        ([3.5, 3.6], False, "loss 3.5000 to 3.6000"),
        ([3.5, float("nan")], False, "to nan"),
        ([3.7, 3.0], False, "the first 5.7e-02 from float32's, allowed 2e-02"),
        ([None], False, "40 of 40 updates overflowed and were skipped"),
    ],
)
def test_what_a_half_precision_has_to_do(monkeypatch, losses, passes, told):
    monkeypatch.setattr(check_model, "refused_operators", lambda name: [])
    monkeypatch.setattr(check_model, "small_step", lambda precision: (None, Scripted(*losses)))
    passed, figures = check_model.train_in("float16", {"float32": 3.5})
    assert passed is passes
    assert told in figures


def test_a_precision_that_the_device_lacks_is_told_with_its_reason(monkeypatch):
    monkeypatch.setattr(check_model, "refused_operators", lambda name: ["MatMul"])
    passed, figures = check_model.train_in("bfloat16", {})
    assert passed is None
    assert re.match(r"MindSpore \S+ has no MatMul of bfloat16 on device \w+$", figures)
    assert check_model.train_in("float32", {})[0] is False  # every device has that


def test_a_small_translator_trains_in_float32():
    first_losses = {}
    passed, figures = check_model.train_in("float32", first_losses)
    assert passed, figures
    assert first_losses["float32"] == pytest.approx(np.log(32), rel=0.2)


# ------------------------------------------------------------------------------- forms


class _FastAdam(nn.Adam):
    def __init__(self, params, learning_rate, **rest):
        super().__init__(params, 1.05 * learning_rate, **rest)


class _MoreDropout(nn.Dropout):
    def __init__(self, p):
        super().__init__(p=1.5 * p)


def _scaled(name):
    """The textbook's function, wrong by a hundredth."""
    textbook = check_forms.TEXTBOOK[name]

    def form(x, *rest):
        return textbook(x * 1.01, *rest)

    form.__name__ = name
    return form


def _wrong_norm(x, gamma, beta, epsilon=1e-5):
    return check_forms.layer_norm(x, gamma * 1.01, beta, epsilon)  # of x it would be the same


def _wrong_rms_norm(x, gamma, epsilon=1e-6):
    return check_forms.rms_norm(x, gamma * 1.01, epsilon)


def _wrong_split(tensor, sizes, axis=0):
    return ops.split(tensor, sizes[::-1], axis)


def _wrong_clip(x, clip_norm=1.0, use_norm=None):
    return ops.clip_by_global_norm(x, 1.01 * clip_norm)


def _wrong_finite(inputs):
    return ops.ones((), amp.all_finite(inputs).dtype)


def _wrong_assign(variable, value):
    return ops.assign(variable, value * 1.01)


def _wrong_lstm(x, state, *rest):
    return check_forms.lstm(x, state[::-1], *rest)


WRONG = {
    "split": _wrong_split, "cut": _wrong_split, "rms_norm": _wrong_rms_norm,
    "clip_by_global_norm": _wrong_clip,
    "all_finite": _wrong_finite, "assign": _wrong_assign, "assign_add": _wrong_assign,
    "Adam": _FastAdam, "Dropout": _MoreDropout, "lstm": _wrong_lstm, "layer_norm": _wrong_norm,
}  # fmt: skip


@pytest.mark.parametrize("name", check_forms.TEXTBOOK)
def test_a_form_that_differs_is_found(name):
    """On every device, what has no kernels here among it: the textbook's function agrees with
    itself, and a wrong one does not."""
    textbook = check_forms.TEXTBOOK[name]
    passed, figures = check_forms.compare(name, textbook, 1e-5)
    assert passed, figures
    form = WRONG.get(name) or _scaled(name)
    form.__name__ = name
    passed, figures = check_forms.compare(name, form, 1e-5)
    assert passed is False, figures


def test_the_forms_of_this_device_agree():
    found = {name: part() for name, part in check_forms.checks(1e-5).items()}
    assert all(passed for passed, _ in found.values()), found
    assert "gradient" in found["form layer_norm"][1]
    assert "form scaled_dot_product_attention, float16" in found


def test_a_difference_that_is_no_number_is_not_lost():
    one, nan = np.ones(3), np.array([1.0, np.nan, 1.0])
    assert np.isnan(check_forms._furthest([nan, one], [one, one]))
    assert check_forms._judged({"forward": float("nan")}, 1.0)[0] is False
    assert check_forms._furthest([one * 1.5, one], [one, one]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"shape \(3,\); expected \(1, 3\), the textbook's"):
        check_forms._furthest([one], [one[None]])


# ------------------------------------------------------------------------------- processes


def _job(monkeypatch, status, *logs):
    def run(count, device, folder):
        for rank, text in enumerate(logs):
            (folder / f"worker_{rank}.log").write_text(text, encoding="utf-8")
        return status

    monkeypatch.setattr(check_processes, "_run_job", run)
    return check_processes.train_together("CPU", 1e-5)


@LINUX
def test_a_job_that_fails_is_told_with_what_its_process_said(monkeypatch):
    line = '{"rank": 0, "difference": 1e-7}\n'
    other = line.replace("0,", "1,")
    assert _job(monkeypatch, 0, "[INFO] x\n" + line, other)[0] is True
    passed, figures = _job(monkeypatch, 0, line, other.replace("1e-7", "1e-3"))
    assert passed is False
    assert "by 1.0e-03 of the largest change, allowed 1e-04" in figures
    passed, figures = _job(monkeypatch, 1, line, "RuntimeError: no HCCL\nbye\n")
    assert passed is False
    assert figures == "1 of 2 processes reached the end, status 1: RuntimeError: no HCCL"
    passed, figures = _job(monkeypatch, None, "", "")
    assert (passed, "no end after 600 s: nothing was said" in figures) == (False, True)
    assert _job(monkeypatch, 0, line, line.replace("1e-7", "NaN"))[0] is False


@LINUX
def test_one_device_is_too_few_for_several_processes(monkeypatch):
    monkeypatch.setattr(check_processes, "present_devices", lambda: {"GPU": 1, "CPU": 1})
    assert check_processes.train_together("GPU", 1e-3) == (None, "1 GPU here; it takes two")
    monkeypatch.setattr(sys, "platform", "win32")
    assert check_processes.train_together("CPU", 1e-3) == (None, "several processes are for Linux")


@LINUX
def test_a_job_that_hangs_is_ended(monkeypatch):
    began = []
    popen = subprocess.Popen

    def sleeping(command, **options):
        began.append(popen(["sleep", "600"], **options))
        return began[-1]

    monkeypatch.setattr(check_processes.subprocess, "Popen", sleeping)
    monkeypatch.setattr(check_processes, "_SECONDS", 0.2)
    passed, figures = check_processes.train_together("CPU", 1e-5)
    assert passed is False
    assert "no end after 0.2 s" in figures
    assert began[0].returncode == -9


@pytest.fixture
def lesson(monkeypatch, tmp_path):
    def write(*cells):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        nbformat.write(notebook, tmp_path / "lesson.ipynb")
        monkeypatch.setattr(check_processes, "LESSON", str(tmp_path / "lesson.ipynb"))

    return write


def test_a_lesson_is_run_in_quick_mode_on_this_device(lesson):
    lesson(
        "import os, step_llm",
        "assert os.environ['STEP_LLM_QUICK'] == '1' and os.environ['STEP_LLM_DEVICE'] == 'CPU'",
        "assert os.path.isdir(os.environ['STEP_LLM_RUNS'])",
    )
    said = []
    passed, figures = check_processes.run_lesson("CPU", said.append)
    assert passed, figures
    assert re.match(r"0\.\d minutes in quick mode, 3 cells$", figures)
    assert said == ["cell 1 of 3", "cell 2 of 3", "cell 3 of 3"]


def test_a_cell_that_fails_is_told(lesson):
    lesson("1", "raise ValueError('no such operator')", "2")
    passed, figures = check_processes.run_lesson("CPU", lambda line: None)
    assert passed is False
    assert figures == "in cell 2 of 3: ValueError: no such operator"


def test_without_lessons_or_jupyter_none_is_run(lesson, monkeypatch):
    monkeypatch.setattr(check_processes, "LESSON", "notebooks/none.ipynb")
    assert check_processes.run_lesson("CPU", print)[0] is None
    lesson("1")
    monkeypatch.setitem(sys.modules, "nbclient", None)
    passed, figures = check_processes.run_lesson("CPU", print)
    assert (passed, figures) == (None, "no nbclient here, which runs notebooks")


def test_the_lesson_is_there():
    assert (ROOT / check_processes.LESSON).is_file()
    assert json.loads((ROOT / check_processes.LESSON).read_text(encoding="utf-8"))["cells"]
