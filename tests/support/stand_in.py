"""What the stand-ins for CANN (tests/ascend) and CUDA (tests/gpu) share: how cases are run.

A case is a function of the table of its module ``cases``. The processes that run them say which
came to their end; the program that starts them goes on behind one that did not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import groupby

__all__ = ["carry_out", "chosen", "model_of", "one_after_another", "output_of", "passed"]

_PASSED = "reached the end:"
_TIMEOUT = 900  # seconds, of the cases of one model


def carry_out(names, cases) -> None:
    """In a process of their own: run cases, say which have passed, and end."""
    for name in names:
        cases[name]()
        print(_PASSED, name, flush=True)
    sys.stderr.flush()
    os._exit(0)  # without tear-down, which is not what is looked at


def output_of(command, environ, folder) -> str:
    """All that such a process writes; where it does not end, that stands below it."""
    try:
        return subprocess.run(
            command, env=environ, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=_TIMEOUT,
        ).stdout  # fmt: skip
    except subprocess.TimeoutExpired as error:
        return f"{(error.stdout or b'').decode()}\nno end after {_TIMEOUT} s"


def passed(lines) -> list[str]:
    """The cases that came to their end, each once."""
    return list(dict.fromkeys(x.split()[-1] for x in lines if x.startswith(_PASSED)))


def model_of(name: str) -> str:
    return name.split("/")[0]


def one_after_another(names, run, say, process_of=model_of) -> dict[str, str]:
    """Run cases; neighbours of one ``process_of`` share a process.

    Args:
        names: of cases.
        run: given the names of one process, it returns those that passed, and the last lines.
        say: called with a line for each case.

    Returns:
        for each case that did not reach its end, those lines.
    """
    failed = {}
    for _, group in groupby(names, key=process_of):
        left = list(group)
        while left:
            ended, output = run(left)
            for name in ended:
                say(f"{name}: passed")
            left = left[len(ended) :]
            if left:  # the first of them did not come to its end; the others have a new process
                failed[left[0]] = output
                say(f"{left[0]}: FAILED\n{output}")
                left = left[1:]
    return failed


def chosen(cases, wanted) -> list[str]:
    """Of all cases those that are named, or whose model is; all if nothing is."""
    return [name for name in cases if not wanted or {name, model_of(name)} & set(wanted)]
