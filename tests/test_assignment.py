"""Notebooks to hand out: without outputs and answers; their solved twins pass, by the grader."""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path

import nbformat
import pytest

from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted(path.name.partition("_")[0] for path in (ROOT / "notebooks").glob("*_*.ipynb"))


@pytest.fixture(scope="module")
def assignment():
    return load_script(ROOT / "tools" / "assignment.py")


@pytest.mark.parametrize("lesson", LESSONS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_notebook_to_hand_out_is_the_lesson_without_outputs(
    assignment, tmp_path, lesson, language
):
    if language == "zh" and not list((ROOT / "notebooks" / "zh").glob(f"{lesson}_*.ipynb")):
        with pytest.raises(ValueError, match=f"no lesson '{lesson}'"):
            assignment.lesson_path(lesson, language)
        return
    path, solved_path, is_filled = assignment.write(lesson, language, tmp_path)
    original = nbformat.read(assignment.lesson_path(lesson, language), as_version=4)
    handed_out, solved = (nbformat.read(p, as_version=4) for p in (path, solved_path))
    nbformat.validate(handed_out)
    nbformat.validate(solved)
    assert [cell.id for cell in handed_out.cells] == [cell.id for cell in original.cells]
    code = [cell for cell in handed_out.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code)
    assert [c.source for c in code] == [c.source for c in original.cells if c.cell_type == "code"]
    marked = [cell for cell in code if "answer" in cell.metadata.get("tags", ())]
    assert [cell for cell in code if "exercises.check(" in cell.source] == marked
    assert len(marked) >= 3
    prose = "\n".join(cell.source for cell in handed_out.cells if cell.cell_type == "markdown")
    assert not re.search(r"\]\([^)]*(\.ipynb|figures/)|<img", prose)
    pictures = [item for cell in handed_out.cells for item in cell.get("attachments", {}).items()]
    assert [name for name, _ in pictures] == re.findall(r"\]\(attachment:([^)]+)\)", prose) != []
    for name, content in pictures:  # no SVG: JupyterLab shows none that is attached
        figure = assignment.lesson_path(lesson, language).parent / "figures" / name
        assert content == {"image/png": base64.b64encode(figure.read_bytes()).decode("ascii")}

    assert is_filled
    answers = {cell.id: cell.source for cell in solved.cells}
    assert all(answers[cell.id] != cell.source for cell in marked)
    others = [cell for cell in code if cell not in marked]
    assert all(answers[cell.id] == cell.source for cell in others)


def test_an_answer_that_needs_more_of_the_solutions_takes_the_whole(assignment):
    def notebook(*sources):
        new = nbformat.v4
        return new.new_notebook(cells=[new.new_code_cell(source) for source in sources])

    lesson = notebook("import numpy as np", 'a = ...\nexercises.check("2.1", a)')
    needs_import = notebook(
        "import math\nfrom x import y as z", 'a = z(math.pi, np)\nexercises.check("2.1", a)'
    )
    solved = assignment.solve(lesson, needs_import)
    assert solved is None  # nothing imports exercises, neither here nor there
    lesson.cells[0].source += "\nfrom step_llm import exercises"
    solved = assignment.solve(lesson, needs_import)
    assert solved.cells[1].source.startswith("import math\nfrom x import y as z\n\na = z(")
    assert lesson.cells[1].source.startswith("a = ...")
    needs_helper = notebook("def f(): return 1", 'a = f()\nexercises.check("2.1", a)')
    assert assignment.solve(lesson, needs_helper) is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the grader needs POSIX")
def test_what_is_handed_out_is_not_yet_answered_and_its_twin_is_right(assignment, tmp_path):
    grader = load_script(ROOT / "tools" / "grade.py")
    numbers = grader.exercises_of("00")
    for path, status in zip(assignment.write("00", "en", tmp_path), ("not yet", "passed")):
        found = grader.grade(path, numbers, grader.Limits(seconds=900))
        assert [s for s, _ in found.results.values()] == [status] * len(numbers), found
        assert found.violations == []
