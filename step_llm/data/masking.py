"""What BERT learns from: texts with blanks, and pairs of sentences of which one may follow.

Letters: B batch, T length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["mask_tokens", "masked_batch", "next_sentence_pairs", "pair_arrays"]


def mask_tokens(
    ids: np.ndarray,
    vocab_size: int,
    mask_id: int,
    special_ids: Sequence[int],
    seed: int | np.random.Generator,
    pad_id: int = 0,
    rate: float = 0.15,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the tokens that a masked language model has to predict, and hide most of them.

    Each token is chosen with probability ``rate``. Of the chosen ones 80 % become the mask, 10 % a
    random token that is not special, and 10 % stay as they are.

    Args:
        ids: (B, T) integer.
        vocab_size: V.
        mask_id: the token that stands for a blank.
        special_ids: tokens that are never chosen, and never put in a token's place; the mask and
            the padding need not be named.
        seed: a number, or a NumPy generator that goes on from batch to batch.
        pad_id: never chosen; what the labels hold where nothing is to be predicted, so that
            ``label_smoothed_cross_entropy`` leaves these places out.
        rate: the share of tokens to be predicted.

    Returns:
        inputs and labels, (B, T) int32 each. The labels are the ids at the chosen places. A small
        batch may have no such place.

    Raises:
        ValueError: a rate outside (0, 1], an id outside the vocabulary, or nothing but special
            tokens in it.

    Source: Devlin et al. 2019, section 3.1, task 1.
    """
    ids = np.asarray(ids)
    if not 0.0 < rate <= 1.0:
        raise ValueError(f"rate is {rate}; expected a share in (0, 1]")
    special = np.unique([*special_ids, mask_id, pad_id])
    for name, values in (("ids", ids), ("special ids", special)):
        if values.size and not 0 <= values.min() <= values.max() < vocab_size:
            raise ValueError(
                f"{name} reach from {values.min()} to {values.max()}; expected 0 … {vocab_size - 1}"
            )
    ordinary = np.setdiff1d(np.arange(vocab_size), special)
    if not ordinary.size:
        raise ValueError(f"all {vocab_size} tokens are special; expected others too")
    rng = np.random.default_rng(seed)
    is_chosen = (rng.random(ids.shape) < rate) & ~np.isin(ids, special)
    fate = rng.random(ids.shape)
    inputs = np.where(is_chosen & (fate < 0.8), mask_id, ids)
    is_random = is_chosen & (fate >= 0.8) & (fate < 0.9)
    inputs = np.where(is_random, rng.choice(ordinary, ids.shape), inputs)
    labels = np.where(is_chosen, ids, pad_id)
    return inputs.astype(np.int32), labels.astype(np.int32)


def masked_batch(
    vocab_size: int, mask_id: int, special_ids: Sequence[int], pad_id: int = 0, rate: float = 0.15
) -> Callable:
    """``mask_tokens`` as the ``change`` of ``data.ArrayBatches``: other blanks in every epoch.

    Args:
        vocab_size, mask_id, special_ids, pad_id, rate: as for ``mask_tokens``.

    Returns:
        a function from a generator, ids and segments (B, T), and what else the rows have, to
        inputs, segments, labels, and the rest.
    """

    def change(rng, ids, segments, *rest):
        inputs, labels = mask_tokens(ids, vocab_size, mask_id, special_ids, rng, pad_id, rate)
        return inputs, segments, labels, *rest

    return change


def next_sentence_pairs(documents: Sequence[Sequence], seed: int) -> tuple[list, list, np.ndarray]:
    """Pairs of sentences for BERT's second task: does B follow A?

    Every sentence but a document's last is A once. In half of the pairs B is the sentence that
    follows it; in the other half a random sentence of another document.

    Args:
        documents: each a list of sentences in their order; a sentence is whatever it is to be.
        seed: the same seed draws the same pairs.

    Returns:
        the sentences A, the sentences B, and int32 labels: 0 where B follows A, 1 where not.

    Raises:
        ValueError: fewer than two documents that have a sentence, or none that has two.

    Source: Devlin et al. 2019, section 3.1, task 2.
    """
    documents = [list(document) for document in documents if len(document)]
    places = [(d, n) for d, document in enumerate(documents) for n in range(len(document) - 1)]
    if len(documents) < 2 or not places:
        raise ValueError(
            f"{len(documents)} documents with {len(places)} sentences that another one follows; "
            "expected at least 2 documents, one of them with 2 sentences"
        )
    rng = np.random.default_rng(seed)
    # As many of each kind as the number allows, in random order.
    is_random = rng.permutation(np.arange(len(places)) % 2).astype(np.int32)
    firsts, seconds = [], []
    for (d, n), other in zip(places, is_random):
        firsts.append(documents[d][n])
        if other:
            place = int(rng.integers(len(documents) - 1))
            document = documents[place + (place >= d)]  # any but this one
            seconds.append(document[int(rng.integers(len(document)))])
        else:
            seconds.append(documents[d][n + 1])
    return firsts, seconds, is_random


def pair_arrays(
    firsts: Sequence[Sequence[int]],
    seconds: Sequence[Sequence[int]],
    length: int,
    cls_id: int,
    sep_id: int,
    pad_id: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of sentences as BERT reads them: [CLS] A [SEP] B [SEP], padded.

    Args:
        firsts, seconds: the ids of A and B; an empty B (without its [SEP]) leaves A alone.
        length: T, of the rows.
        cls_id, sep_id, pad_id: the special tokens.

    Returns:
        ids and segments, (N, T) int32 each; a segment is 1 at B and the [SEP] after it, else 0.

    Raises:
        ValueError: as many seconds as firsts is not the case, or a pair that does not fit.
    """
    if len(firsts) != len(seconds):
        raise ValueError(f"{len(firsts)} firsts and {len(seconds)} seconds; expected pairs")
    ids = np.full((len(firsts), length), pad_id, np.int32)
    segments = np.zeros((len(firsts), length), np.int32)
    for row, (first, second) in enumerate(zip(firsts, seconds)):
        begin = [cls_id, *first, sep_id]
        whole = [*begin, *second, sep_id] if len(second) else begin
        if len(whole) > length:
            raise ValueError(f"pair {row} has {len(whole)} tokens; expected at most {length}")
        ids[row, : len(whole)] = whole
        segments[row, len(begin) : len(whole)] = 1
    return ids, segments
