"""The lessons as files: clean, complete, linked, and few of their outputs left unchecked.

That their cells run and print what is stored, nbval checks (`make test`).
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("*.ipynb"))
SOLUTIONS = sorted(NOTEBOOKS.glob("solutions/*.ipynb"))
FIGURES = NOTEBOOKS / "figures"
IGNORE = "nbval-ignore-output"
# The most cells whose output depends on the run: a training, a clock, quick or full mode, the
# corpus at hand.
MOST_MARKED_IN_A_LESSON = 9  # lesson 12: base, tuned, controls, LoRA twice, DPO, rounding, a chat
MOST_MARKED = 60

each_notebook = pytest.mark.parametrize(
    "path", LESSONS + SOLUTIONS, ids=lambda p: f"{p.parent.name}/{p.stem}"
)
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load("notebooks_tool", ROOT / "tools" / "notebooks.py")
figures = load("make_figures", FIGURES / "make_figures.py")


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def outputs(notebook):
    return [output for cell in code(notebook) for output in cell.outputs]


def test_there_are_lessons_and_each_has_solutions():
    assert LESSONS
    assert [path.name for path in SOLUTIONS] == [path.name for path in LESSONS]


@each_notebook
def test_a_notebook_is_stored_run_from_top_to_bottom(path):
    notebook = read(path)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    for output in outputs(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text


@each_notebook
def test_a_notebook_holds_no_traces_of_the_machine(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|work|tmp|var|Users)/\w", text)
    notebook = read(path)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
    for output in outputs(notebook):
        assert tool.WIDGET not in output.get("data", {})


@each_notebook
def test_nan_is_printed_only_where_a_cell_is_about_it(path):
    for cell in code(read(path)):
        text = "".join(output.get("text", "") for output in cell.outputs)
        assert "isnan" in cell.source or not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_few_cells_are_left_unchecked(capsys):
    marked = {}
    for path in LESSONS + SOLUTIONS:
        for number, cell in enumerate(code(read(path)), start=1):
            assert "NBVAL_" not in cell.source, "cells are marked by a tag, not by a comment"
            if IGNORE in cell.metadata.get("tags", ()):
                marked.setdefault(path, []).append((number, cell.source.splitlines()[0]))
    with capsys.disabled():
        total = sum(len(code(read(path))) for path in LESSONS + SOLUTIONS)
        count = sum(map(len, marked.values()))
        print(f"\n{count} of {total} code cells have outputs that depend on the run:")
        for path, cells in marked.items():
            for number, line in cells:
                print(f"  {path.stem} [{number}] {line[:70]}")
    for path, cells in marked.items():
        assert path in LESSONS, "the solutions print the same everywhere"
        assert len(cells) <= MOST_MARKED_IN_A_LESSON, path.name
    assert count <= MOST_MARKED


@each_lesson
def test_a_lesson_has_what_every_lesson_has(path):
    notebook = read(path)
    text = prose(notebook)
    first = notebook.cells[0].source
    assert re.match(r"# \d+b?\. \S", first)
    assert re.search(r"\bminutes?\b", first)
    assert re.search(r"\d GiB|MiB", first)
    assert "course.about()" in "\n".join(cell.source for cell in code(notebook)[:3])
    assert re.search(r"[\u4e00-\u9fff]{2}", text), "terms have their Chinese equivalent"
    assert f"solutions/{path.name}" in text
    assert len(re.findall(r"!\[[^\]]{40,}\]\(figures/[\w.-]+\.svg\)", text)) >= 1
    plots = [o for o in outputs(notebook) if "image/png" in o.get("data", {})]
    assert len(plots) >= 2
    assert re.search(r"(?m)^(#+ |\*\*)(Summary|What you have seen)", text)
    assert "https://" in text, "the papers are linked"


@each_lesson
def test_a_lesson_links_to_its_neighbours(path):
    place = LESSONS.index(path)
    neighbours = LESSONS[max(place - 1, 0) : place] + LESSONS[place + 1 : place + 2]
    cells = read(path).cells
    for neighbour in neighbours:
        assert f"]({neighbour.name})" in cells[0].source
        assert f"]({neighbour.name})" in cells[-1].source


def links(text):
    """Targets of Markdown links and images, and of HTML's src and href."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    found = re.findall(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", text)
    return found + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)


@pytest.mark.parametrize(
    "path",
    [*LESSONS, *SOLUTIONS, ROOT / "README.md", ROOT / "data" / "README.md"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_every_link_and_image_resolves(path):
    text = prose(read(path)) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    for target in links(text):
        if re.match(r"(https?|mailto):", target) or target.startswith("#"):
            continue
        file = path.parent / unquote(target.split("#")[0])
        assert file.exists(), f"{path.name} links to {target}"


def test_the_readme_lists_every_lesson():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in LESSONS:
        assert f"](notebooks/{path.name})" in text


def test_the_diagrams_are_the_ones_that_their_script_draws():
    assert figures.differences() == []


def test_every_diagram_is_used_and_described():
    everything = "\n".join(prose(read(path)) for path in LESSONS)
    for name, text in figures.drawings().items():
        assert f"figures/{name})" in everything
        root = ElementTree.fromstring(text)
        described = {child.tag.split("}")[1]: child.text for child in root}
        assert described["title"]
        assert len(described["desc"]) > 40
        for element in root.iter():
            if element.tag.endswith("}text"):
                assert float(element.get("font-size")) >= 11


# ---------------------------------------------------------------- tools/notebooks.py


def small_notebook(path, *sources, tags=()):
    notebook = nbformat.v4.new_notebook()
    for number, source in enumerate(sources):
        cell = nbformat.v4.new_code_cell(source, id=f"cell-{number}")
        if number in tags:
            cell.metadata["tags"] = [IGNORE]
        notebook.cells.append(cell)
    nbformat.write(notebook, path)
    return path


def run_tool(*arguments):
    command = [sys.executable, str(ROOT / "tools" / "notebooks.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_second_run_changes_nothing(tmp_path):
    path = small_notebook(
        tmp_path / "a.ipynb",
        "import time\nprint(f'{time.time() % 1:.6f} s')",
        "print(time.time())",
        "2 + 2",
        tags=(1,),
    )
    first = run_tool(path)
    assert "written" in first.stdout, first.stderr
    stored = path.read_bytes()
    second = run_tool(path)
    assert "unchanged" in second.stdout, second.stderr
    assert path.read_bytes() == stored
    cells = code(read(path))
    assert [cell.execution_count for cell in cells] == [1, 2, 3]
    assert cells[2].outputs[0].data["text/plain"] == "4"
    assert all(set(cell.metadata) <= {"tags"} for cell in cells)


def test_an_output_that_has_changed_is_stored(tmp_path):
    (tmp_path / "value").write_text("one")
    path = small_notebook(tmp_path / "a.ipynb", "print(open('value').read())")
    run_tool(path)
    (tmp_path / "value").write_text("two")
    assert "written" in run_tool(path).stdout
    assert code(read(path))[0].outputs[0].text == "two\n"


def test_a_cell_that_raises_leaves_the_file_alone(tmp_path):
    path = small_notebook(tmp_path / "a.ipynb", "print(1)", "1 / 0")
    stored = path.read_bytes()
    done = run_tool(path)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert path.read_bytes() == stored
    assert list(tmp_path.iterdir()) == [path]


def test_pieces_of_a_stream_become_one():
    piece = {"output_type": "stream", "name": "stdout"}
    joined = tool._clean_outputs(
        [nbformat.from_dict({**piece, "text": text}) for text in ("a", "b")], 1
    )
    assert [output.text for output in joined] == ["ab"]
