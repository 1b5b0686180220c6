"""Checks for the exercises of the lessons.

A lesson's cell ends in ``exercises.check("2.1", answer)`` and prints one of three lines:

    2.1 not yet: …     the answer is still empty (None, … or NotImplementedError)
    2.1 ✓ passed: …
    2.1 ✗ wrong: …     with what is wrong about this answer

The sign and the word are green or red in a notebook; without colour, the sign tells them apart.

An answer is a value, a Tensor or a function, as the exercise says. Functions are called with
values of the check's own choice, and compared with the library or with NumPy.

Who is wrong a second time gets a hint in a line of its own, and from the third time on one that is
nearly the answer; ``hints/lesson_02.json`` holds both. In the Chinese edition all of it is Chinese,
by the tables in ``zh/``; see ``runtime.language``.

In a notebook or a terminal each result is counted, and ``exercises.progress()`` shows the counts.

Exercise 2.1 is checked by ``lesson_02.exercise_1``: a new lesson is a new file beside this one.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from textwrap import fill

from step_llm.course.checks.judge import NotYet, Wrong, given
from step_llm.course.progress import CHINESE, is_recorded, record, table
from step_llm.runtime.language import say

__all__ = ["check", "hints", "numbers", "progress", "result", "told"]

_FOLDER = Path(__file__).parent
_failures = Counter()  # of an exercise, in this process, since it has last passed


def check(number: str, *answer) -> None:
    """Say how an exercise stands.

    Args:
        number: of the exercise, as in "2.1".
        answer: what the exercise asks for.

    Raises:
        ValueError: there is no such exercise.
    """
    status, message = result(number, *answer)
    print(_marked(f"{number} {_sign(status)}: {told(number, message)}", status))
    if status == "wrong":
        for hint in hints(number)[: _failures[number]][-1:]:
            print(_folded(f"    {say('hint', CHINESE)}: {told(number, hint)}"))
        _failures[number] += 1
    elif status == "passed":
        del _failures[number]
    if is_recorded():
        record(number, status)


def progress() -> None:
    """Print a table of all exercises: passed, tried or still open."""
    print(table(numbers()))


def hints(number: str) -> list[str]:
    """What ``check`` has to say beyond its message: a pointer, then nearly the answer.

    Raises:
        ValueError: there is no such exercise.
    """
    lesson, place = _parts(number)
    path = _FOLDER / "hints" / f"{_lessons()[lesson]}.json"
    return json.loads(path.read_text(encoding="utf-8")).get(place, []) if path.exists() else []


def told(number: str, message: str) -> str:
    """A message or hint of an exercise in the reader's language."""
    names = (_lessons()[number.partition(".")[0]], "judge")
    return say(message, *(_FOLDER / "zh" / f"{name}.json" for name in names))


def result(number: str, *answer) -> tuple[str, str]:
    """What ``check`` prints, in English: "not yet", "passed" or "wrong", and the message."""
    lesson, place = _parts(number)
    exercise = _exercises(lesson)[place]
    try:
        return "passed", exercise(*(given(value) for value in answer))
    except NotYet:
        return "not yet", "write your answer above, then run the cell again"
    except Wrong as error:
        return "wrong", str(error)


def _parts(number):
    """The lesson and the place in it, both as text."""
    lesson, _, place = number.partition(".")
    if place not in _exercises(lesson):
        raise ValueError(f"there is no exercise {number!r}; there are {', '.join(numbers())}")
    return lesson, place


_SIGNS = {"passed": "✓ passed", "wrong": "✗ wrong"}
_COLOURS = {"passed": 32, "wrong": 31}  # of ANSI: green and red


def _sign(status):
    return say(_SIGNS.get(status, status), CHINESE)


def _marked(text, status):
    """A result's line, its sign in colour where a notebook or a terminal shows it."""
    text, sign = _folded(text), _sign(status)
    if status in _COLOURS and (_is_notebook() or sys.stdout.isatty()):
        return text.replace(sign, f"\033[1;{_COLOURS[status]}m{sign}\033[0m", 1)
    return text


def _folded(text):
    """In a notebook, a long line broken between words: JupyterLab would break it inside one."""
    if not _is_notebook():
        return text
    whole = {"break_long_words": False, "break_on_hyphens": False}
    return "\n".join(
        fill(line, 100, subsequent_indent="    ", **whole) for line in text.split("\n")
    )


def _is_notebook():
    return type(sys.stdout).__module__.startswith("ipykernel")


def numbers() -> list[str]:
    """The numbers of all exercises, in the order of the lessons."""
    lessons = sorted(_lessons(), key=_order)
    return [f"{n}.{place}" for n in lessons for place in sorted(_exercises(n), key=int)]


def _lessons():
    """Lesson number to the name of its module here: "2" to "lesson_02", "5b" to "lesson_05b"."""
    modules = (module.name for module in iter_modules(__path__))
    return {name[7:].lstrip("0") or "0": name for name in modules if name.startswith("lesson_")}


def _order(lesson):
    """Lesson 5b stands between 5 and 6."""
    return int(lesson.rstrip("b")), lesson


def _exercises(lesson):
    """Place in the lesson to check; a check returns what "passed" says, or raises."""
    name = _lessons().get(lesson)
    if name is None:
        return {}
    module = vars(import_module(f"{__name__}.{name}"))
    return {key[9:]: value for key, value in module.items() if key.startswith("exercise_")}
