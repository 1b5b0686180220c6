"""The files of a checkpoint: tensors and JSON, read with errors that name the file.

``training.checkpoint`` says what a checkpoint is; models that others have published are read with
the same functions.
"""

from __future__ import annotations

import json
import os

from mindspore import Tensor
from safetensors import SafetensorError
from safetensors.numpy import load_file

__all__ = [
    "CheckpointError",
    "flush",
    "match_tensors",
    "read_json",
    "read_tensors",
    "set_weights",
    "weights_of",
    "write_json",
]


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read, and why, in one line."""


def weights_of(model) -> dict:
    """The weights of a cell by their path in it, as NumPy arrays; a shared weight once.

    They are copies: what ``asnumpy`` returns goes on changing while the model trains.
    """
    return {name: parameter.asnumpy().copy() for name, parameter in model.parameters_and_names()}


def set_weights(model, weights: dict) -> None:
    """Give a cell the weights of ``weights_of``, or other ones of the same names and shapes."""
    for name, parameter in model.parameters_and_names():
        parameter.set_data(Tensor(weights[name]))


def match_tensors(path, found, wanted, shown=5):
    """Compare names and shapes of two dictionaries of tensors; None shows all that differs.

    Raises:
        CheckpointError: tensors that are missing, unexpected or of another shape, each named.
    """
    problems = [f"{name} is missing" for name in sorted(set(wanted) - set(found))]
    problems += [f"{name} is unexpected" for name in sorted(set(found) - set(wanted))]
    problems += [
        f"{name} has shape {found[name].shape}, expected {tuple(wanted[name].shape)}"
        for name in sorted(set(found) & set(wanted))
        if tuple(found[name].shape) != tuple(wanted[name].shape)
    ]
    if problems:
        rest = len(problems) - len(problems[:shown])
        more = f"; and {rest} more" if rest else ""
        raise CheckpointError(f"{path} does not fit the model: {'; '.join(problems[:shown])}{more}")


def read_tensors(path):
    """The tensors of a safetensors file by name, as NumPy arrays.

    Raises:
        CheckpointError: no such file, a damaged one, or a type of number that NumPy has not.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no {path}; the checkpoint is not complete")
    try:
        return load_file(str(path))
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} holds numbers of the type {error}, which NumPy has not; save it as float32"
        ) from error
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or truncated: {error}") from error


def read_json(path):
    """A JSON file that holds an object.

    Raises:
        OSError, ValueError: no such file, or one that holds something else.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ValueError(f"{path.name} is no file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds a {type(content).__name__}; expected an object")
    return content


def write_json(path, content):
    """Write a JSON file for people to read, too."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def flush(path):
    """Make sure that a file's bytes are on the disk before its folder gets its final name."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
