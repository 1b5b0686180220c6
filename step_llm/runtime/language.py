"""The language in which the course speaks to its reader: English, or Chinese by tables.

What is said stands in English where it is said. Beside it lies a table, a JSON file of English
texts and their Chinese, with {} where the code puts a value in. So the code stays plain, and what
no table knows is said in English. Exceptions are English always.
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path

__all__ = ["in_chinese", "language", "say"]

_VARIABLE = "STEP_LLM_LANGUAGE"
# Where a value in Latin letters meets Chinese, a space stands between.
_SEAM = re.compile(r"(?<=[A-Za-z0-9_)\]])(?=[\u4e00-\u9fff])")


def language() -> str:
    """ "en" or "zh": what STEP_LLM_LANGUAGE says, else the edition whose notebook runs here.

    Jupyter starts a kernel in its notebook's folder; that of the Chinese edition is called zh.

    Raises:
        ValueError: the variable names another language.
    """
    chosen = os.environ.get(_VARIABLE)
    if chosen:
        if chosen not in ("en", "zh"):
            raise ValueError(f"{_VARIABLE} is {chosen!r}; expected en or zh")
        return chosen
    try:
        folder = Path.cwd()
    except OSError:  # somebody has removed it
        return "en"
    edition = folder.parent if folder.name == "solutions" else folder
    return "zh" if edition.name == "zh" else "en"


def say(text: str, *tables: Path) -> str:
    """The text in the reader's language.

    Args:
        text: in English.
        tables: JSON files that may know it.
    """
    return in_chinese(text, *tables) if language() == "zh" else text


def in_chinese(text: str, *tables: Path) -> str:
    """The Chinese of a text; the text itself where no table knows it.

    A value may be a text, too, as the name in "{} has shape {}". And a text may stand behind
    another, as what is wrong behind the case in which it is.
    """
    for pattern, chinese in _entries(tables):
        found = pattern.fullmatch(text)
        if found:
            before, *values = (value and in_chinese(value, *tables) for value in found.groups())
            return before + _SEAM.sub(" ", chinese.format(*values) if values else chinese)
    return text


@cache
def _entries(tables):
    """Pairs of a pattern, whose first group is what stands before the text, and the Chinese.

    Texts with the most words of their own come first, so that none is taken for "{} is {}".
    """
    known = {}
    for table in tables:
        known.update(json.loads(table.read_text(encoding="utf-8")) if table.exists() else {})
    texts = sorted(known, key=lambda text: len(text.replace("{}", "")), reverse=True)
    patterns = {text: "(.*?)".join(map(re.escape, text.split("{}"))) for text in texts}
    alone = [(f"(){patterns[text]}", known[text]) for text in texts]
    # What begins with a value has matched with all that stands before it; a single word is a name.
    behind = [text for text in texts if text[:2] != "{}" and " " in text]
    behind = [(f"(.+?){patterns[text]}", known[text]) for text in behind]
    return [(re.compile(pattern, re.DOTALL), chinese) for pattern, chinese in alone + behind]
