"""The process that fills in chat templates: ``python -m step_llm.models.template_process``.

A template is a program, and whoever published the model wrote it. Jinja's sandbox keeps it from
Python's insides, but not from a loop without end or a text of terabytes; so it runs here, where it
has little memory and can be stopped. ``ChatTemplate`` starts this process and asks it.

It says that it has begun. Then it reads JSON, a line each: first the template, then one request
after another; and answers each with a line, an object with "text" or "error".
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sys

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["Sandbox", "serve"]

_MEMORY = 2**30  # bytes of addresses; Python and Jinja take about a tenth
_MOST = 2**22  # characters of a filled-in template


class _Generation(Extension):
    """Templates mark with {% generation %} what the assistant says; it changes nothing."""

    tags = frozenset({"generation"})

    def parse(self, parser):
        """The statements inside, as if no mark stood around them."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja as chat templates expect it, see ``chat_template_utils.py`` of transformers."""

    def __init__(self):
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, loopcontrols],
        )
        self.filters["tojson"] = _to_json
        self.globals["raise_exception"] = _raise
        self.globals["strftime_now"] = _now

    def unsafe_undefined(self, obj, attribute):
        """Not Jinja's silent nothing: who reads Python's insides should hear of it."""
        raise SecurityError(
            f"it reads the attribute {attribute!r} of a {type(obj).__name__}, which is not allowed"
        )


def _raise(message):
    raise TemplateError(message)


def _now(form):
    return datetime.datetime.now().strftime(form)


def _to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _filled(template, values):
    pieces, length = [], 0
    for piece in template.generate(**values):
        pieces.append(piece)
        length += len(piece)
        if length > _MOST:
            raise ValueError(f"it writes more than {_MOST} characters")
    return "".join(pieces)


def _answer(function):
    """What the function returns, or what is wrong, as an object."""
    try:
        return {"text": function()}
    except RecursionError:
        return {"error": "it is nested too deeply, or calls itself without end"}
    except MemoryError:
        return {"error": "it takes too much memory"}
    except Exception as error:  # whatever the template's own mistake leads to
        return {"error": f"{type(error).__name__}: {error}"[:1000]}


def serve(lines, out):
    """Say that it begins, and answer each line of ``lines``, with a line on ``out`` each."""
    compiled = {}
    print(json.dumps({"text": ""}), file=out, flush=True)

    def compile_():
        compiled["template"] = Sandbox().from_string(json.loads(line))
        return ""

    for line in lines:
        if compiled:
            answer = _answer(lambda line=line: _filled(compiled["template"], json.loads(line)))
        else:
            answer = _answer(compile_)
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    serve(sys.stdin, sys.stdout)
