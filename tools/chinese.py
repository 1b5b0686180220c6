"""The Chinese edition: notebooks/zh/ holds each lesson with the English one's code and outputs.

    python tools/chinese.py carry               bring code and outputs over from the English lessons
    python tools/chinese.py check               what is missing, out of date or different
    python tools/chinese.py export LESSON FILE  the English prose of a lesson as one Markdown file
    python tools/chinese.py import LESSON FILE  a translation of such a file, into the lesson

LESSON is a path below notebooks/, such as 02_attention.ipynb or solutions/02_attention.ipynb. In
the Markdown file each cell stands below a line <!-- its id -->; a translation keeps these lines.

Only the prose is translated: Markdown, and the alternative texts of plots. Each translated cell
keeps a fingerprint of the English prose that it translates: when the English changes, `check` names
the cell. Numbers, formulas, code in backquotes and links have to be those of the English cell.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import os
import posixpath
import re
import sys
from collections import Counter
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from alt_text import alt_text, describe  # noqa: E402
from diagrams import in_markdown  # noqa: E402

NOTEBOOKS = ROOT / "notebooks"
CHINESE = NOTEBOOKS / "zh"
MARK = "translates"  # the metadata of a translated cell
_CELL = re.compile(r"^<!-- ([\w-]+) -->\n", re.MULTILINE)
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_FORMULA = re.compile(r"\$\$.+?\$\$|\$[^$\n]+?\$", re.DOTALL)
_LINK = re.compile(r"\]\(([^()\s]+(?:\([^()\s]*\)[^()\s]*)?)\)")
_WORDS = re.compile(r"(\\text\{)[^{}]*")  # in a formula: they are translated
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def names() -> list[str]:
    """Lessons and solutions, by their paths below notebooks/."""
    paths = [*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("solutions/*.ipynb")]
    return sorted(path.relative_to(NOTEBOOKS).as_posix() for path in paths)


def fingerprint(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def read(path: Path):
    return nbformat.read(path, as_version=4)


def prose(cell) -> str | None:
    """What is to be translated of a cell: of Markdown all, of code what its plot shows, if any."""
    return cell.source if cell.cell_type == "markdown" else alt_text(cell)


def translate(cell, text: str, mark: str) -> None:
    """Put a translation in place of a cell's prose; ``mark`` is the fingerprint of the English."""
    if cell.cell_type == "markdown":
        cell.source = text
    else:
        describe(cell, text)
    cell.metadata[MARK] = mark


def _is_translated(cell):
    return MARK in cell.metadata and bool(prose(cell))


def carried(english, chinese):
    """The English notebook with the prose that the Chinese one has for its cells."""
    known = {cell.id: cell for cell in chinese.cells if _is_translated(cell)} if chinese else {}
    for cell in english.cells:
        if prose(cell) is not None and cell.id in known:
            translate(cell, prose(known[cell.id]), known[cell.id].metadata[MARK])
    return english


def carry(name: str) -> bool:
    """Bring code and outputs of a lesson over; whether that changed anything."""
    path = CHINESE / name
    chinese = read(path) if path.exists() else None
    return write(carried(read(NOTEBOOKS / name), chinese), path)


def write(notebook, path: Path) -> bool:
    """Write aside and rename, if it differs from what is there."""
    text = nbformat.writes(notebook) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return True


def export(name: str, file: Path) -> None:
    """Write the English prose of a lesson as one Markdown file."""
    cells = [cell for cell in read(NOTEBOOKS / name).cells if prose(cell) is not None]
    text = "\n\n".join(f"<!-- {cell.id} -->\n{prose(cell)}" for cell in cells)
    file.write_text(text + "\n", encoding="utf-8")


