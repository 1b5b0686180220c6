"""Search: from the model's next-token probabilities to a translation.

Two ways to choose tokens, greedy and beam; either runs on any ``StepDecoder``.

Letters: B sentences, K beam size, R = B · K rows, S source length, t prefix length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from mindspore import Tensor

from step_llm.data.vocabulary import SpecialIds
from step_llm.decoding.hypothesis import Hypothesis, length_penalty

__all__ = [
    "GREATEST_PENALTY", "Hypothesis", "TokenStep", "beam_search", "check_search", "extend",
    "greedy_search", "length_penalty", "token_steps",
]  # fmt: skip

_LARGEST_BEAM = 1000
GREATEST_PENALTY = 10.0  # far beyond any use; from about 100 on, scores of long lines overflow


def extend(decoder, inputs, choose, max_length, end_id=None, is_open=None) -> list[Hypothesis]:
    """One token after another for each input, until each text has ended: greedy search, sampling.

    Args:
        decoder: a ``StepDecoder``.
        inputs: what its ``start`` takes.
        choose: from (R, V), a copy of the log-probabilities, to the next tokens (R,); it may forbid
            a token by writing −∞ there.
        max_length: the most tokens of each text, the end token included; a number, or (R,).
        end_id: the token that ends a text, or several; None ends none.
        is_open: (R,) Boolean; False for an input that gets no token at all. None opens all.

    Returns:
        a hypothesis for each input; its score is its log-probability.

    Raises:
        ValueError: a row in which no token may come, or whose log-probabilities are NaN.
    """
    is_finished = np.zeros(len(inputs), bool) if is_open is None else ~is_open
    log_prob = np.zeros(len(inputs))
    texts = [[] for _ in range(len(inputs))]
    for step in token_steps(decoder, inputs, choose, max_length, end_id, is_open):
        log_prob += step.log_probs
        is_finished |= step.has_ended
        for row in np.flatnonzero(step.is_new):
            texts[row].append(step.tokens[row])
    ends = zip(texts, log_prob, is_finished)
    return [_hypothesis(text, value, 1.0, finished) for text, value, finished in ends]


def _hypothesis(ids, log_prob, divisor, is_finished):
    """A ``Hypothesis`` of Python's own numbers, from NumPy's."""
    log_prob = float(log_prob)
    return Hypothesis(tuple(map(int, ids)), log_prob, log_prob / divisor, bool(is_finished))


class TokenStep(NamedTuple):
    """One step of R texts.

    Args:
        tokens: (R,) what was chosen.
        log_probs: (R,) of the choices; 0 for a text that had ended before.
        is_new: (R,) which texts have become longer by their token.
        has_ended: (R,) which texts have ended with this step.
    """

    tokens: np.ndarray
    log_probs: np.ndarray
    is_new: np.ndarray
    has_ended: np.ndarray


def token_steps(
    decoder, inputs, choose, max_length, end_id=None, is_open=None
) -> Iterator[TokenStep]:
    """What ``extend`` collects, step by step: the one loop of all that is not a beam.

    Dropout is off until the iterator is exhausted or closed.
    """
    rows = np.arange(len(inputs))
    is_open = np.ones(len(rows), bool) if is_open is None else is_open.copy()
    ends = [] if end_id is None else np.atleast_1d(np.array(end_id, np.int64))
    lengths = np.zeros(len(rows), np.int64)
    with decoder.running():
        state, tokens = decoder.start(inputs) if is_open.any() else (None, None)
        while is_open.any():
            log_probs, state = decoder.step(state, tokens)
            # What a model says after a text's end has no meaning, and may be no distribution.
            choices = np.where(is_open[:, None], log_probs, 0.0)
            tokens = choose(choices).astype(np.int32)
            chosen = np.where(is_open, choices[rows, tokens], 0.0)
            _check_probable(np.isfinite(chosen))
            has_ended = is_open & np.isin(tokens, ends)
            is_new = is_open & ~has_ended
            lengths += is_new
            yield TokenStep(tokens, chosen, is_new, has_ended)
            is_open = is_new & (lengths < max_length)


def _check_probable(is_probable):
    if not is_probable.all():
        raise ValueError(
            f"row {int(np.argmin(is_probable))}: the model gives no token a probability (all are "
            "NaN or −∞); look for weights that are not finite, or a mask that hides every token"
        )


def greedy_search(decoder, source, max_length) -> list[Hypothesis]:
    """Take the most probable token at every step, until each sentence has ended.

    Args:
        decoder: a ``StepDecoder`` of a translator.
        source: (B, S) integer ids. A row of padding alone gives an empty hypothesis.
        max_length: the most tokens a hypothesis may have, the end token included; one number, or
            one for each sentence.

    Returns:
        one hypothesis for each sentence. Padding and the begin token are never chosen.

    Raises:
        ValueError: source is not (B, S), max_length is below 1 or beyond the positions, or the
            model gives no token a probability.
    """
    source, max_length = _checked(decoder, source, max_length)
    special = _special_ids(decoder)
    is_open = (source != special.pad).any(axis=1)

    def most_probable(log_probs):
        return _without_start(log_probs, special).argmax(axis=1)

    return extend(decoder, source, most_probable, max_length, special.eos, is_open)


def _special_ids(decoder):
    return getattr(decoder, "special_ids", SpecialIds())


def _without_start(log_probs, special):
    """Padding and the begin token, which no search chooses, set to −∞ in place."""
    log_probs[:, [token for token in (special.pad, special.bos) if token >= 0]] = -np.inf
    return log_probs


def beam_search(
    decoder,
    source,
    beam_size: int,
    max_length,
    length_penalty: float = 0.0,
    n_best: int = 1,
) -> list[list[Hypothesis]]:
    r"""Keep the K most probable hypotheses of each sentence at every step.

    Of all one-token extensions of a sentence's open hypotheses the K best are kept; those that end
    are set aside as finished, the others stay open. A sentence is done when nothing is open, or
    when no open hypothesis can still reach the n_best-th finished one: log-probabilities only
    fall, so an open hypothesis scores at most log p / lp(max_length). Hypotheses still open at
    max_length rank behind all finished ones.

    With beam_size 1 this is greedy search, for every length penalty.

    Args:
        decoder: a ``StepDecoder`` of a translator.
        source: (B, S) integer ids. A row of padding alone gives an empty hypothesis.
        beam_size: K.
        max_length: the most tokens a hypothesis may have, the end token included; one number, or
            one for each sentence.
        length_penalty: α of the function of that name, from 0 to 10.
        n_best: how many hypotheses a sentence returns, at most beam_size.

    Returns:
        for each sentence up to n_best hypotheses, best score first.

    Raises:
        ValueError: source is not (B, S), a size below 1, a beam_size above 1,000, a length penalty
            out of range, n_best beyond beam_size, max_length beyond the positions, or the model
            gives no token a probability.
    """
    source, max_length = _checked(decoder, source, max_length)
    check_search(beam_size, length_penalty)
    if not 1 <= n_best <= beam_size:
        raise ValueError(
            f"beam_size is {beam_size} and n_best {n_best}; expected 1 <= n_best <= beam_size"
        )
    special = _special_ids(decoder)
    sentences = len(source)
    beams = [
        _Beam(bool((row != special.pad).any()), limit, length_penalty, n_best, special.eos)
        for row, limit in zip(source, max_length)
    ]
    first_row = np.arange(sentences)[:, None] * beam_size
    # At first one hypothesis is open, the empty one; a place at −inf holds nothing.
    log_prob = np.full((sentences, beam_size), -np.inf)
    log_prob[[beam.is_open for beam in beams], 0] = 0.0
    parents = np.arange(sentences * beam_size, dtype=np.int32)
    prefix = np.zeros((sentences, beam_size, 0), np.int32)
    with decoder.running():
        is_open = any(beam.is_open for beam in beams)
        state, tokens = decoder.start(source, beam_size) if is_open else (None, None)
        while any(beam.is_open for beam in beams):
            log_probs, state = decoder.step(state, tokens, parents if beam_size > 1 else None)
            remaining = _without_start(log_probs.copy(), special)
            values, ids = _top_k(remaining, min(beam_size, log_probs.shape[1]))  # (R, C)
            choices = values.shape[1]
            values = values.reshape(sentences, beam_size, choices)
            is_held = log_prob > -np.inf  # (B, K)
            _check_probable((~is_held | np.isfinite(values[:, :, 0])).reshape(-1))
            total = np.where(is_held[:, :, None], log_prob[:, :, None] + values, -np.inf)
            total = total.reshape(sentences, -1)  # (B, K · C)
            best = np.argsort(-total, axis=1, kind="stable")[:, :beam_size]
            log_prob = np.take_along_axis(total, best, axis=1)  # (B, K)
            parent = best // choices
            chosen = np.take_along_axis(ids.reshape(sentences, -1), best, axis=1)
            prefix = np.take_along_axis(prefix, parent[:, :, None], axis=1)
            prefix = np.concatenate([prefix, chosen[:, :, None]], axis=2)  # (B, K, t)
            for beam, beam_prefix, beam_log_prob in zip(beams, prefix, log_prob):
                if beam.is_open:
                    beam.collect(beam_prefix, beam_log_prob)
                if not beam.is_open:
                    beam_log_prob[:] = -np.inf
            tokens = chosen.reshape(-1)
            parents = (first_row + parent).reshape(-1).astype(np.int32)
    return [beam.best() for beam in beams]


def check_search(beam_size, length_penalty) -> None:
    """Raise a ValueError if no beam search can be of such a size and length penalty."""
    if not 1 <= beam_size <= _LARGEST_BEAM:
        raise ValueError(f"beam_size is {beam_size}; expected 1 … {_LARGEST_BEAM:,}")
    if not 0 <= length_penalty <= GREATEST_PENALTY:
        raise ValueError(
            f"length_penalty is {length_penalty}; expected a number of at least 0 and at most "
            f"{GREATEST_PENALTY:g}"
        )


class _Beam:
    """The hypotheses of one sentence that have ended, and whether its search goes on."""

    def __init__(self, is_open, max_length, alpha, n_best, eos_id):
        self.is_open = is_open
        self.max_length = max_length
        self.alpha = alpha
        self.n_best = n_best
        self.eos_id = eos_id
        self.finished = []
        self.cut = [] if is_open else [Hypothesis((), 0.0, 0.0, True)]

    def collect(self, prefix, log_prob):
        """Set aside the ended ones among prefix (K, t); their places in log_prob become −inf."""
        length = prefix.shape[1]
        divisor = length_penalty(length, self.alpha)
        for place in np.flatnonzero((prefix[:, -1] == self.eos_id) & (log_prob > -np.inf)):
            found = _hypothesis(prefix[place, :-1], log_prob[place], divisor, True)
            self.finished.append(found)
            log_prob[place] = -np.inf
        self.finished.sort(key=lambda hypothesis: -hypothesis.score)
        del self.finished[self.n_best :]
        most = log_prob.max() / length_penalty(self.max_length, self.alpha)
        is_full = len(self.finished) == self.n_best
        if np.isneginf(most) or (is_full and most <= self.finished[-1].score):
            self.is_open = False
        elif length == self.max_length:
            self.is_open = False
            for place in np.argsort(-log_prob, kind="stable"):
                if log_prob[place] > -np.inf:
                    self.cut.append(_hypothesis(prefix[place], log_prob[place], divisor, False))

    def best(self):
        return (self.finished + self.cut)[: self.n_best]


def _top_k(remaining, k):
    """The k largest of each row, largest first, and their ids: (R, k) each.

    In place: what was taken is −∞ afterwards. NumPy's argmax k times over: for a beam of 5 about
    ten times as fast as the CPU's TopK or a partition of each row.
    """
    rows = np.arange(len(remaining))
    ids = np.empty((len(remaining), k), np.int32)
    values = np.empty((len(remaining), k), remaining.dtype)
    for place in range(k):
        ids[:, place] = remaining.argmax(axis=1)
        values[:, place] = remaining[rows, ids[:, place]]
        remaining[rows, ids[:, place]] = -np.inf
    return values, ids


def _checked(decoder, source, max_length):
    source = source.asnumpy() if isinstance(source, Tensor) else np.asarray(source)
    if source.ndim != 2 or not np.issubdtype(source.dtype, np.integer):
        raise ValueError(
            f"source has shape {source.shape} and type {source.dtype}; expected integers (B, S)"
        )
    max_length = np.broadcast_to(max_length, len(source))
    if max_length.min(initial=1) < 1:
        raise ValueError(f"max_length is {max_length.min()}; expected at least 1")
    limit = decoder.max_length
    if limit is not None and max_length.max(initial=1) > limit:
        raise ValueError(
            f"max_length is {max_length.max()}; expected at most {limit}, the number of positions"
        )
    return np.ascontiguousarray(source, dtype=np.int32), max_length
