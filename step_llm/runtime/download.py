"""Downloading one file: resumed, bounded in size and in time, and never half a file.

GNU wget does it where it is installed: it is on the platforms where this course is taken, and is
set up there for their proxies. Elsewhere Python does (``transfer``).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from step_llm.runtime.transfer import TransferError, peer_of, transfer

__all__ = ["DownloadError", "Downloader", "has_wget", "host_of", "is_address"]

_SLOWEST = 1024  # bytes per second; below it a server counts as silent
# wget's own words, untranslated (LC_ALL=C), and what they mean; the first that is found counts.
_CAUSES = (
    ("timed out", "did not answer, or fell silent, for {timeout:g} s"),
    ("unable to resolve", "has a name that could not be resolved"),
    ("Connection refused", "refused the connection"),
    ("No space left", "sent more than the disk has room for"),
)
_AGAIN = (408, 429, 500, 502, 503, 504)
# What Python's transfer tells, as far as wget tells the same.
_LATE = _CAUSES[0][1]
_KINDS = {
    "unresolved": _CAUSES[1][1],
    "refused": _CAUSES[2][1],
    **dict.fromkeys(("unreachable", "silent", "slow"), _LATE),
}


class DownloadError(ValueError):
    """A file that did not come, and why, in one line.

    Args:
        message: the reason.
        status: the HTTP status that the server answered with; 0 for none.
        can_retry: whether the next try may go better.
    """

    def __init__(self, message, status=0, can_retry=False):
        super().__init__(message)
        self.status = status
        self.can_retry = can_retry


def is_address(place: str) -> bool:
    """Whether this is an address (http, https), and no folder."""
    return place.startswith(("http://", "https://"))


def has_wget() -> bool:
    """Whether there is a wget to download with."""
    return shutil.which("wget") is not None


def host_of(address: str) -> str:
    """The host of an address, without a name and password that may stand before it."""
    return urlsplit(address).netloc.rpartition("@")[2]


@dataclass(frozen=True)
class Downloader:
    """How files are fetched.

    Args:
        timeout: seconds that a server may stay silent, or send less than 1 KiB per second.
        tries: of one file, while it is the network that fails.
        say: called with a line for the user.

    Raises:
        ValueError: a timeout or a number of tries that is not above 0.
    """

    timeout: float = 20.0
    tries: int = 3
    say: Callable[[str], object] = print

    def __post_init__(self):
        if not 0 < self.timeout < 1e5:
            raise ValueError(f"timeout is {self.timeout}; expected seconds above 0")
        if self.tries < 1:
            raise ValueError(f"tries is {self.tries}; expected at least 1")

    def fetch(self, address: str, part: Path, most: int | None, is_proven: bool = False) -> None:
        """Download into ``part``, going on from what it holds.

        Args:
            address: of the file.
            part: where the bytes go; what has come stays there when the rest does not.
            most: the most bytes that the file may have; None is no bound.
            is_proven: the caller holds a hash of the content from elsewhere. Only then is a server
                heard whose certificate cannot be verified.

        Raises:
            DownloadError: the file did not come.
        """
        part.parent.mkdir(parents=True, exist_ok=True)
        for left in reversed(range(self.tries)):
            try:
                return self._try(address, part, most, is_proven)
            except DownloadError as error:
                if not (error.can_retry and left):
                    raise
                self.say(f"{part.name}: {error}; once more")
                time.sleep(min(1.0, self.timeout))

    def _try(self, address, part, most, is_proven, options=()):
        if not has_wget():
            return self._try_by_python(address, part, most, is_proven)
        log = part.with_name(f"{part.name}.log")
        try:
            status = self._run(address, part, most, log, options)
            said = re.sub(r"[^\n -~]", "", log.read_text(encoding="utf-8", errors="replace"))
        finally:
            log.unlink(missing_ok=True)
        size = _size(part)
        if most is not None and size > most:
            part.unlink()
            raise DownloadError(f"{host_of(address)} sends more than the {most} bytes expected")
        if status == 5 or (status == 4 and "establish SSL" in said):
            return self._without_certificate(address, part, most, is_proven, options)
        if status:
            if not size:
                part.unlink(missing_ok=True)
            raise self._reason(address, status, said, size)
        return None

    def _try_by_python(self, address, part, most, is_proven):
        try:
            transfer(address, part, most, self.timeout)
        except TransferError as error:
            if error.kind == "certificate":
                self._allow_no_certificate(address, is_proven)
                error = self._transfer_unverified(address, part, most)
            if error is not None:
                raise self._told(error, address, part, most) from error
        except OSError as error:
            raise DownloadError(f"{part} cannot be written: {error.strerror or error}") from error

    def _transfer_unverified(self, address, part, most):
        try:
            return transfer(address, part, most, self.timeout, is_verified=False)
        except TransferError as error:
            return error

    def _told(self, error, address, part, most):
        """Python's error in the words of wget's."""
        host, size = host_of(address), _size(part)
        if error.kind == "endless":
            part.unlink(missing_ok=True)
            return DownloadError(f"{host} sends more than the {most} bytes expected")
        if not size:
            part.unlink(missing_ok=True)
        if error.kind == "http":
            words = f"{host} answered HTTP {error.status} {error.detail}".strip()
            return DownloadError(words, error.status, error.status in _AGAIN)
        if error.kind in _KINDS:
            words = _KINDS[error.kind].format(timeout=self.timeout)
            return DownloadError(f"{peer_of(address)} {words}", 0, words.startswith("did not"))
        if error.kind == "cut":
            return DownloadError(f"the download from {host} was cut off at {size} bytes", 0, True)
        if error.kind in ("certificate", "insecure"):
            return DownloadError(f"no secure connection to {host}")
        return DownloadError(f"the download from {host} failed: {error.detail}")

    def _without_certificate(self, address, part, most, is_proven, options):
        if options:
            raise DownloadError(f"no secure connection to {host_of(address)}")
        self._allow_no_certificate(address, is_proven)
        return self._try(address, part, most, is_proven, ("--no-check-certificate",))

    def _allow_no_certificate(self, address, is_proven):
        """Only where a hash decides; else it is refused."""
        host = host_of(address)
        if not is_proven:
            raise DownloadError(
                f"the certificate of {host} could not be verified, and no hash would show that "
                "what comes is right: refused. Set the computer's clock, update its certificates "
                "(ca-certificates), or name another place with --mirror"
            )
        self.say(f"no valid certificate on the way to {host}; the hash of the file decides")

    def _run(self, address, part, most, log, options):
        """One run of wget, watched: its own timeout does not see a server that sends a byte now and
        then, and it has no bound on sizes. Returns its exit status; -15 where it was too slow."""
        knock = min(self.timeout, 10.0)
        command = [
            "wget", "--continue", "--tries=1", f"--timeout={self.timeout:g}",
            f"--connect-timeout={knock:g}", f"--output-file={log.name}",
            f"--output-document={part.name}", *options,
        ]  # fmt: skip
        if sys.stderr is not None and sys.stderr.isatty():
            command += ["--show-progress", "--progress=bar:force:noscroll"]
        process = subprocess.Popen(
            [*command, "--", address], cwd=part.parent, env={**os.environ, "LC_ALL": "C"}
        )
        try:
            since, before = time.monotonic(), _size(part)
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
                size, seconds = _size(part), time.monotonic() - since
                if most is not None and size > most:
                    break
                if seconds > self.timeout + 1:
                    if size - before < _SLOWEST * seconds:
                        break
                    since, before = time.monotonic(), size
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        return process.returncode

    def _reason(self, address, status, said, size):
        host = host_of(address)
        answers = re.findall(r"awaiting response\.\.\. (\d{3})([^\n]*)", said)
        if status in (6, 8) and answers:  # 6: it asks for a password
            code = int(answers[-1][0])
            words = f"{code}{answers[-1][1]}".strip()
            return DownloadError(f"{host} answered HTTP {words}", code, code in _AGAIN)
        if status < 0:
            said = "timed out"
        for mark, words in _CAUSES:
            if mark in said:
                again = mark == "timed out"
                by = host if mark == "No space left" else peer_of(address)
                return DownloadError(f"{by} {words.format(timeout=self.timeout)}", 0, again)
        if status == 4:
            return DownloadError(f"the download from {host} was cut off at {size} bytes", 0, True)
        last = (said.strip().splitlines() or ["it said nothing"])[-1][:200]
        return DownloadError(f"wget failed on {host} with status {status}: {last}")


def _size(path):
    try:
        return path.stat().st_size
    except OSError:
        return 0
