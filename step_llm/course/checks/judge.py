"""What the checks of all lessons share: calling an answer, reading it, saying what is wrong."""

from __future__ import annotations

import ast
import inspect
import linecache
import re
import textwrap
import traceback
from collections.abc import Iterator

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

__all__ = [
    "NotYet",
    "Wrong",
    "as_array",
    "call",
    "call_class",
    "described",
    "expect_close",
    "expect_gradients",
    "expect_layer_output",
    "expect_number",
    "expect_parts",
    "expect_shape",
    "float_tensor",
    "given",
    "is_unwritten",
    "recognise",
    "softmax",
]


class NotYet(Exception):
    """The answer is still empty."""


class Wrong(Exception):
    """What is wrong with the answer."""


def given(value):
    """The value, unless nothing has been written in its place."""
    if value is None or value is ...:
        raise NotYet
    return value


def call(function, *arguments, **options):
    """Call the reader's function; its exceptions become words about the answer."""
    if not callable(function):
        raise Wrong(f"expected a function, got {type(function).__name__}")
    try:
        value = function(*arguments, **options)
        _wait_for(value)
    except NotImplementedError:
        raise NotYet from None
    except Exception as error:
        raise Wrong(f"your code raised {described(error)}{_place(error)}") from None
    if value is None and _is_written(function):
        raise Wrong(
            "your function returned None: return the result (a method like list.sort() gives none)"
        )
    return given(value)


def _is_written(function):
    """Whether no `...` is left in a function, as in the cell that the reader was given."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False
    return not any(isinstance(node, ast.Constant) and node.value is ... for node in ast.walk(tree))


def _place(error):
    """The last line of the reader's own that led to an exception, if it stands in a notebook, and
    the shapes of what it names."""
    frames = [
        frame for frame in traceback.walk_tb(error.__traceback__)
        if frame[0].f_globals.get("__name__") == "__main__"
    ]  # fmt: skip
    if not frames:
        return ""
    frame, number = frames[-1]
    line = linecache.getline(frame.f_code.co_filename, number).strip()
    named = ((name, frame.f_locals.get(name)) for name in dict.fromkeys(re.findall(r"\w+", line)))
    shapes = [f"{name} {value.shape}" for name, value in named if hasattr(value, "shape")]
    shapes = f"; {', '.join(shapes)}" if shapes else ""
    return f" (line {number} of its cell{': ' if line else ''}{line}{shapes})"


def described(error):
    """An exception in one line."""
    # The lines after the first are MindSpore's own call stack.
    message = str(error).strip().split("\n")[0]
    if isinstance(error, OSError) and message == "source code not available":
        # What MindSpore 2.10 has to say is lost: it looks for the file of a notebook's class.
        message += "; in a notebook MindSpore says this of a compiled method without a return"
    return f"{type(error).__name__}: {message}"


def is_unwritten(function):
    """Whether the body of a function is `...` alone: such a method cannot be compiled."""

    def unwritten(): ...

    code = function.__code__
    return code.co_code == unwritten.__code__.co_code and code.co_consts[:1] == (None,)


def call_class(cell_class, *arguments):
    """Make a cell of the reader's class, as ``call`` calls a function."""
    cell = call(cell_class, *arguments)
    if not isinstance(cell, nn.Cell):
        raise Wrong(f"expected a subclass of nn.Cell; calling it gave a {type(cell).__name__}")
    return cell


def _wait_for(value):
    """MindSpore computes later and raises later: wait here, where the error is the answer's."""
    if isinstance(value, Tensor):
        value.asnumpy()
    elif isinstance(value, (tuple, list)):
        for part in value:
            _wait_for(part)
    elif isinstance(value, dict):
        _wait_for(list(value.values()))


