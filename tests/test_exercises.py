"""The checks of the exercises: they pass what is right, and say what is wrong with the rest."""

from __future__ import annotations

import importlib
import linecache
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import pytest
from mindspore import Tensor

from step_llm import exercises
from step_llm.course.checks import judge
from tests.support.language import english_left

ROOT = Path(__file__).resolve().parent.parent


def _answers():
    """The modules exercises_NN.py beside this file: right and wrong answers, lesson by lesson."""
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    try:
        return [
            importlib.import_module(path.stem)
            for path in sorted(Path(folder).glob("exercises_*.py"))
        ]
    finally:
        sys.path.remove(folder)


LESSONS = _answers()
RIGHT = {number: answer for module in LESSONS for number, answer in module.RIGHT.items()}
ALSO_RIGHT = [case for module in LESSONS for case in getattr(module, "ALSO_RIGHT", ())]
WRONG = {number: answers for module in LESSONS for number, answers in module.WRONG.items()}
WRONG_ANSWERS = [
    pytest.param(number, answer, id=f"{number}-{place}")
    for number, answers in WRONG.items()
    for place, answer in enumerate(answers)
]
# Mistakes, and a part of what is said about them.
NAMED = [
    pytest.param(number, *case, id=f"{number}-{place}")
    for module in LESSONS
    for number, cases in getattr(module, "NAMED", {}).items()
    for place, case in enumerate(cases)
]


def numbers_in(text):
    return sorted(re.findall(r"\d+(?:[.,]\d+)*", text))


def _sources(folder):
    """Lesson number to the code of its notebook."""
    return {
        path.name.split("_")[0].lstrip("0") or "0": "\n".join(
            cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"
        )
        for path in folder.glob("*.ipynb")
    }


@pytest.fixture
def said_in_chinese(monkeypatch):
    """A function that gives what a reader of the Chinese edition is told, all of it Chinese."""

    def told(number, message):
        monkeypatch.setenv("STEP_LLM_LANGUAGE", "zh")
        chinese = exercises.told(number, message)
        assert re.search("[一-鿿]", chinese)
        assert english_left(chinese) == [], chinese
        return chinese

    return told


@pytest.mark.parametrize("number", exercises.numbers())
def test_the_right_answer_passes(number, said_in_chinese):
    status, message = exercises.result(number, *RIGHT[number])
    assert (status, message[-1:]) != ("passed", ""), "the message of a passed check says something"
    assert status == "passed", message
    said_in_chinese(number, message)


@pytest.mark.parametrize(("number", "answer"), ALSO_RIGHT)
def test_the_answer_may_come_in_another_form(number, answer):
    assert exercises.result(number, *answer)[0] == "passed"


@pytest.mark.parametrize(("number", "answer"), WRONG_ANSWERS)
def test_a_wrong_answer_is_refused_with_a_reason(number, answer, said_in_chinese):
    status, message = exercises.result(number, *answer)
    assert status == "wrong"
    assert len(message) > 20
    # A sentence with the same numbers, in the same way.
    assert numbers_in(said_in_chinese(number, message)) == numbers_in(message)


@pytest.mark.parametrize(("number", "answer", "words"), NAMED)
def test_a_mistake_is_called_by_its_name(number, answer, words, said_in_chinese):
    status, message = exercises.result(number, *answer)
    assert (status, words in message) == ("wrong", True), message
    assert numbers_in(said_in_chinese(number, message)) == numbers_in(message)


@pytest.mark.parametrize("number", exercises.numbers())
def test_an_empty_answer_is_not_yet(number):
    answers = len(RIGHT[number])
    assert exercises.result(number, *[None] * answers)[0] == "not yet"
    assert exercises.result(number, *[...] * answers)[0] == "not yet"

    def unfinished(*arguments, **options):
        raise NotImplementedError

    if all(callable(answer) for answer in RIGHT[number]):
        assert exercises.result(number, *[unfinished] * answers)[0] == "not yet"


@pytest.mark.parametrize("number", exercises.numbers())
def test_code_that_raises_is_wrong_and_says_what_was_raised(number):
    def broken(*arguments, **options):
        raise KeyError("a slip of the reader's")

    if all(callable(answer) for answer in RIGHT[number]):
        status, message = exercises.result(number, *[broken] * len(RIGHT[number]))
        assert status == "wrong"
        assert "KeyError" in message


@pytest.mark.parametrize("number", exercises.numbers())
@pytest.mark.parametrize(
    "value",
    [
        lambda: (Tensor(np.ones((2, 3))), Tensor(np.ones(4))),
        lambda: [[1.0, 2.0], [3.0]],
        lambda: [1, 2],
        lambda: zip([1, 2], [3, 4]),
        lambda: {"a": 1},
        lambda: (),
    ],
    ids=["pair", "ragged", "list", "zip", "dict", "nothing"],
)
def test_no_kind_of_answer_is_a_crash(number, value, said_in_chinese):
    for answer in (lambda *a, **o: value(), value()):
        status, message = exercises.result(number, *[answer] * len(RIGHT[number]))
        assert status == "wrong", message
        said_in_chinese(number, message)


def test_lists_and_zips_of_numbers_are_arrays():
    answer = exercises.judge.as_array(zip([1, 2], [3.0, 4.0]))
    assert answer.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert exercises.judge.as_array([Tensor(np.ones(2)), [0, 1]]).shape == (2, 2)


@pytest.mark.parametrize("number", exercises.numbers())
def test_lesson_and_solution_ask_the_same(number):
    lesson = number.split(".")[0]
    for folder in (ROOT / "notebooks", ROOT / "notebooks" / "solutions"):
        assert f'exercises.check("{number}"' in _sources(folder)[lesson]


