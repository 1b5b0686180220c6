"""The files of a checkpoint: tensors and JSON, read with errors that name the file.

``training.checkpoint`` says what a checkpoint is; models that others have published are read with
the same functions.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mindspore import Tensor, dtype_to_nptype
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from step_llm.nn.initial import ZeroWeights
from step_llm.runtime.files import read_text
from step_llm.runtime.memory import available_memory

__all__ = [
    "CheckpointError",
    "StoredWeights",
    "TensorInFile",
    "check_finite",
    "check_memory",
    "match_tensors",
    "read_header",
    "read_json",
    "read_weights",
    "set_weights",
    "weights_of",
    "write_json",
]

_LONGEST_NAME = 200  # characters of a tensor's name; ours have at most 70


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


class TensorInFile(NamedTuple):
    """What the header of a safetensors file says of a tensor.

    Args:
        dtype: the type of its numbers, as the format names it.
        shape: of the tensor.
        begin: the place of its first byte in the file.
    """

    dtype: str
    shape: tuple
    begin: int


def read_header(path: Path) -> dict[str, TensorInFile]:
    """What a safetensors file holds, by name; no numbers are read.

    Raises:
        CheckpointError: no such file, a damaged one, or a name that a terminal would obey.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no {path}; the checkpoint is not complete")
    try:
        with safe_open(str(path), framework="numpy"):
            pass  # this checks that the header is whole, and fits the file's length
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or truncated: {error}") from error
    header.pop("__metadata__", None)
    for name in header:
        if not name.isprintable() or len(name) > _LONGEST_NAME:
            raise CheckpointError(
                f"{path} holds {name[:_LONGEST_NAME]!r}; expected names that can be printed, of at "
                f"most {_LONGEST_NAME} characters"
            )
    return {
        name: TensorInFile(
            entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0]
        )
        for name, entry in header.items()
    }


class StoredWeights(ZeroWeights):
    """Zeros for a model whose weights a file holds, but no more of them than there are in it.

    So a configuration that asks for more than its weights is refused before it costs memory.

    Args:
        path: of the safetensors file.

    Raises:
        CheckpointError: as ``read_header``; and from a model that asks for too much.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        stored = read_header(path).values()
        self.tensors = len(stored)
        self.numbers = sum(math.prod(tensor.shape) for tensor in stored)
        check_memory(path, 2 * self.numbers)  # the model's own, and those that are read

    def zeros(self, *shape, name):
        self.tensors -= 1
        self.numbers -= math.prod(shape)
        if self.tensors < 0 or self.numbers < 0:
            raise CheckpointError(
                f"{self.path} does not fit the model: config.json asks for more or larger tensors "
                "than it holds; expected files of one model"
            )
        return super().zeros(*shape, name=name)


def check_memory(path: Path, numbers: int) -> None:
    """Before anything is taken: a system without memory ends the process, and says nothing.

    Raises:
        CheckpointError: there is not enough for so many numbers in float32.
    """
    needed, there = 4 * numbers, available_memory()
    if there is not None and needed > there:
        raise CheckpointError(
            f"{path}: the model takes {needed:,} bytes of memory in float32, but {there:,} are "
            "free; end other programs, or take a smaller model"
        )


def read_weights(path, like):
    """The tensors of a safetensors file by name, as NumPy arrays of the types that ``like`` has.

    Args:
        path: of the file.
        like: weights by name, which says what has to be there.

    Raises:
        CheckpointError: as ``read_header`` and ``match_tensors``; numbers of a type that NumPy has
            not, or that is not ``like``'s, or values that are not finite.
    """
    match_tensors(path, read_header(path), like)
    try:
        found = load_file(str(path))
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} holds numbers of a type that NumPy has not ({error}); save it as float32"
        ) from error
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or truncated: {error}") from error
    for name, value in found.items():
        wanted = like[name].dtype
        wanted = wanted if isinstance(wanted, np.dtype) else np.dtype(dtype_to_nptype(wanted))
        if value.dtype.kind != wanted.kind:
            raise CheckpointError(f"{path}: {name} holds {value.dtype}; expected {wanted}")
        with np.errstate(over="ignore"):  # what overflows is not finite, and refused
            found[name] = value.astype(wanted, copy=False)
    check_finite(path, found)
    return found


def check_finite(what, weights):
    """Raise a CheckpointError that names the first weight with values that are not finite."""
    for name, value in weights.items():
        if not np.isfinite(value).all():
            raise CheckpointError(f"{what}: {name} has values that are not finite")


def read_json(path):
    """A JSON file that holds an object.

    Raises:
        OSError, ValueError: no such file, or one that holds something else.
    """
    try:
        content = json.loads(read_text(path))
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds a {type(content).__name__}; expected an object")
    return content


def write_json(path, content):
    """Write a JSON file for people to read, too."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
