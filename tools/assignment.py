"""A lesson to hand out, and the same with answers: `make assignment LESSON=04` calls this.

    python tools/assignment.py 04                    build/assignments/04_transformer.ipynb
    python tools/assignment.py 04 --language zh      the Chinese edition

The notebook to hand out is the lesson without outputs; the cells for answers have the tag "answer".
Diagrams are inside, and links to other notebooks, which a student may not have, become plain words.
Beside it, in solved/, lies its twin: the answers of notebooks/solutions in the cells for answers.
If an answer needs more of the solutions than imports, the solutions notebook itself is the twin.
"""

from __future__ import annotations

import argparse
import ast
import base64
import builtins
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from diagrams import in_markdown  # noqa: E402

import notebooks as stored  # noqa: E402

TAG = "answer"
_CHECK = re.compile(r'^exercises\.check\(\s*"([^"]+)"', re.MULTILINE)
_NOTEBOOK = re.compile(r"\[([^\]]*)\]\([^()\s]*\.ipynb(?:#[^()\s]*)?\)")
_FIGURE = re.compile(r"\]\((figures/([\w.-]+\.png))\)")


def lesson_path(lesson: str, language: str = "en") -> Path:
    """The notebook of a lesson, "04", "4" or "05b".

    Raises:
        ValueError: there is no such lesson in this language.
    """
    folder = ROOT / "notebooks" / ("" if language == "en" else language)
    for path in sorted(folder.glob("*_*.ipynb")):
        if path.name.partition("_")[0].lstrip("0") == lesson.lstrip("0"):
            return path
    raise ValueError(f"there is no lesson {lesson!r} in {folder.relative_to(ROOT)}/")


def exercise_of(cell) -> str | None:
    """The number of the exercise that a cell is for."""
    found = _CHECK.search(cell.source) if cell.cell_type == "code" else None
    return found and found[1]


def hand_out(path: Path):
    """The lesson without outputs, in one file, its cells for answers marked."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _NOTEBOOK.sub(r"\1", cell.source)
            _embed(cell, path.parent)
            continue
        cell.outputs, cell.execution_count = [], None
        if exercise_of(cell):
            cell.metadata["tags"] = sorted({*cell.metadata.get("tags", ()), TAG})
    return notebook


def _embed(cell, folder):
    """The diagrams of a cell as its attachments; a missing one stays a link.

    JupyterLab shows no attached SVG, and VS Code no attachment in HTML: so they are PNGs, in
    Markdown, where a page makes them as wide as there is room.
    """
    cell.source = in_markdown(cell.source, "png")
    for link, name in _FIGURE.findall(cell.source):
        places = (folder / link, ROOT / "notebooks" / link)
        figure = next((place for place in places if place.exists()), None)
        if figure is not None:
            data = base64.b64encode(figure.read_bytes()).decode("ascii")
            cell.setdefault("attachments", {})[name] = {"image/png": data}
            cell.source = cell.source.replace(f"]({link})", f"](attachment:{name})")


def solve(handed_out, solutions):
    """The notebook with the solutions' answers in it, or None where they need more than imports."""
    answers = {exercise_of(cell): cell.source for cell in solutions.cells if exercise_of(cell)}
    imports = _imports(solutions)
    solved, known = nbformat.from_dict(handed_out), set(dir(builtins))
    for cell in solved.cells:
        if cell.cell_type != "code":
            continue
        number = exercise_of(cell)
        if number:
            if number not in answers:
                return None
            missing = sorted(_used(answers[number]) - known - _defined(answers[number]))
            if not imports.keys() >= set(missing):
                return None
            lines = dict.fromkeys(imports[name] for name in missing)
            cell.source = "\n".join([*lines, *([""] if lines else []), answers[number]])
        known |= _defined(cell.source)
    return solved


def _imports(notebook):
    """Name to the statement that imports it."""
    found = {}
    for cell in notebook.cells:
        for node in ast.walk(_tree(cell.source)) if cell.cell_type == "code" else ():
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for alias in node.names:
                    one = type(node)(**{**vars(node), "names": [alias]})
                    found[(alias.asname or alias.name).partition(".")[0]] = ast.unparse(one)
    return found


def _tree(source):
    """Lines that are IPython's, not Python's, define nothing here."""
    return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE))


def _used(source):
    names = (node for node in ast.walk(_tree(source)) if isinstance(node, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Load)}


def _defined(source):
    """What a cell binds, somewhere in it."""
    found = set()
    for node in ast.walk(_tree(source)):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found


def write(lesson: str, language: str, output: Path) -> tuple[Path, Path, bool]:
    """Write both notebooks: to hand out, and solved; and whether the answers stand in the lesson.

    Raises:
        ValueError: there is no such lesson.
    """
    path = lesson_path(lesson, language)
    solutions = nbformat.read(path.parent / "solutions" / path.name, as_version=4)
    handed_out = hand_out(path)
    solved = solve(handed_out, solutions)
    folder = output if language == "en" else output / language
    (folder / "solved").mkdir(parents=True, exist_ok=True)
    stored.write(handed_out, folder / path.name)
    stored.write(solutions if solved is None else solved, folder / "solved" / path.name)
    return folder / path.name, folder / "solved" / path.name, solved is not None


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lesson", help='such as "04"')
    parser.add_argument("--language", choices=("en", "zh"), default="en")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "assignments")
    options = parser.parse_args(arguments)
    try:
        handed_out, solved, is_filled = write(options.lesson, options.language, options.output)
    except ValueError as error:
        print(f"assignment: {error}", file=sys.stderr)
        return 1
    print(f"to hand out: {handed_out}")
    print(f"solved:      {solved}{'' if is_filled else ' (the solutions notebook)'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
