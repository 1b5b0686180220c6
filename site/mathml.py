"""Formulas as MathML, made while the site is built: no script draws them in the browser."""

from __future__ import annotations

import html
import re

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

# What latex2mathml does not know, in words that it knows.
_INSTEAD = ((re.compile(r"\\arg(?![a-zA-Z])"), r"\\operatorname{arg}"),)
# Browsers know no mathvariant but "normal": letters of a typewriter are characters of their own.
_TYPEWRITER = re.compile(r'<mi mathvariant="monospace">([a-zA-Z])</mi>')


def mathml(text: str, display: str) -> str:
    """LaTeX as MathML; display is "inline" or "block".

    Raises:
        ValueError: a command that is not known.
    """
    latex = text
    for pattern, words in _INSTEAD:
        latex = pattern.sub(words, latex)
    made = _TYPEWRITER.sub(_typewriter, convert(latex, display=display))
    # A line over letters: of the characters for it, this one stretches.
    made = made.replace('<mo accent="true">&#x02015;</mo>', '<mo accent="true">&#x0203E;</mo>')
    left = re.search(r"\\[a-zA-Z]+", html.unescape(re.sub(r"<[^>]+>", " ", made)))
    if left:
        raise ValueError(f"latex2mathml does not know {left.group()}, in {text}")
    return made.replace("<math ", f'<math alttext="{html.escape(text)}" ', 1)


def _typewriter(match):
    letter = match.group(1)
    first = 0x1D670 - ord("A") if letter.isupper() else 0x1D68A - ord("a")
    return f"<mi>{chr(first + ord(letter))}</mi>"


def inline(self, node):
    self.body.append(f'<span class="formula">{mathml(node.astext(), "inline")}</span>')
    raise SkipNode


def block(self, node):
    made = mathml(node.astext(), "block")
    self.body.append(f'<div class="formula" tabindex="0">{made}</div>')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
