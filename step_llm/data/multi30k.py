"""Fetching Multi30k without bash and wget: ``python -m step_llm.data.multi30k [options]``.

Does what data/fetch_multi30k.sh does, by the same sources, sums, mirrors and messages, where a
machine lacks what that needs (Windows, macOS). ``--help`` says more.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from step_llm.data.corpus import corpus_folder
from step_llm.data.resumed import MOST, Downloads, Failure, Stop, warn
from step_llm.data.unpack import unpack
from step_llm.runtime.files import shipped
from step_llm.runtime.language import say
from step_llm.runtime.locks import is_running, keep_open

__all__ = ["CHINESE", "FILES", "main"]

FILES = ("train.de", "train.en", "val.de", "val.en", "test.de", "test.en")
_LAYOUTS = (
    "data/task1/raw/FILE.gz", "FILE.gz", "FILE", "training.tar.gz", "validation.tar.gz",
)  # fmt: skip
_OPTIONS = {"--out": "out", "--mirror": "mirror", "--timeout": "timeout", "--tries": "tries",
            "--checksums": "checksums"}  # fmt: skip
CHINESE = Path(__file__).with_name("zh.json")  # what this folder's modules tell the reader


class _Absent(Exception):
    """A folder lacks a file, or an archive is of another split: nothing to tell of."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch what is missing; the exit status: 0 all is in place, 1 some is not, 2 wrong usage.

    Raises:
        KeyboardInterrupt: after tidying up.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with contextlib.suppress(ValueError):  # only the main thread may
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: sys.exit(143))
    try:
        if "--help" in arguments or "-h" in arguments:
            print(_help())
            return 0
        return _Fetcher(**_options(arguments)).run()
    except Stop as stop:
        warn(stop)
        return stop.status


def _help():
    """The script's own; the two take the same options."""
    lines = shipped("data/fetch_multi30k.sh").read_text(encoding="utf-8").splitlines()[1:]
    text = "\n".join(line[2:] for line in lines[: lines.index("set -euo pipefail")])
    return text.replace("fetch_multi30k.sh", "python -m step_llm.data.multi30k")


def _options(arguments):
    given, words = {}, list(arguments)
    while words:
        word = words.pop(0)
        name, is_joined, value = word.partition("=")
        if word == "--quiet":
            given["quiet"] = True
        elif name in _OPTIONS:
            value = value if is_joined else words.pop(0) if words else ""
            if not value:
                raise Stop(f"{name} needs a value; see --help.", 2)
            given[_OPTIONS[name]] = value
        else:
            raise Stop(f"unknown argument: {word}; see --help.", 2)
    for name in ("timeout", "tries"):
        value = given.get(name, "1")
        if not (value.isdigit() and value.isascii() and 0 < int(value) < 10_000):
            raise Stop(f"--timeout and --tries are from 1 to 9999, not {value}.", 2)
        if name in given:
            given[name] = int(value)
    return given


def _sources():
    public = os.environ.get("MULTI30K_SOURCES")
    if public is not None:
        return public.split()
    text = shipped("data/multi30k.sources").read_text(encoding="utf-8")
    return [line for line in text.split("\n") if line and line[0] != "#"]


def _is_address(place):
    return "://" in place


