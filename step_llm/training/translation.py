"""Training a translator: batches of encoded pairs, and greedy BLEU to choose the best epoch."""

from __future__ import annotations

from pathlib import Path

from step_llm.data.batches import Batches, EncodedText
from step_llm.data.corpus import ParallelText
from step_llm.data.vocabulary import TokenizerPair
from step_llm.decoding.translator import Translator
from step_llm.training.config import TrainingConfig
from step_llm.training.distributed import Group
from step_llm.training.measures import greedy_bleu
from step_llm.training.trainer import Trainer

__all__ = ["translation_trainer"]


def translation_trainer(
    model,
    tokenizers: TokenizerPair,
    training: EncodedText,
    validation: EncodedText,
    validation_text: ParallelText,
    config: TrainingConfig,
    folder: str | Path,
    *,
    notes: dict | None = None,
    progress: bool = True,
    group: Group | None = None,
) -> Trainer:
    """A ``Trainer`` for a translator.

    Args:
        model, tokenizers: what is trained.
        training, validation: the encoded pairs; the configuration's ``buckets`` and
            ``batch_tokens`` decide the batches.
        validation_text: the same sentences as text, for BLEU.
        config, folder, notes, progress, group: as for ``Trainer``.
    """
    return Trainer(
        model,
        tokenizers,
        Batches(training, config.buckets, config.batch_tokens, seed=config.seed),
        # Two shapes are enough to validate: a forward pass is cheap, compiling one is not.
        Batches(
            validation,
            sorted({config.buckets[len(config.buckets) // 2], config.buckets[-1]}),
            max(config.batch_tokens, 2 * config.buckets[-1]),
            shuffle=False,
        ),
        config,
        folder,
        measure=greedy_bleu(Translator(model, tokenizers), validation_text, group),
        notes=notes,
        progress=progress,
        group=group,
    )
