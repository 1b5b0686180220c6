"""One file of Multi30k from one address: tried again, continued, and given up on in the end.

The Python form of data/download.sh.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from step_llm.runtime.download import host_of
from step_llm.runtime.transfer import TransferError, peer_of, transfer

__all__ = ["MOST", "Downloads", "Failure", "Stop", "warn"]

MOST = 4 << 20  # bytes of a text; the longest, train.de, has 2110398
# Why a transfer failed, and what follows: retry; silent (the host is not asked again); slow (the
# one, then the other); restart (what is there cannot be continued); or nothing.
_REASONS = {
    "http": ("HTTP {status} {detail}", ""),
    "unresolved": ("the name of {peer} could not be resolved", "silent"),
    "refused": ("{peer} refused the connection", "silent"),
    "unreachable": ("no connection to {peer} within {knock} s", "silent"),
    "silent": ("{host} took the connection but did not answer within {timeout} s", "slow"),
    "slow": ("{host} was too slow or fell silent for {timeout} s", "slow"),
    "cut": ("the download was cut off at {size} bytes", "retry"),
    "endless": (f"wrong bytes: more than {MOST} of them", "restart"),
    "certificate": ("no secure connection to {host}", "slow"),
    "insecure": ("no secure connection to {host}", "slow"),
    "failed": ("the download failed: {detail}", "restart"),
}
_AGAIN = (408, 429)  # and from 500


class Stop(Exception):
    """The end of the program: a message, and the exit status."""

    def __init__(self, message, status=1):
        super().__init__(message)
        self.status = status


class Failure(Exception):
    """A source did not give a text; what follows is one of those of _REASONS, or "skip"."""

    def __init__(self, why, follows=""):
        super().__init__(why)
        self.why, self.follows = why, follows


def warn(message) -> None:
    """A line for the user that must not be missed."""
    print(f"fetch_multi30k: {message}", file=sys.stderr, flush=True)


class Downloads:
    """The downloads of a run, which remembers what it has learned of the hosts.

    Args:
        timeout: seconds that a source may stay silent, or below 1 KiB/s.
        tries: at each address.
        tell: called with a line for the user.
    """

    def __init__(self, timeout: int, tries: int, tell: Callable[[str], object]):
        self.timeout, self.tries, self.tell = timeout, tries, tell
        self._silent, self._unverified = {}, set()

    def take(self, address: str, part: Path, accept: Callable[[Path, bool], object]) -> None:
        """Download by way of ``part``, going on from what it holds, and hand it on.

        Args:
            address: of the file.
            part: named after the file there, so that one source can go on where another stopped.
            accept: takes the part, and whether all of it is from here; raises Failure.

        Raises:
            Failure: it did not come, or was not accepted.
            Stop: the disk is full.
        """
        host, name = host_of(address), part.name[: -len(".part")]
        if host in self._silent:
            raise Failure(self._silent[host], "skip")
        if part.is_symlink():  # it would be written through
            part.unlink()
        failure, done = None, 0
        while done < self.tries:
            done += 1
            if failure:
                again = "; once more from the beginning" if failure.follows == "restart" else ""
                self.tell(f"{name}: {failure.why}{again}; try {done} of {self.tries}")
                time.sleep(1)
            resumed = _size(part)
            try:
                return self._try(address, part, host, accept)
            except Failure as error:
                failure = error
            if not _size(part) or failure.follows == "restart":
                part.unlink(missing_ok=True)
            if failure.follows == "restart" and resumed:
                done -= 1  # the kept part may be to blame; the try does not count
            elif failure.follows not in ("retry", "slow"):
                break
        if failure.follows in ("slow", "silent"):
            # A host that stayed silent, or dripped, through every try would do so again.
            self._silent[host] = failure.why
            self.tell(f"not asked again in this run: {host} did not answer before")
        raise failure

    def _try(self, address, part, host, accept):
        resumed = _size(part)
        try:
            self._transfer(address, part, host)
        except TransferError as error:
            raise self._judged(error, address, part) from None
        except OSError:
            raise Stop(f"cannot write {part}: is the disk full?") from None
        if not _size(part):
            raise Failure("an empty file")
        try:
            accept(part, not resumed)
        except Failure as failure:
            raise Failure(failure.why, "restart") from None

    def _transfer(self, address, part, host):
        try:
            # An archive holds two texts.
            transfer(address, part, 2 * MOST, self.timeout, host not in self._unverified)
        except TransferError as error:
            if error.kind != "certificate":
                raise
            warn(
                f"the certificate of {host} could not be verified; retrying without the check: the "
                "SHA-256 decides"
            )
            self._unverified.add(host)
            transfer(address, part, 2 * MOST, self.timeout, is_verified=False)

    def _judged(self, error, address, part):
        words, follows = _REASONS[error.kind]
        if error.kind == "http" and (error.status in _AGAIN or error.status >= 500):
            follows = "retry"
        why = words.format(
            host=host_of(address), peer=peer_of(address), knock=min(self.timeout, 10),
            timeout=self.timeout, size=_size(part), status=error.status, detail=error.detail,
        )  # fmt: skip
        return Failure(why.strip(), follows)


def _size(path):
    return path.stat().st_size if path.is_file() else 0
