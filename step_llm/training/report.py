"""What training shows while it runs: a bar for each epoch, and a line after it."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from tqdm.auto import tqdm

from step_llm.runtime.language import say

__all__ = [
    "progress_bar", "tell_average", "tell_compiling", "tell_epoch", "tell_left_out", "waiting",
]  # fmt: skip

_RECENT = 25  # updates that an estimate is made of
_CHINESE = Path(__file__).with_name("zh.json")


class _Bar(tqdm):
    """Its estimate leaves out what is compiled, which the updates to come do not repeat.

    A shape's first update takes many times as long as its others. Of the last updates the median is
    taken, and none before the second.
    """

    def __init__(self, *arguments, **options):
        self._paces, self._since = deque(maxlen=_RECENT), None
        super().__init__(*arguments, **options)

    def update(self, n=1):
        now = time.perf_counter()
        if self._since is not None:
            self._paces.append((now - self._since) / n)
        self._since = now
        return super().update(n)

    @property
    def format_dict(self):
        found = super().format_dict
        pace = statistics.median(self._paces) if self._paces else 0.0
        return {**found, "rate": 1 / pace if pace else 0.0}


def progress_bar(title: str, batches: int, done: int, is_shown: bool) -> tqdm:
    """The bar of an epoch of so many batches, of which some may be done."""
    return _Bar(
        total=batches,
        initial=done,
        desc=say(title, _CHINESE),
        unit=say("batch", _CHINESE),
        disable=not is_shown,
        mininterval=0.5,
    )


def tell_compiling(bar: tqdm, batches: Sequence[tuple], seen: set, every: int) -> None:
    """Say in the bar, which stands still meanwhile, that an update has to be compiled first.

    Args:
        batches: of the update.
        seen: the shapes of batches that were compiled before; the new ones are added.
        every: how many shapes there are.
    """
    for shape in {batch[0].shape for batch in batches} - seen:
        seen.add(shape)
        bar.set_postfix_str(say(f"compiling shape {len(seen)} of {every}", _CHINESE))


def waiting(title: str, is_shown: bool) -> tqdm:
    """A line for something that takes a while, to be used as a context; then it goes away."""
    return tqdm(
        total=1, desc=say(title, _CHINESE), bar_format="{desc} …", leave=False,
        disable=not is_shown,
    )  # fmt: skip


def tell_epoch(entry: dict, value: str, skipped: int) -> None:
    """A line for an entry of the history, with the measure's value as text."""
    _tell(
        f"epoch {entry['epoch']}: training loss {entry['train_loss']:.3f}, validation loss "
        f"{entry['validation_loss']:.3f}, validation {value}, {entry['seconds'] / 60:.1f} min"
        + (f", {skipped} updates skipped so far" if skipped else "")
    )


def tell_left_out(errors: Sequence[Exception]) -> None:
    """A line for each checkpoint that is damaged."""
    for error in errors:
        _tell(f"left out of the average: {error}")


def tell_average(entry: dict, value: str, best: str) -> None:
    """A line for the average, beside the best checkpoint before it."""
    _tell(
        f"average of the last {entry['epochs']} epochs: validation loss "
        f"{entry['validation_loss']:.3f}, validation {value} (best until now: {best})"
    )


def _tell(line):
    tqdm.write(say(line, _CHINESE))
