"""Grade a folder of notebooks of one lesson: `make grade FOLDER=… LESSON=04` calls this.

    python tools/grade.py FOLDER                    the lesson is the one that most of them answer
    python tools/grade.py FOLDER --lesson 04 --seconds 900 --output build/grades

FOLDER holds one notebook a student (ada.ipynb), or one folder a student (ada/04_transformer.ipynb).
Each runs in a fresh process, in quick mode, with limits of time, memory, files and output, and on
Linux without network; tools/run_submission.py says how its answers are checked. Written are
grades.csv, summary.csv and grades.html; docs/teachers.md says what they mean.
"""

from __future__ import annotations

import argparse
import csv
import html
import io
import json
import os
import re
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATUSES = ("passed", "wrong", "not yet", "error", "not reached")
MIB = 2**20
_LARGEST_NOTEBOOK = 50 * MIB
_CHECK = re.compile(r"""exercises\.check\(\s*\\?["'](\d+b?\.\d+)""")
# What a check prints where it has passed; in an answer's own output it is somebody's print.
_FORGED = re.compile(r"^\W*\d+b?\.\d+ (?:\x1b\[[\d;]*m)?✓ (?:passed|通过)", re.MULTILINE)


@dataclass(frozen=True)
class Limits:
    """Of one notebook.

    Args:
        seconds: of the clock, and of the processor for each core that there is.
        memory: bytes of addresses; MindSpore reserves more than it uses.
        file_size, output: bytes of one file, and of all that it prints.
    """

    seconds: float = 900
    memory: int = 32 * 1024 * MIB
    file_size: int = 1024 * MIB
    output: int = 10 * MIB


@dataclass
class Grade:
    """What became of one notebook.

    Args:
        results: number of an exercise to status and hint.
        violations: what it did to pass without answering, or to harm; then nothing is passed.
        notes: what else a teacher may want to look at.
        isolation: what was out of its reach: "network", "processes", "files".
    """

    results: dict = field(default_factory=dict)
    violations: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    isolation: str = ""

    def settle(self, numbers, reason, current) -> None:
        """Fill in what was not reached, and take back what cannot be trusted.

        Args:
            numbers: the exercises of the lesson.
            reason: why the run ended before its end, or "".
            current: the exercises of the cell that it ended in.
        """
        for number in numbers:
            if number in self.results:
                continue
            if reason and number in current:
                self.results[number] = "error", reason
            else:
                words = f"ended before: {reason}" if reason else "its check is not in the notebook"
                self.results[number] = "not reached", words
        if reason:
            self.notes.insert(0, reason)
        if self.violations:
            for number, (status, _) in self.results.items():
                if status == "passed":
                    words = f"not graded, look at it: the notebook {self.violations[0]}"
                    self.results[number] = "error", words


# ------------------------------------------------------------------------------- one notebook


def grade(path: Path, numbers: list[str], limits: Limits, isolates: bool = True) -> Grade:
    """Run a notebook and check its answers.

    Args:
        path: the notebook.
        numbers: the exercises of its lesson.
        limits: see there.
        isolates: whether to use the system's namespaces, where there are any.
    """
    found = Grade()
    try:
        cells = code_cells(path)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"the notebook cannot be read ({type(error).__name__}: {error})"[:300]
        found.settle(numbers, reason, numbers)
        return found
    folder = Path(tempfile.mkdtemp(prefix="step_llm-grade-"))
    try:
        _furnish(folder)
        _run(cells, numbers, limits, isolates, folder, found)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def code_cells(path: Path) -> list[str]:
    """The sources of a notebook's code cells.

    Raises:
        OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError: it is none.
    """
    if path.stat().st_size > _LARGEST_NOTEBOOK:
        raise ValueError(f"{path.stat().st_size // MIB} MiB; at most {_LARGEST_NOTEBOOK // MIB}")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def _furnish(folder):
    """A folder in which a lesson finds what lies around it in a checkout."""
    for name in ("notebooks", "home", "tmp", "runs"):
        (folder / name).mkdir()
    for name in ("data", "figures"):
        (folder / "notebooks" / name).symlink_to(ROOT / "notebooks" / name)
    for name in ("data", "tests", "benchmarks", "docs"):
        (folder / name).symlink_to(ROOT / name)


