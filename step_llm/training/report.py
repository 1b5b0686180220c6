"""What training shows while it runs: a bar for each epoch, and a line after it."""

from __future__ import annotations

from collections.abc import Sequence

from tqdm.auto import tqdm

__all__ = ["progress_bar", "tell_average", "tell_epoch", "tell_left_out"]


def progress_bar(title: str, batches: int, done: int, is_shown: bool) -> tqdm:
    """The bar of an epoch of so many batches, of which some may be done."""
    return tqdm(
        total=batches,
        initial=done,
        desc=title,
        unit="batch",
        disable=not is_shown,
        mininterval=0.5,
    )


def tell_epoch(entry: dict, value: str, skipped: int) -> None:
    """A line for an entry of the history, with the measure's value as text."""
    tqdm.write(
        f"epoch {entry['epoch']}: training loss {entry['train_loss']:.3f}, validation loss "
        f"{entry['validation_loss']:.3f}, validation {value}, {entry['seconds'] / 60:.1f} min"
        + (f", {skipped} updates skipped so far" if skipped else "")
    )


def tell_left_out(errors: Sequence[Exception]) -> None:
    """A line for each checkpoint that is damaged."""
    for error in errors:
        tqdm.write(f"left out of the average: {error}")


def tell_average(entry: dict, value: str, best: str) -> None:
    """A line for the average, beside the best checkpoint before it."""
    tqdm.write(
        f"average of the last {entry['epochs']} epochs: validation loss "
        f"{entry['validation_loss']:.3f}, validation {value} (best until now: {best})"
    )
