"""A small drawing board for the diagrams of the lessons; it writes plain SVG.

Every diagram lies on a light card of its own, so it reads the same on light and dark pages. Colours
have one meaning through the whole course (``COLOURS``). Coordinates are pixels, y grows downwards.
"""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

# kind of box: (fill, outline)
COLOURS = {
    "data": ("#eceff1", "#607d8b"),  # tokens, numbers, tensors
    "embedding": ("#fde2e4", "#c9667a"),
    "position": ("#fff1c9", "#c39b2b"),
    "attention": ("#ffe0c2", "#d5802b"),
    "feed_forward": ("#cfe5f7", "#3f86bd"),
    "norm": ("#f3f0b5", "#a49a2c"),
    "output": ("#dcd6f0", "#7863b0"),
    "good": ("#d3ecd3", "#4d9a55"),
    "bad": ("#f6cfcf", "#bf4b4b"),
    "plain": ("#ffffff", "#78909c"),
}
# The outlines' colours as letters: darker, so that their contrast with white is at least 4.5.
LETTERS = {"#d5802b": "#a55c10", "#c9667a": "#b4485f", "#3f86bd": "#2f74a8"}
INK = "#263238"
FAINT = "#546e7a"
_FONT = "Helvetica, Arial, 'Noto Sans', 'Noto Sans SC', sans-serif"
# English label to Chinese, while the diagrams of the Chinese edition are drawn (labels_zh.py).
WORDS: dict[str, str] = {}


class Canvas:
    """One diagram.

    Args:
        width, height: in pixels.
        title: what the picture shows, in a few words.
        description: the picture in words, for a reader who cannot see it.
    """

    def __init__(self, width: int, height: int, title: str, description: str):
        self.width = width
        self.height = height
        self.title = title
        self.description = description
        self.parts = []

    def box(self, x, y, width, height, label="", kind="plain", size=14, bold=False, radius=6):
        """A rounded box with a label in its middle; "\\n" in the label starts a new line."""
        fill, outline = COLOURS[kind]
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" '
            f'fill="{fill}" stroke="{outline}" stroke-width="1.4"/>'
        )
        lines = WORDS.get(label, label).split("\n") if label else []
        first = y + height / 2 - (len(lines) - 1) * size * 0.62
        for number, line in enumerate(lines):
            self.text(
                x + width / 2, first + number * size * 1.24 + size * 0.35, line, size, bold=bold
            )

    def text(
        self, x, y, label, size=14, anchor="middle", bold=False, italic=False, colour=INK,
        rotate=0,
    ):  # fmt: skip
        """One line of text with its baseline at y; anchor is start, middle or end."""
        style = ' font-weight="bold"' if bold else ""
        style += ' font-style="italic"' if italic and label not in WORDS else ""
        style += f' transform="rotate({rotate:g} {x:g} {y:g})"' if rotate else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" '
            f'fill="{LETTERS.get(colour, colour)}"{style}>{escape(WORDS.get(label, label))}</text>'
        )

    def line(self, *points, colour=INK, width=1.5, dashed=False, arrow=False):
        """A line through the points (x, y), …; with ``arrow=True`` its end has a head."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        style = ' stroke-dasharray="5 4"' if dashed else ""
        style += ' marker-end="url(#head)"' if arrow else ""
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"'
            f"{style}/>"
        )

    def arrow(self, *points, colour=INK, width=1.5, dashed=False):
        """A line with a head at its last point."""
        self.line(*points, colour=colour, width=width, dashed=dashed, arrow=True)

    def curve(self, start, end, bend=(0, -40), colour=INK, width=1.5, dashed=False):
        """An arrow from start to end, bent through a point ``bend`` away from their middle."""
        middle = ((start[0] + end[0]) / 2 + bend[0], (start[1] + end[1]) / 2 + bend[1])
        style = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<path d="M {start[0]:g} {start[1]:g} Q {middle[0]:g} {middle[1]:g} {end[0]:g} '
            f'{end[1]:g}" fill="none" stroke="{colour}" stroke-width="{width:g}"{style} '
            'marker-end="url(#head)"/>'
        )

    def circle(self, x, y, radius, label="", kind="plain", size=14):
        """A circle with a label in its middle."""
        fill, outline = COLOURS[kind]
        self.parts.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}" stroke="{outline}" '
            'stroke-width="1.4"/>'
        )
        if label:
            self.text(x, y + size * 0.35, label, size)

    def grid(self, x, y, cell, values, kind="attention", numbers=None, size=12):
        """A matrix as shaded cells: values in [0, 1] set the shade, ``numbers`` the labels."""
        _, outline = COLOURS[kind]
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                left, top = x + column * cell, y + row * cell
                self.parts.append(
                    f'<rect x="{left:g}" y="{top:g}" width="{cell:g}" height="{cell:g}" '
                    f'fill="{outline}" fill-opacity="{0.75 * value:.3f}" stroke="{FAINT}" '
                    'stroke-width="0.8"/>'
                )
                if numbers is not None:
                    self.text(
                        left + cell / 2, top + cell / 2 + size * 0.35, str(numbers[row][column]),
                        size,
                    )  # fmt: skip

    def svg(self, language: str = "") -> str:
        """The whole file; by ``language`` a browser picks the Chinese or the Japanese glyphs."""
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" role="img" '
                f"{f'lang={quoteattr(language)} ' if language else ''}"
                f"aria-label={quoteattr(self.title)} font-family={quoteattr(_FONT)}>",
                f"<title>{escape(self.title)}</title>",
                f"<desc>{escape(self.description)}</desc>",
                '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
                'markerHeight="7" orient="auto-start-reverse"><path d="M 0 0 L 10 5 L 0 10 z" '
                f'fill="{INK}"/></marker></defs>',
                f'<rect x="1" y="1" width="{self.width - 2}" height="{self.height - 2}" rx="12" '
                'fill="#fbfbf9" stroke="#cfd8dc"/>',
                *self.parts,
                "</svg>",
                "",
            ]
        )
