"""How a model is trained: a frozen dataclass, validated once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from step_llm.data.batches import BUCKETS
from step_llm.models.fields import check_fields, is_number, is_whole
from step_llm.training.precision import PRECISIONS

__all__ = ["MOST", "TrainingConfig"]

MOST = 10**9  # of anything that is counted; MindSpore's seeds go to four times as many
_MOST_POSITIONS = 10**7  # of a batch; far beyond any memory

# Types first, then ranges: what is of another type cannot be compared.
_WHOLE = (
    "epochs", "batch_tokens", "warmup_steps", "patience", "average", "save_every", "accumulate",
    "seed",
)  # fmt: skip
_NUMBERS = ("peak_learning_rate", "cooldown", "label_smoothing", "r_drop", "clip_norm")
_TYPES = {
    **dict.fromkeys(_WHOLE, (is_whole, "a whole number")),
    **dict.fromkeys(_NUMBERS, (is_number, "a number")),
}


def _from(least, most=MOST):
    return (lambda value: least <= value <= most), f"at least {least} and at most {most:,}"


def _are_lengths(value):
    is_some = isinstance(value, (tuple, list)) and len(value) > 0
    return is_some and all(is_whole(one) and 1 <= one <= _MOST_POSITIONS for one in value)


_RANGES = {
    **dict.fromkeys(_WHOLE, _from(1)),
    **dict.fromkeys(("patience", "seed"), _from(0)),
    "batch_tokens": _from(1, _MOST_POSITIONS),
    "buckets": (_are_lengths, f"lengths, whole numbers from 1 to {_MOST_POSITIONS:,}"),
    **dict.fromkeys(
        ("peak_learning_rate", "clip_norm"), ((lambda value: 0.0 < value < math.inf), "more than 0")
    ),
    "cooldown": ((lambda value: 0.0 <= value <= 1.0), "[0, 1]"),
    "label_smoothing": ((lambda value: 0.0 <= value < 1.0), "[0, 1)"),
    "r_drop": ((lambda value: 0.0 <= value < math.inf), "at least 0"),
    "precision": (PRECISIONS.__contains__, f"one of {', '.join(PRECISIONS)}"),
}


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained; what it is, stands in the model's own configuration.

    Args:
        epochs: passes over the training text.
        batch_tokens: positions in a batch, for each side.
        buckets: lengths to which sentences are padded.
        warmup_steps: updates until the learning rate is at its peak.
        peak_learning_rate: None gives the paper's (D · warmup_steps)^(−1/2).
        cooldown: share of the run's updates, its last ones, in which the learning rate falls to
            nearly 0 in a straight line; 0 leaves the paper's schedule as it is.
        label_smoothing: ε of the loss.
        r_drop: α of ``r_drop_objective``; 0 makes one pass without it, at half the cost.
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
    cooldown: float = 0.0
    label_smoothing: float = 0.1
    r_drop: float = 0.0
    clip_norm: float = 1.0
    patience: int = 0
    average: int = 5
    save_every: int = 200
    precision: str = "float32"
    accumulate: int = 1
    seed: int = 0

    def __post_init__(self):
        given = dict(vars(self))
        if self.peak_learning_rate is None:
            del given["peak_learning_rate"]
        check_fields(given, _TYPES)
        check_fields(given, _RANGES)
        object.__setattr__(self, "buckets", tuple(self.buckets))

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
