"""Draw the diagrams of the lessons, or compare the files with what would be drawn.

    python notebooks/figures/make_figures.py            write notebooks/figures/*.svg
    python notebooks/figures/make_figures.py --check    say which files differ; exit status 1

A module lesson_NN.py holds the diagrams of one lesson: FIGURES maps the name of a file, without
.svg, to the function that returns its Canvas.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def drawings() -> dict[str, str]:
    """File name to SVG text, for every diagram of every lesson."""
    sys.path.insert(0, str(HERE))
    try:
        modules = [importlib.import_module(path.stem) for path in sorted(HERE.glob("lesson_*.py"))]
    finally:
        sys.path.remove(str(HERE))
    return {
        f"{name}.svg": draw().svg() for module in modules for name, draw in module.FIGURES.items()
    }


def differences() -> list[str]:
    """What is missing, out of date, or drawn by nothing."""
    wanted = drawings()
    found = {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("*.svg")}
    return sorted(name for name in wanted | found if wanted.get(name) != found.get(name))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    if parser.parse_args().check:
        names = differences()
        print("\n".join(f"{name} is not what is drawn now" for name in names) or "all as drawn")
        return 1 if names else 0
    for name, text in drawings().items():
        (HERE / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
