"""What may be printed: a terminal obeys control characters, and who wrote a text is not known."""

from __future__ import annotations

import re

__all__ = ["one_line", "visible"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_LONGEST = 1500  # characters of a message; a file may hold names of a million


def visible(text: str) -> str:
    """A text with its control characters, but for line ends and tabs, as Python writes them."""
    return _CONTROL.sub(lambda found: _escaped(found.group()), text)


def one_line(text: str) -> str:
    """A message as one line of a bearable length, of what can be printed alone."""
    line = " ".join(text.split())
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST - 300]} … {line[-300:]}"
    return "".join(c if c.isprintable() else _escaped(c) for c in line)


def _escaped(character):
    return character.encode("unicode_escape", "surrogatepass").decode()