def test_a_lesson_is_checked_by_one_file_that_is_read_when_asked_for(monkeypatch, tmp_path):
    (tmp_path / "lesson_77.py").write_text(
        "def exercise_1(answer):\n    return f'it is {answer}'\n"
    )
    monkeypatch.setattr(exercises, "__path__", [*exercises.__path__, str(tmp_path)])
    module = f"{exercises.__name__}.lesson_77"
    monkeypatch.setitem(sys.modules, module, None)
    del sys.modules[module]
    exercises.result("5.1", None)
    assert module not in sys.modules
    assert exercises.result("77.1", 3) == ("passed", "it is 3")
    assert exercises.numbers()[-1] == "77.1"


def test_every_lesson_has_three_to_eight_exercises():
    for lesson in _sources(ROOT / "notebooks"):
        asked = [n for n in exercises.numbers() if n.split(".")[0] == lesson]
        assert 3 <= len(asked) <= 8
        assert all(len(WRONG[number]) >= 2 for number in asked)


def test_check_prints_one_line(capsys):
    exercises.check("4.1", None)
    exercises.check("4.1", *RIGHT["4.1"])
    exercises.check("4.1", lambda x, weight, bias: 2.0)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("4.1 not yet: ")
    assert second.startswith("4.1 ✓ passed: ")
    assert third.startswith("4.1 ✗ wrong: ")


def test_a_terminal_and_a_notebook_show_it_in_colour(capsys, monkeypatch):
    """Not "not yet", which every lesson's stored output holds: nothing is wrong yet."""
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
    for answer in (None, *RIGHT["4.1"], lambda x, weight, bias: 2.0):
        exercises.check("4.1", answer)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("4.1 not yet: ")
    assert second.startswith("4.1 \033[1;32m✓ passed\033[0m: ")
    assert third.startswith("4.1 \033[1;31m✗ wrong\033[0m: ")


def test_a_notebook_breaks_a_long_message_between_words(capsys, monkeypatch):
    message = " ".join(f"word-{number}" for number in range(40))
    monkeypatch.setattr(exercises, "result", lambda *answer: ("wrong", message))
    monkeypatch.setattr(exercises, "hints", lambda number: ())
    exercises.check("4.1", None)
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"4.1 ✗ wrong: {message}"
    monkeypatch.setattr(type(sys.stdout), "__module__", "ipykernel.iostream")
    exercises.check("4.1", None)
    lines = capsys.readouterr().out.replace("\033[1;31m✗ wrong\033[0m", "✗ wrong").splitlines()
    assert max(map(len, lines)) <= 100
    assert " ".join(part.strip() for part in lines) == line


def test_an_unknown_exercise_names_those_there_are():
    with pytest.raises(ValueError, match=r"no exercise '9\.9'; there are .*5\.1"):
        exercises.check("9.9", 1)


def test_tensors_arrays_and_numbers_are_all_answers():
    (share,) = RIGHT["4.1"]
    for wrap in (Tensor, np.asarray, float):
        status, _ = exercises.result("4.1", lambda *given, wrap=wrap: wrap(share(*given)))
        assert status == "passed"


def test_an_error_that_mindspore_raises_late_is_about_the_answer():
    """In a process of its own: here, conftest.py has MindSpore wait for each operator."""
    program = (
        "from mindspore import ops; from step_llm import exercises\n"
        "def answer(*given): return ops.matmul(ops.ones((2, 3)), ops.ones((2, 3)))\n"
        "exercises.check('4.1', answer)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("4.1 ✗ wrong: your code raised ")


def test_an_answer_that_is_no_number_is_wrong():
    status, message = exercises.result("4.1", lambda x, weight, bias: "a half")
    assert status == "wrong"
    assert "expected numbers or a Tensor" in message


@contextmanager
def cell(source):
    """The names that a notebook's cell defines, which knows its own lines."""
    name = "<a cell>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    names = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), names)
    yield names
    del linecache.cache[name]


def test_an_exception_in_a_notebook_is_told_with_its_line():
    """Of the reader's own code, also where that stands above what raised."""
    with cell("def answer(x):\n    y = x + 1\n    return [1, 2].index(y)\n") as names:
        match = r"ValueError: 9 is not in list \(line 3 of its cell: return \[1, 2\]\.index\(y\)\)$"
        with pytest.raises(judge.Wrong, match=match):
            judge.call(names["answer"], 8)

    def elsewhere():
        raise ValueError("no cell")

    with pytest.raises(judge.Wrong, match=r"raised ValueError: no cell$"):
        judge.call(elsewhere)


def test_an_exception_is_told_with_the_shapes_that_its_line_names():
    with cell("def answer(query, key):\n    size = 2\n    return query @ key * size\n") as names:
        match = r"cell: return query @ key \* size; query \(2, 3\), key \(2, 3\)\)$"
        with pytest.raises(judge.Wrong, match=match):
            judge.call(names["answer"], np.ones((2, 3)), np.ones((2, 3)))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return x.sort()", judge.Wrong),
        ("y = sorted(x)", judge.Wrong),
        ("return None", judge.Wrong),
        ("...", judge.NotYet),
        ("y = sorted(x)\n    ...", judge.NotYet),
        ("return ...", judge.NotYet),
        ("raise NotImplementedError", judge.NotYet),
    ],
)
def test_a_function_that_returns_nothing_is_not_an_empty_answer(body, expected):
    with cell(f"def answer(x):\n    {body}\n") as names, pytest.raises(expected) as raised:
        judge.call(names["answer"], [2, 1])
    assert expected is judge.NotYet or "your function returned None" in str(raised.value)
