"""A reader's copy of the lessons, in my/: make lab, make setup and make kernel call this.

    python tools/working_copy.py    makes my/, or brings it up to date

my/ has what notebooks/ has, lessons, solutions and diagrams of both languages, and git ignores it:
so a pull never meets what a reader has written. Where the course has changed since a notebook was
copied, the two are merged, cell by cell. A cell is known by its id, and the metadata of the copy
hold a fingerprint of each cell as the course had it.

- Who alone has changed a cell, course or reader, is followed.
- If both have, the reader's stays, and the course's new one stands below it, as text: it runs
  nothing.
- What is new in the course comes to its place. What the course has removed goes, unless the reader
  has changed it.
- The reader's own cells stay behind the cells that they follow; what the reader has deleted does
  not come back.
- Outputs are the reader's, unless the cell has a new text or the reader has never run it.

A notebook that is merged is first copied to my/backup/. What cannot be read is left as it is. The
course is what git has committed: who has answered in notebooks/ itself finds these answers in my/.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COURSE = "notebooks"
COPY = "my"
KEY = "step_llm"  # of what the metadata of a copied notebook, and of a note, hold
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
NOTES = {
    "en": "**New in the course.** You have changed the cell above, so it stays as it is. This is "
    "the course's new version of it. Take from it what you want, then delete this cell.",
    "zh": "**课程有更新。** 你改过上面的单元格，所以它保持原样。下面是课程里这个单元格的新版本。"
    "需要的内容抄过去，然后删掉本单元格。",
}


# -------------------------------------------------------------------------------- cells


def fingerprint(cell) -> str:
    """Of a cell's kind and text."""
    return _short(f"{cell['cell_type']}\n{cell['source'].rstrip()}")


def printed(cell) -> str:
    """A fingerprint of a cell's outputs; how often it was run does not matter."""
    outputs = [{**output, "execution_count": None} for output in cell.get("outputs", ())]
    return _short(json.dumps(outputs, sort_keys=True)) if outputs else ""


def _short(text):
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def as_copied(course, digest: str) -> dict:
    """What a copy remembers of the course's notebook, which its bytes' digest names."""
    cells = [[cell.id, fingerprint(cell), printed(cell)] for cell in course.cells]
    return {"copied": digest, "cells": cells}


def note(cell, language: str):
    """The course's new version of a cell that the reader has changed too, as a cell of text."""
    text = cell.source
    if cell.cell_type == "code":
        fence = "```"
        while fence in text:
            fence += "`"
        text = f"{fence}python\n{text}\n{fence}"
    made = _markdown(f"> {NOTES[language]}\n\n{text}")
    made.metadata[KEY] = {"beside": cell.id, "fingerprint": fingerprint(made)}
    return made


def _markdown(source):
    import nbformat

    return nbformat.v4.new_markdown_cell(source, id=uuid.uuid4().hex[:8])


def _is_note(cell, ids):
    """Whether a cell is a note as it was written, and the cell that it is about is there."""
    mark = cell.metadata.get(KEY)
    return (
        isinstance(mark, dict)
        and mark.get("fingerprint") == fingerprint(cell)
        and mark.get("beside") in ids
    )


# -------------------------------------------------------------------------------- notebooks


