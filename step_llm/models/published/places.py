"""Where published models lie: ModelScope, Hugging Face or a mirror of it, a folder.

ModelScope and Hugging Face list a model's files with sizes and hashes: the first at
``/api/v1/models/OWNER/NAME/repo/files``, with a SHA-256 of each; the second at
``/api/models/OWNER/NAME/tree/main``, with the SHA-256 of large files and git's SHA-1 of small ones.
A web server that only holds the files lists none, and they are asked for by name.

No network was at hand when this was written. The two interfaces are as their own clients use them
(github.com/modelscope/modelscope, github.com/huggingface/huggingface_hub), and are tested against a
local server that answers in their way.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from step_llm.runtime.download import DownloadError, is_address

__all__ = [
    "CONFIG",
    "KNOWN",
    "NAME",
    "SMALL",
    "SOURCES",
    "FetchError",
    "Place",
    "Remote",
    "known_name",
    "places_of",
]

CONFIG = "config.json"
SMALL = 64 * 2**20  # bytes of any file but weights; the longest tokenizer.json has about 35 MB
_LISTING = 16 * 2**20
# What a file or an owner may be called: nothing that leads to another folder, or hides.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
# name: the repository on ModelScope, and on Hugging Face
KNOWN = {
    "Qwen2.5-0.5B": ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B"),
    "Qwen2.5-0.5B-Instruct": ("Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct"),
    "Qwen3-0.6B": ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
    "GPT-2": ("AI-ModelScope/gpt2", "openai-community/gpt2"),
    "bert-base-chinese": ("google-bert/bert-base-chinese", "google-bert/bert-base-chinese"),
    "opus-mt-de-en": ("Helsinki-NLP/opus-mt-de-en", "Helsinki-NLP/opus-mt-de-en"),
}
# Asked in this order where no mirror is named: kind and address.
SOURCES = (
    ("modelscope", "https://www.modelscope.cn"),
    ("huggingface", "https://hf-mirror.com"),
    ("huggingface", "https://huggingface.co"),
)


class FetchError(ValueError):
    """A model that could not be fetched, and why each place failed."""


class Remote(NamedTuple):
    """A file as a place offers it.

    Args:
        where: its address, or its path.
        size: in bytes, or None.
        digest: "sha256:…" or "git:…" (git's SHA-1 of a file), or None.
    """

    where: str
    size: int | None = None
    digest: str | None = None


class Place(NamedTuple):
    """A folder of a model somewhere.

    Args:
        name: for messages.
        base: what a file's name is put behind.
        files: the files by name, or None where the place lists none.
    """

    name: str
    base: str
    files: dict | None

    def file(self, name):
        """A file that may be there, as a ``Remote``; None where the list lacks it."""
        return Remote(self.base + name) if self.files is None else self.files.get(name)


def known_name(name):
    """The name as the table has it; "owner/name" as it is."""
    for known in KNOWN:
        if name.lower().replace("gpt2", "gpt-2") == known.lower():
            return known
    parts = name.split("/")
    if len(parts) == 2 and all(NAME.fullmatch(part) for part in parts):
        return name
    raise FetchError(f"{name!r} is no model; expected OWNER/NAME, or one of {', '.join(KNOWN)}")


def places_of(name, mirror):
    """For each place a function that finds the model there."""
    known = known_name(name)
    on_modelscope, on_huggingface = KNOWN.get(known, (known, known))
    finders = {"modelscope": _modelscope, "huggingface": _huggingface}
    repositories = {"modelscope": on_modelscope, "huggingface": on_huggingface}
    if mirror is None or mirror in finders:
        for kind, base in SOURCES:
            if mirror in (None, kind):
                yield _bind(finders[kind], base, repositories[kind])
    elif is_address(mirror):
        yield _bind(_any_mirror, mirror.rstrip("/"), on_huggingface)
    else:
        if mirror.startswith("file://"):
            mirror = mirror[len("file://") :]
        if "://" in mirror:
            raise FetchError(
                f"the mirror is {mirror!r}; expected modelscope, huggingface, an address (http, "
                "https) or a folder"
            )
        yield lambda downloader, aside: _folder(mirror, (on_huggingface, on_modelscope, known))


def _bind(find, base, repository):
    return lambda downloader, aside: find(base, repository, downloader, aside)


def _modelscope(base, repository, downloader, aside):
    address = f"{base}/api/v1/models/{repository}/repo/files?Revision=master&Recursive=False"
    entries = _listing(address, downloader, aside)
    start = f"{base}/models/{repository}/resolve/master/"
    files = {}
    try:
        for entry in entries["Data"]["Files"]:
            if entry["Type"] == "blob":
                path, digest = str(entry["Path"]), entry.get("Sha256")
                digest = f"sha256:{digest}" if digest else None
                files[path] = Remote(start + path, int(entry["Size"]), digest)
    except (LookupError, TypeError, ValueError):
        raise DownloadError(f"{base} sent no list of files for {repository}") from None
    return Place(f"{base} ({repository})", start, files)


def _huggingface(base, repository, downloader, aside):
    entries = _listing(f"{base}/api/models/{repository}/tree/main", downloader, aside)
    start = f"{base}/{repository}/resolve/main/"
    files = {}
    try:
        for entry in entries:
            if entry["type"] == "file":
                large, path = entry.get("lfs"), str(entry["path"])
                digest = f"sha256:{large['oid']}" if large else f"git:{entry['oid']}"
                files[path] = Remote(start + path, int(entry["size"]), digest)
    except (LookupError, TypeError, ValueError):
        raise DownloadError(f"{base} sent no list of files for {repository}") from None
    return Place(f"{base} ({repository})", start, files)


def _any_mirror(base, repository, downloader, aside):
    """A mirror of Hugging Face; else whatever web server holds the files."""
    try:
        return _huggingface(base, repository, downloader, aside)
    except DownloadError as error:
        if error.status not in (400, 401, 403, 404, 405):
            raise
    for start in (f"{base}/{repository}/", f"{base}/{repository.rpartition('/')[2]}/", f"{base}/"):
        part = aside / "found.part"
        part.unlink(missing_ok=True)
        try:
            downloader.fetch(start + CONFIG, part, SMALL)
        except DownloadError as error:
            if error.status not in (403, 404):
                raise
        else:
            return Place(start, start, None)
    raise DownloadError(f"{base} holds no {repository}: neither there nor in it a {CONFIG}", 404)


def _folder(mirror, repositories):
    folders = [mirror]
    for repository in repositories:
        folders += [os.path.join(mirror, repository), os.path.join(mirror, Path(repository).name)]
    for folder in map(Path, folders):
        if (folder / CONFIG).is_file():
            paths = [path for path in folder.iterdir() if path.is_file()]
            files = {path.name: Remote(str(path), path.stat().st_size) for path in paths}
            return Place(str(folder), "", files)
    if not Path(mirror).is_dir():
        raise DownloadError(
            f"there is no folder {mirror} (an address begins with http:// or https://)"
        )
    raise DownloadError(f"{mirror} holds no {CONFIG}, and no folder {repositories[-1]} with one")


def _listing(address, downloader, aside):
    part = aside / "list.part"
    part.unlink(missing_ok=True)
    try:
        downloader.fetch(address, part, _LISTING)
    except DownloadError as error:
        if error.status not in (401, 403, 404):
            raise
        told = "no such model there, or only for those who log in"
        raise DownloadError(f"{error}: {told}", error.status) from error
    try:
        return json.loads(part.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise DownloadError(f"{address} is no list of files; expected JSON") from None
