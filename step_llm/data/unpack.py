"""Taking one text out of what a source sent: a .tar.gz, a .gz, or the text itself.

Whoever packed it is a stranger. Nothing is written, no name of theirs is used, and no more is
unpacked than a text may have: what is packed can be a thousand times as long.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from pathlib import Path

__all__ = ["unpack"]

_DAMAGED = (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, OverflowError)


def unpack(path: Path, file: str, name: str, most: int) -> bytes:
    """The text of that name, up to one byte more than ``most``; its beginning where it is damaged.

    Args:
        path: of what was sent.
        file: the text's name, as "train.de"; only an archive is asked for it.
        name: of what was sent: its ending says how it is packed.
        most: bytes that the text may have.
    """
    with open(path, "rb") as packed:
        if name.endswith(".tar.gz"):
            text = _member(_Unpacked(packed, 2 * most + 65536), file, most)
            # The published archives' texts have one empty line more at their end.
            return text[:-1] if text == b"\n" or text.endswith(b"\n\n") else text
        if name.endswith(".gz") and packed.read(2) == b"\x1f\x8b":
            packed.seek(0)
            return _Unpacked(packed, most + 1).read()
        # What was unpacked on the way, by a server or a platform, passes unchanged.
        packed.seek(0)
        return packed.read(most + 1)


class _Unpacked:
    """What a .gz holds, up to its end, to a damage or to a number of bytes."""

    def __init__(self, packed, most):
        self.file = gzip.GzipFile(fileobj=packed)
        self.left = most

    def read(self, size=-1):
        size, pieces = self.left if size < 0 else min(size, self.left), []
        try:
            while size and (piece := self.file.read(min(size, 1 << 16))):
                pieces.append(piece)
                size -= len(piece)
                self.left -= len(piece)
        except _DAMAGED:
            self.left = 0
        return b"".join(pieces)


def _member(unpacked, file, most):
    """The last file of that name, in whatever folder. A link, a pipe or an odd name is none."""
    plain = "[A-Za-z0-9._/]"
    pattern = re.compile(rf"(?:{plain}(?:{plain}|[ -])*/|/)?{re.escape(file)}")
    text = b""
    try:
        with tarfile.open(fileobj=unpacked, mode="r|") as archive:
            for member in archive:
                if member.isreg() and pattern.fullmatch(member.name):
                    text = archive.extractfile(member).read(most + 1)
    except _DAMAGED:
        pass
    return text
