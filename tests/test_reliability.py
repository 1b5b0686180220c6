"""docs/reliability.md: behind each promise stands a test that is there, and no attack is untold."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([a-z_/]+\.py)::(test_\w+)`", PAGE)


def defined_in(path):
    """The names of a file's functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_page_names_exists():
    assert len(NAMED) > 40
    missing = [
        (file, name) for file, name in NAMED if name not in defined_in(ROOT / "tests" / file)
    ]
    assert not missing


def test_every_promise_names_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "promise" not in line]
    assert len(rows) > 30
    assert not [row for row in rows if "::test_" not in row]


def test_the_attacks_are_told():
    """But for those that only some users can try."""
    told = {name for file, name in NAMED if file.startswith("attack/")}
    for path in (ROOT / "tests" / "attack").glob("*.py"):
        names = {name for name in defined_in(path) if name.startswith("test_")}
        assert names - told <= {"test_a_folder_that_may_not_be_written", "test_every_tokenizer"}


def test_the_page_can_be_read_in_one_go():
    assert len(PAGE.splitlines()) <= 90
