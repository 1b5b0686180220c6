"""Checks for the exercises of the lessons.

A lesson's cell ends in ``exercises.check("2.1", answer)`` and prints one of three lines:

    2.1 not yet: …     the answer is still empty (None, … or NotImplementedError)
    2.1 passed: …
    2.1 wrong: …       with what is wrong about this answer

An answer is a value, a Tensor or a function, as the exercise says. Functions are called with
values of the check's own choice, and compared with the library or with NumPy.

Exercise 2.1 is checked by ``lesson_02.exercise_1``: a new lesson is a new file beside this one.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from step_llm.course.checks.judge import NotYet, Wrong, given

__all__ = ["check", "numbers", "result"]


def check(number: str, *answer) -> None:
    """Say in one line how an exercise stands.

    Args:
        number: of the exercise, as in "2.1".
        answer: what the exercise asks for.

    Raises:
        ValueError: there is no such exercise.
    """
    status, message = result(number, *answer)
    print(f"{number} {status}: {message}")


def result(number: str, *answer) -> tuple[str, str]:
    """What ``check`` prints: "not yet", "passed" or "wrong", and the message."""
    lesson, _, place = number.partition(".")
    exercise = _exercises(lesson).get(place)
    if exercise is None:
        raise ValueError(f"there is no exercise {number!r}; there are {', '.join(numbers())}")
    try:
        return "passed", exercise(*(given(value) for value in answer))
    except NotYet:
        return "not yet", "write your answer above, then run the cell again"
    except Wrong as error:
        return "wrong", str(error)


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