def _environment(folder):
    kept = ("PATH", "LANG", "LC_ALL", "OMP_NUM_THREADS", "LD_LIBRARY_PATH", "SYSTEMROOT")
    kept += ("STEP_LLM_DEVICE", "STEP_LLM_DATA", "STEP_LLM_LANGUAGE")
    named = {name: value for name, value in os.environ.items() if name in kept}
    return {
        **named,
        "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "GLOG_v": "3",
        "STEP_LLM_RUNS": str(folder / "runs"), "STEP_LLM_QUICK": "1",
        "MPLCONFIGDIR": str(folder / "home"),
    }  # fmt: skip


def _run(cells, numbers, limits, isolates, folder, found):
    ours, theirs = socket.socketpair()
    token = secrets.token_hex(32)
    command = [sys.executable, "-I", "-u", "-X", "utf8", str(ROOT / "tools" / "run_submission.py")]
    with ours:
        process = subprocess.Popen(
            [*command, str(theirs.fileno())], cwd=folder / "notebooks", env=_environment(folder),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()], start_new_session=True,
        )  # fmt: skip
        theirs.close()
        order = {
            "token": token, "cells": cells, "numbers": numbers, "folder": str(folder),
            "isolates": isolates, "seconds": int(limits.seconds * (os.cpu_count() or 1)) + 1,
            "memory": limits.memory, "file_size": limits.file_size,
        }  # fmt: skip
        try:
            ours.sendall(json.dumps(order).encode() + b"\n")
            reader = _Reader(found, token, limits)
            reader.read(process, ours)
        finally:
            _end(process)
    current = reader.check or reader.cell[1]
    reason = reader.reason
    if not reason and not reader.has_ended:
        if process.returncode < 0:
            found.violations.append("kills the process above it")
        reason = f"the process ended itself ({_status(process.returncode)})"
    where = f" in code cell {reader.cell[0]}" if reason and reader.cell[0] else ""
    found.settle(numbers, reason + where, current)


def _status(code):
    number = -code if code < 0 else code - 128
    try:
        return f"signal {signal.Signals(number).name}" if number > 0 else f"status {code}"
    except ValueError:
        return f"status {code}"


def _end(process):
    """End the process and its group, whatever is left of it."""
    for _ in range(2):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            break
        process.wait()
    process.wait()
    process.stdout.close()


class _Reader:
    """Reads what a run tells, until its end or a limit."""

    def __init__(self, found, token, limits):
        self.found, self.token, self.limits = found, token.encode(), limits
        self.cell, self.check = ("", []), []  # the cell that runs, the exercise that is checked
        self.reason, self.has_ended = "", False

    def read(self, process, channel):
        """Until both are closed, the end was told, or ``reason`` says which limit was passed."""
        end = time.monotonic() + self.limits.seconds
        printed, rest, told, kept = 0, b"", 0, b""
        with selectors.DefaultSelector() as selector:
            selector.register(channel, selectors.EVENT_READ)
            selector.register(process.stdout, selectors.EVENT_READ)
            while selector.get_map() and not self.reason:
                left = end - time.monotonic()
                if left <= 0:
                    self.reason = f"the time limit of {self.limits.seconds:g} seconds"
                    break
                # What it started, or left behind at its end, may hold its output open.
                is_over = self.has_ended or process.poll() is not None
                ready = selector.select(min(left, 0.5))
                if not ready and is_over:
                    break
                for key, _ in ready:
                    data = os.read(key.fd, 65536) if key.fileobj is not channel else _receive(key)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is channel:
                        told += len(data)
                        *lines, rest = (rest + data).split(b"\n")
                        for line in lines:
                            self._take(line)
                        if told > self.limits.output:
                            self.found.violations.append("floods the grader's channel")
                            self.reason = "more on the grader's channel than it holds"
                    else:
                        printed += len(data)
                        kept += data[: max(MIB - len(kept), 0)]
                        if printed > self.limits.output:
                            self.reason = f"more than {self.limits.output // MIB} MiB of output"
        if _FORGED.search(kept.decode("utf-8", "replace")):
            self.found.notes.append("prints lines that look like those of a passed check")
        self.output = kept

    def _take(self, line):
        token, *words = line.split(b"\t")
        if not secrets.compare_digest(token, self.token):
            if "writes to the grader's channel" not in self.found.violations:
                self.found.violations.append("writes to the grader's channel")
            return
        kind, *words = (word.decode("utf-8", "replace") for word in words)
        if kind == "cell":
            self.cell, self.check = (words[0], words[1].split()), []
        elif kind == "check":
            self.check = words
        elif kind == "result":
            self.found.results[words[0]] = words[1], words[2]
            self.check = []
        elif kind == "violation" and words[0] not in self.found.violations:
            self.found.violations.append(words[0])
        elif kind == "note" and words[0] not in self.found.notes:
            self.found.notes.append(words[0])
        elif kind == "isolation":
            self.found.isolation = words[0]
        elif kind == "end":
            self.has_ended = True


