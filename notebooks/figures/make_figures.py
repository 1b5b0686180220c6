"""Draw the diagrams of the lessons in both languages, or compare the files with what they would be.

    python notebooks/figures/make_figures.py            write notebooks/[zh/]figures/*.svg, *.png
    python notebooks/figures/make_figures.py --check    say which files differ; exit status 1

A module lesson_NN.py holds the diagrams of one lesson: FIGURES maps the name of a file, without
.svg, to the function that returns its Canvas. Its words are English; labels_zh.py has the Chinese.
A PNG is drawn where its SVG has changed; only then are a rasteriser and fonts needed (raster.py).
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOTEBOOKS = HERE.parent
FOLDERS = {"en": HERE, "zh-CN": NOTEBOOKS / "zh" / "figures"}


def load(*names: str) -> list:
    """Modules of this folder."""
    sys.path.insert(0, str(HERE))
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(HERE))


def drawings(language: str = "en") -> dict[str, str]:
    """File name to SVG text, for every diagram of every lesson."""
    canvas, chinese = load("canvas", "labels_zh")
    lessons = load(*(path.stem for path in sorted(HERE.glob("lesson_*.py"))))
    figures = {name: draw for lesson in lessons for name, draw in lesson.FIGURES.items()}
    if language == "en":
        return {f"{name}.svg": draw().svg() for name, draw in figures.items()}
    canvas.WORDS.update(chinese.LABELS)
    try:
        pictures = {name: draw() for name, draw in figures.items()}
    finally:
        canvas.WORDS.clear()
    for name, picture in pictures.items():
        picture.title, picture.description = chinese.TITLES[name]
    return {f"{name}.svg": picture.svg(language) for name, picture in pictures.items()}


def wanted() -> dict[Path, str]:
    """Path to SVG text, for every diagram in both languages."""
    return {
        folder / name: text
        for language, folder in FOLDERS.items()
        for name, text in drawings(language).items()
    }


def differences() -> list[str]:
    """What is missing, out of date, or drawn by nothing: paths below notebooks/."""
    (raster,) = load("raster")
    right, found = {}, {}
    for path, text in wanted().items():
        right |= {path: text, path.with_suffix(".png"): raster.digest(text)}
    for folder in FOLDERS.values():
        found |= {path: path.read_text(encoding="utf-8") for path in folder.glob("*.svg")}
        found |= {path: raster.drawn_from(path) for path in folder.glob("*.png")}
    return sorted(
        path.relative_to(NOTEBOOKS).as_posix()
        for path in right | found
        if right.get(path) != found.get(path)
    )


def write() -> None:
    """Write what differs, once all of it is drawn.

    Raises:
        raster.Missing: see there; then nothing is written.
    """
    (raster,) = load("raster")
    svgs = wanted()
    changed = {
        path.with_suffix(".png"): text
        for path, text in svgs.items()
        if raster.drawn_from(path.with_suffix(".png")) != raster.digest(text)
    }
    files = dict(zip(changed, raster.draw(list(changed.values()))))
    files |= {path: text.encode("utf-8") for path, text in svgs.items()}
    for path, content in files.items():
        if path.exists() and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
        partial.write_bytes(content)
        os.replace(partial, path)


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    if parser.parse_args(arguments).check:
        names = differences()
        print("\n".join(f"{name} is not what is drawn now" for name in names) or "all as drawn")
        return 1 if names else 0
    (raster,) = load("raster")
    try:
        write()
    except raster.Missing as missing:
        print(f"make_figures: {missing}. Nothing is written.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