def merge(mine, course, language: str = "en") -> dict[str, int]:
    """Bring what the course has changed into a reader's notebook.

    Args:
        mine: the reader's; its metadata hold what ``as_copied`` gave. It is changed.

    Returns:
        how many cells are "changed", "new", "removed", and changed by "both".
    """
    base = {id_: (text, outputs) for id_, text, outputs in mine.metadata[KEY]["cells"]}
    _name_cells(mine, base, course)
    ids = {cell.id for cell in mine.cells}
    notes = {c.metadata[KEY]["beside"]: c for c in mine.cells if _is_note(c, ids)}
    own = {cell.id: cell for cell in mine.cells if not _is_note(cell, ids)}
    theirs = {cell.id: cell for cell in course.cells}
    counts = dict.fromkeys(("changed", "new", "removed", "both"), 0)
    cells, kept_notes = {}, {}
    for id_, cell in theirs.items():
        if id_ in own:
            cells[id_], is_by_both = _merged(base.get(id_), own[id_], cell)
            if is_by_both:
                kept_notes[id_] = note(cell, language)
            elif id_ in notes and fingerprint(own[id_]) != fingerprint(cell):
                kept_notes[id_] = notes[id_]
            counts["both"] += is_by_both
            counts["changed"] += fingerprint(cells[id_]) != fingerprint(own[id_])
        elif id_ not in base:
            cells[id_] = cell
            counts["new"] += 1
    for id_, cell in own.items():
        if id_ not in theirs:
            if id_ in base and base[id_][0] == fingerprint(cell):
                counts["removed"] += 1
            else:
                cells[id_] = cell
                if id_ in notes:
                    kept_notes[id_] = notes[id_]
    order = _order(base, own, theirs, cells)
    pairs = ((cells[id_], kept_notes.get(id_)) for id_ in order)
    mine.cells = [cell for pair in pairs for cell in pair if cell is not None]
    return counts


def _name_cells(mine, base, course):
    """Give every cell an id of its own. A cell that an editor, or cut and paste, has given another
    one is known by its text."""
    seen, lost = set(), {}
    ids = {cell.get("id") for cell in mine.cells}
    for id_, (text, _) in base.items():
        if id_ not in ids:
            lost.setdefault(text, []).append(id_)
    known = {*base, *(cell.id for cell in course.cells)}
    for cell in mine.cells:
        id_ = cell.get("id")
        if id_ not in known or id_ in seen:
            same = lost.get(fingerprint(cell))
            id_ = same.pop(0) if same else id_
        cell.id = id_ if id_ and id_ not in seen else uuid.uuid4().hex[:8]
        seen.add(cell.id)
    mine.nbformat_minor = max(5, mine.nbformat_minor)


def _merged(base, own, theirs):
    """A cell that reader and course have, and whether both have changed it."""
    text, outputs = base or (None, None)
    is_same = fingerprint(own) == fingerprint(theirs)
    if not is_same and fingerprint(own) != text:
        return own, fingerprint(theirs) != text
    if is_same and printed(own) != outputs:
        return own, False
    theirs.metadata = {**own.metadata, **theirs.metadata}
    return theirs, False


def _order(base, own, theirs, cells):
    """The course's order of cells, or the reader's, if the reader has moved some."""
    order = [[id_ for id_ in ids if id_ in cells] for ids in (theirs, own)]
    is_moved = [id_ for id_ in base if id_ in own] != [id_ for id_ in own if id_ in base]
    return _woven(*(reversed(order) if is_moved else order))


def _woven(first, second):
    """The first list; what only the second has stands behind what it follows there."""
    result, place = list(first), 0
    known = set(first)
    for id_ in second:
        if id_ not in known:
            result.insert(place, id_)
        place = result.index(id_) + 1
    return result


# -------------------------------------------------------------------------------- files


def _read(content: bytes):
    """A notebook.

    Raises:
        ValueError and others of ``UNREADABLE``: it is none.
    """
    import nbformat

    notebook = nbformat.v4.reads(content.decode("utf-8"))
    if notebook["nbformat"] != 4:
        raise ValueError(f"format {notebook['nbformat']}; expected 4")
    for cell in notebook.cells:
        if not isinstance(cell.source, str):
            raise ValueError("a cell has no text")
        cell.metadata, cell.cell_type  # noqa: B018 - it has them, or this raises
    return notebook


