"""How a model is trained: a frozen dataclass, validated once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from step_llm.data.batches import BUCKETS
from step_llm.training.precision import PRECISIONS

__all__ = ["TrainingConfig"]

# The whole numbers, and the least that each may be.
_LEAST = {
    "epochs": 1, "batch_tokens": 1, "warmup_steps": 1, "average": 1, "save_every": 1,
    "accumulate": 1, "patience": 0, "seed": 0,
}  # fmt: skip


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained; what it is, stands in the model's own configuration.

    Args:
        epochs: passes over the training text.
        batch_tokens: positions in a batch, for each side.
        buckets: lengths to which sentences are padded.
        warmup_steps: updates until the learning rate is at its peak.
        peak_learning_rate: None gives the paper's (D · warmup_steps)^(−1/2).
        label_smoothing: ε of the loss.
        clip_norm: the gradient's greatest allowed global norm.
        patience: stop after so many epochs of which none was the best on validation; 0 never stops
            early.
        average: the averaged checkpoint is the mean of the last so many epochs' weights.
        save_every: also save a checkpoint every so many updates, not only after each epoch.
        precision: "float32"; or "float16" or "bfloat16" for the matrix products of training, with
            dynamic loss scaling. Weights, validation and translation stay in float32.
        accumulate: batches to an update; as one batch of so many times the size, in the memory
            of one.
        seed: of the initial weights, the order of the batches, and dropout.

    Raises:
        ValueError: a value of another type, or outside its range.
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
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not _is_whole(value):
                raise ValueError(f"{name} is {value!r}; expected a whole number")
            if value < least:
                raise ValueError(f"{name} is {value}; expected at least {least}")
        if not isinstance(self.buckets, (tuple, list)) or not all(map(_is_whole, self.buckets)):
            raise ValueError(f"buckets is {self.buckets!r}; expected whole numbers")
        object.__setattr__(self, "buckets", tuple(self.buckets))
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision is {self.precision!r}; expected one of {', '.join(PRECISIONS)}"
            )
        for name in ("label_smoothing", "clip_norm", "peak_learning_rate"):
            value = getattr(self, name)
            if value is None and name == "peak_learning_rate":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{name} is {value!r}; expected a number")
            if name == "label_smoothing" and not 0.0 <= value < 1.0:
                raise ValueError(f"{name} is {value}; expected [0, 1)")
            if name != "label_smoothing" and not 0.0 < value < math.inf:
                raise ValueError(f"{name} is {value}; expected more than 0")

    @classmethod
    def from_dict(cls, values: dict) -> TrainingConfig:
        """From the fields of another, as a checkpoint keeps them; what is missing has its default.

        Raises:
            ValueError: a field that is unknown, of another type, or outside its range.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)} is no option of training; was it written by a newer version?"
            )
        return cls(**values)


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)
