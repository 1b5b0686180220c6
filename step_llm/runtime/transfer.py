"""One file over http, https or ftp by Python alone, for machines without wget (Windows, macOS).

Resumed, bounded in size and in time, and watched as ``data/download.sh`` watches wget: a server
that sends a byte now and then is as good as silent. What went wrong has a kind, for which callers
have words.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

__all__ = ["TransferError", "peer_of", "transfer"]

_SLOWEST = 1024  # bytes per second
_CHUNK = 1 << 16
_MOST_TO_CONNECT = 10.0  # seconds; TCP has sent its first packet four times by then


class TransferError(Exception):
    """A file that did not come.

    Args:
        kind: "http" (the server's answer is ``status`` and ``detail``); "unresolved", "refused" or
            "unreachable" (there is no connection); "silent" (no answer on it); "slow"; "cut";
            "endless" (more bytes than allowed); "certificate" (cannot be verified); "insecure" (no
            TLS); "failed".
        detail: what the system said.
        status: of HTTP; 0 for none.
    """

    def __init__(self, kind, detail="", status=0):
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail, self.status = kind, detail, status


def transfer(
    address: str, part: Path, most: int | None, timeout: float, is_verified: bool = True
) -> None:
    """Download into ``part``, going on from what it holds; what has come stays there in any case.

    Args:
        address: of the file.
        part: where the bytes go.
        most: the most bytes that the file may have; None is no bound.
        timeout: seconds that the server may stay silent, or send less than 1 KiB per second.
        is_verified: whether the certificate of an https server is.

    Raises:
        TransferError: it did not come.
        OSError: ``part`` cannot be written.
    """
    watch = _Watch(timeout)
    start = part.stat().st_size if part.is_file() else 0
    try:
        with watch, _open(address, start, watch, is_verified) as response:
            watch.has_answer = True
            _keep(response, part, start, most, watch)
    except _NotWritten as error:
        raise error.__cause__ from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if start and getattr(error, "code", 0) == 416:
            error.close()
            return  # there is nothing behind what has come
        raise _explained(error, watch) from error


def peer_of(address: str) -> str:
    """Who is connected to for an address: its host, or a proxy that the environment names."""
    parts = urllib.parse.urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    proxy = urllib.request.getproxies().get(parts.scheme, "")
    if not proxy or urllib.request.proxy_bypass(host):
        return host
    return f"the proxy {proxy.rpartition('@')[2].rpartition('//')[2].rstrip('/')}"


class _NotWritten(OSError):
    """The disk's error, which is not the network's."""


class _Watch:
    """Ends a transfer that is too slow, by shutting its connection down.

    A thread looks every so often; the time limit of a socket does not see a server that sends a
    byte now and then.
    """

    def __init__(self, timeout):
        self.timeout = timeout
        self.socket = None  # of the connection; None before there is one
        self.has_answer = self.is_late = False
        self.received = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _look(self):
        since, before = time.monotonic(), 0
        while not self._done.wait(min(0.1, self.timeout / 4)):
            if self.socket is None:
                since = time.monotonic()
            seconds = time.monotonic() - since
            if seconds <= self.timeout:
                continue
            if self.received - before < _SLOWEST * seconds:
                self.is_late = True
                with contextlib.suppress(OSError):  # not TLS's own way, which waits for an answer
                    socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
                return
            since, before = time.monotonic(), self.received


def _open(address, start, watch, is_verified):
    """The server's answer, which begins at byte ``start`` if its status is 206."""
    parts = urllib.parse.urlsplit(address)
    user, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=host).geturl())
    # Python takes off no compression, and what lies packed has to stay so.
    request.add_header("Accept-Encoding", "identity")
    if user:  # not for the server to which this one may refer
        token = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    if start and parts.scheme != "ftp":
        request.add_header("Range", f"bytes={start}-")
    context = ssl.create_default_context()
    if not is_verified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    handlers = (_Plain(watch), _Secure(watch, context))
    return urllib.request.build_opener(*handlers).open(request, timeout=watch.timeout)


