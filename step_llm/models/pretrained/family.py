"""What a family of models has to say of itself, and where a weight is found in a file."""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np

from step_llm.models.pretrained.tokenizer_kinds import TokenizerKind

__all__ = [
    "ACTIVATIONS",
    "Family",
    "Plan",
    "Source",
    "dense",
    "inside",
    "norm",
    "num_classes_of",
    "pad_id_of",
]

# transformers' name: ours
ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}


class Source(NamedTuple):
    """Where one of our weights is found in the file.

    Args:
        name: of the tensor in the file.
        shape: of the tensor in the file.
        third: which third of it, along our first axis; None is the whole.
        is_transposed: the file holds (inputs, outputs), as GPT-2's "Conv1D" does.
    """

    name: str
    shape: tuple
    third: int | None = None
    is_transposed: bool = False

    def value(self, tensor, shape):
        """Our weight, of this shape, out of the file's tensor."""
        if self.is_transposed:
            tensor = tensor.T
        if self.third is not None:
            tensor = np.split(tensor, 3)[self.third]
        return np.ascontiguousarray(tensor.reshape(shape), np.float32)


class Plan(NamedTuple):
    """What a folder asks for.

    Args:
        make: makes the model, with new weights. Until it is called, no size has cost memory.
        sources: for each weight of that model, where it is found in the file.
    """

    make: Callable
    sources: dict


class Family(NamedTuple):
    """How the folders of one model type are read.

    Args:
        classes: the classes of transformers whose folders are understood.
        fields: config.json's fields, a ``Field`` each.
        plan: from the values of these fields, the prefix, the file's names and the classes that
            config.json names to a ``Plan``; a ValueError says what is wrong with config.json.
        prefix: stands before the body's names, except in files of the body alone.
        tokenizer: the ``TokenizerKind`` of these models; None for those that read no text.
        ignored: a pattern of tensors that hold no weights.
        copies: tensors that may be there a second time: the copy's name, and how the original's
            ends, or a tuple of such endings.
        old_names: patterns of names that older files have, and what stands for them today.
    """

    classes: tuple
    fields: dict
    plan: Callable
    prefix: str
    tokenizer: TokenizerKind | None
    ignored: str
    copies: dict
    old_names: dict


def inside(ours, theirs, sources):
    """The same sources one level up: inside ``ours`` here, inside ``theirs`` in the file."""
    return {
        f"{ours}.{name}": source._replace(name=f"{theirs}.{source.name}")
        for name, source in sources.items()
    }


def dense(ours, theirs, inputs, outputs):
    """Weight and bias of a dense layer."""
    return {
        f"{ours}.weight": Source(f"{theirs}.weight", (outputs, inputs)),
        f"{ours}.bias": Source(f"{theirs}.bias", (outputs,)),
    }


def norm(ours, theirs, width):
    """Scale and shift of a LayerNorm."""
    return {
        f"{ours}.gamma": Source(f"{theirs}.weight", (width,)),
        f"{ours}.beta": Source(f"{theirs}.bias", (width,)),
    }


def num_classes_of(fields):
    """How many classes a head tells apart: as many as are named, else as config.json says."""
    names = fields["id2label"]
    return fields["num_labels"] if names is None else len(names)


def pad_id_of(fields):
    """The id of padding; −1, which no token has, where config.json names none.

    Not 0: there it is a token like any other, GPT-2's "!" for example.

    Raises:
        ValueError: an id that no embedding belongs to.
    """
    pad_id, vocab_size = fields["pad_token_id"], fields["vocab_size"]
    if pad_id is None:
        return -1
    if pad_id >= vocab_size:
        raise ValueError(f"pad_token_id is {pad_id}; expected 0 … {vocab_size - 1}, or null")
    return pad_id
