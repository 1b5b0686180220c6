"""What is printed: progress in the reader's language, and of a text only what may be printed.

A terminal obeys control characters, and who wrote a text is not known.
"""

from __future__ import annotations

import re
from pathlib import Path

from step_llm.data.multi30k import CHINESE
from step_llm.runtime.language import say

__all__ = ["one_line", "tell", "visible"]

_CHINESE = Path(__file__).with_name("zh.json"), CHINESE

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_LONGEST = 1500  # characters of a message; a file may hold names of a million


def visible(text: str) -> str:
    """A text with its control characters, but for line ends and tabs, as Python writes them."""
    return _CONTROL.sub(lambda found: _escaped(found.group()), text)


def tell(text: object) -> None:
    """Print how far a command has come, in the reader's language. (Results and errors: English.)"""
    print(say(str(text), *_CHINESE), flush=True)


def one_line(text: str) -> str:
    """A message as one line of a bearable length, of what can be printed alone."""
    line = " ".join(text.split())
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST - 300]} … {line[-300:]}"
    return "".join(c if c.isprintable() else _escaped(c) for c in line)


def _escaped(character):
    return character.encode("unicode_escape", "surrogatepass").decode()