def _receive(key):
    try:
        return key.fileobj.recv(65536)
    except ConnectionError:
        return b""


# ---------------------------------------------------------------------------------- the folder


def submissions(folder: Path) -> dict[str, Path]:
    """Student to notebook: FOLDER/ada.ipynb, or the one notebook of FOLDER/ada/.

    Raises:
        ValueError: there is none, or a student has several.
    """
    found = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    for path in sorted(folder.glob("*/*.ipynb")):
        name = path.parent.name
        if name.startswith((".", "_")):
            continue
        if name in found:
            raise ValueError(f"{name} has two notebooks: {found[name]} and {path}; leave one")
        found[name] = path
    if not found:
        raise ValueError(f"{folder} holds no notebook; expected one .ipynb a student")
    return dict(sorted(found.items()))


def lesson_of(paths) -> str:
    """The lesson that most of the notebooks answer, as in "04".

    Raises:
        ValueError: none calls exercises.check.
    """
    votes = Counter()
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace")[:_LARGEST_NOTEBOOK]
        votes.update({number.partition(".")[0] for number in _CHECK.findall(text)})
    if not votes:
        raise ValueError("no notebook here calls exercises.check; name the lesson: LESSON=04")
    return votes.most_common(1)[0][0]


def exercises_of(lesson: str) -> list[str]:
    """The numbers of a lesson's exercises, in its order; the lesson as in "04", "4" or "05b".

    Raises:
        ValueError: there is no such lesson.
    """
    for path in sorted((ROOT / "notebooks").glob("*_*.ipynb")):
        name = path.name.partition("_")[0]
        if name.lstrip("0") == lesson.lstrip("0"):
            return list(dict.fromkeys(_CHECK.findall("\n".join(code_cells(path)))))
    raise ValueError(f"there is no lesson {lesson!r} in notebooks/")


# ---------------------------------------------------------------------------------- the tables


def counts(grades: dict[str, Grade], numbers) -> list[list]:
    """For each exercise, how many students stand where: rows of the summary."""
    rows = []
    for number in numbers:
        there = Counter(grade.results[number][0] for grade in grades.values())
        rows.append([number, *(there[status] for status in STATUSES)])
    return rows


def remarks(grade: Grade) -> str:
    """What a teacher should know of a notebook, in one line."""
    words = [f"LOOK AT IT: {violation}" for violation in grade.violations] + grade.notes
    return "; ".join(words)


