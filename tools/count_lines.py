"""Lines of code by room and module, without blank lines, comments and docstrings.

python tools/count_lines.py              every room
python tools/count_lines.py translator   what a translator is made of, from text to BLEU
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "step_llm"
# Model, training, data and decoding; scores, the device and commands are not.
ROOMS = ("nn", "models", "data", "decoding", "training")
# What training a translator begins with. Its forms are imported by the device's name.
ROOTS = ("models.transformer", "training.translation", "nn.forms.cpu")
# It names every model that a checkpoint can hold, and so imports them all.
REGISTRY = "models.registry"


def code_lines(path: Path) -> int:
    """Lines that hold code; a statement over three lines counts three."""
    source = path.read_text(encoding="utf-8")
    lines = {n for n, line in enumerate(source.splitlines(), 1) if line.strip()}
    lines -= {n for n, line in enumerate(source.splitlines(), 1) if line.strip().startswith("#")}
    for node in ast.walk(ast.parse(source)):
        is_home = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if is_home and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def translator() -> set[Path]:
    """The modules that a translator imports, directly or by way of others, in these rooms."""
    found, waiting = set(), [*ROOTS]
    while waiting:
        module = waiting.pop()
        path = PACKAGE.joinpath(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path in found or module.split(".")[0] not in ROOMS or not path.is_file():
            continue
        found.add(path)
        if module != REGISTRY:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("step_llm."):
                    imported = node.module.removeprefix("step_llm.")
                    # What is imported may be a module itself.
                    waiting += [imported, *(f"{imported}.{alias.name}" for alias in node.names)]
    return found


def shares(paths) -> dict[str, int]:
    """How many of the lines name what is imported or offered, declare arguments, or raise."""
    counts = {"imports and __all__": 0, "signatures": 0, "errors": 0}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            lines = getattr(node, "end_lineno", 0) - getattr(node, "lineno", 0) + 1
            is_list = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            if is_list or isinstance(node, (ast.Import, ast.ImportFrom)):
                counts["imports and __all__"] += lines
            elif isinstance(node, ast.FunctionDef):
                counts["signatures"] += node.body[0].lineno - node.lineno
            elif isinstance(node, ast.Raise):
                counts["errors"] += lines
    return counts


def main() -> None:
    if sys.argv[1:] == ["translator"]:
        paths = translator()
    else:
        paths = set(PACKAGE.rglob("*.py"))
    total = 0
    for path in sorted(paths):
        lines = code_lines(path)
        total += lines
        print(f"{lines:5} {path.relative_to(PACKAGE)}")
    print(f"{total:5} together, of these", end=" ")
    print(", ".join(f"{lines} {kind}" for kind, lines in shares(paths).items()))


if __name__ == "__main__":
    main()
