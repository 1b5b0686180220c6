"""Lines of code by room and module, without blank lines, comments and docstrings.

python tools/count_lines.py              every room
python tools/count_lines.py translator   what a translator is made of, from text to BLEU
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "step_llm"
# Model, training, data and decoding of the translator; other models, devices and commands are not.
TRANSLATOR = (
    "nn/*.py", "nn/forms/cpu.py", "nn/forms/__init__.py", "models/config.py",
    "models/transformer.py", "models/weights.py", "data/corpus.py", "data/vocabulary.py",
    "data/batches.py", "training/*.py", "decoding/decoders.py", "decoding/search.py",
    "decoding/translator.py",
)  # fmt: skip
# What only other models need.
OTHERS = (
    "nn/additive_attention.py", "nn/lora.py", "nn/recurrent.py", "nn/rms_norm.py", "nn/swiglu.py",
    "training/recipes.py",
)  # fmt: skip


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


def main() -> None:
    if sys.argv[1:] == ["translator"]:
        paths = {path for pattern in TRANSLATOR for path in PACKAGE.glob(pattern)}
        paths -= {PACKAGE / name for name in OTHERS}
    else:
        paths = set(PACKAGE.rglob("*.py"))
    total = 0
    for path in sorted(paths):
        lines = code_lines(path)
        total += lines
        print(f"{lines:5} {path.relative_to(PACKAGE)}")
    print(f"{total:5} together")


if __name__ == "__main__":
    main()
