"""``python -m step_llm check``: whether everything works on the device that is there, in a report.

Most who maintain the course have no Ascend and no GPU. Whoever has one runs this, and attaches the
report to an issue. It holds neither the user's name nor the machine's, and no path.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import mindspore as ms
import numpy as np

import step_llm
from step_llm.cli import check_forms, check_model, check_processes, golden
from step_llm.nn.forms import device_forms
from step_llm.runtime.device import EARLY_CHIPS, DeviceChoice, chip, software, use_device
from step_llm.training.precision import PRECISIONS

__all__ = ["Outcome", "Report", "check_device", "run", "without_names"]

# Matrix units of an NPU or a GPU round more than a CPU does; golden.TOLERANCE is the CPU's. An
# early NPU rounds what a product takes to float16.
_ACCELERATOR_TOLERANCE = 1e-3
_EARLY_TOLERANCE = 1e-2
_SECONDS_BETWEEN = 10.0  # lines that say how far a part is
_LONGEST = 600  # characters of a cell
_RESULTS = {True: "pass", False: "FAIL", None: "not here"}
# An absolute path of two or more parts; of an address only what follows its host would be one.
_PATH = re.compile(r"(?<![\w.~/…])(?:[A-Za-z]:)?(?:[/\\][^\s/\\:'\"`<>,;()]+){2,}")


@dataclass(frozen=True)
class Outcome:
    """One line of the report.

    Args:
        name: what was checked.
        passed: None where this machine cannot do it, which is told and not failed.
        figures: what was measured, or why not.
        seconds: how long it took.
    """

    name: str
    passed: bool | None
    figures: str
    seconds: float = 0.0


@dataclass
class Report:
    """What a check found, as text that can be attached to an issue.

    Args:
        facts: versions and the device.
        outcomes: one for each part.
        running: the part that has begun; where the process crashed in it, it still stands there.
    """

    facts: dict[str, str]
    outcomes: list[Outcome] = field(default_factory=list)
    running: str = ""

    @property
    def passed(self) -> bool:
        results = [outcome.passed for outcome in self.outcomes]
        return any(results) and False not in results

    def __str__(self) -> str:
        result = f"it ended in: {self.running}" if self.running else _RESULTS[self.passed]
        lines = [f"### step_llm check: {result}", ""]
        lines += ["| | |", "|---|---|"]
        lines += [f"| {name} | {_cell(value)} |" for name, value in self.facts.items()]
        lines += ["", "| check | result | time | figures |", "|---|---|---|---|"]
        lines += [
            f"| {o.name} | {_RESULTS[o.passed]} | {o.seconds:.0f} s | {_cell(o.figures)} |"
            for o in self.outcomes
        ]
        return "\n".join(lines) + "\n"


def run(options):
    if options.steps < 2:
        raise ValueError(f"--steps is {options.steps}; expected at least 2")
    device = use_device(options.device)
    print(device, flush=True)
    path = Path(options.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    report = check_device(
        device, options.steps, options.lesson, say=lambda line: print(line, flush=True),
        keep=lambda report: path.write_text(str(report), encoding="utf-8"),
    )  # fmt: skip
    if options.task:
        options.task.upload()
    print(f"\n{report}\nThe report is in {path}; attach it to an issue.")
    return 0 if report.passed else 1


def check_device(
    device: DeviceChoice,
    steps: int = 50,
    has_lesson: bool = False,
    say=print,
    keep=lambda report: None,
) -> Report:
    """Run every part on the device that MindSpore uses now; none keeps the next from running.

    Args:
        device: what ``use_device`` returned.
        steps: updates of the training part.
        has_lesson: whether to run lesson 05 too, which takes minutes.
        say: called with a line before each part, while it runs, and with its outcome.
        keep: called with the report before each part and at the end: a kernel may crash the whole
            process.
    """
    report = Report(_facts(device))
    for name, part in _parts(device.name, steps, has_lesson).items():
        report.running = name
        keep(report)
        say(f"{name} …")
        started = time.perf_counter()
        try:
            passed, figures = part(_now_and_then(say))
        except Exception as error:  # Whatever a device does, the other parts are worth knowing.
            passed, figures = False, f"{type(error).__name__}: {error}"
        outcome = Outcome(name, passed, figures, time.perf_counter() - started)
        say(f"  {_RESULTS[passed]} after {outcome.seconds:.0f} s: {_cell(figures)}")
        report.outcomes.append(outcome)
    report.running = ""
    keep(report)
    return report


def _facts(device):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {
        "step_llm": step_llm.__version__,
        "MindSpore": ms.__version__,
        "Python, NumPy": f"{platform.python_version()}, {np.__version__}",
        "machine": f"{platform.system()} {platform.machine()}, {cores} CPU cores",
        "device": f"{device.name} ({device.reason})",
        "its software": software(device.name),
        "its forms": ", ".join(device_forms()) or "none",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }
    return {name: value for name, value in facts.items() if value}


def _parts(device, steps, has_lesson):
    """Each part by its name: a function of what is called with how far it is, which returns whether
    it passed (None: not here) and the figures."""
    tolerance = golden.TOLERANCE if device == "CPU" else _ACCELERATOR_TOLERANCE
    if chip() in EARLY_CHIPS:
        tolerance = _EARLY_TOLERANCE
    trained, first_losses = [], {}
    parts = {
        "as PyTorch (golden files)": lambda say: check_model.compare_with_golden_files(
            tolerance, say
        ),
        f"training, {steps} steps": lambda say: check_model.train(steps, trained, say),
        "decoding": lambda _: check_model.decode(trained, tolerance),
    }
    for precision in PRECISIONS:
        parts[f"training in {precision}"] = lambda _, precision=precision: check_model.train_in(
            precision, first_losses
        )
    for name, form in check_forms.checks(tolerance).items():
        parts[name] = lambda _, form=form: form()
    parts["several processes"] = lambda _: check_processes.train_together(device, tolerance)
    if has_lesson:
        parts["lesson 05"] = lambda say: check_processes.run_lesson(device, say)
    return parts


def _now_and_then(say):
    """``say``, for lines of which one in some seconds is enough."""
    last = [time.perf_counter()]

    def one(line):
        if time.perf_counter() - last[0] >= _SECONDS_BETWEEN:
            last[0] = time.perf_counter()
            say(f"  {line}")

    return one


def without_names(text: str) -> str:
    """A text without the user's and the machine's name, and of each path its last two parts."""
    home = str(Path.home())
    if len(home) > 1:
        text = text.replace(home, "~")
    text = _PATH.sub(lambda found: "…/" + "/".join(re.split(r"[/\\]", found.group())[-2:]), text)
    names = {platform.node(): "HOST"}
    with contextlib.suppress(KeyError, OSError, ImportError):  # in a container it may be unknown
        names[getpass.getuser()] = "USER"
    for name, instead in names.items():
        if name and name != "root":
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", instead, text)
    return text


def _cell(text):
    """On one line, without names, and without what would end a table's cell."""
    line = " ".join(str(text).replace("|", "/").split())
    return without_names(line)[:_LONGEST]