class _Connection(http.client.HTTPConnection):
    """Waits less for a connection than for an answer, and shows its socket to the watch."""

    watch = None

    def connect(self):
        patience, self.timeout = self.timeout, min(self.timeout, _MOST_TO_CONNECT)
        try:
            super().connect()
        except socket.timeout as error:
            raise TransferError("unreachable", str(error)) from error
        self.sock.settimeout(patience)
        self.watch.socket = self.sock


class _SecureConnection(http.client.HTTPSConnection, _Connection):
    """The same, below TLS."""

    def connect(self):
        super().connect()
        self.watch.socket = self.sock


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, watch):
        super().__init__()
        self.kind = type("Watched", (_Connection,), {"watch": watch})

    def http_open(self, request):
        return self.do_open(self.kind, request)


class _Secure(urllib.request.HTTPSHandler):
    def __init__(self, watch, context):
        super().__init__(context=context)
        self.context = context
        self.kind = type("Watched", (_SecureConnection,), {"watch": watch})

    def https_open(self, request):
        return self.do_open(self.kind, request, context=self.context)


def _keep(response, part, start, most, watch):
    """Write what comes; an answer from the beginning replaces what was there."""
    begins_there = str(response.headers.get("Content-Range", "")).startswith(f"bytes {start}-")
    is_continued = bool(start) and getattr(response, "status", None) == 206 and begins_there
    if getattr(response, "status", None) == 206 and not is_continued:
        raise TransferError("failed", "it sends another part than it was asked for")
    size = start if is_continued else 0
    length = str(response.headers.get("Content-Length", ""))
    whole = size + int(length) if length.isdigit() else None
    bar = _Bar(part.name, whole)
    with _writing(), open(part, "ab" if is_continued else "wb") as file:
        while chunk := _read(response, watch):
            if most is not None and size + len(chunk) > most:
                raise TransferError("endless")
            file.write(chunk)
            file.flush()
            size += len(chunk)
            bar.show(size)
    bar.end()
    if whole is not None and size < whole:
        raise TransferError("cut")


def _read(response, watch):
    """The next bytes; empty at the end."""
    try:
        chunk = response.read1(_CHUNK) if hasattr(response, "read1") else response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _explained(error, watch) from error
    watch.received += len(chunk)
    if watch.is_late:
        raise TransferError("slow")
    return chunk


@contextlib.contextmanager
def _writing():
    """An error of the disk is told as such, and not taken for one of the network."""
    try:
        yield
    except OSError as error:
        raise _NotWritten from error


def _explained(error, watch):
    """What an error of the network means."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        words = "".join(filter(str.isprintable, str(error.reason)))
        return TransferError("http", words, error.code)
    if watch.is_late or isinstance(cause, socket.timeout):
        kind = "slow" if watch.has_answer else "silent"
    elif isinstance(cause, socket.gaierror):
        kind = "unresolved"
    elif isinstance(cause, ConnectionRefusedError):
        kind = "refused"
    elif isinstance(cause, ssl.SSLCertVerificationError):
        kind = "certificate"
    elif isinstance(cause, ssl.SSLError) and not watch.has_answer:
        kind = "insecure"
    elif watch.socket is not None and isinstance(cause, (OSError, http.client.HTTPException)):
        kind = "cut"
    elif isinstance(cause, OSError):
        kind = "unreachable"
    else:
        kind = "failed"
    return TransferError(kind, "".join(filter(str.isprintable, str(cause)))[:200])


class _Bar:
    """How much of a file has come, where somebody looks on."""

    def __init__(self, name, whole):
        is_shown = sys.stderr is not None and sys.stderr.isatty()
        self.name = name if is_shown else None
        self.whole = whole
        self.last = 0.0

    def show(self, size):
        now = time.monotonic()
        if self.name and (now - self.last > 0.1 or size == self.whole):
            self.last = now
            share = f"{100 * size // self.whole:3d}%" if self.whole else "    "
            print(f"\r{self.name} {share} {size:,} bytes", end="", file=sys.stderr, flush=True)

    def end(self):
        if self.name and self.last:
            print(file=sys.stderr)
