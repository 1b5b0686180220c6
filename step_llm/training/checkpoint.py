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
from step_llm.models.fields import check_fields, is_number, is_whole
from step_llm.models.registry import build, describe
from step_llm.models.weights import (
    CheckpointError,
    StoredWeights,
    check_finite,
    read_json,
    read_weights,
    weights_of,
    write_json,
)
from step_llm.runtime.files import new_folder
from step_llm.training.config import MOST, TrainingConfig
from step_llm.training.run_folder import find_checkpoint

__all__ = [
    "load_model",
    "load_weights",
    "read_state",
    "read_training",
    "save_checkpoint",
    "training_state",
]

_WEIGHTS, _OPTIMIZER = "model.safetensors", "optimizer.safetensors"


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
    check_finite(f"{folder} is not written", weights)
    if os.path.lexists(folder):
        raise CheckpointError(f"{folder} is there already; remove it, or save under another name")
    if isinstance(tokenizers, Tokenizer):
        tokenizers = TokenizerPair(tokenizers, tokenizers)
    config = describe(model)
    try:
        with new_folder(folder) as partial:
            save_file(weights, str(partial / _WEIGHTS))
            if tokenizers is None:
                config["tokenizer"] = None  # so that ``load_model`` does not miss it
            else:
                tokenizers.save(partial)
            write_json(partial / "config.json", config)
            if optimizer is not None:
                own = _own_parameters(model, optimizer)
                moments = {name: parameter.asnumpy() for name, parameter in own.items()}
                save_file(moments, str(partial / _OPTIMIZER))
            write_json(partial / "state.json", state or {})
            for path in partial.iterdir():
                # What safetensors writes is readable for its owner alone.
                shutil.copymode(partial / "config.json", path)
    except (OSError, SafetensorError) as error:
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
        # What is drawn for new weights would be overwritten at once.
        model = build(fields, StoredWeights(folder / _WEIGHTS))
        tokenizers = TokenizerPair.load(folder) if has_tokenizer else None
    except CheckpointError:
        raise  # it names the file
    except (OSError, ValueError, TypeError, ArithmeticError) as error:
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

    They keep their type of number: weights that were saved in half precision are read as float32.

    Raises:
        CheckpointError: a file that is missing, damaged or truncated, or tensors that are missing,
            unexpected, of another shape or not finite, each named. Then nothing has been changed.
    """
    files = {_WEIGHTS: dict(model.parameters_and_names())}
    if optimizer is not None:
        files[_OPTIMIZER] = _own_parameters(model, optimizer)
    # All is read before anything is changed.
    found = [(own, read_weights(Path(folder) / name, own)) for name, own in files.items()]
    for parameters, values in found:
        for name, value in values.items():
            parameters[name].set_data(Tensor(value, parameters[name].dtype))


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
        check_fields(state, _STATE)
        if "config" in state:
            TrainingConfig.from_dict(state["config"])
        if "training" in state:
            check_fields(state["training"], _TRAINING, "training", needed=_PROGRESS)
            for number, entry in enumerate(state["training"]["history"]):
                what = f"training.history[{number}]"
                check_fields(entry, _EPOCH, what, needed=_EPOCH)
                measures = [n for n in entry if n.startswith("validation_") and n not in _EPOCH]
                if not measures:
                    raise ValueError(f"{what} has no measure of validation")
                check_fields(entry, dict.fromkeys(measures, _NUMBER), what)
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


def read_training(folder: str | Path, measure: str, precision: str, batches: int) -> dict:
    """Where a training stood that one of this kind can go on from.

    Args:
        folder: the checkpoint.
        measure: the field that every epoch must have.
        precision: in which it will go on.
        batches: how many an epoch has.

    Raises:
        CheckpointError: as ``read_state``; or the run had another measure, a loss scale for which
            there is no use, or more batches in an epoch.
    """
    state = read_state(folder, "training")["training"]
    problem = None
    if any(measure not in entry for entry in state["history"]):
        problem = f"an epoch has no {measure} in state.json"
    elif "loss_scale" in state and precision == "float32":
        problem = (
            "loss_scale in state.json is of a run in half precision, but precision is float32; go "
            "on in the run's own precision"
        )
    elif state["batch"] > batches:
        problem = (
            f"batch in state.json is {state['batch']}, but an epoch has {batches}; expected the "
            "text that the run was begun with"
        )
    if problem:
        raise CheckpointError(f"{folder}: {problem}")
    return state


def _is_count(value):
    return is_whole(value) and 0 <= value <= MOST


def _is_scale(value):
    is_pair = isinstance(value, list) and len(value) == 2
    return is_pair and is_number(value[0]) and 0 < value[0] < np.inf and _is_count(value[1])


# What the fields of a state must be; of those that are not needed older versions know nothing.
_COUNT = (_is_count, f"a whole number from 0 to {MOST:,}")
_NUMBER = (is_number, "a number")
_STATE = dict.fromkeys(
    ("training", "config", "notes"), (lambda value: isinstance(value, dict), "an object")
)
_PROGRESS = ("step", "epoch", "batch", "seconds", "history")
_TRAINING = {
    **dict.fromkeys(("step", "epoch", "batch", "skipped"), _COUNT),
    "seconds": _NUMBER,
    "history": (lambda value: isinstance(value, list), "a list"),
    "loss_scale": (_is_scale, "a scale and a whole number"),
}
_EPOCH = {
    **dict.fromkeys(("epoch", "step"), _COUNT),
    **dict.fromkeys(("train_loss", "validation_loss", "seconds"), _NUMBER),
}


def _own_parameters(model, optimizer):
    """The optimizer's own tensors (moments, step) by name, without the model's weights."""
    weights = {id(parameter) for parameter in model.get_parameters()}
    return {p.name: p for p in optimizer.get_parameters() if id(p) not in weights}