def write_tables(grades: dict[str, Grade], numbers, lesson: str, output: Path) -> None:
    """grades.csv, summary.csv and grades.html; each is written aside and renamed."""
    output.mkdir(parents=True, exist_ok=True)
    head = ["student", "passed", *(f"{n}{part}" for n in numbers for part in ("", " hint"))]
    rows = []
    for student, grade in grades.items():
        passed = sum(status == "passed" for status, _ in grade.results.values())
        results = [words for number in numbers for words in grade.results[number]]
        rows.append([student, passed, *results, remarks(grade)])
    _write(output / "grades.csv", _csv([[*head, "remarks"], *rows]))
    summary = [["exercise", *STATUSES], *counts(grades, numbers)]
    _write(output / "summary.csv", _csv(summary))
    _write(output / "grades.html", _page(grades, numbers, lesson))


def _csv(rows):
    """With the mark by which Excel knows UTF-8. No cell is taken for a formula: a student wrote
    some of them."""
    text = io.StringIO()
    writer = csv.writer(text)
    for row in rows:
        writer.writerow(
            [f"'{v}" if isinstance(v, str) and v[:1] in tuple("=+-@\t") else v for v in row]
        )
    return "\ufeff" + text.getvalue()


def _write(path, text):
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.write_bytes(text.encode("utf-8"))  # CSV has its own ends of lines
    os.replace(partial, path)


_STYLE = """body{font:15px/1.4 sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}
td,th{border:1px solid #bbb;padding:.3em .6em;text-align:left;vertical-align:top}
small{display:block;color:#444;max-width:22em}.passed{background:#d9f2dd}.wrong{background:#fbdcd8}
.error{background:#f6c9ef}.not-yet,.not-reached{background:#eee}"""


def _page(grades, numbers, lesson):
    def cell(status, hint):
        kind = status.replace(" ", "-")
        return f'<td class="{kind}">{html.escape(status)}<small>{html.escape(hint)}</small></td>'

    def row(words, tag="td"):
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(w))}</{tag}>" for w in words) + "</tr>"

    lines = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Lesson {lesson}</title>'
        f"<style>{_STYLE}</style><h1>Lesson {lesson}</h1>",
        "<table>", row(["exercise", *STATUSES], "th"),
        *(row(words) for words in counts(grades, numbers)),
        "</table><table>", row(["student", *numbers, "remarks"], "th"),
    ]  # fmt: skip
    for student, grade in grades.items():
        results = "".join(cell(*grade.results[number]) for number in numbers)
        words = f"<td>{html.escape(remarks(grade))}</td>"
        lines.append(f"<tr><th>{html.escape(student)}</th>{results}{words}</tr>")
    isolation = sorted({grade.isolation for grade in grades.values()})
    told = "; ".join(i.replace(" ", ", ") or "nothing" for i in isolation)
    lines.append(f"</table><p>Out of the notebooks' reach: {told}.</p></html>")
    return "\n".join(lines) + "\n"


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="one notebook, or one folder, a student")
    parser.add_argument("--lesson", default="", help='such as "04"')
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "grades")
    parser.add_argument("--seconds", type=float, default=Limits.seconds, help="for one notebook")
    options = parser.parse_args(arguments)
    try:
        if os.name == "nt":
            raise ValueError("the grader needs Linux or macOS; on Windows, take WSL")
        students = submissions(options.folder)
        lesson = options.lesson or lesson_of(students.values())
        numbers = exercises_of(lesson)
    except (OSError, ValueError) as error:
        print(f"grade: {error}", file=sys.stderr)
        return 1
    grades = {}
    for student, path in students.items():
        grades[student] = grade(path, numbers, Limits(seconds=options.seconds))
        there = Counter(status for status, _ in grades[student].results.values())
        told = ", ".join(f"{there[status]} {status}" for status in STATUSES if there[status])
        extra = remarks(grades[student])
        print(f"{student}: {told}{'; ' if extra else ''}{extra}", flush=True)
        write_tables(grades, numbers, lesson, options.output)  # each time: a stop loses nothing
    missing = {"network", "processes", "files"} - set(grades[student].isolation.split())
    if missing:
        print(
            f"This system could not keep from them: {', '.join(sorted(missing))}. Take a container."
        )
    print(f"Written: {options.output / 'grades.html'}, and .csv beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
