"""What is done in another way on Windows. None is at hand: here it is only said to be one."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from step_llm.cli import commands, fetch


@pytest.fixture
def taken(monkeypatch):
    """What runs: the script's command, or the words that Python's fetcher gets."""
    calls = []

    def note(status):
        return lambda words, **options: calls.append(list(words)) or status

    done = note(SimpleNamespace(returncode=0))
    monkeypatch.setattr(fetch, "subprocess", SimpleNamespace(run=done))
    monkeypatch.setattr(fetch.multi30k, "main", note(1))
    monkeypatch.setenv("MULTI30K_MIRROR", "/mnt/x")
    return calls


@pytest.mark.parametrize(
    ("system", "bash", "wget", "is_script"),
    [
        ("posix", "/bin/bash", True, True),
        ("posix", None, True, False),
        ("posix", "/bin/bash", False, False),  # macOS
        ("nt", "C:/Windows/System32/bash.exe", True, False),  # that of another system
    ],
)
def test_multi30k_comes_by_the_script_where_it_can_run(
    monkeypatch, taken, system, bash, wget, is_script
):
    monkeypatch.setattr(fetch, "os", SimpleNamespace(name=system, environ={}))
    monkeypatch.setattr(fetch.shutil, "which", lambda name: bash)
    monkeypatch.setattr(fetch, "has_wget", lambda: wget)
    options = SimpleNamespace(mirror="a mirror", task=None, out="here")
    assert fetch.run(options) == (0 if is_script else 2)
    (words,) = taken
    assert words[-4:] == ["--out", "here", "--mirror", "a mirror"]
    assert (words[0] == "bash") == is_script


def test_a_code_page_is_not_what_is_read_and_written(monkeypatch):
    """``translate RUN < german.txt > english.txt``; a stream of another kind stays."""
    given, written = io.BytesIO("Straße 街\n".encode()), io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(given, encoding="cp1252"))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    monkeypatch.setattr(sys, "stderr", None)
    commands.speak_utf8()
    print(sys.stdin.readline(), end="", flush=True)
    assert written.getvalue().decode().split() == ["Straße", "街"]
