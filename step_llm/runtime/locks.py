"""What processes tell each other by files: that a folder is in use, that a process still runs.

POSIX systems lock the folder itself, Windows a file in it. Both let go when the process ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

__all__ = ["hold", "is_running", "keep_open"]

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # any other system
    msvcrt = None

_LOCK = ".lock"


def hold(folder: Path) -> contextlib.ExitStack:
    """Hold a folder against other processes, until the context that is returned ends.

    Where the file system has no locks, nothing is held.

    Raises:
        BlockingIOError: another process holds it.
    """
    with contextlib.ExitStack() as stack:
        if fcntl is not None:
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:
                pass
        elif msvcrt is not None:
            _hold_on_windows(folder / _LOCK, stack)
        return stack.pop_all()


def _hold_on_windows(path, stack):
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EACCES, errno.EDEADLK):
            raise BlockingIOError(errno.EWOULDBLOCK, "held by another process") from error
    else:
        stack.callback(_remove, path)  # refused where another process has opened it meanwhile
        stack.callback(os.close, descriptor)
        stack.callback(msvcrt.locking, descriptor, msvcrt.LK_UNLCK, 1)


def keep_open(path: Path):
    """Open a file as a sign that this process runs, for ``is_running``; to be closed at the end."""
    return open(path, "wb")


def is_running(pid: str, sign: Path) -> bool:
    """Whether the process of that number runs.

    Args:
        pid: its number. Windows is not asked for it: there, ``os.kill`` ends whom it asks.
        sign: the file that the process keeps open. Windows does not remove an open file.
    """
    if msvcrt is not None:
        return sign.exists() and not _remove(sign)
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True  # another user's
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _remove(path):
    try:
        path.unlink()
    except OSError:
        return False
    return True
