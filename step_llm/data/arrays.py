"""Rows of arrays of one size: pieces of a running text, and batches of what such rows hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["ArrayBatches", "stream_arrays"]


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
        """As ``Batches.shapes``: the first array's, which is the same in every batch."""
        return ((self._rows, *self._arrays[0].shape[1:]),)

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


def stream_arrays(
    texts: Sequence[Sequence[int]], length: int, end_id: int, pad_id: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels of a language model that reads a running text, a piece at a time.

    The texts stand one behind the other, each with ``end_id`` after it. The stream is cut into
    pieces of ``length`` labels; each token of the stream but the first is the label of one place,
    and no text's beginning is aligned with a piece's. So the first places of a piece see little of
    what came before; longer pieces make that matter less.

    Args:
        texts: lists of ids: paragraphs of a book, for example.
        length: T.
        end_id: stands behind each text.
        pad_id: fills the last piece up; as a label it has no part in the loss.

    Returns:
        inputs and labels, (N, T) int32 each; label t is input t + 1.

    Raises:
        ValueError: a length below 1, no token at all, or an end that is padding.
    """
    if length < 1:
        raise ValueError(f"length is {length}; expected at least 1")
    if end_id == pad_id:
        raise ValueError(f"end_id and pad_id are both {end_id}; expected two ids")
    stream = [token for text in texts for token in (*text, end_id)]
    if len(stream) < 2:
        raise ValueError(f"{len(texts)} texts hold {len(stream)} tokens; expected at least 2")
    pieces = -(-(len(stream) - 1) // length)
    padded = np.full(pieces * length + 1, pad_id, np.int32)
    padded[: len(stream)] = stream
    return padded[:-1].reshape(pieces, length), padded[1:].reshape(pieces, length)
