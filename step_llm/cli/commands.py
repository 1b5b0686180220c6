"""The command line: one module of this room for each command, imported when it is asked for.

MindSpore takes seconds to import, and ``--help`` does not need it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from importlib import import_module

from step_llm.cli.parser import make_parser
from step_llm.cli.terminal import one_line
from step_llm.runtime.openi import find_task

__all__ = ["main", "speak_utf8", "stopped_at_once"]

_STOPPED = "step_llm: stopped by the user\n"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 a check has failed, 2 a mistake (one
    line on stderr)."""
    if sys.platform == "win32":
        speak_utf8()
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        make_parser().print_help()
        return 0
    options = make_parser().parse_args(arguments)
    try:
        _place(options)
        module = f"step_llm.cli.{options.command.replace('-', '_')}"
        with stopped_at_once():
            module = import_module(module)
        return module.run(options) or 0
    except KeyboardInterrupt:
        print(_STOPPED, end="", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (head, for example) has gone: nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, RuntimeError, MemoryError, OverflowError) as error:
        if os.environ.get("STEP_LLM_DEBUG"):
            raise
        return _tell(error)
    except BaseException as error:
        # The tokenizers library panics over a regular expression that takes too long.
        if type(error).__name__ != "PanicException" or os.environ.get("STEP_LLM_DEBUG"):
            raise
        return _tell(error)


@contextlib.contextmanager
def stopped_at_once():
    """An interrupt in this block ends the process, as there is nothing to tidy up yet.

    An import of MindSpore does not bear one: the process would crash, and print a page.
    """
    usual = signal.default_int_handler
    is_taken = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is usual
    )
    if is_taken:
        signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        if is_taken and signal.getsignal(signal.SIGINT) is _stop:
            signal.signal(signal.SIGINT, usual)


def _stop(*_):
    os.write(2, _STOPPED.encode())
    os._exit(130)


def speak_utf8() -> None:
    """Read and write UTF-8, as on any other system, where Windows has its country's code page.

    That is in files and pipes; its terminal knows all characters.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8")


def _place(options):
    """On the OpenI platform a task's results outlive it only in its output folder."""
    options.task = find_task()
    if options.task is None:
        return
    if options.command in ("train", "check", "export"):
        options.out = str(options.task.run_folder(options.out, is_new=True))
    if getattr(options, "folder", None):
        options.folder = str(options.task.run_folder(options.folder))


def _tell(error):
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.filename:
        text = f"{error.filename}: {error.strerror}"
    print(f"step_llm: error: {one_line(text)}", file=sys.stderr)
    return 2