def _sum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Fetcher:
    """One run. OUT/.partial keeps downloads that were cut, and in run.PID what belongs to it."""

    def __init__(self, out=None, mirror=None, timeout=20, tries=3, checksums=None, quiet=False):
        self.out = Path(os.path.abspath(out or corpus_folder("multi30k")))
        self.quiet = quiet
        self.sources, self.layouts = _sources(), _LAYOUTS
        mirror = mirror or os.environ.get("MULTI30K_MIRROR", "")
        self.mirror = mirror[len("file://") :] if mirror.startswith("file://") else mirror
        self.mirror = self.mirror.rstrip("/") or mirror
        is_known = self.mirror.startswith(("http://", "https://", "ftp://"))
        if is_known and self.mirror.endswith(".tar.gz"):
            self.sources, self.mirror = [self.mirror, *self.sources], ""
        elif _is_address(self.mirror) and not is_known:
            raise Stop(
                "a mirror is an address (http://, https://, ftp://) or a folder, not "
                f"{self.mirror}.", 2,
            )  # fmt: skip
        for source in self.sources:
            if not source.startswith(("http://", "https://", "ftp://")):
                raise Stop(f"MULTI30K_SOURCES holds addresses, not {source}.", 2)
        self.sums = self._read_sums(Path(checksums or shipped("data/multi30k.sha256")))
        self.work = self.parts = self.out / ".partial"
        self.tmp = self.work / f"run.{os.getpid()}"
        self.downloads = Downloads(timeout, tries, self.tell)
        self.held = None  # the address of the archive in tmp/got
        self.failures = {}

    def _read_sums(self, path):
        sums = {}
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text(encoding="utf-8").splitlines():
                value, _, name = line.partition(" ")
                sums[name.strip().lstrip("*")] = value.lower()
        for file in FILES:
            if len(sums.get(file, "")) != 64:
                raise Stop(f"cannot read the checksums: no SHA-256 of {file} in {path}.", 2)
        return sums

    def say(self, message, file=None):
        if not self.quiet:
            print(say(message, CHINESE), file=file or sys.stdout, flush=True)

    def tell(self, message):
        self.say(message, sys.stderr)

    # ------------------------------------------------------------------------------- a whole run

    def run(self):
        missing = []
        todo = [file for file in FILES if not self._in_place(file)]
        if todo:
            is_new, status = not self.out.is_dir(), 1
            try:
                self._begin()
                missing = [f for f in todo if not self._fetch(f) and not self._in_place(f)]
                status = 1 if missing else 0
            finally:
                self._end(status, is_new)
        if missing:
            self._report(missing)
        self.say(f"Multi30k is in place in {self.out}.")
        return 0

    def _in_place(self, file):
        return (self.out / file).is_file() and _sum(self.out / file) == self.sums[file]

    def _begin(self):
        try:
            shutil.rmtree(self.tmp, ignore_errors=True)
            self.tmp.mkdir(parents=True)
            self.sign = keep_open(self.tmp / "running")
        except OSError as error:
            why = error.strerror or error
            raise Stop(f"cannot make the folder {self.out}, or not write in it: {why}") from None
        if not self._is_alone():
            self.parts = self.tmp

    def _is_alone(self):
        """Of several runs only one that began alone goes on with the kept downloads."""
        others = 0
        for run in self.work.glob("run.*"):
            if run != self.tmp and is_running(run.suffix[1:], run / "running"):
                others += 1
            elif run != self.tmp:
                shutil.rmtree(run, ignore_errors=True)
        return not others

    def _end(self, status, is_new):
        """The last run to end well leaves nothing."""
        if getattr(self, "sign", None):
            self.sign.close()
        shutil.rmtree(self.tmp, ignore_errors=True)
        if status == 0 and self._is_alone():
            for part in self.work.glob("*.part"):
                part.unlink()
            shutil.rmtree(self.work / "lock", ignore_errors=True)  # an earlier version's
        for folder in (self.work, *([self.out] if is_new else ())):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _report(self, missing):
        warn(f"not fetched: {' '.join(missing)}. Sources tried, and why each failed:")
        if not self.failures:
            print(
                "  none: no mirror was given and the list of public sources is empty",
                file=sys.stderr,
            )
        for reason, files in self.failures.items():
            print(f"  {reason}  [{' '.join(files)}]", file=sys.stderr)
        raise Stop(
            "a mirror helps where these cannot be reached (--mirror, an address or a folder): see "
            "--help."
        )

    # ------------------------------------------------------------------------------- one text

    def _fetch(self, file):
        original = file.replace("test.", "test_2016_flickr.")
        if self.mirror and self._from_mirror(file, original):
            return True
        if self.mirror and self.sources:
            self.tell(f"{file}: not from the mirror; going on to the public sources")
        for source in self.sources:
            is_archive = source.endswith(".tar.gz")
            place = source if is_archive else f"{source.rstrip('/')}/{original}.gz"
            with contextlib.suppress(Failure, _Absent):
                self._take(place, file)
                return True
        return False

    def _from_mirror(self, file, original):
        absent = []
        for name in dict.fromkeys((original, file)):
            for layout in self.layouts:
                place = layout.replace("FILE", name)
                try:
                    self._take(f"{self.mirror}/{place}", file)
                except _Absent as other:
                    absent += other.args
                except Failure as failure:
                    if failure.follows in ("slow", "silent", "skip"):
                        return False
                else:
                    if _is_address(self.mirror) and "FILE" in layout:
                        self.layouts = (layout,)  # no other is asked from now on
                    return True
        if not Path(self.mirror).is_dir() and not _is_address(self.mirror):
            self._failed(self.mirror, file, Failure(
                "no such folder (an address begins with http:// or https://)"
            ))  # fmt: skip
        elif absent:
            self._failed(self.mirror, file, Failure(f"holds none of {', '.join(absent)}"))
        return False

    def _take(self, place, file):
        """A text from an address or a path.

        An archive is downloaded once, and held: it may have one language as expected and the other
        not.
        """
        name, split = place.rpartition("/")[2], file.partition(".")[0]
        if {"training.tar.gz": "train", "validation.tar.gz": "val"}.get(name, split) != split:
            raise _Absent
        is_file = _is_address(place) and not name.endswith(".tar.gz")
        source = place.rpartition("/")[0] if is_file else place
        try:
            if self.held == place:
                self._accept(self.tmp / "got", file, place)
            elif _is_address(place):
                self._download(place, file, name)
            elif Path(place).is_file():
                self._accept(Path(place), file, place)
            else:
                raise _Absent(place[len(self.mirror) + 1 :])
        except Failure as failure:
            self._failed(source, file, failure)
            raise

    def _failed(self, source, file, failure):
        files = self.failures.setdefault(f"{source}: {failure.why}", [])
        if file not in files:
            files.append(file)
        if failure.follows != "skip":
            self.tell(f"{file}: {source}: {failure.why}")

    def _accept(self, path, file, source):
        """Put the text into its place if its SHA-256 agrees, which tells what is cut or broken."""
        content, text = unpack(path, file, source, MOST), self.tmp / "text"
        found, target = hashlib.sha256(content).hexdigest(), self.out / file
        if found == self.sums[file]:
            if target.is_dir():
                raise Stop(f"{target} is a folder; a text belongs there.")
            try:
                text.write_bytes(content)
                os.replace(text, target)
            except OSError:
                raise Stop(f"cannot write {text}: is the disk full?") from None
            self.say(f"{file}: {len(content)} bytes from {source}, the SHA-256 agrees")
            return
        why = f"the SHA-256 of the text is {found[:16]}..., expected {self.sums[file][:16]}..."
        why = f"wrong bytes: {why}"
        if len(content) > MOST:
            why = f"wrong bytes: more than {MOST} of them"
        if source.endswith(".tar.gz") and not content:
            why = f"no {file} in the archive, or not a whole archive"
        raise Failure(why)

    def _download(self, address, file, name):
        def accept(part, is_whole):
            os.replace(part, self.tmp / "got")
            self.held = address if is_whole else None
            self._accept(self.tmp / "got", file, address)

        self.downloads.take(address, self.parts / f"{name}.part", accept)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
