"""The weights of a folder: one safetensors file, or several with an index.

First the headers are read: names, types and shapes. Each tensor's numbers are read when they are
asked for, so that a folder takes the memory of its model and of one tensor.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from step_llm.models.pretrained.fields import shown
from step_llm.models.weights import CheckpointError, check_finite, read_header, read_json

__all__ = ["StoredTensor", "find_tensors"]

_FILE = "model.safetensors"
_INDEX = f"{_FILE}.index.json"
# What other programs write: pickles, which run whatever code their maker put in, and TensorFlow's.
_OTHERS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
# The format's names of the types that are read. NumPy has no bfloat16: it is read as whole numbers.
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class StoredTensor(NamedTuple):
    """A tensor in a file, whose numbers are not read yet.

    Args:
        path: of the file.
        name: in the file.
        dtype: as the format names it.
        shape: of the tensor.
        begin: the place of its first byte in the file.
    """

    path: Path
    name: str
    dtype: str
    shape: tuple
    begin: int

    def check_type(self):
        """Raise a CheckpointError unless these are numbers that can be read."""
        if self.dtype not in _TYPES:
            raise CheckpointError(
                f"{self.path}: {self.name} holds {self.dtype}; expected float numbers: "
                f"{', '.join(_TYPES)}"
            )

    def read(self) -> np.ndarray:
        """The numbers, as float32; of bfloat16 exactly, since it is the upper half of a float32.

        Raises:
            CheckpointError: a file that cannot be read, or numbers that are not finite.
        """
        count = int(np.prod(self.shape, dtype=np.int64))
        try:
            values = np.fromfile(self.path, _TYPES[self.dtype], count, offset=self.begin)
        except OSError as error:
            raise CheckpointError(f"cannot read {self.path}: {error}") from error
        if self.dtype == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        values = values.astype(np.float32, copy=False).reshape(self.shape)
        check_finite(self.path, {self.name: values})
        return values


def find_tensors(folder: Path) -> tuple[Path, dict[str, StoredTensor]]:
    """The tensors of a folder by name, and the file that lists them: of several files, the index.

    Raises:
        CheckpointError: no weights, pickles only, a file that is damaged or missing, an index that
            names a file outside of the folder, or another place of a tensor than it has.
    """
    if (folder / _FILE).is_file():
        return folder / _FILE, _tensors_of(folder / _FILE)
    if (folder / _INDEX).is_file():
        return folder / _INDEX, _tensors_of_all(folder)
    others = sorted(path.name for pattern in _OTHERS for path in folder.glob(pattern))
    if others:
        raise CheckpointError(
            f"{folder} holds {others[0]}, but no {_FILE}. Pickles are not read, because they "
            f"run whatever code is in them: take the {_FILE} of the same model, or let "
            "transformers write one with save_pretrained"
        )
    raise CheckpointError(f"{folder} holds no {_FILE}")


def _tensors_of(path):
    """The tensors of one file."""
    return {name: StoredTensor(path, name, *tensor) for name, tensor in read_header(path).items()}


def _tensors_of_all(folder):
    """The tensors of several files, each in that one which the index says."""
    index = folder / _INDEX
    place_of = _places(index)
    files = sorted(set(place_of.values()))
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder} holds no {', no '.join(missing)}, of the {len(files)} files that "
            f"{_INDEX} names; fetch what is missing"
        )
    tensors = {}
    for file in files:
        for name, tensor in _tensors_of(folder / file).items():
            if place_of.get(name) != file:
                said = place_of.get(name)
                raise CheckpointError(
                    f"{folder / file} holds {name}, but {_INDEX} "
                    f"{f'has it in {said}' if said else 'does not name it'}; expected files and "
                    "index of one model"
                )
            tensors[name] = tensor
    lost = sorted(set(place_of) - set(tensors))
    if lost:
        raise CheckpointError(
            f"{folder / place_of[lost[0]]} lacks {shown(lost[0])}, which {_INDEX} has in it"
        )
    return tensors


def _places(index):
    """The file of each tensor, as an index has it: a plain name, so that it lies in the folder."""
    try:
        places = read_json(index).get("weight_map")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {index}: {error}") from error
    if not isinstance(places, dict) or not places:
        raise CheckpointError(
            f"{index}: weight_map is {shown(places)}; expected an object that names the file of "
            "each tensor"
        )
    for file in places.values():
        is_plain = isinstance(file, str) and file.isprintable() and not set(file) & set("/\\:")
        if not is_plain or not file.endswith(".safetensors"):
            raise CheckpointError(
                f"{index} names the file {shown(file)}; expected the names of safetensors files in "
                "the same folder"
            )
    return places