def as_array(value, name="the answer"):
    """A Tensor, a number, or lists and zips of them, as a NumPy array."""
    if isinstance(value, Iterator):
        value = list(value)
    if isinstance(value, (tuple, list)):
        parts = [as_array(given(part), f"part {n} of {name}") for n, part in enumerate(value, 1)]
        shapes = [part.shape for part in parts]
        if len(set(shapes)) > 1:
            listed = ", ".join(map(str, shapes[:4])) + (", …" if len(shapes) > 4 else "")
            raise Wrong(
                f"{name} is a {type(value).__name__} of {len(parts)} things of shapes {listed}; "
                "expected one Tensor or array"
            )
        value = np.stack(parts) if parts else np.zeros(0)
    # asarray on both: a subclass could bring its own idea of what is equal.
    array = np.asarray(value.asnumpy() if isinstance(value, Tensor) else value)
    if array.dtype.kind not in "biuf":
        raise Wrong(f"{name} is {type(value).__name__}; expected numbers or a Tensor")
    return array


def expect_shape(value, shape, name="the answer"):
    """The value as an array of this shape."""
    array = as_array(value, name)
    if array.shape != tuple(shape):
        raise Wrong(f"{name} has shape {array.shape}; expected {tuple(shape)}")
    return array


def expect_number(value, name="your number"):
    """The value as one number of Python's."""
    return float(expect_shape(value, (), name))


def expect_parts(value, count, words):
    """The parts of a value that holds ``count`` of them; ``words`` say which they should be."""
    if isinstance(value, Iterator):
        value = list(value)
    if isinstance(value, (np.ndarray, Tensor)) and value.ndim:
        value = list(value)
    if not isinstance(value, (tuple, list)) or len(value) != count:
        raise Wrong(words)
    return [given(part) for part in value]


def expect_close(value, expected, hint, name="the answer", tolerance=1e-4):
    """Compare shape and values; the hint says what to look at."""
    expected = as_array(expected)
    array = expect_shape(value, expected.shape, name)
    if not np.isfinite(array).all():
        raise Wrong(f"{name} holds values that are not finite. {hint}")
    if not np.allclose(array, expected, rtol=tolerance, atol=tolerance):
        raise Wrong(f"{name} is off by up to {np.abs(array - expected).max():.3g}. {hint}")


def recognise(got, *mistakes, case="", atol=1e-8):
    """Say what the reader did, where the answer is what a known mistake gives.

    Args:
        got: the answer.
        mistakes: pairs of the values that a mistake gives, and of words about it.
        case: what the answer was asked for, before the words.
        atol: as of ``numpy.allclose``.
    """
    for values, words in mistakes:
        if np.allclose(got, values, atol=atol):
            raise Wrong(case + words)


def expect_layer_output(got, expected, mistakes, otherwise):
    """Compare what a reader's layer gives; ``otherwise`` are the words where no mistake is known.

    Args:
        got, expected: arrays of one shape.
        mistakes: as for ``recognise``; an iterator, so that none is computed for a right answer.
        otherwise: the words before the largest difference.
    """
    if np.allclose(got, expected, atol=5e-3):
        return
    if not np.isfinite(got).all():
        raise Wrong("the output has values that are not finite")
    recognise(got, *mistakes, atol=5e-3)
    raise Wrong(f"{otherwise} by up to {np.abs(got - expected).max():.2g}")


def expect_gradients(cell, x, factors, parameters, without=()):
    """Each parameter of a reader's layer must have a part in the output.

    Args:
        cell: the layer.
        x: its input.
        factors: an array of the output's shape, to sum it with.
        parameters: pairs of a name and a Parameter.
        without: names of those that may have none.
    """

    def total(x):
        return (cell(x) * float_tensor(factors)).sum()

    gradients = call(ms.value_and_grad(total, None, [p for _, p in parameters]), x)[1]
    for (name, _), gradient in zip(parameters, gradients):
        if name not in without and np.abs(gradient.asnumpy()).max() < 1e-6:
            raise Wrong(f"{name} has no gradient: training would never change it")


def float_tensor(array):
    """An array of Python's floats as MindSpore computes with it, in float32."""
    return Tensor(np.asarray(array, np.float32))


def softmax(scores):
    """Over the last axis."""
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)
