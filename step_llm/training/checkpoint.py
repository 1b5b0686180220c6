"""Checkpoints: a trained model as a folder, written so that nothing is ever half there.

A checkpoint holds ``model.safetensors`` (the weights), ``config.json`` (the architecture's name
"arch", one of ``registry.ARCHITECTURES``, and the sizes), the tokenizer, ``state.json`` (where
training stood) and, to go on training, ``optimizer.safetensors``. It is written under another name
and renamed when it is complete; a checkpoint that is there is never written over.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from safetensors import SafetensorError
from safetensors.numpy import save_file

from step_llm.data.vocabulary import Tokenizer, TokenizerPair
from step_llm.models.registry import build, describe
from step_llm.models.weights import (
    CheckpointError,
    flush,
    match_tensors,
    read_json,
    read_tensors,
    weights_of,
    write_json,
)
from step_llm.training.config import TrainingConfig
from step_llm.training.run_folder import find_checkpoint

__all__ = [
    "load_model",
    "load_weights",
    "read_state",
    "read_training",
    "save_checkpoint",
    "training_state",
]


def save_checkpoint(
    folder: str | Path,
    model,
    tokenizers: TokenizerPair | Tokenizer | None,
    optimizer=None,
    state: dict | None = None,
    weights: dict | None = None,
) -> Path:
    """Write a checkpoint folder; it appears under its name only when it is complete.

    Args:
        folder: where; nothing may be there.
        model: what to save.
        tokenizers: its tokenizer, or of a translator both; None for a model that reads no text.
        optimizer: a ``mindspore.nn.Optimizer``, to be able to go on training.
        state: what else to remember; must fit into JSON.
        weights: saved in place of the model's own (an average of several, for example).

    Returns:
        the folder.

    Raises:
        CheckpointError: a weight that is not finite, something that is there already, or a folder
            that cannot be written (no right, no space). Then nothing has been written.
    """
    folder = Path(folder)
    weights = weights_of(model) if weights is None else weights
    for name, value in weights.items():
        if not np.isfinite(value).all():
            raise CheckpointError(f"{name} has values that are not finite; {folder} is not written")
    if os.path.lexists(folder):
        raise CheckpointError(f"{folder} is there already; remove it, or save under another name")
    if isinstance(tokenizers, Tokenizer):
        tokenizers = TokenizerPair(tokenizers, tokenizers)
    config = describe(model)
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(weights, str(partial / "model.safetensors"))
        if tokenizers is None:
            config["tokenizer"] = None  # so that ``load_model`` does not miss it
        else:
            tokenizers.save(partial)
        write_json(partial / "config.json", config)
        if optimizer is not None:
            save_file(_optimizer_state(model, optimizer), str(partial / "optimizer.safetensors"))
        write_json(partial / "state.json", state or {})
        for path in partial.iterdir():
            flush(path)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"cannot write the checkpoint {folder}: {error}; earlier checkpoints are untouched"
        ) from error
    return folder


def load_model(folder: str | Path) -> tuple[nn.Cell, TokenizerPair | None]:
    """Read the model and its tokenizers from a checkpoint, or from the best one of a run.

    Of a model that is no translator the one tokenizer is both sides' of the pair; of one that was
    saved without a tokenizer there is None.

    Raises:
        CheckpointError: nothing there, a damaged or truncated file, an unknown architecture, or
            weights of another shape.
    """
    folder = find_checkpoint(folder)
    try:
        fields = read_json(folder / "config.json")
        has_tokenizer = fields.pop("tokenizer", True) is not None
        model = build(fields)
        tokenizers = TokenizerPair.load(folder) if has_tokenizer else None
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"cannot read the checkpoint {folder}: {error}") from error
    if tokenizers is not None:
        _check_vocabulary(folder, model.config, tokenizers)
    load_weights(folder, model)
    model.set_train(False)
    return model, tokenizers


def _check_vocabulary(folder, config, tokenizers):
    sizes = (len(tokenizers.source), len(tokenizers.target))
    if hasattr(config, "source_vocab_size"):
        wanted = (config.source_vocab_size, config.target_vocab_size)
        if sizes != wanted:
            raise CheckpointError(
                f"{folder}: the tokenizers have {sizes[0]} and {sizes[1]} tokens, but the model "
                f"was made for {wanted[0]} and {wanted[1]}"
            )
    # A model may know more tokens than its tokenizer: BERT's mask stands in no text.
    elif sizes[0] > getattr(config, "vocab_size", sizes[0]):
        raise CheckpointError(
            f"{folder}: the tokenizer has {sizes[0]} tokens, but the model was made for "
            f"{config.vocab_size}"
        )


def load_weights(folder: str | Path, model, optimizer=None) -> None:
    """Read a checkpoint's weights, and the optimizer's state, into objects that exist.

    Raises:
        CheckpointError: a file that is missing, damaged or truncated, or tensors that are missing,
            unexpected, of another shape or not finite, each named. Then nothing has been changed.
    """
    folder = Path(folder)
    found = read_tensors(folder / "model.safetensors")
    wanted = dict(model.parameters_and_names())
    pairs = _match(folder / "model.safetensors", found, wanted)
    for name, value in found.items():
        if not np.isfinite(value).all():
            raise CheckpointError(
                f"{folder / 'model.safetensors'}: {name} has values that are not finite"
            )
    if optimizer is not None:
        found = read_tensors(folder / "optimizer.safetensors")
        pairs += _match(folder / "optimizer.safetensors", found, _own_parameters(model, optimizer))
    for parameter, value in pairs:
        parameter.set_data(Tensor(value))


def read_state(folder: str | Path, *needed: str) -> dict:
    """The ``state`` that ``save_checkpoint`` was given, validated.

    Of a training run it has "training" (where it stood), "config" (the fields of its
    ``TrainingConfig``), "notes", and "run" (the run's name).

    Args:
        folder: the checkpoint.
        needed: fields that must be there.

    Raises:
        CheckpointError: no such file, a damaged one, or a field that is missing or of another kind,
            which is named.
    """
    path = Path(folder) / "state.json"
    try:
        state = read_json(path)
        missing = [name for name in needed if name not in state]
        if missing:
            raise ValueError(f"{', '.join(missing)} is missing")
        for name in ("training", "config", "notes"):
            if not isinstance(state.get(name, {}), dict):
                raise ValueError(f"{name} is {state[name]!r}; expected an object")
        if "config" in state:
            TrainingConfig.from_dict(state["config"])
        if "training" in state:
            _check_fields("training", state["training"], _TRAINING)
            for number, entry in enumerate(state["training"]["history"]):
                _check_fields(f"training.history[{number}]", entry, _EPOCH)
                if not any(n.startswith("validation_") for n in set(entry) - set(_EPOCH)):
                    raise ValueError(f"training.history[{number}] has no measure of validation")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read the checkpoint {folder}: state.json: {error}"
        ) from error
    return state


def training_state(run: str, progress: dict, config: TrainingConfig, notes: dict) -> dict:
    """What a checkpoint of a training run remembers, as ``read_state`` expects it."""
    return {
        "run": run,
        "training": progress,
        "config": dataclasses.asdict(config),
        "notes": notes,
        "versions": {"mindspore": ms.__version__, "python": platform.python_version()},
    }


def read_training(folder: str | Path, measure: str, precision: str) -> dict:
    """Where a training stood that one of this kind can go on from.

    Args:
        folder: the checkpoint.
        measure: the field that every epoch must have.
        precision: in which it will go on.

    Raises:
        CheckpointError: as ``read_state``; or the run had another measure, or a loss scale for
            which there is no use.
    """
    state = read_state(folder, "training")["training"]
    if any(measure not in entry for entry in state["history"]):
        raise CheckpointError(f"{folder}: an epoch has no {measure} in state.json")
    if "loss_scale" in state and precision == "float32":
        raise CheckpointError(
            f"{folder}: loss_scale in state.json is of a run in half precision, but precision is "
            "float32; go on in the run's own precision"
        )
    return state


def _is_count(value):
    return type(value) is int and value >= 0


def _is_number(value):
    return type(value) in (int, float) and value == value


def _is_scale(value):
    return (
        isinstance(value, list)
        and len(value) == 2
        and _is_number(value[0])
        and 0 < value[0] < np.inf
        and _is_count(value[1])
    )


# What the fields of a training's state must be. Of "optional" ones older versions know nothing.
_COUNT, _NUMBER = (_is_count, "a whole number"), (_is_number, "a number")
_TRAINING = {
    "step": _COUNT, "epoch": _COUNT, "batch": _COUNT, "seconds": _NUMBER,
    "history": (lambda value: isinstance(value, list), "a list"),
    "optional skipped": _COUNT,
    "optional loss_scale": (_is_scale, "a scale and a whole number"),
}  # fmt: skip
_EPOCH = {
    "epoch": _COUNT, "step": _COUNT, "train_loss": _NUMBER, "validation_loss": _NUMBER,
    "seconds": _NUMBER,
}  # fmt: skip


def _check_fields(what, values, fields):
    if not isinstance(values, dict):
        raise ValueError(f"{what} is {values!r}; expected an object")
    for name, (is_right, expected) in fields.items():
        is_optional, name = name.startswith("optional "), name.removeprefix("optional ")
        if name in values and not is_right(values[name]):
            raise ValueError(f"{what}.{name} is {values[name]!r}; expected {expected}")
        if name not in values and not is_optional:
            raise ValueError(f"{what}.{name} is missing")


def _own_parameters(model, optimizer):
    """The optimizer's own tensors (moments, step) by name, without the model's weights."""
    weights = {id(parameter) for parameter in model.get_parameters()}
    return {p.name: p for p in optimizer.get_parameters() if id(p) not in weights}


def _optimizer_state(model, optimizer):
    return {name: p.asnumpy() for name, p in _own_parameters(model, optimizer).items()}


def _match(path, found, wanted):
    match_tensors(path, found, wanted)
    return [(wanted[name], value) for name, value in found.items()]
