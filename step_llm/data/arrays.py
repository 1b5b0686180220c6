"""Batches of what is not text: rows of arrays, of one size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["ArrayBatches"]


class ArrayBatches:
    """Rows of a few arrays in batches of one size: images and classes, masked texts and labels.

    Args:
        arrays: (N, …) each, labels last.
        rows: B, rows of a batch.
        fill: the last batch is completed with rows of this value in the last array, and of 0 in the
            others; a label that the objective leaves out. None for arrays of which B divides N.
        shuffle: a new order in each epoch.
        seed: of the shuffling, and of ``change``.
        change: called for every batch with a NumPy generator and the arrays' rows, it returns the
            arrays of the batch (to hide other tokens in each epoch, for example). Every epoch's
            generator begins with seed and number, so that validation is the same at each epoch
            where ``shuffle`` is off.

    Raises:
        ValueError: no rows, arrays of different length, a batch size below 1, or rows left over
            where fill is None.
    """

    def __init__(self, arrays, rows: int, fill=None, shuffle=True, seed: int = 0, change=None):
        self._arrays = tuple(np.asarray(array) for array in arrays)
        sizes = {len(array) for array in self._arrays}
        if len(sizes) != 1 or 0 in sizes or rows < 1:
            raise ValueError(
                f"arrays of {sorted(sizes)} rows in batches of {rows}; expected arrays of one "
                "length and at least one row"
            )
        (self._size,) = sizes
        if fill is None and self._size % rows:
            raise ValueError(
                f"{self._size} rows in batches of {rows} leave {self._size % rows} over; expected "
                "a divisor, or a fill"
            )
        self._rows, self._fill, self._shuffle = rows, fill, shuffle
        self._seed, self._change = seed, change

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-self._size // self._rows)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the arrays of every batch."""
        return tuple((self._rows, *array.shape[1:]) for array in self._arrays)

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[tuple[np.ndarray, ...]]:
        """As ``Batches.epoch``, yields a batch of each array."""
        if not 0 <= start <= len(self):
            raise ValueError(f"start is {start}; expected 0 … {len(self)}, the batches of an epoch")
        return self._epoch(number if self._shuffle else 0, start)

    def _epoch(self, number, start):
        order = np.arange(self._size)
        if self._shuffle:
            order = np.random.default_rng((self._seed, number)).permutation(self._size)
        for batch in range(start, len(self)):
            places = order[batch * self._rows : (batch + 1) * self._rows]
            rows = [array[places] for array in self._arrays]
            if self._change is not None:
                # One generator for each batch: a resumed run draws as one that was not stopped.
                rng = np.random.default_rng((self._seed, number, batch))
                rows = self._change(rng, *rows)
            yield tuple(
                self._completed(array, self._fill if array is rows[-1] else 0) for array in rows
            )

    def _completed(self, array, fill):
        missing = self._rows - len(array)
        if not missing:
            return array
        return np.concatenate([array, np.full((missing, *array.shape[1:]), fill, array.dtype)])
