"""Draw the diagrams of the lessons in both languages, or compare the files with what they would be.

    python notebooks/figures/make_figures.py            write notebooks/[zh/]figures/*.svg
    python notebooks/figures/make_figures.py --check    say which files differ; exit status 1

A module lesson_NN.py holds the diagrams of one lesson: FIGURES maps the name of a file, without
.svg, to the function that returns its Canvas. Its words are English; labels_zh.py has the Chinese.
"""

from __future__ import annotations

import argparse
import importlib
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


def differences() -> list[str]:
    """What is missing, out of date, or drawn by nothing: paths below notebooks/."""
    wanted, found = {}, {}
    for language, folder in FOLDERS.items():
        wanted |= {folder / name: text for name, text in drawings(language).items()}
        found |= {path: path.read_text(encoding="utf-8") for path in folder.glob("*.svg")}
    return sorted(
        path.relative_to(NOTEBOOKS).as_posix()
        for path in wanted | found
        if wanted.get(path) != found.get(path)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    if parser.parse_args().check:
        names = differences()
        print("\n".join(f"{name} is not what is drawn now" for name in names) or "all as drawn")
        return 1 if names else 0
    for language, folder in FOLDERS.items():
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in drawings(language).items():
            (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
