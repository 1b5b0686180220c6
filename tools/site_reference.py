"""The library's reference: a page for each room, from the docstrings, by reading the source.

Nothing is imported, so it needs no MindSpore. Public is what a module names in ``__all__``, or,
without one, what has a docstring and no leading underscore.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "runtime", "nn", "models", "data", "evaluation", "decoding", "training", "course", "cli",
)  # fmt: skip
TITLES = {"en": "Reference of the library", "zh": "库的参考手册"}
NOTES = {
    "en": "A page for each room, from the docstrings.",
    "zh": "每个部分一页，内容取自源代码中的文档字符串（英文）。",
}


def write_reference(folder: Path, language: str) -> None:
    """The pages as reStructuredText."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        *_title(TITLES[language], "="),
        NOTES[language],
        "",
        ".. toctree::",
        "   :maxdepth: 1",
        "",
    ]
    lines += [f"   {room}" for room in ROOMS]
    (folder / "index.rst").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for room in ROOMS:
        text = "\n".join(_room(room)) + "\n"
        (folder / f"{room}.rst").write_text(text, encoding="utf-8")


def _title(words, line):
    return [words, line * (2 * len(words)), ""]


def _room(room):
    path = ROOT / "step_llm" / room
    yield from _title(f"step_llm.{room}", "=")
    for module in sorted(path.rglob("*.py"), key=lambda file: (file.parent, file.stem)):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        parts = module.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if parts[-1].startswith("_") and parts[-1] != "__init__":
            continue
        members = list(_public(tree))
        documentation = _documentation(tree)
        if not members and not documentation:
            continue
        if name != f"step_llm.{room}":
            yield from _title(name, "-")
        yield from ["", f".. py:module:: {name}", "   :no-index:", "", *documentation, ""]
        for member in members:
            yield from _member(member, name)


def _public(tree):
    named = next(
        (
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        ),
        None,
    )
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        is_public = not node.name.startswith("_") and ast.get_docstring(node)
        if node.name in named if named is not None else is_public:
            yield node


def _member(node, module, indent="", owner=""):
    """A directive for a function, a method or a class, and what it holds."""
    is_class = isinstance(node, ast.ClassDef)
    decorators = {ast.unparse(one).split("(")[0] for one in node.decorator_list}
    kind = "class" if is_class else "method" if owner else "function"
    options = [f":module: {module}"] if not owner else []
    if decorators & {"property", "cached_property", "functools.cached_property"}:
        kind = "property"
    options += [f":{name}:" for name in ("classmethod", "staticmethod") if name in decorators]
    signature = node.name + ("" if kind == "property" else _signature(node, owner))
    yield f"{indent}.. py:{kind}:: {signature}"
    yield from (f"{indent}   {option}" for option in options)
    yield ""
    inner = indent + "   "
    yield from (inner + line if line else "" for line in _documentation(node))
    yield ""
    if is_class:
        for child in node.body:
            if (
                isinstance(child, ast.FunctionDef)
                and not child.name.startswith("_")
                and ast.get_docstring(child)
            ):
                yield from _member(child, module, inner, node.name)


def _signature(node, owner):
    """The arguments of a function; of a class those of its ``__init__``, or its fields."""
    if isinstance(node, ast.FunctionDef):
        arguments, answer = node.args, node.returns
    else:
        makers = [one for one in node.body if getattr(one, "name", "") == "__init__"]
        if not makers:
            fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
            fields = [one for one in fields if not one.target.id.startswith("_")]
            return f"({', '.join(ast.unparse(one) for one in fields)})" if fields else "()"
        arguments, answer, owner = makers[0].args, None, node.name
    text = ast.unparse(arguments)
    decorators = {ast.unparse(one) for one in node.decorator_list}
    if owner and "staticmethod" not in decorators:
        text = re.sub(r"^(self|cls)(, |$)", "", text)
    return f"({text})" + (f" -> {ast.unparse(answer)}" if answer else "")


def _documentation(node):
    """The lines of a docstring as reStructuredText.

    In these docstrings a star, a bar and a final underscore are what they are, never markup, and an
    indented paragraph is code.
    """
    from sphinx.ext.napoleon import Config, GoogleDocstring

    text = ast.get_docstring(node)
    if not text:
        return []
    parts = re.split(r"(``[^`]*``)", text)
    parts[::2] = [re.sub(r"(?<!\\)([*|]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
    text = re.sub(r"(\n(?!\w+:\n)[^\s\n].*\n)\n(?=    )", r"\1\n::\n\n", "\n" + "".join(parts))
    config = Config(napoleon_use_param=False, napoleon_use_rtype=False)
    # Napoleon gives an error's text of several lines as one line with breaks in it.
    lines = GoogleDocstring(text.strip("\n"), config).lines()
    return [re.sub(r"\s*\n\s*", " ", line) for line in lines]
