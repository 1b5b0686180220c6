"""The command line, stopped before it has begun; and what the libraries below it throw."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

from step_llm.cli import commands

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to oneself is POSIX's")


def run(program):
    program = f"import os, signal\nfrom step_llm.cli.commands import stopped_at_once\n{program}"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60
    )


def test_an_interrupt_while_modules_are_imported_ends_the_process_at_once():
    """An import of MindSpore that is interrupted crashes, and prints a page."""
    done = run("with stopped_at_once():\n    os.kill(os.getpid(), signal.SIGINT)\n    print(1)")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "step_llm: stopped by the user\n"


def test_afterwards_an_interrupt_is_an_exception_again():
    done = run(
        "with stopped_at_once():\n    pass\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n    print('caught')"
    )
    assert (done.returncode, done.stdout) == (0, "caught\n"), done.stderr


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "lambda *_: print('own')"])
def test_a_handler_of_ones_own_stays(handler):
    """Of nohup, for example."""
    done = run(
        f"handler = {handler}\nsignal.signal(signal.SIGINT, handler)\n"
        "with stopped_at_once():\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "print(signal.getsignal(signal.SIGINT) == handler)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("True\n")


class PanicException(BaseException):
    """As the tokenizers library throws it."""


@pytest.mark.parametrize("kind", [PanicException, SystemError])
def test_a_panic_is_one_line_and_what_nobody_expects_is_not(kind, monkeypatch, capsys):
    def fail(options):
        raise kind("Onig: Regex search error:\nretry-limit-in-match over")

    module = types.SimpleNamespace(run=fail)
    monkeypatch.setattr(commands, "import_module", lambda name: module)
    if kind is SystemError:
        with pytest.raises(SystemError):
            commands.main(["info"])
        return
    assert commands.main(["info"]) == 2
    said = capsys.readouterr().err
    assert said == "step_llm: error: Onig: Regex search error: retry-limit-in-match over\n"
