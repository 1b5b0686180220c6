"""Training of models that are no translators: GPT, BERT, the neural language models."""

from __future__ import annotations

from pathlib import Path

from step_llm.data.vocabulary import Tokenizer, TokenizerPair
from step_llm.evaluation.metrics import perplexity
from step_llm.training.config import TrainingConfig
from step_llm.training.objectives import token_objective
from step_llm.training.trainer import Measure, Trainer

__all__ = ["LanguageTrainer"]


class LanguageTrainer(Trainer):
    """``Trainer`` for any model with an objective: the same step, schedule, log and checkpoints.

    In place of BLEU the history has the perplexity of the validation batches, and the epoch with
    the lowest is the best.

    Args:
        model: its ``config`` has a ``d_model``; with the default objective the model has a
            ``pad_id``.
        tokenizer: saved beside the weights.
        training, validation: batches: a ``data.TextBatches`` or ``data.ArrayBatches``. They decide
            the batches' sizes; ``batch_tokens`` and ``buckets`` of the configuration have no use.
        config: how to train.
        folder: the run folder.
        objective: what is lowered, see ``objectives``. The validation perplexity is exp of its
            mean; with both tasks of BERT that is a number to compare epochs by, and no more.
        notes, progress: as for ``Trainer``.

    Raises:
        PrecisionError: a half precision in which this device cannot compute.
        CheckpointError: the run folder cannot be written.
    """

    measure = Measure("perplexity", "perplexity {:.2f}", -1)

    def __init__(
        self,
        model,
        tokenizer: Tokenizer,
        training,
        validation,
        config: TrainingConfig,
        folder: str | Path,
        objective=token_objective,
        notes: dict | None = None,
        progress: bool = True,
    ):
        self.objective = objective
        pair = TokenizerPair(tokenizer, tokenizer)
        super().__init__(model, pair, training, validation, None, config, folder, notes, progress)

    def _make_batches(self, training, validation):
        return training, validation

    def _make_translator(self):
        return None

    def _measured(self, loss):
        return perplexity(loss)
