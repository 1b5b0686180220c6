"""Cells inside a model by their path: found by a pattern, and replaced."""

from __future__ import annotations

import re

from step_llm.nn.linear import Linear


def find_linears(cells: dict, pattern: str) -> list[str]:
    """The paths of every ``Linear`` in which a regular expression is found.

    Args:
        cells: a model's ``cells_and_names()`` as a dictionary.
        pattern: the expression.

    Raises:
        ValueError: none.
    """
    linears = [path for path, cell in cells.items() if path and type(cell) is Linear]
    paths = [path for path in linears if re.search(pattern, path)]
    if not paths:
        raise ValueError(
            f"no layer's path matches {pattern!r}; the model has for example "
            f"{', '.join(linears[:3]) or 'no Linear at all'}"
        )
    return paths


def replace_cells(model, cells: dict, by_path: dict) -> None:
    """Put other cells into the places of these paths."""
    for path, cell in by_path.items():
        parent, _, name = path.rpartition(".")
        setattr(cells[parent], name, cell)
    # MindSpore gave each weight the name of its place when that was made; names must not be double.
    for path, parameter in model.parameters_and_names():
        parameter.name = path
