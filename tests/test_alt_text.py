"""Plots have an alternative text, in both editions; it survives a new run, and reaches the site.

That the two texts of a plot have the same numbers, and that neither is out of date, is a matter of
tools/chinese.py, and tested with it.
"""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import nbformat
import numpy as np
import pytest

from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
NAMES = sorted(
    path.relative_to(NOTEBOOKS).as_posix()
    for folder in (NOTEBOOKS, NOTEBOOKS / "solutions")
    for path in folder.glob("*.ipynb")
)
IDEOGRAPH = re.compile(r"[一-鿿]")
words, chinese, site = (
    load_script(ROOT / "tools" / f"{name}.py") for name in ("alt_text", "chinese", "site")
)


def code_cells(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


@pytest.mark.parametrize("name", NAMES)
def test_every_plot_has_a_text_in_both_languages(name):
    """A text for each picture and a picture for each text; one picture in a cell, not more."""
    for folder in ("", "zh"):
        for cell in code_cells(NOTEBOOKS / folder / name):
            pictures, text = words.pictures(cell), words.alt_text(cell)
            assert (text is not None) == bool(pictures), cell.id
            assert len(pictures) <= 1, cell.id
            if text is None:
                continue
            assert [one.metadata["image/png"]["alt"] for one in pictures] == [text], cell.id
            if folder:
                assert len(IDEOGRAPH.findall(text)) > 0.4 * len(text), cell.id
                assert 20 <= len(text) <= 160, cell.id
            else:
                assert not IDEOGRAPH.search(text), cell.id
                assert 60 <= len(text) <= 400, cell.id
            assert text[-1] in ".。", cell.id


def test_no_text_stands_at_two_plots():
    texts = [
        text
        for folder in ("", "zh")
        for name in NAMES
        for cell in code_cells(NOTEBOOKS / folder / name)
        if (text := words.alt_text(cell))
    ]
    assert len(texts) > 150
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_site_reads_the_text_of_its_own_language(language):
    """MyST-NB takes the alternative text of an <img> from here."""
    page = "notebooks/02_attention.ipynb"
    stored = code_cells(ROOT / site.source_of(page, language))
    expected = {cell.id: words.alt_text(cell) for cell in stored if words.pictures(cell)}
    notebook, _ = site.notebook_page(page, language, site.settings())
    found = {
        cell.id: cell.metadata["mystnb"]["image"]["alt"]
        for cell in notebook.cells
        if words.pictures(cell)
    }
    assert found == expected
    assert len(found) >= 2
    assert all(bool(IDEOGRAPH.search(text)) == (language == "zh") for text in found.values())


# ------------------------------------------------------------------------------------ the tools

ENGLISH, CHINESE = "A line that rises to 3.", "一条线，升到 3。"


def plot(shade):
    """A cell that draws one grey point, with its output and its alternative text."""
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, np.full((1, 1, 3), shade, np.uint8), format="png")
    png = base64.b64encode(buffer.getvalue()).decode("ascii")
    show = "from base64 import b64decode\nfrom IPython.display import Image, display\n"
    cell = nbformat.v4.new_code_cell(f"{show}display(Image(b64decode('{png}')))", id="plot")
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": png})]
    words.describe(cell, ENGLISH)
    return cell


def test_a_new_run_keeps_the_text(tmp_path):
    """Also where the picture is another one: here, the stored output is not that of the source."""
    notebook = nbformat.v4.new_notebook(cells=[plot(shade=255)])
    notebook.cells[0].outputs[0].data = plot(shade=0).outputs[0].data
    nbformat.write(notebook, tmp_path / "a.ipynb")
    command = [sys.executable, str(ROOT / "tools" / "notebooks.py"), str(tmp_path / "a.ipynb")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "written" in done.stdout, done.stderr
    (cell,) = code_cells(tmp_path / "a.ipynb")
    assert words.alt_text(cell) == ENGLISH
    (picture,) = words.pictures(cell)
    assert picture.data != notebook.cells[0].outputs[0].data
    assert picture.metadata == {"image/png": {"alt": ENGLISH}}
    again = subprocess.run(command, capture_output=True, text=True)
    assert "unchanged" in again.stdout, again.stderr


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A notebook with a plot, and its translation."""
    monkeypatch.setattr(chinese, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(chinese, "CHINESE", tmp_path / "zh")
    cells = [nbformat.v4.new_markdown_cell("# Title", id="c0"), plot(shade=255)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    chinese.export("a.ipynb", tmp_path / "a.md")
    assert (tmp_path / "a.md").read_text().endswith(f"<!-- plot -->\n{ENGLISH}\n")
    (tmp_path / "zh.md").write_text("<!-- c0 -->\n# 标题\n", encoding="utf-8")
    assert chinese.import_("a.ipynb", tmp_path / "zh.md") == ["a.ipynb, plot: not translated"]
    (tmp_path / "zh.md").write_text(f"<!-- plot -->\n{CHINESE}\n", encoding="utf-8")
    assert chinese.import_("a.ipynb", tmp_path / "zh.md") == []
    return tmp_path


def change(path, action):
    notebook = nbformat.read(path, as_version=4)
    action(notebook.cells[1])
    nbformat.write(notebook, path)


def test_a_text_is_translated_and_carried_with_a_new_picture(folder):
    (cell,) = code_cells(folder / "zh" / "a.ipynb")
    assert words.alt_text(cell) == CHINESE
    assert words.pictures(cell)[0].metadata == {"image/png": {"alt": CHINESE}}
    new = plot(shade=0).outputs[0].data
    change(folder / "a.ipynb", lambda cell: cell.outputs[0].update(data=new))
    assert chinese.problems("a.ipynb") == [
        "a.ipynb, plot: other code or outputs (tools/chinese.py carry)"
    ]
    assert chinese.carry("a.ipynb")
    (cell,) = code_cells(folder / "zh" / "a.ipynb")
    assert cell.outputs[0].data == new
    assert words.alt_text(cell) == CHINESE
    assert chinese.problems("a.ipynb") == []


@pytest.mark.parametrize(
    ("language", "action", "problem"),
    [
        ("", lambda cell: words.describe(cell, "A line that falls to 3."), "has changed since"),
        ("zh", lambda cell: words.describe(cell, "一条线，升到 4。"), "numbers differ"),
        ("zh", lambda cell: cell.metadata.pop("translates"), "other code or outputs"),
        ("zh", lambda cell: cell.metadata.pop("mystnb"), "other code or outputs"),
        ("zh", lambda cell: cell.outputs[0].metadata.clear(), "other code or outputs"),
    ],
)
def test_a_text_that_has_drifted_is_told(folder, language, action, problem):
    change(folder / language / "a.ipynb", action)
    (found,) = chinese.problems("a.ipynb")
    assert found.startswith("a.ipynb, plot: ")
    assert problem in found
