"""A lesson in the kernel of another Python: the first cell's error shows which one to choose."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
ALL = [*sorted(NOTEBOOKS.glob("*.ipynb")), *sorted(NOTEBOOKS.glob("solutions/*.ipynb"))]


def first_cell(path):
    cells = nbformat.read(path, as_version=4).cells
    return next(cell.source for cell in cells if cell.cell_type == "code")


@pytest.fixture
def shell():
    shell = InteractiveShell.instance()
    shell.run_line_magic("colors", "nocolor")
    yield shell
    InteractiveShell.clear_instance()


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(NOTEBOOKS)))
def test_the_advice_stands_where_the_error_shows_it(path, shell, monkeypatch, capsys):
    """Above the first module that another Python may lack; a few lines around are shown."""
    source = first_cell(path)
    above, advice, below = source.partition('# "No module named …" here? Wrong kernel')
    assert advice
    assert not re.search(r"^(import|from) (numpy|matplotlib|mindspore|step_llm)", above, re.M)
    missing = re.search(r"^(?:import|from) (\w+)", below, re.M).group(1)
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setenv("GLOG_v", "3")
    result = shell.run_cell(source)
    assert isinstance(result.error_in_exec, ModuleNotFoundError)
    said = capsys.readouterr().out
    assert "Wrong kernel: choose step_llm" in said
