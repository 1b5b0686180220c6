"""What of a Chinese text is English still."""

from __future__ import annotations

import re

# Code, and what stands in quotation marks or brackets: values, examples, an exception's words.
_NO_PROSE = re.compile(r"`[^`]*`|'[^']*'|\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}|(?<=抛出了 ).*")
_WORDS = re.compile(r"[a-z]{2,} [a-z]{2,}")


def english_left(text: str) -> list[str]:
    """The places where two English words follow each other."""
    return _WORDS.findall(_NO_PROSE.sub("", text))
