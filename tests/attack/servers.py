"""Hostile servers in front of a good one: the texts come whole, and nothing else is written."""

from __future__ import annotations

import gzip
import io
import random
import tarfile

import pytest

from tests.attack.conftest import SCALE
from tests.test_fetch import FILES, RAW, TEXTS, fetch, original_name, serve  # noqa: F401 (fixtures)

PWNED = "PWNED"


def reply(handler, status, body, **headers):
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)
    return True


def hostile_archive(rng, path):
    """A .tar.gz of odd names, whatever text is asked for."""
    names = [
        f"--checkpoint-action=exec=touch {PWNED};#/train.de", "../../train.de", "/tmp/train.de",
        "a\x1b[31m/train.de", "train.de\n", "*", f"$(touch {PWNED})/val.de", "-f",
    ]  # fmt: skip
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in rng.sample(names, 5):
            member = tarfile.TarInfo(name)
            member.type = rng.choice([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE])
            member.linkname = "/etc/passwd"
            data = rng.randbytes(3000) if member.isreg() else b""
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


BEHAVIOURS = {
    "noise": lambda rng, path, h: reply(h, 200, rng.randbytes(rng.randrange(1, 50_000))),
    "another text": lambda rng, path, h: reply(h, 200, gzip.compress(b"another\n")),
    "a page": lambda rng, path, h: reply(h, 200, b"<html>Please log in</html>"),
    "empty": lambda rng, path, h: reply(h, 200, b""),
    "a status": lambda rng, path, h: reply(h, rng.choice([403, 404, 500, 503]), b"no"),
    "a loop": lambda rng, path, h: reply(h, 302, b"", Location=path),
    "a file": lambda rng, path, h: reply(h, 302, b"", Location="file:///etc/passwd"),
    "no HTTP": lambda rng, path, h: h.wfile.write(rng.randbytes(300)) or True,
    "orders": lambda rng, path, h: (
        h.wfile.write(b"HTTP/1.1 404 \x1b[2J\r\nContent-Length: 0\r\n\r\n") or True
    ),
    "cut off": lambda rng, path, h: reply(h, 200, b"x" * 100, Content_Length="90000"),
    "a wrong range": lambda rng, path, h: reply(h, 206, b"x" * 99, Content_Range="bytes 7-105/900"),
    "a bomb": lambda rng, path, h: reply(h, 200, gzip.compress(bytes(60 << 20))),
    "an archive": lambda rng, path, h: reply(h, 200, hostile_archive(rng, path)),
    "a huge length": lambda rng, path, h: reply(h, 200, b"x", Content_Length=str(2**63)),
}


@pytest.mark.parametrize("seed", range(round(6 * SCALE)))
def test_hostile_servers_before_a_good_one(seed, serve, fetch, tmp_path, count):  # noqa: F811
    rng = random.Random(seed)
    kinds = rng.sample(sorted(BEHAVIOURS), 4)

    def hostile(kind):
        return serve(behave=lambda path, handler: BEHAVIOURS[kind](rng, path, handler)).url

    addresses = [hostile(kind) + rng.choice(["", "/training.tar.gz"]) for kind in kinds]
    result = fetch(sources=[*addresses, serve(RAW).url], timeout=2, tries=1)
    text = f"{fetch.program} {kinds}: "
    there = sorted(path.name for path in fetch.out.iterdir())
    is_whole = there == sorted(FILES) and all(
        (fetch.out / file).read_bytes() == TEXTS[file] for file in FILES
    )
    count.add(None if result.returncode == 0 and is_whole else text + result.stderr[-500:])
    said = (result.stdout + result.stderr).replace("\n", "")
    count.add(None if said.isprintable() else text + repr(said[-300:]))
    strange = {path.name for path in tmp_path.iterdir()} - {"sums", "a folder"}
    count.add(text + str(strange) if strange or list(tmp_path.rglob(PWNED)) else None)
