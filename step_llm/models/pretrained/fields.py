"""What the fields of a JSON file must hold: type and range, in one table for each kind of file.

Whoever wrote the file decides what stands in it; behind ``read_fields`` nothing has to ask again.
"""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Callable, NamedTuple

from step_llm.models.weights import CheckpointError, read_json

__all__ = [
    "Field",
    "checked_fields",
    "classes",
    "depth",
    "epsilon",
    "flag",
    "index",
    "nothing",
    "number",
    "object_",
    "objects",
    "one_of",
    "only",
    "read_fields",
    "read_optional",
    "share",
    "shown",
    "size",
    "text",
    "texts",
    "token",
    "token_id",
    "tokens",
]

# Values in errors: a file may hold very long ones.
_shortened = reprlib.Repr()
_shortened.maxstring = _shortened.maxother = 80
shown = _shortened.repr

# The default of a field that must be there.
_REQUIRED = object()


class Field(NamedTuple):
    """What one field must hold.

    Args:
        types: the types that it may have in Python.
        fits: whether a value of such a type is in range.
        expected: the same in words, for the error.
        default: the value where the field is missing.
        is_nullable: whether null may stand there; it is read as None.
        is_depth: it says how many layers there are, each with tensors of its own.
    """

    types: tuple
    fits: Callable
    expected: str
    default: object = _REQUIRED
    is_nullable: bool = False
    is_depth: bool = False

    def value(self, name: str, fields: dict):
        """The field's value, or its default.

        Raises:
            ValueError: it is missing, of another type or out of range.
        """
        expected = self.expected + (", or null" if self.is_nullable else "")
        if name not in fields:
            if self.default is _REQUIRED:
                raise ValueError(f"{name} is missing; expected {expected}")
            return self.default
        value = fields[name]
        if value is None and self.is_nullable:
            return None
        # Not isinstance: to Python, true and false are whole numbers as well.
        if type(value) not in self.types or not self.fits(value):
            raise ValueError(f"{name} is {shown(value)}; expected {expected}")
        return value


def read_fields(fields: dict, table: dict[str, Field]) -> dict:
    """The values of all fields of a table, by name; whatever else the file says is left out.

    Raises:
        ValueError: a field that is missing, of another type or out of range.
    """
    return {name: field.value(name, fields) for name, field in table.items()}


def checked_fields(path: Path, fields: dict, table: dict[str, Field]) -> dict:
    """As ``read_fields``; what is wrong is a CheckpointError that names the file."""
    try:
        return read_fields(fields, table)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_optional(path: Path) -> dict:
    """A JSON file's fields; none where there is no such file.

    Raises:
        CheckpointError: a file that cannot be read or holds no object.
    """
    if not path.is_file():
        return {}
    try:
        return read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error


def size(default=_REQUIRED):
    """A number of things; with None as the default, null may stand there."""
    return Field((int,), _is_size, "a whole number of at least 1", default, default is None)


def depth():
    """A number of layers."""
    return size()._replace(is_depth=True)


def share(default):
    """A dropout."""
    return Field((int, float), lambda value: 0 <= value < 1, "a number in [0, 1)", default)


def epsilon(default):
    """The ε of a norm."""
    return Field((int, float), lambda value: 0 < value < 1, "a number in (0, 1)", default)


def number():
    """A number above 0; None where it is missing."""
    return Field((int, float), lambda value: 0 < value < 1e12, "a number above 0", None, True)


def flag():
    """A setting that may be missing, and then is None."""
    return Field((bool,), _is_anything, "true or false", None, True)


def text(is_required=False):
    """Any text; None where it may be missing, and is."""
    default = _REQUIRED if is_required else None
    return Field((str,), _is_anything, "a text", default, not is_required)


def texts():
    """A list of texts; None where it is missing."""
    return Field((list,), _is_texts, "a list of texts", None, True)


def token():
    """A token: its text, or an object that holds the text as "content"."""
    return Field(
        (str, dict), _is_token, 'a text, or an object with a text as "content"', None, True
    )


def tokens():
    """A list of tokens, each as ``token`` has it; None where it is missing."""
    return Field((list,), _is_tokens, "a list of tokens", None, True)


def token_id(default):
    """An id, or −1 or null for none."""
    return Field((int,), lambda value: value >= -1, "a token id", default, True)


def classes():
    """The names of the classes that a head tells apart."""
    return Field((dict,), bool, "an object that names at least one class", None, True)


def index():
    """A place counted from 0."""
    return Field((int,), lambda value: value >= 0, "a whole number of at least 0")


def one_of(choices):
    """One of a few texts."""
    return Field((str,), lambda value: value in choices, f"one of {', '.join(choices)}")


def only(value):
    """A setting of which this library knows one way; so it is where the field is missing."""
    return Field(
        (type(value),), lambda given: given == value, f"{value!r}: only this is supported", value
    )


def nothing():
    """A list that this library can follow only where it is empty."""
    return Field(
        (list,), lambda value: not value, "an empty list: only this is supported", None, True
    )


def object_():
    """An object, whatever is in it; None where it is missing."""
    return Field((dict,), _is_anything, "an object", None, True)


def objects():
    """An object of objects; None where it is missing."""
    return Field((dict,), _is_objects, "an object of objects", None, True)


def _is_anything(_):
    return True


def _is_size(value):
    return value >= 1


def _is_texts(value):
    return all(isinstance(one, str) for one in value)


def _is_token(value):
    return isinstance(value, str) or isinstance(value.get("content"), str)


def _is_tokens(value):
    return all(isinstance(one, (str, dict)) and _is_token(one) for one in value)


def _is_objects(value):
    return all(isinstance(one, dict) for one in value.values())
