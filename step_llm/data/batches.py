"""From two text files to batches of token ids in a few fixed shapes.

    read_parallel  ->  encode_pairs  ->  Batches

Nothing is cut and nothing is dropped in silence: what cannot be used is counted and reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mindspore.dataset as ds
import numpy as np

from step_llm.data.corpus import DataError, ParallelText
from step_llm.data.vocabulary import BOS_ID, EOS_ID, PAD_ID, Tokenizer, TokenizerPair

__all__ = ["BUCKETS", "Batches", "EncodedPairs", "TextBatches", "encode_pairs", "encode_texts"]

# Each length is one more shape to compile, which takes 7 to 15 s. With these, real tokens fill 86 %
# of the positions on Multi30k (joint vocabulary of 6,000 byte pairs, 2,400 positions a batch).
BUCKETS = (12, 14, 16, 18, 21, 25, 33, 64)


@dataclass(frozen=True)
class EncodedPairs:
    """Sentence pairs as ids, ready for batches.

    Args:
        source: for each pair, its ids and EOS.
        target: for each pair, BOS, its ids and EOS. The decoder reads target[:-1] and learns
            target[1:].
        source_vocab_size, target_vocab_size: every id must be below.
        empty_lines, long_lines: numbers, from 1, of the lines left out.
        name: where the text is from, for messages.

    Raises:
        ValueError: sides of different length, or an id outside its vocabulary. (The compiled model
            cannot see that.)
    """

    source: tuple[np.ndarray, ...]
    target: tuple[np.ndarray, ...]
    source_vocab_size: int
    target_vocab_size: int
    empty_lines: tuple[int, ...] = ()
    long_lines: tuple[int, ...] = ()
    name: str = "the text"

    def __post_init__(self):
        if len(self.source) != len(self.target):
            raise ValueError(
                f"{len(self.source)} sources and {len(self.target)} targets; expected pairs"
            )
        for side, size in (("source", self.source_vocab_size), ("target", self.target_vocab_size)):
            ids = np.concatenate([np.zeros(0, np.int32), *getattr(self, side)])
            wrong = ids[(ids < 0) | (ids >= size)]
            if wrong.size:
                raise ValueError(
                    f"{self.name}: {side} id {wrong[0]} is outside the vocabulary of {size}; "
                    f"expected 0 … {size - 1}"
                )

    def __len__(self) -> int:
        return len(self.source)

    @property
    def lengths(self) -> np.ndarray:
        """The positions each pair needs: the longer of source and decoder input."""
        return np.array(
            [max(len(s), len(t) - 1) for s, t in zip(self.source, self.target)], dtype=np.int64
        )

    @property
    def report(self) -> str:
        """One line: how many pairs there are, and how many were left out and why."""
        what, empty = "sentence pairs", "with an empty side"
        if not any(map(len, self.source)):  # texts of one language
            what, empty = "lines", "empty"
        text = f"{self.name}: {len(self)} {what}"
        for lines, why in ((self.empty_lines, empty), (self.long_lines, "too long")):
            if lines:
                text += f", {len(lines)} {why} left out (the first is line {lines[0]})"
        return text


def encode_pairs(
    text: ParallelText, tokenizers: TokenizerPair, longest: int = BUCKETS[-1]
) -> EncodedPairs:
    """Token ids of a parallel text. Pairs that cannot be used are left out whole and reported.

    Args:
        text: the sentences.
        tokenizers: of the two sides.
        longest: the most positions a side may take, EOS or BOS among them.

    Raises:
        DataError: no pair is left.
    """
    sources, targets, empty, too_long = [], [], [], []
    for number, (source, target) in enumerate(zip(text.source, text.target), start=1):
        source = [*tokenizers.source.encode(source), EOS_ID]
        target = [BOS_ID, *tokenizers.target.encode(target), EOS_ID]
        if len(source) == 1 or len(target) == 2:
            empty.append(number)
        elif max(len(source), len(target) - 1) > longest:
            too_long.append(number)
        else:
            sources.append(np.array(source, np.int32))
            targets.append(np.array(target, np.int32))
    if not sources:
        raise DataError(
            f"{text.name} has no usable sentence pair: {len(empty)} with an empty side, "
            f"{len(too_long)} longer than {longest} tokens"
        )
    return EncodedPairs(
        tuple(sources),
        tuple(targets),
        len(tokenizers.source),
        len(tokenizers.target),
        tuple(empty),
        tuple(too_long),
        text.name,
    )


class Batches:
    """Sentence pairs in batches of similar length, each of one of a few fixed shapes.

    A pair goes to the smallest bucket that holds both its sides, and both are padded to the
    bucket's length L. A batch has B = batch_tokens / L rows (a multiple of 8 where it can be), so
    there is one shape (B, L) for each bucket. The longest of the shorter pairs complete the
    last batch of a bucket. When no pair is left, rows of padding do; the loss does not count them.

    Args:
        pairs: from ``encode_pairs``.
        buckets: the lengths L, ascending.
        batch_tokens: positions in a batch, for each side.
        shuffle: a new order of the pairs, and so new batches, in each epoch.
        seed: of the shuffling.

    Raises:
        ValueError: buckets that do not ascend, a batch_tokens below the longest bucket, or a pair
            longer than it.
    """

    def __init__(
        self,
        pairs: EncodedPairs,
        buckets: Sequence[int] = BUCKETS,
        batch_tokens: int = 2400,
        shuffle: bool = True,
        seed: int = 0,
    ):
        buckets = tuple(buckets)
        if not buckets or buckets[0] < 1 or any(a >= b for a, b in zip(buckets, buckets[1:])):
            raise ValueError(f"buckets are {buckets}; expected ascending lengths of at least 1")
        if batch_tokens < buckets[-1]:
            raise ValueError(
                f"batch_tokens is {batch_tokens}; needs at least {buckets[-1]}, the longest bucket"
            )
        lengths = pairs.lengths
        if len(pairs) == 0 or lengths.max() > buckets[-1]:
            raise ValueError(
                f"{pairs.name}: the longest of {len(pairs)} pairs has {lengths.max(initial=0)} "
                f"positions; expected 1 … {buckets[-1]}, the longest bucket"
            )
        self._buckets = buckets
        self._rows_per_batch = [_rows(batch_tokens, length) for length in buckets]
        self._shuffle = shuffle
        self._seed = seed

        # From the longest bucket to the shortest, so that the longest pairs left complete a batch.
        longest_first = np.argsort(-lengths, kind="stable")
        self._batches_in_bucket = [0] * len(buckets)
        self._items = []
        taken = 0
        for i in reversed(range(len(buckets))):
            shorter = buckets[i - 1] if i else 0
            here = int(np.sum(lengths > shorter)) - taken
            self._batches_in_bucket[i] = max(0, -(-here // self._rows_per_batch[i]))
            room = self._batches_in_bucket[i] * self._rows_per_batch[i]
            chosen = longest_first[taken : taken + room]
            # MindSpore chooses the bucket by length: one position above the next shorter bucket.
            items = [_item(pairs.source[k], pairs.target[k], shorter + 1) for k in chosen]
            padding = np.full((shorter + 1, 3), PAD_ID, np.int32)
            self._items += items + [padding] * (room - len(items))
            taken += room
        self._real = sum(len(s) + len(t) - 1 for s, t in zip(pairs.source, pairs.target))

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return sum(self._batches_in_bucket)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """The shapes (B, L) that occur, shortest first."""
        every = zip(self._rows_per_batch, self._buckets, self._batches_in_bucket)
        return tuple((rows, length) for rows, length, count in every if count)

    def real_token_share(self) -> float:
        """The share of real tokens among the positions of all sources and decoder inputs."""
        every = zip(self._rows_per_batch, self._buckets, self._batches_in_bucket)
        return self._real / sum(2 * rows * length * count for rows, length, count in every)

    def epoch(
        self, number: int = 0, start: int = 0
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The batches of one epoch, each time the same for the same seed and number.

        Args:
            number: of the epoch, from 0.
            start: leave out this many batches at the beginning, to go on where a run stopped.

        Yields:
            source, decoder input and labels, each (B, L) int32.

        Raises:
            ValueError: a start that is not in 0 … len(self).
        """
        if not 0 <= start <= len(self):
            raise ValueError(f"start is {start}; expected 0 … {len(self)}, the batches of an epoch")
        return self._epoch(number, start)

    def _epoch(self, number, start):
        if start == len(self):
            return
        items = self._items
        if self._shuffle:
            # An own generator: neither MindSpore's seed nor NumPy's has a part in the order.
            order = np.random.default_rng((self._seed, number)).permutation(len(items))
            items = [items[i] for i in order]
        dataset = ds.GeneratorDataset(
            items, ["pair"], shuffle=False, num_parallel_workers=1, python_multiprocessing=False
        )
        dataset = dataset.bucket_batch_by_length(
            ["pair"],
            bucket_boundaries=[length + 1 for length in self._buckets],
            bucket_batch_sizes=[*self._rows_per_batch, 1],  # Nothing is beyond the last.
            pad_info={"pair": ([None, 3], PAD_ID)},
            pad_to_bucket_boundary=True,
        )
        batches = dataset.skip(start).create_tuple_iterator(num_epochs=1, output_numpy=True)
        try:
            for (batch,) in batches:  # (B, L, 3)
                yield tuple(np.ascontiguousarray(batch[:, :, column]) for column in range(3))
        finally:
            batches.stop()


