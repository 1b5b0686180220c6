"""Sentences as ids, in batches of a few fixed shapes: of parallel text, or of one language.

    read_parallel  ->  encode_pairs or encode_texts  ->  Batches

Nothing is cut and nothing is dropped in silence: what cannot be used is counted and reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from step_llm.data.buckets import BUCKETS
from step_llm.data.corpus import DataError, ParallelText
from step_llm.data.vocabulary import BOS_ID, EOS_ID, PAD_ID, Tokenizer, TokenizerPair

__all__ = ["BUCKETS", "Batches", "EncodedText", "encode_pairs", "encode_texts", "padded"]


@dataclass(frozen=True)
class EncodedText:
    """Sentence pairs, or sentences of one language, as ids, ready for batches.

    Args:
        source: for each pair, its ids and EOS; None where there is one language.
        target: for each sentence, BOS, its ids and EOS. The decoder reads target[:-1] and learns
            target[1:].
        source_vocab_size, target_vocab_size: every id must be below; 0 where there is no source.
        empty_lines, long_lines: numbers, from 1, of the lines left out.
        name: where the text is from, for messages.

    Raises:
        ValueError: sides of different length, or an id outside its vocabulary. (The compiled model
            cannot see that.)
    """

    source: tuple[np.ndarray, ...] | None
    target: tuple[np.ndarray, ...]
    source_vocab_size: int
    target_vocab_size: int
    empty_lines: tuple[int, ...] = ()
    long_lines: tuple[int, ...] = ()
    name: str = "the text"

    def __post_init__(self):
        if self.source is not None and len(self.source) != len(self.target):
            raise ValueError(
                f"{len(self.source)} sources and {len(self.target)} targets; expected pairs"
            )
        for side, size in (("source", self.source_vocab_size), ("target", self.target_vocab_size)):
            ids = np.concatenate([np.zeros(0, np.int32), *(getattr(self, side) or ())])
            wrong = ids[(ids < 0) | (ids >= size)]
            if wrong.size:
                raise ValueError(f"{self.name}: {side} id {wrong[0]}; expected 0 … {size - 1}")

    def __len__(self) -> int:
        return len(self.target)

    @property
    def columns(self) -> tuple[Sequence[np.ndarray], ...]:
        """Sources (where there are some), decoder inputs and labels."""
        shifted = [ids[:-1] for ids in self.target], [ids[1:] for ids in self.target]
        return shifted if self.source is None else (self.source, *shifted)

    @property
    def lengths(self) -> np.ndarray:
        """The positions each sentence or pair needs: the longer of source and decoder input."""
        return np.array([[len(ids) for ids in column] for column in self.columns], np.int64).max(0)

    @property
    def report(self) -> str:
        """One line: how many sentences there are, and how many were left out and why."""
        is_pairs = self.source is not None
        what, empty = ("sentence pairs", "with an empty side") if is_pairs else ("lines", "empty")
        text = f"{self.name}: {len(self)} {what}"
        for lines, why in ((self.empty_lines, empty), (self.long_lines, "too long")):
            if lines:
                text += f", {len(lines)} {why} left out (the first is line {lines[0]})"
        return text


def encode_pairs(
    text: ParallelText, tokenizers: TokenizerPair, longest: int = BUCKETS[-1]
) -> EncodedText:
    """Token ids of a parallel text. Pairs that cannot be used are left out whole and reported.

    Args:
        text: the sentences.
        tokenizers: of the two sides.
        longest: the most positions a side may take, EOS or BOS among them.

    Raises:
        DataError: no pair is left.
    """
    sides = (text.source, tokenizers.source), (text.target, tokenizers.target)
    return _encode(sides, longest, text.name)


def encode_texts(
    lines: Sequence[str], tokenizer: Tokenizer, longest: int = BUCKETS[-1], name: str = "the text"
) -> EncodedText:
    """Token ids of the lines of one language, which have no source. See ``encode_pairs``.

    Raises:
        DataError: no line is left.
    """
    return _encode(((lines, tokenizer),), longest, name)


def _encode(sides, longest, name):
    kept, empty, too_long = [], [], []
    for number, sentences in enumerate(zip(*(lines for lines, _ in sides)), start=1):
        ids = [tokenizer.encode(line) for (_, tokenizer), line in zip(sides, sentences)]
        if not all(ids):
            empty.append(number)
        elif max(map(len, ids)) >= longest:  # EOS or BOS takes one more
            too_long.append(number)
        else:
            kept.append(ids)
    source, size = None, 0
    if len(sides) == 2:
        source = tuple(np.array([*ids[0], EOS_ID], np.int32) for ids in kept)
        size = len(sides[0][1])
    target = tuple(np.array([BOS_ID, *ids[-1], EOS_ID], np.int32) for ids in kept)
    left_out = (tuple(empty), tuple(too_long))
    encoded = EncodedText(source, target, size, len(sides[-1][1]), *left_out, name)
    if not kept:
        raise DataError(f"{encoded.report}; expected at least one of 1 … {longest - 1} tokens")
    return encoded


class Batches:
    """Sentences in batches of similar length, each of one of a few fixed shapes.

    A sentence, or a pair with both its sides, goes to the smallest bucket that holds it, and is
    padded to the bucket's length L. A batch has B = batch_tokens / L rows (a multiple of 8 where it
    can be), so there is one shape (B, L) for each bucket. The longest of the shorter sentences
    complete the last batch of a bucket. When none is left, rows of padding do; the loss does not
    count them.

    Args:
        text: from ``encode_pairs`` or ``encode_texts``.
        buckets: the lengths L, ascending.
        batch_tokens: positions in a batch, for each side.
        shuffle: a new order of the sentences, and so new batches, in each epoch.
        seed: of the shuffling.

    Raises:
        ValueError: buckets that do not ascend, a batch_tokens below the longest bucket, or a
            sentence longer than it.
    """

    def __init__(
        self, text: EncodedText, buckets=BUCKETS, batch_tokens: int = 2400, shuffle=True, seed=0
    ):
        buckets = tuple(buckets)
        if not buckets or buckets[0] < 1 or any(a >= b for a, b in zip(buckets, buckets[1:])):
            raise ValueError(f"buckets are {buckets}; expected ascending lengths of at least 1")
        if batch_tokens < buckets[-1]:
            raise ValueError(
                f"batch_tokens is {batch_tokens}; needs at least {buckets[-1]}, the longest bucket"
            )
        lengths = text.lengths
        if len(text) == 0 or lengths.max() > buckets[-1]:
            raise ValueError(
                f"{text.name}: the longest of {len(text)} has {lengths.max(initial=0)} "
                f"positions; expected 1 … {buckets[-1]}, the longest bucket"
            )
        self._shuffle, self._seed = shuffle, seed
        # From the longest bucket to the shortest, so that the longest sentences left complete a
        # batch: of each, its rows in a batch, and the padded columns of all its batches.
        self._buckets = []
        longest_first, unpadded = np.argsort(-lengths, kind="stable"), text.columns
        for shorter, length in reversed([*zip((0, *buckets), buckets)]):
            rows = batch_tokens // length
            rows = rows // 8 * 8 or rows  # whole eights, where there are eight
            batches = -(-int(np.sum(lengths[longest_first] > shorter)) // rows)
            here, longest_first = np.split(longest_first, [batches * rows])
            if batches:
                columns = [
                    padded([column[number] for number in here], batches * rows, length)
                    for column in unpadded
                ]
                self._buckets.append((rows, columns))

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return sum(len(columns[0]) // rows for rows, columns in self._buckets)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """The shapes (B, L) that occur, shortest first."""
        return tuple((rows, columns[0].shape[1]) for rows, columns in reversed(self._buckets))

    def real_token_share(self) -> float:
        """The share of real tokens among the positions of all sources and decoder inputs."""
        inputs = [column for _, columns in self._buckets for column in columns[:-1]]
        return sum(np.count_nonzero(c != PAD_ID) for c in inputs) / sum(c.size for c in inputs)

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[tuple[np.ndarray, ...]]:
        """The batches of one epoch, each time the same for the same seed and number.

        Args:
            number: of the epoch, from 0.
            start: leave out this many batches at the beginning, to go on where a run stopped.

        Yields:
            source, decoder input (BOS x₁ … x_N) and labels (x₁ … x_N EOS), each (B, L) int32; of
            one language there is no source.

        Raises:
            ValueError: a start that is not in 0 … len(self).
        """
        if not 0 <= start <= len(self):
            raise ValueError(f"start is {start}; expected 0 … {len(self)}, the batches of an epoch")
        return self._epoch(number, start)

    def _epoch(self, number, start):
        order = np.arange(sum(len(columns[0]) for _, columns in self._buckets))
        if self._shuffle:
            # An own generator: neither MindSpore's seed nor NumPy's has a part in the order.
            order = np.random.default_rng((self._seed, number)).permutation(len(order))
        batches = []
        for rows, columns in self._buckets:
            here = np.flatnonzero((order >= 0) & (order < len(columns[0]))).reshape(-1, rows)
            batches += [(places[-1], columns, order[places]) for places in here]
            order = order - len(columns[0])  # the next bucket counts from its own first
        # A batch's turn is that of its last sentence: long and short batches are mixed.
        batches.sort(key=lambda batch: batch[0])
        for _, columns, chosen in batches[start:]:
            yield tuple(column[chosen] for column in columns)


def padded(sentences: Sequence, rows: int, length: int, pad_id: int = PAD_ID) -> np.ndarray:
    """Lists of ids as one array (rows, length), with padding behind and below them."""
    array = np.full((rows, length), pad_id, np.int32)
    for row, ids in zip(array, sentences):
        row[: len(ids)] = ids
    return array
