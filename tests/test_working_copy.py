"""A reader's copy of the lessons: what the course changes comes in, what the reader wrote stays."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parent.parent
tool = load_script(ROOT / "tools" / "working_copy.py")
new = nbformat.v4


def notebook(*cells):
    """Of (id, source): a source that begins with "#" is text, everything else is code."""
    made = []
    for id_, source in cells:
        make = new.new_markdown_cell if source.startswith("#") else new.new_code_cell
        made.append(make(source, id=id_))
    return new.new_notebook(cells=made)


def copied(course):
    mine = copy.deepcopy(course)
    mine.metadata[tool.KEY] = tool.as_copied(course, "digest")
    return mine


def texts(merged):
    return [cell.source for cell in merged.cells]


def cell(merged, id_):
    return next(cell for cell in merged.cells if cell.id == id_)


def output(text):
    return new.new_output("stream", text=text)


LESSON = (("a", "# Title"), ("b", "x = 1"), ("c", "answer = ...\ncheck(answer)"), ("d", "# End"))


def lesson(**changed):
    """LESSON with other sources; None takes a cell out."""
    cells = [(id_, changed.get(id_, source)) for id_, source in LESSON]
    return notebook(*(pair for pair in cells if pair[1] is not None))


# ------------------------------------------------------------------------------ three ways


def test_who_alone_has_changed_a_cell_is_followed():
    mine = copied(lesson())
    cell(mine, "c").source = "answer = 42\ncheck(answer)"
    counts = tool.merge(mine, lesson(a="# Better title", b="x = 2"))
    assert texts(mine) == ["# Better title", "x = 2", "answer = 42\ncheck(answer)", "# End"]
    assert counts == {"changed": 2, "both": 0, "new": 0, "removed": 0}
    assert mine.cells[0].id == "a"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_where_both_have_changed_a_cell_the_new_text_stands_below_and_runs_nothing(language):
    mine = copied(lesson())
    cell(mine, "c").source = "answer = 42\ncheck(answer)"
    cell(mine, "a").source = "# My title"
    counts = tool.merge(mine, lesson(a="# Better", c='answer = ...\n"""```"""'), language)
    assert counts["both"] == 2
    assert [c.cell_type for c in mine.cells] == [
        "markdown", "markdown", "code", "code", "markdown", "markdown",
    ]  # fmt: skip
    title, title_note, _, answer, answer_note, _ = texts(mine)
    assert (title, answer) == ("# My title", "answer = 42\ncheck(answer)")
    assert title_note == f"> {tool.NOTES[language]}\n\n# Better"
    assert answer_note.endswith('````python\nanswer = ...\n"""```"""\n````')  # outdoes the fence
    assert (language == "zh") == ("课程" in answer_note)
    nbformat.validate(mine)


def refreshed(mine, course):
    """As a further start of the lab does it."""
    counts = tool.merge(mine, course)
    mine.metadata[tool.KEY] = tool.as_copied(course, "digest")
    return counts


def test_the_life_of_a_note():
    mine = copied(lesson())
    cell(mine, "c").source = "mine"
    refreshed(mine, lesson(c="second"))
    assert len(mine.cells) == 5
    refreshed(mine, lesson(c="second", d="# The end"))  # something else has changed: it stays
    assert "second" in texts(mine)[3]
    refreshed(mine, lesson(c="third"))  # it is replaced, not joined by another
    assert len(mine.cells) == 5
    assert "third" in texts(mine)[3]
    mine.cells[3].source += "\nmy remark"  # what the reader has written into it is the reader's
    refreshed(mine, lesson(c="fourth"))
    assert ["my remark" in text for text in texts(mine)] == [False] * 4 + [True, False]
    assert "fourth" in texts(mine)[3]
    del mine.cells[3]  # deleted: it comes back only with a newer text
    refreshed(mine, lesson(c="fourth", d="# Fin"))
    assert not any("fourth" in text for text in texts(mine))
    refreshed(mine, lesson(c="mine"))  # the course's text is the reader's: nothing to tell
    assert [text for text in texts(mine) if "New in the course" in text] == [texts(mine)[3]]


def test_new_cells_come_to_their_place_and_removed_ones_go():
    mine = copied(lesson())
    mine.cells.insert(2, new.new_code_cell("print(x)", id="own"))
    mine.cells.append(new.new_markdown_cell("# Notes of mine", id="notes"))
    course = lesson(b=None)
    course.cells.insert(1, new.new_code_cell("x = 3", id="b2"))
    counts = tool.merge(mine, course)
    assert [c.id for c in mine.cells] == ["a", "own", "b2", "c", "d", "notes"]
    assert counts == {"changed": 0, "both": 0, "new": 1, "removed": 1}


def test_a_removed_cell_that_the_reader_has_changed_stays():
    mine = copied(lesson())
    cell(mine, "c").source = "answer = 42"
    tool.merge(mine, lesson(c=None))
    assert [c.id for c in mine.cells] == ["a", "b", "c", "d"]


def test_what_the_reader_has_deleted_does_not_come_back():
    mine = copied(lesson())
    del mine.cells[1]
    tool.merge(mine, lesson(b="x = 2", d="# Fin"))
    assert texts(mine) == ["# Title", "answer = ...\ncheck(answer)", "# Fin"]


def test_the_order_is_the_courses_unless_the_reader_has_moved_cells():
    course = lesson()
    course.cells = [course.cells[i] for i in (0, 2, 1, 3)]
    mine = copied(lesson())
    mine.cells.insert(3, new.new_code_cell("tried", id="own"))
    tool.merge(mine, course)
    assert [c.id for c in mine.cells] == ["a", "c", "own", "b", "d"]
    mine = copied(lesson())
    mine.cells.reverse()
    course = lesson()
    course.cells.insert(2, new.new_code_cell("y", id="n"))
    tool.merge(mine, course)
    assert [c.id for c in mine.cells] == ["d", "c", "b", "n", "a"]


def test_outputs_are_the_readers_unless_the_text_is_new_or_was_never_run():
    def with_outputs(**changed):
        course = lesson(**changed)
        cell(course, "b").outputs = [output(f"stored for {cell(course, 'b').source}")]
        return course

    def of_b(mine):
        return [o.text for o in cell(mine, "b").outputs]

    mine = copied(with_outputs())
    later = with_outputs()
    cell(later, "b").outputs = [output("another machine's")]
    tool.merge(mine, later)
    assert of_b(mine) == ["another machine's"]  # never run by the reader

    mine = copied(with_outputs())
    cell(mine, "b").outputs = [output("the reader's")]
    tool.merge(mine, later)
    assert of_b(mine) == ["the reader's"]
    tool.merge(mine, with_outputs(b="x = 2"))
    assert of_b(mine) == ["stored for x = 2"]

    mine = copied(with_outputs())
    cell(mine, "b").outputs, cell(mine, "b").execution_count = (
        copy.deepcopy(cell(mine, "b").outputs),
        17,
    )
    tool.merge(mine, later)
    assert of_b(mine) == ["another machine's"]  # run with the same result


def test_cells_whose_ids_an_editor_has_dropped_or_doubled_are_known_by_their_text():
    mine = copied(lesson())
    for own in mine.cells:
        del own["id"]
    mine.nbformat_minor = 4
    mine.cells[2].source = "answer = 42"
    counts = tool.merge(mine, lesson(b="x = 2", d="# Fin"))
    assert texts(mine) == ["# Title", "x = 2", "answer = 42", "# Fin"]
    assert counts["changed"] == 2
    nbformat.validate(mine)

    mine = copied(lesson())
    mine.cells.insert(2, new.new_code_cell("a second", id="b"))
    tool.merge(mine, lesson(b="x = 2"))
    assert texts(mine)[:3] == ["# Title", "x = 2", "a second"]
    assert len({c.id for c in mine.cells}) == 5


def test_whatever_both_do_nothing_of_the_readers_is_lost():
    for seed in range(300):
        rng = random.Random(seed)
        base = notebook(*((f"c{i}", f"text {i}") for i in range(8)))
        mine, course = copied(base), copy.deepcopy(base)
        for who, own in (("mine", mine), ("course", course)):
            for number in range(rng.randrange(5)):
                place = rng.randrange(len(own.cells))
                deed = rng.choice(("change", "add", "delete", "move"))
                if deed == "change":
                    own.cells[place].source = f"{who} {number}"
                elif deed == "add":
                    made = new.new_code_cell(f"{who} {number}", id=f"{who}{number}")
                    own.cells.insert(place, made)
                elif deed == "delete":
                    del own.cells[place]
                else:
                    own.cells.insert(rng.randrange(len(own.cells)), own.cells.pop(place))
        before, had = copy.deepcopy(mine), {c.id: c.source for c in base.cells}
        refreshed(mine, course)
        found = {c.id: c.source for c in mine.cells}
        assert len(found) == len(mine.cells), seed
        for own in before.cells:
            if had.get(own.id) != own.source:
                assert found[own.id] == own.source, seed
        kept = {c.id for c in before.cells}
        for theirs in course.cells:
            if had.get(theirs.id) != theirs.source and (theirs.id in kept or theirs.id not in had):
                assert any(theirs.source in text for text in found.values()), seed
        once = copy.deepcopy(mine)
        assert not any(refreshed(mine, course).values()), seed
        assert texts(mine) == texts(once), seed


# ------------------------------------------------------------------------------ files


@pytest.fixture
def root(tmp_path):
    """A project with one lesson in both languages, no repository."""
    for folder in ("notebooks", "notebooks/zh", "notebooks/solutions", "notebooks/figures"):
        (tmp_path / folder).mkdir()
    for name in ("04_a.ipynb", "zh/04_a.ipynb", "solutions/04_a.ipynb"):
        write(tmp_path, name, lesson())
    (tmp_path / "notebooks/figures/04-a.svg").write_text("<svg/>")
    (tmp_path / "notebooks/figures/04-a.png").write_bytes(b"\x89PNG")
    return tmp_path


def write(root, name, content, folder="notebooks"):
    nbformat.write(content, root / folder / name)


def read(root, name, folder="my"):
    return nbformat.read(root / folder / name, as_version=4)


def refresh(root):
    run = tool.Refresh(root)
    run.run()
    return run


def files(root):
    return {
        path.relative_to(root / "my").as_posix(): path.read_bytes()
        for path in (root / "my").rglob("*")
        if path.is_file()
    }


def test_a_copy_is_made_kept_and_merged(root):
    assert refresh(root).made == 3
    assert read(root, "04_a.ipynb").cells == lesson().cells
    assert sorted(files(root)) == [
        "04_a.ipynb", "figures/04-a.png", "solutions/04_a.ipynb", "zh/04_a.ipynb",
    ]  # fmt: skip

    mine = read(root, "04_a.ipynb")
    cell(mine, "c").source = "answer = 42"
    mine.metadata.kernelspec = {"name": "step_llm", "display_name": "step_llm"}
    write(root, "04_a.ipynb", mine, "my")
    before = files(root)
    run = refresh(root)
    assert (run.said, run.made, files(root)) == ([], 0, before)  # nothing to do

    write(root, "04_a.ipynb", lesson(b="x = 2", c="new"))
    (root / "notebooks/figures/04-a.png").write_bytes(b"\x89PNG, drawn anew")
    run = refresh(root)
    assert run.said == [
        "my/04_a.ipynb: cells of the course: 1 changed, "
        "1 changed by you too: the new text stands below yours"
    ]
    mine = read(root, "04_a.ipynb")
    assert mine.metadata.kernelspec.name == "step_llm"
    assert texts(mine)[1:3] == ["x = 2", "answer = 42"]
    assert (root / "my/figures/04-a.png").read_bytes() == b"\x89PNG, drawn anew"
    assert (run.backup / "04_a.ipynb").read_bytes() == before["04_a.ipynb"]
    assert len(list(run.backup.rglob("*.ipynb"))) == 1
    assert refresh(root).said == []


def test_the_chinese_copy_is_told_in_chinese(root):
    refresh(root)
    mine = read(root, "zh/04_a.ipynb")
    cell(mine, "c").source = "answer = 42"
    write(root, "zh/04_a.ipynb", mine, "my")
    write(root, "zh/04_a.ipynb", lesson(c="new"))
    refresh(root)
    assert tool.NOTES["zh"] in texts(read(root, "zh/04_a.ipynb"))[3]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "JSONDecodeError"),
        (b'{"cells": [', "JSONDecodeError"),
        (b"\xff\xfe{}", "UnicodeDecodeError"),
        (b"[]", "TypeError"),
        (b"[" * 100_000, "RecursionError"),
        (b'{"metadata": {}}', "was not copied from the course"),
        (
            b'{"metadata": {"step_llm": {"copied": 1, "cells": []}}, "cells": [{}]}',
            "AttributeError",
        ),
        (b'{"metadata": {"step_llm": {"copied": 1}}, "nbformat": 4, "cells": []}', "KeyError"),
        (b'{"metadata": {"step_llm": {"copied": 1}}, "nbformat": 3, "cells": []}', "format 3"),
        (b'{"metadata": {"step_llm": 3}}', "TypeError"),
    ],
)
def test_what_cannot_be_read_is_left_as_it_is_and_told(root, content, told):
    refresh(root)
    (root / "my/04_a.ipynb").write_bytes(content)
    write(root, "zh/04_a.ipynb", lesson(b="x = 2"))
    run = refresh(root)
    assert (root / "my/04_a.ipynb").read_bytes() == content
    first, second = run.said
    assert first.startswith("my/04_a.ipynb: ")
    assert told in first
    assert "left as it is" in first
    assert second == "my/zh/04_a.ipynb: cells of the course: 1 changed"  # the others go on


def test_a_course_that_cannot_be_read_harms_no_copy(root):
    (root / "notebooks/solutions/04_a.ipynb").write_text("<<<<<<< HEAD")
    assert "my/solutions/04_a.ipynb: is not made" in refresh(root).said[0]
    before = files(root)
    (root / "notebooks/04_a.ipynb").write_text("<<<<<<< HEAD")
    assert any(line.startswith("my/04_a.ipynb: cannot be") for line in refresh(root).said)
    assert files(root) == before


def test_a_kill_while_writing_leaves_the_old_copy(root, monkeypatch):
    refresh(root)
    before = files(root)
    write(root, "04_a.ipynb", lesson(b="x = 2"))

    def killed(source, target):
        if target.name == "04_a.ipynb" and target.parent.name == "my":
            raise KeyboardInterrupt
        os.rename(source, target)

    monkeypatch.setattr(tool.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        refresh(root)
    assert {k: v for k, v in files(root).items() if not k.startswith("backup/")} == before
    monkeypatch.undo()
    refresh(root)
    assert texts(read(root, "04_a.ipynb"))[1] == "x = 2"


def test_a_copy_that_cannot_be_written_is_told_and_the_others_go_on(root, monkeypatch):
    refresh(root)
    before = files(root)
    for name in ("04_a.ipynb", "zh/04_a.ipynb"):
        write(root, name, lesson(b="x = 2"))

    def held(source, target):
        if target == root / "my/04_a.ipynb":
            raise PermissionError("another program has it open")
        os.rename(source, target)

    monkeypatch.setattr(tool.os, "replace", held)
    first, second = refresh(root).said
    assert first.startswith("my/04_a.ipynb: cannot be written (PermissionError: another program")
    assert second == "my/zh/04_a.ipynb: cells of the course: 1 changed"
    assert files(root)["04_a.ipynb"] == before["04_a.ipynb"]
    assert not list((root / "my").glob(".*"))


def git(root, *words):
    settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *settings, *words], cwd=root, check=True, capture_output=True)


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_who_has_answered_in_notebooks_finds_the_answers_in_the_copy(root):
    """And puts notebooks/ back, so that git pulls again: the answers stay in the copy."""
    git(root, "init", "-q")
    git(root, "add", "notebooks")
    git(root, "commit", "-qm", "course")
    write(root, "04_a.ipynb", lesson(c="answer = 42"))
    write(root, "notes.ipynb", notebook(("n", "# Mine")))  # unknown to git
    run = refresh(root)
    assert run.said == ["my/04_a.ipynb: has what you have changed in notebooks/"]
    assert "answer = 42" in texts(read(root, "04_a.ipynb"))
    assert texts(read(root, "notes.ipynb")) == ["# Mine"]

    git(root, "checkout", "notebooks")
    assert refresh(root).said == []
    write(root, "04_a.ipynb", lesson(b="x = 2"))
    git(root, "commit", "-qam", "news")
    refresh(root)
    assert texts(read(root, "04_a.ipynb"))[1:3] == ["x = 2", "answer = 42"]


def test_the_program_says_what_it_does(root, monkeypatch, capsys):
    monkeypatch.setattr(tool, "ROOT", root)
    assert tool.main() == 0
    assert "my/ is your copy of the lessons" in capsys.readouterr().out
    assert tool.main() == 0
    assert capsys.readouterr().out == ""
    write(root, "04_a.ipynb", lesson(b="x = 2"))
    assert tool.main() == 0
    said = capsys.readouterr().out
    assert re.search(r"^As they were before: my/backup/[\d_-]+/$", said, re.MULTILINE)
    shutil.rmtree(root / "my")
    (root / "my").write_text("a file")
    assert tool.main() == 1
    assert "my/ cannot be written" in capsys.readouterr().err


# ------------------------------------------------------------------------------ the course


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The real course, copied."""
    root = tmp_path_factory.mktemp("course")
    for name in ("notebooks", "docs"):
        (root / name).symlink_to(ROOT / name)
    refresh(root)
    return root


def test_every_link_of_the_course_leads_somewhere_from_the_copy_too(whole):
    copies = list((whole / "my").rglob("*.ipynb"))
    assert len(copies) == len(list((ROOT / "notebooks").rglob("[0-9]*.ipynb")))
    count = 0
    for path in copies:
        for found in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            text = "".join(found["source"]) if found["cell_type"] == "markdown" else ""
            for link in re.findall(r"\]\(<?([^()\s#>]+)", text):
                if not re.match(r"\w+:", link):
                    count += 1
                    # By names alone, as a browser does it: this test's folders are links.
                    target = Path(os.path.normpath(path.parent / link))
                    assert target.exists(), f"{path.relative_to(whole)}: {link}"
    assert count > 200


def test_a_copy_of_the_course_is_the_course(whole):
    for path in (whole / "my").rglob("*.ipynb"):
        course = json.loads((ROOT / "notebooks" / path.relative_to(whole / "my")).read_bytes())
        own = json.loads(path.read_bytes())
        assert own["cells"] == course["cells"]
        del own["metadata"][tool.KEY]
        assert own == course


def test_git_and_the_images_leave_the_copy_out():
    assert "/my/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "my" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
