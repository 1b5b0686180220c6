"""The PNG of a diagram, drawn from its SVG: GitHub's page of a notebook shows no SVG beside it.

A PNG names the SVG that it was drawn from, in a text chunk, so that whether it is up to date can be
told without drawing it again. Drawing needs resvg-py (requirements-dev.txt), a font as wide as
Helvetica, and for the Chinese diagrams a Chinese one.

Resvg, where a font lacks one character of a label, may take the whole label from another font, in
another weight. So each run of a label names its font here, and the fonts are cut down before they
are used: none has a character that another is there for.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib
import numpy as np
from fontTools import subset
from fontTools.ttLib import TTCollection, TTFont, TTLibError
from matplotlib.font_manager import findSystemFonts
from PIL import Image
from PIL.PngImagePlugin import PngInfo

KEY = "svg-sha256"
SCALE = 2  # pixels for one of the design: sharp on dense screens too
COLOURS = 256  # all that there are, but for shades of edges
# Families that do the same, the best first. A character is taken from the first row that has it.
FAMILIES = (
    ("Liberation Sans", "Arimo", "Arial", "Helvetica"),
    ("DejaVu Sans",),  # ₁ and ✓; it comes with matplotlib
    ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei"),
)
INSTALL = "on Debian and Ubuntu, apt-get install fonts-liberation fonts-noto-cjk"
_LABEL = re.compile(r"(<text [^>]*>)([^<]*)(</text>)")


class Missing(Exception):
    """What has to be installed before anything can be drawn."""


def digest(svg: str) -> str:
    """The name of an SVG in the PNG that was drawn from it."""
    return hashlib.sha256(svg.encode("utf-8")).hexdigest()


def drawn_from(path: Path) -> str:
    """The digest of the SVG that a PNG was drawn from; "" where there is none."""
    try:
        with Image.open(path) as image:
            return image.info.get(KEY, "")
    except (OSError, SyntaxError):  # not there; not a picture
        return ""


def draw(svgs: list[str]) -> list[bytes]:
    """The PNG of each SVG.

    Raises:
        Missing: there is no rasteriser, or no font for a character.
    """
    return [packed(pixels, svg) for pixels, svg in zip(rasterised(svgs), svgs)]


def rasterised(svgs: list[str]) -> list[bytes]:
    """The PNGs as resvg writes them."""
    if not svgs:
        return []
    try:
        import resvg_py
    except ImportError:
        raise Missing(
            "resvg-py draws the PNGs, and is not here: pip install -r requirements-dev.txt, "
            "with Python 3.10 or newer"
        ) from None
    with TemporaryDirectory() as folder:
        family, files = fonts({letter for svg in svgs for letter in letters(svg)}, Path(folder))

        def in_runs(match):
            runs = groupby(html.unescape(match[2]), key=family.get)
            texts = ((name, html.escape("".join(run), quote=False)) for name, run in runs)
            spans = (f'<tspan font-family="{name}">{text}</tspan>' for name, text in texts)
            return match[1] + "".join(spans) + match[3]

        return [
            resvg_py.svg_to_bytes(
                svg_string=_LABEL.sub(in_runs, svg), zoom=SCALE, skip_system_fonts=True,
                font_files=files,
            )
            for svg in svgs
        ]  # fmt: skip


def letters(svg: str) -> set[str]:
    """The characters of the labels."""
    return {letter for _, label, _ in _LABEL.findall(svg) for letter in html.unescape(label)}


def fonts(wanted: set[str], folder: Path) -> tuple[dict[str, str], list[str]]:
    """The family of each character, and files in ``folder`` that hold just these characters.

    Raises:
        Missing: there is no font like Helvetica, or none for a character.
    """
    known, family, files = _installed(), {}, []
    chosen = [next((name for name in row if name in known), None) for row in FAMILIES]
    if chosen[0] is None:
        raise Missing(f"none of {', '.join(FAMILIES[0])} is here: {INSTALL}")
    for name in filter(None, chosen):
        own = wanted - family.keys()
        for path, number in known[name].values():
            with TTFont(path, fontNumber=number) as font:
                here = own & {chr(code) for code in font.getBestCmap()}
                if here:
                    cut = subset.Subsetter()
                    cut.options.drop_tables += ["FFTM"]  # an editor's date, in some fonts
                    cut.populate(text="".join(here))
                    cut.subset(font)
                    files.append(str(folder / f"{len(files)}.otf"))
                    font.save(files[-1])
            family.update(dict.fromkeys(here, name))
    lost = "".join(sorted(wanted - family.keys()))
    if lost:
        raise Missing(f"no font here has {lost[:20]}: {INSTALL}")
    return family, files


def _installed() -> dict[str, dict[str, tuple[str, int]]]:
    """Of each family that could be used: style to file and place in it."""
    names, found = {name for row in FAMILIES for name in row}, {}
    for path in [*Path(matplotlib.get_data_path()).glob("fonts/ttf/*.ttf"), *findSystemFonts()]:
        try:
            is_collection = str(path).lower().endswith((".ttc", ".otc"))
            for number, font in enumerate(
                TTCollection(path, lazy=True).fonts if is_collection else [TTFont(path, lazy=True)]
            ):
                name, style = (font["name"].getDebugName(which) for which in (1, 2))
                if name in names:
                    found.setdefault(name, {}).setdefault(style, (str(path), number))
        except (TTLibError, OSError, KeyError):  # a bitmap font, or a damaged one
            continue
    return found


def packed(png: bytes, svg: str) -> bytes:
    """The picture with ``COLOURS`` colours at most, and with the SVG's digest.

    Edges have some hundred shades. Kept are the most frequent ones, then, one after another, that
    which is farthest from those; each of the others becomes the nearest.
    """
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))
    found, place, count = np.unique(
        pixels.view(np.uint32).ravel(), return_inverse=True, return_counts=True
    )
    colours = found.view(np.uint8).reshape(-1, 4)
    seen = colours * np.where([True, True, True, False], colours[:, 3:] / 255, 1)
    distance = ((seen[:, None] - seen) ** 2).sum(axis=2)
    kept = list(np.argsort(-count, kind="stable")[: COLOURS // 4])
    while len(kept) < min(COLOURS, len(colours)):
        kept.append(int(distance[:, kept].min(axis=1).argmax()))
    indices = distance[:, kept].argmin(axis=1).astype(np.uint8)[place.ravel()]
    image = Image.fromarray(indices.reshape(pixels.shape[:2]), "P")
    image.putpalette(colours[kept].tobytes(), "RGBA")
    notes, file = PngInfo(), io.BytesIO()
    notes.add_text(KEY, digest(svg))
    image.save(file, "PNG", optimize=True, pnginfo=notes)
    return file.getvalue()
