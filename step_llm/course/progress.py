"""The reader's record: which exercises are passed, kept beside the runs in ``progress.json``.

    {"2.1": {"not yet": 1, "wrong": 2, "passed": 1, "last": "2026-11-28T10:15:00"}, …}

A reader loses nothing but the record if the file is lost, and no check fails because of it.
"""

from __future__ import annotations

import json
import os
import sys
import time
import unicodedata
import warnings
from pathlib import Path

from step_llm.runtime.files import replacing, runs_folder
from step_llm.runtime.language import say
from step_llm.runtime.locks import hold

__all__ = ["CHINESE", "is_recorded", "load", "record", "state", "table"]

CHINESE = Path(__file__).with_name("zh.json")  # what this folder's modules say to the reader

STATUSES = ("not yet", "wrong", "passed")
_SIGNS = {"passed": "✓", "tried": "~", "open": "·"}
_PATIENCE = 5.0  # seconds to wait for another kernel; it holds the folder for milliseconds


def is_recorded() -> bool:
    """Whether a reader is at work: in a notebook or a terminal, and no test or solution runs."""
    is_test = "PYTEST_VERSION" in os.environ  # pytest sets it, and nbval's kernels inherit it
    # JupyterLab tells a kernel which notebook it belongs to.
    session = os.environ.get("JPY_SESSION_NAME", "").replace("\\", "/")
    if is_test or "solutions/" in session or os.environ.get("STEP_LLM_RECORD") == "0":
        return False
    return type(sys.stdout).__module__.startswith("ipykernel") or sys.stdout.isatty()


def record(number: str, status: str) -> None:
    """Count one result of a check. What the disk refuses becomes a warning.

    Args:
        number: of the exercise.
        status: one of ``STATUSES``.
    """
    folder = runs_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _held(folder):
            path = folder / "progress.json"
            entries = load(path)
            entry = entries.setdefault(number, dict.fromkeys(STATUSES, 0))
            entry[status] += 1
            entry["last"] = time.strftime("%Y-%m-%dT%H:%M:%S")
            with replacing(path) as partial:
                partial.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        warnings.warn(f"the record of the exercises was not written: {error}", stacklevel=3)


def _held(folder):
    """``locks.hold``, which waits for another kernel's check to let go."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return hold(folder)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def load(path: Path) -> dict:
    """The record; empty where there is none. A damaged one is put aside, as progress.damaged-1.json
    and so on.

    Raises:
        OSError: the file is there and cannot be read or renamed.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):  # a UnicodeDecodeError is a ValueError
        entries = None
    if _is_record(entries):
        return entries
    number = 1
    while (aside := path.with_name(f"{path.stem}.damaged-{number}.json")).exists():
        number += 1
    os.replace(path, aside)
    return {}


def _is_record(entries):
    return isinstance(entries, dict) and all(
        isinstance(entry, dict) and all(type(entry.get(status)) is int for status in STATUSES)
        for entry in entries.values()
    )


def state(entry: dict | None) -> str:
    """ "passed", "tried" or "open"; what has passed once stays passed."""
    if entry and entry["passed"]:
        return "passed"
    return "tried" if entry and entry["wrong"] else "open"


def table(numbers: list[str]) -> str:
    """A line for each lesson, with the state of its exercises.

    Args:
        numbers: of all exercises, in order.
    """
    path = runs_folder() / "progress.json"
    entries = load(path)
    states = {number: state(entries.get(number)) for number in numbers}
    lessons = list(dict.fromkeys(number.partition(".")[0] for number in numbers))
    rows, longest = [], 0
    for lesson in lessons:
        own = [number for number in numbers if number.partition(".")[0] == lesson]
        cells = "  ".join(f"{number} {_SIGNS[states[number]]}" for number in own)
        passed = sum(states[number] == "passed" for number in own)
        rows.append((lesson, cells, f"{passed} of {len(own)}"))
        longest = max(longest, len(cells))
    rows.insert(0, ("lesson", "✓ passed, ~ tried, · open", "passed"))
    lines = []
    for row in rows:
        lesson, cells, passed = (say(words, CHINESE) for words in row)
        lines.append(f"{_filled(lesson, 6)}  {_filled(cells, longest)}  {passed}")
    counted = [sum(s == name for s in states.values()) for name in _SIGNS]
    total = f"{counted[0]} passed, {counted[1]} tried, {counted[2]} open ({path})"
    return "\n".join([*lines, say(total, CHINESE)])


def _filled(text, width):
    """The text, filled up with spaces; a Chinese character is as wide as two others."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return f"{text:{max(width - wide, 0)}}"
