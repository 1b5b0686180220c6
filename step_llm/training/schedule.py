"""The learning rate: a linear warm-up, then a fall with the square root of the step."""

from __future__ import annotations

__all__ = ["cooldown_factor", "paper_peak", "warmup_learning_rate"]


def warmup_learning_rate(step: int, warmup_steps: int, peak: float) -> float:
    r"""The paper's schedule, given by the rate at its top.

    Formula: lr(step) = peak · min(step / warmup_steps, √(warmup_steps / step)). With
    peak = (D · warmup_steps)^(−1/2) this is the paper's
    D^(−1/2) · min(step^(−1/2), step · warmup_steps^(−3/2)).

    Args:
        step: the number of this update, from 1.
        warmup_steps: updates until the peak, at least 1.
        peak: the highest learning rate, reached at step = warmup_steps.

    Returns:
        the learning rate of this update.

    Raises:
        ValueError: step or warmup_steps below 1.

    Source: Vaswani et al. 2017, equation 3.
    """
    if step < 1 or warmup_steps < 1:
        raise ValueError(
            f"step is {step} and warmup_steps is {warmup_steps}; expected both to be at least 1"
        )
    return peak * min(step / warmup_steps, (warmup_steps / step) ** 0.5)


def cooldown_factor(step: int, steps: int, share: float) -> float:
    r"""What takes the learning rate down to nearly 0 in a run's last part, in a straight line.

    Formula: min(1, (steps + 1 − step) / (share · steps)).

    Args:
        step: the number of this update, from 1.
        steps: the updates of the whole run.
        share: of the run, in [0, 1]; with 0 the factor is always 1.

    Source: Hägele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
    Durations": there the rate before it is constant.
    """
    falling = share * steps
    return min(1.0, (steps + 1 - step) / falling) if falling > 0 else 1.0


def paper_peak(d_model: int, warmup_steps: int) -> float:
    """The peak learning rate that makes ``warmup_learning_rate`` the paper's formula."""
    return (d_model * warmup_steps) ** -0.5