def encode_texts(
    lines: Sequence[str], tokenizer: Tokenizer, longest: int = BUCKETS[-1], name: str = "the text"
) -> EncodedPairs:
    """Token ids of the lines of one language: targets without a source. See ``encode_pairs``.

    Raises:
        DataError: no line is left.
    """
    texts, empty, too_long = [], [], []
    for number, line in enumerate(lines, start=1):
        ids = [BOS_ID, *tokenizer.encode(line), EOS_ID]
        if len(ids) == 2:
            empty.append(number)
        elif len(ids) - 1 > longest:
            too_long.append(number)
        else:
            texts.append(np.array(ids, np.int32))
    if not texts:
        raise DataError(
            f"{name} has no usable line: {len(empty)} empty, {len(too_long)} longer than "
            f"{longest} tokens"
        )
    nothing = (np.zeros(0, np.int32),) * len(texts)
    size = len(tokenizer)
    return EncodedPairs(nothing, tuple(texts), size, size, tuple(empty), tuple(too_long), name)


class TextBatches(Batches):
    """``Batches`` for a causal language model, which has no source: from ``encode_texts``.

    ``epoch`` yields decoder input (BOS x₁ … x_N) and labels (x₁ … x_N EOS), each (B, L) int32.
    """

    def real_token_share(self) -> float:
        """The share of real tokens among the positions."""
        return 2 * super().real_token_share()  # there, an empty source counts as positions too

    def _epoch(self, number, start):
        for _, decoder_input, labels in super()._epoch(number, start):
            yield decoder_input, labels


def _rows(batch_tokens: int, length: int) -> int:
    """Rows of a batch: as many as fit, in whole eights where there are eight."""
    rows = batch_tokens // length
    return rows // 8 * 8 if rows >= 8 else rows


def _item(source: np.ndarray, target: np.ndarray, at_least: int) -> np.ndarray:
    """(L, 3), L at least so much: source, decoder input and labels, so one array is one pair."""
    length = max(len(source), len(target) - 1, at_least)
    item = np.full((length, 3), PAD_ID, np.int32)
    item[: len(source), 0] = source
    item[: len(target) - 1, 1] = target[:-1]
    item[: len(target) - 1, 2] = target[1:]
    return item
