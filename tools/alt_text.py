"""What a plot shows, in words, for a reader who cannot see it: its alternative text.

Such a text belongs to a cell, and stands in its metadata, where myst-nb reads it for the site. A
copy stands with the picture, where IPython's own ``Image(alt=…)`` puts it and the classic pages of
nbconvert read it. JupyterLab 4 reads neither.
"""

from __future__ import annotations

__all__ = ["alt_text", "describe", "pictures"]


def pictures(cell) -> list:
    """The outputs of a cell that are pictures."""
    return [output for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})]


def alt_text(cell) -> str | None:
    """The alternative text of what a cell draws; None if it has none."""
    return cell.metadata.get("mystnb", {}).get("image", {}).get("alt")


def describe(cell, text: str) -> None:
    """Give what a cell draws this alternative text."""
    cell.metadata["mystnb"] = {"image": {"alt": text}}
    for output in pictures(cell):
        output.metadata["image/png"] = {"alt": text}
