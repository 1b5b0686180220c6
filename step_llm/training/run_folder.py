"""Checkpoints: a trained model as a folder, written so that nothing is ever half there.

A checkpoint holds ``model.safetensors`` (the weights), ``config.json`` (the architecture's name
"arch", one of ``architectures.ARCHITECTURES``, and the sizes), the tokenizer,
``state.json`` (where training stood) and, to go on training, ``optimizer.safetensors``. It is
written under another name and renamed when it is complete. A run folder holds checkpoints, and
``run.json`` that names the last and the best of them; that file is replaced in one step too.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

from step_llm.models.weights import CheckpointError, _flush, _write_json, read_json

__all__ = ["find_checkpoint", "only_training_in", "read_run", "write_run"]


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_RUN = "run.json"


@contextmanager
def only_training_in(folder: str | Path):
    """Hold a run folder while a training writes to it. The system lets go when the process ends.

    Without this, a second training would cut the first one's log, and both would write checkpoints.
    Where the system or the file system has no locks, nothing is held.

    Raises:
        CheckpointError: another training holds it.
    """
    if fcntl is None:
        yield
        return
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"another training is writing to {folder}; wait until it ends, stop it, or train "
                "into another folder"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(held)


def find_checkpoint(folder: str | Path, which: str = "best") -> Path:
    """The folder itself if it is a checkpoint, else the best (or "last") one of the run in it.

    Raises:
        CheckpointError: neither a checkpoint nor a run, or a run without that checkpoint.
    """
    folder = Path(folder)
    if (folder / "model.safetensors").is_file():
        return folder
    run = read_run(folder)
    if which not in run:
        raise CheckpointError(
            f"{folder} holds no checkpoint; expected a folder that `step_llm train --out` has made"
        )
    return folder / run[which]


def read_run(folder: str | Path) -> dict:
    """Which checkpoints of a run are "last" and "best", by their folder; empty if there is none."""
    path = Path(folder) / _RUN
    if not path.exists():
        return {}
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error


def write_run(folder: str | Path, run: dict) -> None:
    """Replace what ``read_run`` reads, in one step.

    Raises:
        CheckpointError: the file cannot be written; the old one is then still whole.
    """
    path = Path(folder) / _RUN
    partial = path.with_name(f".{_RUN}.partial-{os.getpid()}")
    try:
        _write_json(partial, run)
        _flush(partial)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {path}: {error}") from error
