"""How a lesson shows a diagram: one HTML tag, on a line of its own between blank lines.

    <img src="figures/02-masks.png" width="760" alt="What the picture shows, in words">

GitHub's page of a notebook shows no SVG that lies beside the notebook. So this is the PNG, which
has twice as many pixels, at the width of the design. Its SVG is for pages that can show one.
"""

from __future__ import annotations

import html
import re

__all__ = ["DIAGRAM", "diagram", "in_markdown"]

# The file without its ending, the width, the alternative text. Without blank lines around it, what
# stands in the lines before and after would be taken for HTML, or the picture for a part of it.
DIAGRAM = re.compile(
    r'(?<![^\n])(?<![^\n]\n)<img src="(figures/[\w-]+)\.png" width="(\d+)" alt="([^"<>]+)">'
    r"(?=\n\n|\n?\Z)"
)


def diagram(name: str, width: int, alt: str) -> str:
    """The tag of a diagram; ``name`` as in FIGURES of notebooks/figures/lesson_NN.py."""
    words = html.escape(alt, quote=False).replace('"', "&quot;")
    return f'<img src="figures/{name}.png" width="{width}" alt="{words}">'


def in_markdown(text: str, ending: str = "svg") -> str:
    """A text with its diagrams as Markdown has pictures, and by the files with this ending."""
    return DIAGRAM.sub(lambda found: f"![{html.unescape(found[3])}]({found[1]}.{ending})", text)
