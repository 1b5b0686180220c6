"""Fetching a published model's folder, whole files only."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
from pathlib import Path

from step_llm.models.published.places import (
    CONFIG,
    NAME,
    SMALL,
    FetchError,
    known_name,
    places_of,
)
from step_llm.runtime.download import Downloader, DownloadError, is_address
from step_llm.runtime.files import data_folder

__all__ = ["fetch_model", "model_folder"]

_WEIGHTS = "model.safetensors"
_INDEX = f"{_WEIGHTS}.index.json"
# What may stand beside them, and is read: tokenizer, chat template, what ends an answer.
_OPTIONAL = (
    "generation_config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "source.spm", "target.spm",
    "chat_template.jinja",
)  # fmt: skip
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot")
_MOST = 64 * 2**20  # bytes of any file but weights; the longest tokenizer.json has about 35 MB
_LISTING = 16 * 2**20
_POINTER = b"version https://git-lfs.github.com/spec/"
_VARIABLE = "STEP_LLM_MODEL_MIRROR"


def model_folder(name: str) -> Path:
    """Where ``fetch-model`` puts a model: models/ in the folder of the corpora."""
    return data_folder() / "models" / known_name(name).rpartition("/")[2]


def fetch_model(
    name: str,
    out: str | Path | None = None,
    mirror: str | None = None,
    downloader: Downloader | None = None,
) -> Path:
    """Fetch a model's folder: configuration, weights as safetensors, tokenizer, chat template.

    What is in place and right is kept. A file goes to ``OUT/.partial`` first, and gets its name
    when it is whole. A download that was cut goes on where it stood; the next run too goes on with
    it where the place has a hash that shows whether the two halves belong together.

    Args:
        name: one of ``KNOWN``, in upper or lower case, or "owner/name".
        out: the folder; None is that of ``model_folder``.
        mirror: "modelscope"; "huggingface"; the address of a mirror of Hugging Face, or of a web
            server that holds the folder; or a folder on a disk that is the model's, or holds it as
            NAME or OWNER/NAME. None takes what STEP_LLM_MODEL_MIRROR names, else the public places.
        downloader: how; see there.

    Returns:
        the folder.

    Raises:
        FetchError: a name or mirror that is none; a place that lacks the model or part of it, holds
            pickles only, or sends other bytes than it announced; an index that names files
            elsewhere; a disk that is too small.
    """
    downloader = downloader or Downloader()
    out = Path(out) if out else model_folder(name)
    if out.exists() and not out.is_dir():
        raise FetchError(f"{out} is no folder; name another with --out")
    is_new, failures = not out.exists(), []
    for find in places_of(name, mirror or os.environ.get(_VARIABLE) or None):
        title = "the mirror"
        try:
            place = find(downloader, out / ".partial")
            title = place.name
            _fetch_from(place, out, downloader)
        except DownloadError as error:
            failures.append(f"{title}: {error}" if title not in str(error) else str(error))
            downloader.say(failures[-1])
            continue
        except OSError as error:
            raise FetchError(f"cannot write in {out}: {error.strerror or error}") from error
        shutil.rmtree(out / ".partial", ignore_errors=True)
        return out
    _tidy(out, is_new)
    raise FetchError(
        f"{name} was not fetched. {'; '.join(failures)}. Another place: --mirror modelscope, "
        "huggingface, an address or a folder; what has come is kept for the next try"
    )


def _tidy(out, is_new):
    """Leave of a fetch that failed what the next one can use."""
    aside = out / ".partial"
    for name in ("list.part", "found.part"):
        (aside / name).unlink(missing_ok=True)
    for folder in (aside, *([out] if is_new else ())):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _fetch_from(place, out, downloader):
    """All that a place holds of a model; small files first, as they say what else there is."""

    def get(name):
        remote = place.file(name)
        return remote is not None and _get(name, remote, place, out, downloader)

    if not get(CONFIG):
        raise DownloadError(f"{place.name} holds no {CONFIG}")
    for name in _OPTIONAL:
        get(name)
    if get(_WEIGHTS):
        (out / _INDEX).unlink(missing_ok=True)
        return
    if not get(_INDEX):
        pickles = sorted(name for name in place.files or () if name.endswith(_PICKLES))
        if pickles:
            raise DownloadError(
                f"{place.name} holds {pickles[0]}, but no {_WEIGHTS}. Pickles are not fetched, as "
                "they run whatever code is in them: take another copy of the model, or let "
                "transformers write one with save_pretrained and name its folder with --mirror"
            )
        raise DownloadError(f"{place.name} holds no {_WEIGHTS}, and no {_INDEX}")
    shards = _shards(out / _INDEX)
    for name in shards:
        if not get(name):
            raise DownloadError(f"{place.name} lacks {name}, one of {len(shards)} in its {_INDEX}")
    # Of an earlier, unsharded copy: it would be read first.
    (out / _WEIGHTS).unlink(missing_ok=True)


def _shards(index):
    """The files that an index names: plain names only, so that they lie in the folder."""
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(places.values()))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        names = []
    wrong = [n for n in names if not NAME.fullmatch(n) or not n.endswith(".safetensors")]
    if wrong or not names:
        index.unlink()
        told = f"names the file {wrong[0][:80]!r}" if wrong else "names no files"
        raise DownloadError(
            f"{index.name} {told}; expected the names of safetensors files in the same folder"
        )
    return names


def _get(name, remote, place, out, downloader):
    """Bring one file into its place; whether there is one."""
    target, part = out / name, out / ".partial" / f"{name}.part"
    most = None if name.endswith(".safetensors") else SMALL
    if most is not None and (remote.size or 0) > most:
        raise DownloadError(f"{name} has {remote.size} bytes; expected at most {most}")
    if target.is_file() and _is_same(target, remote):
        return True
    _check_room(out, name, remote, part)
    if not is_address(remote.where):
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(remote.where, part)
    elif not _download(name, remote, part, remote.size or most, place, downloader):
        return False
    _check_content(name, part, place)
    os.replace(part, target)
    downloader.say(f"{name}: {target.stat().st_size:,} bytes" + _note(remote))
    return True


def _download(name, remote, part, most, place, downloader):
    if remote.digest is None:
        part.unlink(missing_ok=True)  # nothing would show that it is of the same file
    is_resumed = part.is_file()
    try:
        downloader.fetch(remote.where, part, most, is_proven=remote.digest is not None)
    except DownloadError as error:
        if error.status == 404 and place.files is None:
            return False
        if error.can_retry or error.status or not is_resumed:
            raise DownloadError(f"{name}: {error}", error.status) from error
    else:
        if _has_size(part, remote) and _has_digest(part, remote):
            return True
    part.unlink(missing_ok=True)
    if is_resumed:
        downloader.say(f"{name}: this cannot be gone on with; once more from the beginning")
        return _download(name, remote, part, most, place, downloader)
    raise DownloadError(
        f"{name}: wrong bytes: expected {remote.size} of them"
        + (f", with the hash {remote.digest}" if remote.digest else "")
    )


def _check_room(out, name, remote, part):
    """Before the first byte: is there room for the rest?"""
    out.mkdir(parents=True, exist_ok=True)
    missing = (remote.size or 0) - (part.stat().st_size if part.is_file() else 0)
    free = shutil.disk_usage(out).free
    if missing > free:
        raise FetchError(
            f"{name} needs {missing:,} bytes, but the disk of {out} has {free:,}; free some, or "
            "name a folder elsewhere with --out"
        )


def _check_content(name, part, place):
    """What is no hash's business: a page for people, or git's note that stands for a large file."""
    with open(part, "rb") as file:
        start = file.read(len(_POINTER))
    if start == _POINTER:
        part.unlink()
        raise DownloadError(
            f"{name} of {place.name} is a pointer of Git LFS, not the file itself; take a copy "
            "with its large files (git lfs pull)"
        )
    if name.endswith(".json"):
        try:
            is_object = isinstance(json.loads(part.read_text(encoding="utf-8")), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            part.unlink()
            raise DownloadError(
                f"{name} of {place.name} is no JSON object; is it a page to log in?"
            )


def _is_same(path, remote):
    """Whether a file is the one that a place offers; without size and hash an earlier run, which
    gave whole files their names alone, is believed."""
    if not is_address(remote.where):
        return filecmp.cmp(path, remote.where, shallow=False)
    return _has_size(path, remote) and _has_digest(path, remote)


def _has_size(path, remote):
    return remote.size is None or path.stat().st_size == remote.size


def _has_digest(path, remote):
    if remote.digest is None:
        return True
    kind, _, wanted = remote.digest.partition(":")
    found = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind == "git":
        found.update(b"blob %d\0" % path.stat().st_size)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            found.update(block)
    return found.hexdigest() == wanted.lower()


def _note(remote):
    return ", the hash agrees" if remote.digest else ""
