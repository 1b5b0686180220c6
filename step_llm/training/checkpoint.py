"""Checkpoints: a trained model as a folder, written so that nothing is ever half there.

A checkpoint holds ``model.safetensors`` (the weights), ``config.json`` (the architecture's name
"arch", one of ``architectures.ARCHITECTURES``, and the sizes), the tokenizer,
``state.json`` (where training stood) and, to go on training, ``optimizer.safetensors``. It is
written under another name and renamed when it is complete. A run folder holds checkpoints, and
``run.json`` that names the last and the best of them; that file is replaced in one step too.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from mindspore import Tensor, nn
from safetensors import SafetensorError
from safetensors.numpy import save_file

from step_llm.data.vocabulary import TokenizerPair
from step_llm.models.registry import build, describe
from step_llm.models.weights import (
    CheckpointError,
    _flush,
    _write_json,
    match_tensors,
    read_json,
    read_tensors,
    weights_of,
)
from step_llm.training.run_folder import find_checkpoint

__all__ = ["load_model", "load_weights", "read_state", "save_checkpoint"]


def save_checkpoint(
    folder: str | Path,
    model,
    tokenizers: TokenizerPair,
    optimizer=None,
    state: dict | None = None,
    weights: dict | None = None,
) -> Path:
    """Write a checkpoint folder; it appears under its name only when it is complete.

    Args:
        folder: where; replaced if it exists.
        model, tokenizers: what to save.
        optimizer: a ``mindspore.nn.Optimizer``, to be able to go on training.
        state: what else to remember; must fit into JSON.
        weights: saved in place of the model's own (an average of several, for example).

    Returns:
        the folder.

    Raises:
        CheckpointError: a weight that is not finite, or a folder that cannot be written (no right,
            no space). What was there before stays as it was.
    """
    folder = Path(folder)
    weights = weights_of(model) if weights is None else weights
    for name, value in weights.items():
        if not np.isfinite(value).all():
            raise CheckpointError(f"{name} has values that are not finite; {folder} is not written")
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(weights, str(partial / "model.safetensors"))
        _write_json(partial / "config.json", describe(model))
        tokenizers.save(partial)
        if optimizer is not None:
            save_file(_optimizer_state(model, optimizer), str(partial / "optimizer.safetensors"))
        _write_json(partial / "state.json", state or {})
        for path in partial.iterdir():
            _flush(path)
        if folder.exists():
            folder.rename(old)
            partial.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            partial.rename(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise CheckpointError(
            f"cannot write the checkpoint {folder}: {error}; earlier checkpoints are untouched"
        ) from error
    return folder


def load_model(folder: str | Path) -> tuple[nn.Cell, TokenizerPair]:
    """Read the model and its tokenizers from a checkpoint, or from the best one of a run.

    Of a model that is no translator the one tokenizer is both sides' of the pair.

    Raises:
        CheckpointError: nothing there, a damaged or truncated file, an unknown architecture, or
            weights of another shape.
    """
    folder = find_checkpoint(folder)
    try:
        model = build(read_json(folder / "config.json"))
        tokenizers = TokenizerPair.load(folder)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"cannot read the checkpoint {folder}: {error}") from error
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
            unexpected or of another shape, each named. Then nothing has been changed.
    """
    folder = Path(folder)
    found = read_tensors(folder / "model.safetensors")
    wanted = dict(model.parameters_and_names())
    pairs = _match(folder / "model.safetensors", found, wanted)
    if optimizer is not None:
        found = read_tensors(folder / "optimizer.safetensors")
        pairs += _match(folder / "optimizer.safetensors", found, _own_parameters(model, optimizer))
    for parameter, value in pairs:
        parameter.set_data(Tensor(value))


def read_state(folder: str | Path) -> dict:
    """The ``state`` that ``save_checkpoint`` was given.

    Raises:
        CheckpointError: no such file, or a damaged one.
    """
    try:
        return read_json(Path(folder) / "state.json")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read the checkpoint {folder}: {error}") from error


def _own_parameters(model, optimizer):
    """The optimizer's own tensors (moments, step) by name, without the model's weights."""
    weights = {id(parameter) for parameter in model.get_parameters()}
    return {p.name: p for p in optimizer.get_parameters() if id(p) not in weights}


def _optimizer_state(model, optimizer):
    return {name: p.asnumpy() for name, p in _own_parameters(model, optimizer).items()}


def _match(path, found, wanted):
    match_tensors(path, found, wanted)
    return [(wanted[name], value) for name, value in found.items()]