def _write(content: bytes, path: Path) -> None:
    """Write aside and rename; through a link, what it points to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.resolve()
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _bytes(notebook):
    import nbformat

    return (nbformat.v4.writes(notebook) + "\n").encode("utf-8")


def _git(root, *words):
    """What git answers; None where there is no git, or no repository."""
    try:
        answer = subprocess.run(
            ["git", *words], cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )  # fmt: skip
    except OSError:
        return None
    return None if answer.returncode else answer.stdout


def _committed(root: Path) -> dict[str, bytes]:
    """The notebooks that somebody has changed since the last commit, as they were there."""
    changed = _git(root, "diff", "--name-only", "--relative", "-z", "HEAD", "--", COURSE) or b""
    names = [os.fsdecode(name) for name in changed.split(b"\0") if name.endswith(b".ipynb")]
    found = {name: _git(root, "show", f"HEAD:./{name}") for name in names}
    return {name: content for name, content in found.items() if content is not None}


def _reason(error):
    return f"{type(error).__name__}: {error}".splitlines()[0][:100]


class Refresh:
    """One run over all notebooks.

    Attributes:
        said: a line for each notebook of which there is something to say.
        made: how many notebooks are new.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.said, self.made = root, [], 0
        self.backup = root / COPY / "backup" / time.strftime("%Y-%m-%d_%H-%M-%S")

    def run(self) -> None:
        """Raises OSError where a first copy cannot be written."""
        folder, committed = self.root / COURSE, _committed(self.root)
        for path in sorted(folder.rglob("*.ipynb")):
            name = path.relative_to(folder)
            if not any(part.startswith(".") for part in name.parts):
                content = path.read_bytes()
                course = committed.get(f"{COURSE}/{name.as_posix()}", content)
                self._notebook(name, course, content)
        for path in sorted(folder.rglob("figures/*.png")):
            copy, content = self.root / COPY / path.relative_to(folder), path.read_bytes()
            if not copy.exists() or copy.read_bytes() != content:
                _write(content, copy)

    def _notebook(self, name, course, uncommitted):
        """Make a copy or bring it up to date."""
        path = self.root / COPY / name
        digest = hashlib.sha256(course).hexdigest()
        if not path.exists():
            self._make(path, course, uncommitted, digest)
            return
        before = path.read_bytes()
        try:
            remembered = json.loads(before.decode("utf-8"))["metadata"].get(KEY)
            if remembered is None:
                self._say(path, "was not copied from the course; it is left as it is")
                return
            if remembered["copied"] == digest:
                return
            mine = _read(before)
            theirs = _read(course)
            counts = merge(mine, theirs, "zh" if name.parts[0] == "zh" else "en")
        except UNREADABLE as error:
            self._say(
                path, f"cannot be brought up to date ({_reason(error)}). It is left as it is; "
                "rename it, and the next start makes a new copy",
            )  # fmt: skip
            return
        mine.metadata[KEY] = as_copied(theirs, digest)
        try:
            _write(before, self.backup / name)
            _write(_bytes(mine), path)
        except OSError as error:  # a full disk, or another program that holds the file on Windows
            self._say(path, f"cannot be written ({_reason(error)}). It is as it was")
            return
        told = [f"{counts[kind]} {kind}" for kind in ("changed", "new", "removed") if counts[kind]]
        if counts["both"]:
            told.append(f"{counts['both']} changed by you too: the new text stands below yours")
        self._say(path, f"cells of the course: {', '.join(told) or 'the same, other outputs'}")

    def _make(self, path, course, uncommitted, digest):
        try:
            theirs = mine = _read(course)
            if uncommitted != course:
                mine = _read(uncommitted)
                self._say(path, "has what you have changed in notebooks/")
        except UNREADABLE as error:
            self._say(path, f"is not made: the one in {COURSE}/ cannot be read ({_reason(error)})")
            return
        mine.metadata[KEY] = as_copied(theirs, digest)
        _write(_bytes(mine), path)
        self.made += 1

    def _say(self, path, words):
        self.said.append(f"{path.relative_to(self.root).as_posix()}: {words}")


def main() -> int:
    refresh = Refresh(ROOT)
    is_new = not any((ROOT / COPY).glob("*.ipynb"))
    try:
        refresh.run()
    except OSError as error:
        print(f"{COPY}/ cannot be written: {error}", file=sys.stderr)
        return 1
    print(*refresh.said, sep="\n", end="\n" if refresh.said else "")
    if is_new and refresh.made:
        print(f"{COPY}/ is your copy of the lessons: work there, and git pull never meets it.")
    if refresh.backup.exists():
        print(f"As they were before: {refresh.backup.relative_to(ROOT).as_posix()}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
