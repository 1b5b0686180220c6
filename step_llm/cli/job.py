"""A training, ready to run: what ``train`` makes anew and ``resume`` reads from a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import mindspore as ms

from step_llm.cli.terminal import tell
from step_llm.data.batches import encode_pairs
from step_llm.data.corpus import CORPORA, ParallelText, corpus_folder, read_parallel
from step_llm.data.vocabulary import TokenizerPair
from step_llm.models.weights import CheckpointError
from step_llm.runtime.device import use_device
from step_llm.training.config import TrainingConfig
from step_llm.training.distributed import Group, join_group
from step_llm.training.run_folder import read_run
from step_llm.training.translation import translation_trainer

__all__ = ["Job", "begin", "carry_out", "full_name", "notes_of", "read_texts", "seed_dropout"]


class Job(NamedTuple):
    """Args:
    model, tokenizers, config: as for ``Trainer``.
    text, validation_text: the sentences.
    notes: what the run has to remember beside them: its corpus, languages and options.
    """

    model: object
    tokenizers: TokenizerPair
    config: TrainingConfig
    text: ParallelText
    validation_text: ParallelText
    notes: dict


def begin(device: str | None) -> tuple[Group, object]:
    """Take the device and join the group of workers; returns it, and a ``tell`` for its first.

    Each worker has a log of its own; what is the same in all stands in the first one's.
    """
    chosen = use_device(device, prepare=join_group)
    group = join_group()
    say = tell if group.is_first else _say_nothing
    say(chosen)
    if group.size > 1:
        say(f"{group.size} workers; each takes its share of every batch")
    return group, say


def seed_dropout(seed: int) -> None:
    """Before a model is made: on a CPU its dropout layers take their seeds then, from MindSpore's.

    A run that goes on begins the stream of masks again: with its first seeds, its compiled graphs
    can be used again.
    """
    ms.set_seed(join_group().own_seed(seed))


def _say_nothing(*_):
    pass


def full_name(corpus: str) -> str:
    """A corpus as a run remembers it: a folder must be found from any other folder too."""
    return corpus if corpus in CORPORA else os.path.abspath(corpus)


def notes_of(checkpoint: Path, state: dict) -> dict:
    """What a run remembers of its data, from the state of one of its checkpoints.

    Trainings that the command line did not start may say nothing of their languages, nor of a
    corpus.

    Raises:
        CheckpointError: a name that is none.
    """
    notes = {"source": "de", "target": "en", **state.get("notes", {})}
    for name in ("corpus", "source", "target"):
        value = notes.get(name, "none")
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            raise CheckpointError(
                f"cannot read the checkpoint {checkpoint}: state.json: notes.{name} is {value!r}; "
                "expected a name"
            )
    return notes


def read_texts(notes: dict) -> tuple[ParallelText, ParallelText]:
    """The sentences to train and to validate on."""
    folder = corpus_folder(notes["corpus"])
    return tuple(
        read_parallel(folder, split, notes["source"], notes["target"]) for split in ("train", "val")
    )


def carry_out(job: Job, folder: str | Path, group: Group, say, task=None) -> None:
    """Train; a run that is there already goes on from its last checkpoint.

    Args:
        task: where this is a task on OpenI, what uploads the run at the end, however it ends.
    """
    trainer = _trainer(job, folder, group, say)
    if trainer.resume():
        say(f"going on after step {trainer.state['step']}")
    weights = sum(p.size for p in job.model.get_parameters())
    batches = trainer.batches
    say(
        f"{weights:,} weights; {len(batches)} batches an epoch in {len(batches.shapes)} shapes, "
        f"{batches.real_token_share():.0%} real tokens. Each shape is compiled at its first "
        "batch, which takes some seconds."
    )
    try:
        trainer.fit()
    finally:
        if task and group.is_first:
            task.upload()
    say(f"done: {folder}, best checkpoint {read_run(folder).get('best')}")
    say(f"next: python -m step_llm evaluate {folder}")


def _trainer(job, folder, group, say):
    longest = job.config.buckets[-1]
    training = encode_pairs(job.text, job.tokenizers, longest)
    validation = encode_pairs(job.validation_text, job.tokenizers, longest)
    say(training.report)
    say(validation.report)
    return translation_trainer(
        job.model, job.tokenizers, training, validation, job.validation_text, job.config, folder,
        notes=job.notes, group=group,
    )  # fmt: skip
