"""The house: which room may import from which, and that no page grows too long to read."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "step_llm"
# A room imports from itself and from those before it.
ROOMS = (
    "runtime", "nn", "models", "data", "evaluation", "decoding", "training", "course", "cli",
)  # fmt: skip
LONGEST = 350  # lines of a module
PAGES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def _imported_rooms(source):
    """The rooms that a module's import statements name, wherever they stand in it."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("step_llm.")}


def _id(path):
    return str(path.relative_to(PACKAGE))


def test_the_rooms_are_these():
    there = {path.name for path in PACKAGE.iterdir() if not path.name.startswith(("_", "."))}
    assert there == set(ROOMS)


@pytest.mark.parametrize("path", PAGES, ids=_id)
def test_imports_point_downward(path):
    room = path.relative_to(PACKAGE).parts[0]
    above = set(ROOMS[ROOMS.index(room) + 1 :])
    assert not _imported_rooms(path.read_text(encoding="utf-8")) & above


def test_an_upward_import_would_be_seen():
    source = "def f():\n    from step_llm.training.loss import x\nimport step_llm.cli.check\n"
    assert _imported_rooms(source) == {"training", "cli"}


@pytest.mark.parametrize("path", PAGES, ids=_id)
def test_a_page_can_be_read_in_one_go(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_the_picture_of_the_house_is_the_one_its_script_draws():
    script = PACKAGE.parent / "docs" / "figures" / "make_house.py"
    assert subprocess.run([sys.executable, str(script), "--check"]).returncode == 0
    drawn = (script.parent / "house.svg").read_text(encoding="utf-8")
    assert all(f">{room}<" in drawn for room in ROOMS)
