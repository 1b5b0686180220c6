"""Training: one compiled step, a loop over epochs, validation, checkpoints that survive a kill."""

from __future__ import annotations

from dataclasses import dataclass

from step_llm.data.batches import BUCKETS
from step_llm.training.precision import PRECISIONS

__all__ = ["TrainingConfig"]


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained; what it is, stands in ``TransformerConfig``.

    Args:
        epochs: passes over the training text.
        batch_tokens: positions in a batch, for each side.
        buckets: lengths to which sentences are padded.
        warmup_steps: updates until the learning rate is at its peak.
        peak_learning_rate: None gives the paper's (D · warmup_steps)^(−1/2).
        label_smoothing: ε of the loss.
        clip_norm: the gradient's greatest allowed global norm.
        patience: stop after so many epochs without a better validation BLEU; 0 never stops early.
        average: the averaged checkpoint is the mean of the last so many epochs' weights.
        save_every: also save a checkpoint every so many updates, not only after each epoch.
        precision: "float32"; or "float16" or "bfloat16" for the matrix products of training, with
            dynamic loss scaling. Weights, validation and translation stay in float32.
        accumulate: batches to an update; as one batch of so many times the size, in the memory
            of one.
        seed: of the initial weights, the order of the batches, and dropout.

    Raises:
        ValueError: a value outside its range.
    """

    epochs: int = 10
    batch_tokens: int = 2400
    buckets: tuple = BUCKETS
    warmup_steps: int = 400
    peak_learning_rate: float | None = None
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    patience: int = 0
    average: int = 5
    save_every: int = 200
    precision: str = "float32"
    accumulate: int = 1
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "buckets", tuple(self.buckets))
        for name in (
            "epochs", "batch_tokens", "warmup_steps", "average", "save_every", "accumulate",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision is {self.precision!r}; expected one of {', '.join(PRECISIONS)}"
            )
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError(f"label_smoothing is {self.label_smoothing}; expected [0, 1)")
        for name in ("peak_learning_rate", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0.0:
                raise ValueError(f"{name} is {value}; expected more than 0")
        if self.patience < 0:
            raise ValueError(f"patience is {self.patience}; expected 0 (never stop early) or more")
