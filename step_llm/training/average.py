"""The mean of several checkpoints' weights, which often is better than each of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from step_llm.models.weights import CheckpointError, read_weights

__all__ = ["average_weights"]


def average_weights(folders: Sequence[Path], like: dict) -> tuple[dict, list[CheckpointError]]:
    """The mean of the weights in some checkpoints, each weight by itself.

    Args:
        folders: the checkpoints.
        like: weights of the same names and shapes.

    Returns:
        the mean, float32 as the weights, and why checkpoints are left out: they are damaged. Where
        all are, there is no mean ({}).

    Source: Vaswani et al. 2017, section 6.1.
    """
    sums, count, left_out = {}, 0, []
    for folder in folders:
        try:
            weights = read_weights(folder / "model.safetensors", like)
        except CheckpointError as error:
            left_out.append(error)
            continue
        count += 1
        for name, value in weights.items():
            sums[name] = sums.get(name, 0.0) + value.astype(np.float64)
    return {name: (total / count).astype(np.float32) for name, total in sums.items()}, left_out
