"""The command line: one module of this room for each command, imported when it is asked for.

MindSpore takes seconds to import, and ``--help`` does not need it.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from step_llm.cli.parser import make_parser
from step_llm.runtime.openi import find_task

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 a check has failed, 2 a mistake (one
    line on stderr)."""
    options = make_parser().parse_args(arguments)
    try:
        _place(options)
        module = options.command.replace("-", "_")
        return import_module(f"step_llm.cli.{module}").run(options) or 0
    except KeyboardInterrupt:
        print("step_llm: stopped by the user", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (head, for example) has gone: nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, RuntimeError, MemoryError, OverflowError) as error:
        if os.environ.get("STEP_LLM_DEBUG"):
            raise
        print(f"step_llm: error: {_one_line(error)}", file=sys.stderr)
        return 2


def _place(options):
    """On the OpenI platform a task's results outlive it only in its output folder."""
    options.task = find_task()
    if options.task is None:
        return
    if options.command in ("train", "check"):
        options.out = str(options.task.run_folder(options.out, is_new=True))
    elif getattr(options, "folder", None):
        options.folder = str(options.task.run_folder(options.folder))


def _one_line(error):
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
