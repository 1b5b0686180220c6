"""``resume``: go on with a run, by what it has stored of itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from step_llm.cli.job import (
    Job,
    begin,
    carry_out,
    full_name,
    notes_of,
    read_texts,
    seed_dropout,
)
from step_llm.data.corpus import CORPORA
from step_llm.models.weights import CheckpointError, read_json
from step_llm.training.checkpoint import load_model, read_state
from step_llm.training.config import TrainingConfig
from step_llm.training.run_folder import find_checkpoint, read_run

__all__ = ["refuse_changes", "run", "stored_job"]

# Options of `train` that may differ when a run goes on, or that say nothing of it.
_FREE = ("command", "device", "epochs", "out", "resume", "task")


def run(options):
    folder = Path(options.folder)
    if "last" not in read_run(folder):
        raise CheckpointError(
            f"{folder} holds no training run; expected a folder that `step_llm train --out` has "
            "made"
        )
    group, say = begin(options.device)
    carry_out(stored_job(folder, options.epochs), folder, group, say, options.task)


def stored_job(folder: Path, epochs: int | None = None, corpus: str | None = None) -> Job:
    """The training of a run folder, as it was started.

    Args:
        epochs: until how many it goes now; None: as it was.
        corpus: where a corpus folder of one's own lies now; None: where it was.

    Raises:
        CheckpointError: what ``load_model`` and ``read_state`` refuse, or a state that does not
            say how the run was trained.
    """
    checkpoint = find_checkpoint(folder, "last")
    config, notes = _stored(checkpoint)
    seed_dropout(config.seed)
    model, tokenizers = load_model(checkpoint)
    if epochs is not None:
        config = replace(config, epochs=epochs)
    if corpus is not None:
        notes["corpus"] = full_name(corpus)
    if "corpus" not in notes:
        raise CheckpointError(
            f"{checkpoint} does not name its corpus; go on with `python -m step_llm train "
            f"--corpus CORPUS --out {folder} --resume`"
        )
    return Job(model, tokenizers, config, *read_texts(notes), notes)


def refuse_changes(options, folder: Path) -> None:
    """Name the first option of ``train`` that asks for something else than the run stores.

    Raises:
        ValueError: there is one.
    """
    checkpoint = find_checkpoint(folder, "last")
    config, notes = _stored(checkpoint)
    stored = {**read_json(checkpoint / "config.json"), **vars(config), **notes}
    if "has_attention" in stored:
        stored["attention"] = stored["has_attention"]
    for name, value in vars(options).items():
        if name in _FREE or value is None:
            continue
        kept = stored.get(name, "none")
        if name == "corpus":
            value = full_name(value)
            if not {value, kept} & set(CORPORA):
                continue  # a folder of one's own may have moved
        if value != kept:
            raise ValueError(
                f"--{name.replace('_', '-')} is {value}, but the run in {folder} stores {kept}; "
                f"leave the option out, or use `python -m step_llm resume {folder}`, which reads "
                "all but --epochs from the run"
            )


def _stored(checkpoint):
    """The configuration and the notes of a checkpoint's state."""
    state = read_state(checkpoint, "training", "config")
    return TrainingConfig.from_dict(state["config"]), notes_of(checkpoint, state)