def import_(name: str, file: Path) -> list[str]:
    """Put the prose of a Markdown file into the Chinese lesson; what is wrong with it, then.

    Raises:
        ValueError: a cell that the lesson has not.
    """
    parts = _CELL.split(file.read_text(encoding="utf-8"))[1:]
    texts = {key: text.strip() for key, text in zip(parts[::2], parts[1::2])}
    carry(name)
    path = CHINESE / name
    chinese, english = read(path), read(NOTEBOOKS / name)
    sources = {cell.id: prose(cell) for cell in english.cells if prose(cell) is not None}
    unknown = sorted(set(texts) - set(sources))
    if unknown:
        raise ValueError(f"{name} has no cell {', '.join(unknown)}")
    for cell in chinese.cells:
        if cell.id in texts:
            translate(cell, texts[cell.id], fingerprint(sources[cell.id]))
    write(chinese, path)
    return problems(name)


def problems(name: str) -> list[str]:
    """What a test has to say of a Chinese lesson; empty if it is the English one, translated."""
    path = CHINESE / name
    if not path.exists():
        return [f"{name}: there is no translation"]
    english, chinese = read(NOTEBOOKS / name), read(path)
    if [cell.id for cell in english.cells] != [cell.id for cell in chinese.cells]:
        return [f"{name}: other cells than the English lesson (tools/chinese.py carry)"]
    found = []
    for cell, own in zip(english.cells, chinese.cells):
        where, english_prose = f"{name}, {cell.id}: ", prose(cell)
        expected = copy.deepcopy(cell)
        if english_prose is not None and _is_translated(own):
            translate(expected, prose(own), own.metadata[MARK])
        if cell.cell_type == "code" and own != expected:
            found.append(where + "other code or outputs (tools/chinese.py carry)")
        elif english_prose is None:
            continue
        elif not _is_translated(own):
            found.append(where + "not translated")
        elif own.metadata[MARK] != fingerprint(english_prose):
            found.append(where + "the English has changed since it was translated")
        else:
            found += [where + words for words in differences(english_prose, prose(own), name)]
    return found


def differences(english: str, chinese: str, name: str) -> list[str]:
    """Where two cells differ in what no translation changes."""
    found = []
    english, chinese = in_markdown(english), in_markdown(chinese)
    wanted = Counter(moved(link, name) for link in _LINK.findall(english))
    _compare(found, "links", wanted, Counter(_LINK.findall(chinese)))
    english, chinese = (_WORDS.sub(r"\1", _LINK.sub("]", text)) for text in (english, chinese))
    for what, pattern in (("code", _CODE), ("formulas", _FORMULA), ("numbers", _NUMBER)):
        _compare(found, what, Counter(pattern.findall(english)), Counter(pattern.findall(chinese)))
        english, chinese = pattern.sub(" ", english), pattern.sub(" ", chinese)
    return found


def _compare(found, what, wanted, own):
    if wanted != own:
        missing, more = sorted((wanted - own).elements()), sorted((own - wanted).elements())
        found.append(f"{what} differ: missing {missing}, too many {more}")


def moved(link: str, name: str) -> str:
    """A link as it is in the Chinese lesson, one folder deeper; to a Chinese page if there is one.

    A link to a lesson or a diagram stays as it is: the Chinese edition has its own.
    """
    if re.match(r"\w+:|#", link):
        return link
    file, hash_, place = link.partition("#")
    folder = posixpath.dirname(f"notebooks/{name}")
    target = posixpath.normpath(posixpath.join(folder, file))
    if target.startswith("notebooks/"):
        return link
    stem, ending = posixpath.splitext(target)
    own = f"{stem}.zh-CN{ending}"
    target = own if (ROOT / own).exists() else target
    return posixpath.relpath(target, posixpath.dirname(f"notebooks/zh/{name}")) + hash_ + place


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=("carry", "check", "export", "import"))
    parser.add_argument("lesson", nargs="?", help="a path below notebooks/; default: all")
    parser.add_argument("file", nargs="?", type=Path)
    options = parser.parse_args()
    if options.command in ("export", "import"):
        if options.file is None:
            parser.error(f"{options.command} needs LESSON and FILE")
        if options.command == "export":
            export(options.lesson, options.file)
            return 0
        found = import_(options.lesson, options.file)
    else:
        chosen = [options.lesson] if options.lesson else names()
        if options.command == "carry":
            for name in chosen:
                if carry(name):
                    print(f"written: notebooks/zh/{name}")
            return 0
        found = [problem for name in chosen for problem in problems(name)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
