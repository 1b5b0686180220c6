"""The grader: what it says of honest notebooks, and of those that try to pass without answering.

Each notebook runs for real, in a process of its own, with exercises of lesson 02 that need no
training. 2.1 is answered by five numbers, 2.3 by a function.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the grader needs POSIX")

HEAD = (
    "import os, sys, time\nimport numpy as np\nfrom mindspore import Tensor\n"
    "from step_llm import exercises"
)
RIGHT = 'my_weights = [0.076, 0.076, 0.564, 0.076, 0.207]\nexercises.check("2.1", my_weights)'
WRONG = 'exercises.check("2.1", [0.2] * 5)'
EMPTY = 'my_weights = ...\n\nexercises.check("2.1", my_weights)'
MASK = (
    "def mask(length, window):\n"
    "    t, s = np.arange(length)[:, None], np.arange(length)[None, :]\n"
    "    return Tensor(((s <= t) & (s > t - window))[None, None])\n\n"
    'exercises.check(\n    "2.3",\n    mask,\n)'
)

NUMBERS = ["2.1", "2.3"]


@pytest.fixture(scope="module")
def grader():
    return load_script(ROOT / "tools" / "grade.py")


def notebook(path, *sources):
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "outputs": [],
         "execution_count": None, "source": source}
        for n, source in enumerate([HEAD, *sources])
    ]  # fmt: skip
    text = json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def graded(grader, tmp_path):
    """Grades a notebook of these cells, which follow the imports."""

    def run(*sources, isolates=True, **limits):
        path = notebook(tmp_path / "ada.ipynb", *sources)
        limits = grader.Limits(**{"seconds": 500, **limits})
        return grader.grade(path, NUMBERS, limits, isolates)

    return run


def statuses(grade):
    return [grade.results[number][0] for number in NUMBERS]


def test_honest_answers_are_graded_one_by_one(graded):
    """Errors of one cell do not end the run, and the last check of an exercise counts."""
    found = graded(WRONG, "1 / 0", MASK, "%%time\n" + EMPTY.replace("...", "[0.076]"), RIGHT)
    assert statuses(found) == ["passed", "passed"], found
    assert found.violations == []
    assert found.notes == ["cell 3 raised ZeroDivisionError: division by zero"]
    assert "e²" in found.results["2.1"][1]


# What is done in a notebook, what becomes of 2.1, and a part of what the teacher is told.
ATTACKS = {
    "replaces the checks, and NumPy under them": (
        [
            "exercises.check = exercises.result = lambda *a: ('passed', '')\n"
            "import step_llm.course.checks.lesson_02 as lesson\n"
            "lesson.exercise_1 = lambda answer: 'well done'\n"
            "np.allclose = lambda *a, **o: True",
            WRONG,
        ],
        "wrong error",
        "LOOK AT IT: replaces ",
    ),
    "prints what a check prints, and puts an own object in the place of exercises": (
        [
            "print('2.1 \\033[1;32m✓ passed\\033[0m: two steps')\n"
            "class exercises:\n    check = staticmethod(lambda *a: print('2.3 ✓ passed: yes'))",
            EMPTY,
        ],
        "not yet",
        "something else in the place of exercises; prints lines that look like",
    ),
    "looks for the grader in the frames, and writes to every descriptor": (
        [
            "for n in range(3, 64):\n    try:\n"
            "        os.write(n, b'token\\tresult\\t2.1\\tpassed\\tyes\\n')\n"
            "    except OSError:\n        pass\n"
            "try:\n    raise KeyError\nexcept KeyError as error:\n"
            "    frame = error.__traceback__.tb_frame",
            "import gc\neverything = gc.get_objects()",
            WRONG,
        ],
        "wrong",
        "writes to the grader's channel; LOOK AT IT: looks into the interpreter (object.",
    ),
    "leaves with the status of success": (["os._exit(0)", RIGHT], "not reached", "ended itself"),
    "asks to leave, after a forged line": (
        ["def answer():\n    sys.exit(0)\n\nexercises.check('2.1', answer())"],
        "error",
        "",
    ),
    "deletes files": (
        [
            "open('own', 'w').close()\nos.remove('own')",  # this is allowed
            "os.remove(PATH)",
            "import subprocess\nsubprocess.run(['rm', '-f', PATH])",
            RIGHT,
        ],
        "error",
        "LOOK AT IT: deletes or changes files elsewhere (os.remove ",
    ),
    "prints without end": (
        ["while True:\n    os.write(1, b'x' * 65536)", RIGHT],
        "not reached",
        "more than 10 MiB of output in code cell 2",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_told_and_passes_nothing(graded, tmp_path, name):
    sources, status, words = ATTACKS[name]
    precious = tmp_path / "precious.txt"
    precious.touch()
    sources = [source.replace("PATH", repr(str(precious))) for source in sources]
    found = graded(*sources)
    assert found.results["2.1"][0] in (status, status.split()[-1]), found
    assert "passed" not in statuses(found)
    told = "; ".join([f"LOOK AT IT: {words}" for words in found.violations] + found.notes)
    assert words in told, found
    assert precious.exists() or "files" not in found.isolation


@pytest.mark.slow
def test_hints_are_in_the_language_that_is_asked_for(graded, monkeypatch):
    monkeypatch.setenv("STEP_LLM_LANGUAGE", "zh")
    found = graded(WRONG, "print('2.3 ✓ 通过: 1')")
    assert found.results["2.1"] == ("wrong", "再看看第 3 个权重（从 1 数起）；键按原来的顺序")
    assert "prints lines that look like those of a passed check" in found.notes


def test_a_loop_ends_at_the_time_limit_and_earlier_answers_count(graded):
    loop = (
        "def mask(length, window):\n    while True: time.sleep(1)\n\nexercises.check('2.3', mask)"
    )
    found = graded(RIGHT, loop, seconds=15)
    assert found.results["2.1"][0] == "passed", found
    assert found.results["2.3"][0] in ("error", "not reached"), found
    assert "the time limit of 15 seconds" in found.notes[0]


@pytest.mark.slow
@pytest.mark.parametrize("isolates", [True, False], ids=["isolated", "bare"])
def test_a_notebook_that_kills_its_parent_is_told(graded, isolates):
    """By Python, which the hook refuses, and by a program, which ends the process between."""
    ways = (
        "import signal\nos.kill(os.getppid(), signal.SIGKILL)",
        "import subprocess\nsubprocess.run(f'kill -9 {os.getppid()}', shell=True)\ntime.sleep(60)",
    )
    found = graded(*(ways[:1] if isolates else ways), RIGHT, isolates=isolates)
    assert "passed" not in statuses(found), found
    assert "sends a signal (os.kill)" in found.violations
    if not isolates:
        assert "kills the process above it" in found.violations
        assert found.isolation == ""


def test_a_file_that_is_no_notebook_is_an_error(grader, tmp_path):
    for text in ("", "[]", '{"cells": [{}]}', "[" * 100_000):
        (tmp_path / "ada.ipynb").write_text(text, encoding="utf-8")
        found = grader.grade(tmp_path / "ada.ipynb", NUMBERS, grader.Limits())
        assert statuses(found) == ["error", "error"]
        assert "cannot be read" in found.results["2.1"][1]


def test_the_tables_hold_what_was_found_and_no_formulas(grader, tmp_path):
    grades = {"ada": grader.Grade(), "<b>bo</b>": grader.Grade(violations=["replaces numpy.all"])}
    grades["ada"].results["2.1"] = "wrong", "=HYPERLINK(1) <script>"
    grades["<b>bo</b>"].results.update({"2.1": ("passed", "yes"), "2.3": ("not yet", "")})
    for found in grades.values():
        found.settle(NUMBERS, "", [])
    grader.write_tables(grades, NUMBERS, "02", tmp_path)
    with (tmp_path / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        ada, bo = csv.DictReader(file)
    assert (ada["2.1"], ada["2.1 hint"]) == ("wrong", "'=HYPERLINK(1) <script>")
    assert (ada["2.3"], bo["2.1"], bo["2.3"]) == ("not reached", "error", "not yet")
    assert bo["remarks"] == "LOOK AT IT: replaces numpy.all"
    with (tmp_path / "summary.csv").open(encoding="utf-8-sig", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["wrong"], first["error"], first["passed"]) == ("1", "1", "0")
    assert (second["not reached"], second["not yet"]) == ("1", "1")
    page = (tmp_path / "grades.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "<b>" not in page


def test_students_are_files_or_folders(grader, tmp_path):
    (tmp_path / "bo").mkdir()
    notebook(tmp_path / "ada.ipynb", RIGHT)
    notebook(tmp_path / "bo" / "02_attention.ipynb", WRONG)
    found = grader.submissions(tmp_path)
    assert list(found) == ["ada", "bo"]
    assert grader.lesson_of(found.values()) == "2"
    assert grader.exercises_of("2") == grader.exercises_of("02") == [f"2.{n}" for n in range(1, 9)]
    assert grader.exercises_of("05b")[0] == "5b.1"
    notebook(tmp_path / "bo" / "again.ipynb", WRONG)
    with pytest.raises(ValueError, match="bo has two notebooks"):
        grader.submissions(tmp_path)
    with pytest.raises(ValueError, match="no lesson '77'"):
        grader.exercises_of("77")
