"""Locks and signs of life, in the form of POSIX and in that of Windows.

No Windows is at hand: a stand-in for its module ``msvcrt`` refuses as that refuses.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from step_llm.models.weights import CheckpointError
from step_llm.runtime import locks
from step_llm.training.run_folder import RunFolder

fcntl = pytest.importorskip("fcntl", reason="the stand-in is made of it")


def windows(error=errno.EACCES):
    """``msvcrt`` as far as it is used."""
    modes = {1: fcntl.LOCK_EX | fcntl.LOCK_NB, 2: fcntl.LOCK_UN}
    calls = []

    def locking(descriptor, mode, count):
        assert (os.lseek(descriptor, 0, os.SEEK_CUR), count) == (0, 1)  # the same byte each time
        calls.append(mode)
        try:
            fcntl.flock(descriptor, modes[mode])
        except BlockingIOError:
            raise OSError(error, "Permission denied") from None

    return SimpleNamespace(locking=locking, LK_NBLCK=1, LK_UNLCK=2, calls=calls)


@pytest.fixture(params=["posix", "windows"])
def system(request, monkeypatch):
    if request.param == "windows":
        monkeypatch.setattr(locks, "fcntl", None)
        monkeypatch.setattr(locks, "msvcrt", windows())
    return request.param


def test_a_folder_is_held_once(system, tmp_path):
    with locks.hold(tmp_path):
        with pytest.raises(BlockingIOError), locks.hold(tmp_path):
            pass
        with pytest.raises(BlockingIOError), locks.hold(tmp_path):  # the refused one let go
            pass
    with locks.hold(tmp_path):
        pass
    if system == "windows":
        assert locks.msvcrt.calls == [1, 1, 1, 2, 1, 2]


def test_it_is_let_go_after_an_error_too(system, tmp_path):
    with pytest.raises(ZeroDivisionError), locks.hold(tmp_path):
        raise ZeroDivisionError
    with locks.hold(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_tells_who_holds_it(system, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.make()
    told = "another training is writing to .*run; wait until it ends, stop it, or train into"
    with folder.lock(), pytest.raises(CheckpointError, match=told), RunFolder(folder.path).lock():
        pass
    with folder.lock():
        pass


def test_a_file_system_without_locks_holds_nothing(tmp_path, monkeypatch):
    def locking(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setattr(locks, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=1, LK_UNLCK=2))
    with locks.hold(tmp_path), locks.hold(tmp_path):
        pass
    monkeypatch.setattr(locks, "msvcrt", None)
    with locks.hold(tmp_path), locks.hold(tmp_path):
        pass


def test_whether_a_process_runs(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    sign = tmp_path / "sign"
    assert locks.is_running(str(os.getpid()), sign)
    for pid in (str(ended.pid), "", "x", "9" * 30):
        assert not locks.is_running(pid, sign)


def test_whether_a_process_runs_on_windows(tmp_path, monkeypatch):
    """Never asked by ``os.kill``, which would end it; an open file cannot be removed there."""
    monkeypatch.setattr(locks, "msvcrt", windows())
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("asked by os.kill"))
    sign = tmp_path / "sign"
    assert not locks.is_running("1", sign)
    sign.touch()
    with monkeypatch.context() as patch:
        patch.setattr(locks, "_remove", lambda path: False)
        assert locks.is_running("1", sign)
    assert not locks.is_running("1", sign)
    assert not sign.exists()
