"""How much memory there is, asked before much of it is taken."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

__all__ = ["available_memory"]

_MEMINFO = Path("/proc/meminfo")
# The most that a container may take: cgroup 2, and 1. What it has taken is not asked, since that
# counts files that are only kept in memory and would be given up.
_BOUNDS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def available_memory() -> int | None:
    """The bytes that a process can take now; None where the system does not say (not Linux)."""
    known = []
    with contextlib.suppress(OSError):
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", _MEMINFO.read_text(), re.MULTILINE)
        known += [int(found.group(1)) * 1024] if found else []
    for bound in _BOUNDS:
        try:
            known.append(int(bound.read_text()))
        except (OSError, ValueError):  # "max" is no bound
            continue
    return min(known, default=None)
