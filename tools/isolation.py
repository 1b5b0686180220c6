"""What a process can take from itself before it runs code that it does not trust.

On Linux, namespaces: no network, no sight of other processes, every file read-only but those of one
folder. On other systems, and where a container forbids namespaces, resource limits alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
import sys
from pathlib import Path

__all__ = ["end_with_parent", "isolate", "limit", "loopback", "renounce"]

_NEW_MOUNTS, _NEW_IPC, _NEW_USER = 0x20000, 0x08000000, 0x10000000
_NEW_PROCESSES, _NEW_NETWORK = 0x20000000, 0x40000000
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000
_MOUNT_SETATTR, _HERE, _ALL_BELOW, _READ_ONLY = 442, -100, 0x8000, 1
_PDEATHSIG, _NO_NEW_PRIVILEGES, _CAPABILITIES_3 = 1, 38, 0x20080522


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "namespace")]


def _libc():
    return ctypes.CDLL(None, use_errno=True)


def isolate(folder: Path) -> list[str]:
    """Leave the network, the other processes and the files, in so far as the system lets us.

    It holds for this process and what it starts; of the processes, for what it starts alone.

    Args:
        folder: what stays writable.

    Returns:
        What is now out of reach: "network", "processes", "files".
    """
    if not sys.platform.startswith("linux"):
        return []
    libc, user, group = _libc(), os.getuid(), os.getgid()
    parts = _NEW_USER | _NEW_NETWORK | _NEW_PROCESSES | _NEW_MOUNTS | _NEW_IPC
    if libc.unshare(parts):
        return []
    with contextlib.suppress(OSError):  # older kernels have no such file
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    loopback()
    gone = ["network", "processes"]
    if _keep_files(libc, folder):
        gone.append("files")
    return gone


def loopback() -> None:
    """Lesson 10's processes talk to each other through it."""
    up, set_flags = 0x1, 0x8914  # IFF_UP, SIOCSIFFLAGS
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lo:
        fcntl.ioctl(lo, set_flags, struct.pack("16sh22x", b"lo", up))


def _keep_files(libc, folder):
    """Every mount read-only, but the folder; whether the kernel could (Linux 5.12)."""
    place = os.fsencode(folder)
    if libc.mount(None, b"/", None, _RECURSIVE | _PRIVATE, None):
        return False
    if libc.mount(place, place, None, _BIND, None):
        return False

    def change(path, flags, **bits):
        attributes = _MountAttributes(**bits)
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        return libc.syscall(_MOUNT_SETATTR, _HERE, path, flags, ctypes.byref(attributes), size)

    return not (change(b"/", _ALL_BELOW, set=_READ_ONLY) or change(place, 0, clear=_READ_ONLY))


def renounce() -> None:
    """Give up the powers that a namespace of its own gives a process: it could undo ``isolate``."""
    if not sys.platform.startswith("linux"):
        return
    libc = _libc()
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())


def end_with_parent() -> None:
    """Have the kernel end this process when its parent ends (Linux)."""
    if sys.platform.startswith("linux"):
        _libc().prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def limit(seconds: int, memory: int, file_size: int) -> None:
    """Limits of this process: seconds of processor time, bytes of addresses, bytes of a file."""
    wanted = {"RLIMIT_CPU": seconds, "RLIMIT_AS": memory, "RLIMIT_FSIZE": file_size}
    for name, value in {**wanted, "RLIMIT_CORE": 0}.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS
            resource.setrlimit(kind, (value, value))
