"""Search: from the model's next-token probabilities to a translation.

Two ways to run the decoder (with a cache of keys and values, or plainly over the whole prefix) and
two ways to choose tokens (greedy, beam). Any search runs on any decoder.

Letters: B sentences, K beam size, R = B · K rows, S source length, t prefix length, V vocabulary.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from step_llm._runtime import graph_mode
from step_llm.vocabulary import BOS_ID, EOS_ID, PAD_ID

__all__ = [
    "CachedDecoder",
    "Hypothesis",
    "PlainDecoder",
    "RecurrentDecoder",
    "beam_search",
    "cached_decoder",
    "greedy_search",
    "length_penalty",
]

# Room for so many target positions at first; it doubles when a sentence needs more. Every size is
# compiled once, so a small first size costs little and keeps short sentences fast.
_FIRST_ROOM = 32


@dataclass(frozen=True)
class Hypothesis:
    """One sequence that a search found.

    Args:
        ids: the tokens, without those that begin and end the sentence.
        log_prob: natural logarithm of the sequence's probability, the end token included.
        score: log_prob divided by the length penalty; what beam search compares.
        is_finished: False if the search reached max_length before the end token.
    """

    ids: tuple[int, ...]
    log_prob: float
    score: float
    is_finished: bool


def length_penalty(length: int, alpha: float) -> float:
    r"""The divisor that keeps beam search from preferring short sentences.

    Formula: lp(y) = ((5 + |y|) / 6)^α; a hypothesis scores log p(y) / lp(y).

    Args:
        length: |y|, number of tokens, the end token included.
        alpha: α; 0 leaves log p as it is, larger values favour longer sentences.

    Source: Wu et al. 2016, "Google's Neural Machine Translation System", equation 14.
    """
    return ((5.0 + length) / 6.0) ** alpha


class PlainDecoder:
    """Next-token log-probabilities as in the textbook: each step decodes the whole prefix again.

    Slow, and what ``CachedDecoder`` has to agree with.

    Args:
        model: a ``Transformer`` or a ``RecurrentTranslator``.
    """

    def __init__(self, model):
        self.model = model

    @contextmanager
    def running(self):
        """Dropout off while a search runs; afterwards the model is as it was."""
        was_training = self.model.training
        self.model.set_train(False)
        try:
            yield
        finally:
            self.model.set_train(was_training)

    def start(self, source, beam_size):
        """Source ids (B, S) to the state before the first step, with R = B · beam_size rows."""
        memory, mask, _ = self.model.encode(Tensor(np.repeat(source, beam_size, axis=0)))
        return memory, mask, np.zeros((len(source) * beam_size, 0), np.int32)

    def step(self, state, tokens, parents=None):
        """Append a token to each row: log-probabilities (R, V) of the next one, and the new state.

        Args:
            state: what ``start`` or the last ``step`` returned.
            tokens: (R,) ids.
            parents: (R,) which row of the state each row continues; None means its own.
        """
        memory, mask, prefix = state
        if parents is not None:
            prefix = prefix[parents]
        prefix = np.concatenate([prefix, tokens[:, None]], axis=1)  # (R, t)
        hidden, _ = self.model.decode(Tensor(prefix), memory, mask)
        logits = self.model.project(hidden[:, -1:])  # (R, 1, V)
        return ops.log_softmax(logits, -1).asnumpy()[:, 0], (memory, mask, prefix)


class _Start(nn.Cell):
    """Encode, and project the memory for every decoder layer: all that needs doing once."""

    def __init__(self, model):
        super().__init__()
        # The methods, not the model: at each call MindSpore visits every cell inside a cell, which
        # for one sentence takes a fifth of the time.
        self.encode = model.encode
        self.project_memory = model.decoder.project_memory

    @ms.jit
    def construct(self, source, sentences):
        memory, mask, _ = self.encode(source)
        memory_heads = []
        for pair in self.project_memory(memory):
            memory_heads.append(_take(pair, sentences))
        return memory_heads, ops.gather(mask, sentences, 0)


class CacheStep(nn.Cell):
    """What a compiled step with a cache holds: each layer's keys and values, (R, H, room, Dk).

    They are Parameters, which a step writes to in place. Handed from step to step as tensors, all
    of them would be copied at every step: one row of the preset `tiny` takes a fifth less this way,
    64 rows a tenth.

    Args:
        config: of the model.
        layers: how many of them have a cache.
        rows, room: R, and the most positions.
    """

    def __init__(self, config, layers: int, rows: int, room: int):
        super().__init__()
        self.layers, self.rows, self.room = layers, rows, room
        self.turn = 0
        shape = (rows, config.num_heads, room, config.d_model // config.num_heads)
        self.tensors = ParameterTuple(
            [
                Parameter(Tensor(np.zeros(shape, np.float32)), f"layers.{n}.{kind}", False)
                for n in range(layers)
                for kind in ("keys", "values")
            ]
        )

    def cache(self, parents=None):
        """Keys and values of each layer, for ``construct``; each row continues its parent's."""
        pairs = []
        for layer in range(self.layers):
            keys, values = self.tensors[2 * layer], self.tensors[2 * layer + 1]
            if parents is not None:
                ops.assign(keys, ops.gather(keys, parents, 0))
                ops.assign(values, ops.gather(values, parents, 0))
            pairs.append((keys, values))
        return pairs

    def fill(self, tensors=()):
        """Take over keys and values (R, H, t, Dk), in the order of ``tensors``; the rest is 0.

        All 0, too, before a new text: what an earlier one left there has weight 0, but if it was
        NaN, that would not help.
        """
        for place, parameter in enumerate(self.tensors):
            filled = np.zeros(parameter.shape, np.float32)
            if tensors:
                kept = tensors[place].asnumpy()
                filled[:, :, : kept.shape[2]] = kept
            parameter.set_data(Tensor(filled))
        self.turn += 1
        return self

    def check_turn(self, turn):
        """Raise a ValueError if anything was written since the state of this turn was returned."""
        if turn != self.turn:
            raise ValueError(
                f"the state is of turn {turn}, but its cache has gone on to turn {self.turn}; "
                "continue the state returned last, or make one decoder for each search"
            )


class _Step(CacheStep):
    """One decoding step: reorder the cache, run the decoder at one position, project."""

    def __init__(self, model, rows, room):
        super().__init__(model.config, model.config.num_decoder_layers, rows, room)
        self.step = model.step
        self.project = model.project

    @ms.jit
    def construct(self, tokens, position, parents, mask, *heads):
        # One argument a tensor: tensors inside a list would be constants, compiled at every step.
        memory_heads = []
        for place in range(0, len(heads), 2):
            memory_heads.append((heads[place], heads[place + 1]))
        hidden, _ = self.step(tokens, position, self.cache(parents), memory_heads, mask)
        logits = self.project(hidden)  # (R, 1, V)
        return ops.log_softmax(logits.reshape((logits.shape[0], logits.shape[2])), -1)


def _take(pair, rows):
    return ops.gather(pair[0], rows, 0), ops.gather(pair[1], rows, 0)


class CachedDecoder:
    """Next-token log-probabilities with a cache: each step computes one position only.

    The keys and values of earlier positions, and those of the source, do not change; they are kept.
    The step is compiled, once for each number of rows, source length and room in the cache. Keep
    one CachedDecoder for the life of the model, so that nothing is compiled twice. Weights may
    change between searches; two searches at the same time need two decoders. ``shapes`` holds what
    has been compiled so far: (sentences, source length, rows) for the start; (rows, source length,
    room, whether it reorders) for the step.

    Args:
        model: a ``Transformer``.
    """

    def __init__(self, model):
        self.model = model
        self.shapes = set()
        self._start = _Start(model)
        self._steps = {}  # for each number of rows and room, with its cache

    @contextmanager
    def running(self):
        """Dropout off and graph mode on while a search runs; afterwards all is as it was."""
        was_training = self.model.training
        self.model.set_train(False)
        try:
            with graph_mode():
                yield
        finally:
            self.model.set_train(was_training)

    def start(self, source, beam_size):
        """Source ids (B, S) to the state before the first step, with R = B · beam_size rows."""
        sentences = np.repeat(np.arange(len(source), dtype=np.int32), beam_size)
        self.shapes.add((*source.shape, len(sentences)))
        memory_heads, mask = self._start(Tensor(source), Tensor(sentences))
        step = self._step(len(sentences), self._room(_FIRST_ROOM)).fill()
        return memory_heads, mask, step, 0, step.turn

    def step(self, state, tokens, parents=None):
        """As ``PlainDecoder.step``.

        Raises:
            ValueError: a state that is not the one returned last: its cache has gone on since.
        """
        memory_heads, mask, step, position, turn = state
        step.check_turn(turn)
        if position == step.room:
            step = self._step(step.rows, self._room(2 * step.room)).fill(step.tensors)
        self.shapes.add((step.rows, mask.shape[3], step.room, parents is not None))
        log_probs = step(
            Tensor(tokens),
            Tensor(np.array([position], np.int32)),
            None if parents is None else Tensor(parents),
            mask,
            *[tensor for pair in memory_heads for tensor in pair],
        )
        step.turn += 1
        return log_probs.asnumpy(), (memory_heads, mask, step, position + 1, step.turn)

    def _step(self, rows, room):
        if (rows, room) not in self._steps:
            self._steps[rows, room] = _Step(self.model, rows, room)
        return self._steps[rows, room]

    def _room(self, wanted):
        limit = self.model.config.position_limit
        return wanted if limit is None else min(wanted, limit)


class _RecurrentStart(nn.Cell):
    """Encode, and repeat each sentence's memory and first state for its rows."""

    def __init__(self, model):
        super().__init__()
        self.encode = model.encode
        self.first_states = model.start

    @ms.jit
    def construct(self, source, sentences):
        memory, mask, _ = self.encode(source)
        rows = (
            ops.gather(memory[0], sentences, 0),
            ops.gather(memory[1], sentences, 0),
            ops.gather(memory[2], sentences, 1),
        )
        return rows, ops.gather(mask, sentences, 0), self.first_states(rows)


class _RecurrentStep(nn.Cell):
    """One decoding step: reorder the states, run the cells once, project."""

    def __init__(self, model, tensors):
        super().__init__()
        self.step = model.step
        self.project = model.project
        self.tensors = tensors  # of a layer's state

    @ms.jit
    def construct(self, tokens, parents, mask, places, sentence, first, *tensors):
        # One argument a tensor: tensors inside a list would be constants, compiled at every step.
        states = []
        for place in range(0, len(tensors), self.tensors):
            state = ()
            for offset in range(self.tensors):
                tensor = tensors[place + offset]
                if parents is not None:
                    tensor = ops.gather(tensor, parents, 0)
                state = (*state, tensor)
            states.append(state)
        hidden, states = self.step(tokens, states, (places, sentence, first), mask)
        logits = self.project(hidden)  # (R, 1, V)
        return ops.log_softmax(logits.reshape((logits.shape[0], logits.shape[2])), -1), states


class RecurrentDecoder:
    """Next-token log-probabilities of a recurrent model, whose state says all of the prefix.

    As ``CachedDecoder``: a step is compiled, and costs the same at every position.

    Args:
        model: a ``RecurrentTranslator``.
    """

    def __init__(self, model):
        self.model = model
        self.shapes = set()
        self._start = _RecurrentStart(model)
        self._step = _RecurrentStep(model, 2 if model.is_lstm else 1)

    running = CachedDecoder.running

    def start(self, source, beam_size):
        """As ``CachedDecoder.start``."""
        sentences = np.repeat(np.arange(len(source), dtype=np.int32), beam_size)
        self.shapes.add((*source.shape, len(sentences)))
        return self._start(Tensor(source), Tensor(sentences))

    def step(self, state, tokens, parents=None):
        """As ``PlainDecoder.step``."""
        memory, mask, states = state
        self.shapes.add((len(tokens), mask.shape[3], parents is not None))
        log_probs, states = self._step(
            Tensor(tokens),
            None if parents is None else Tensor(parents),
            mask,
            *memory,
            *[tensor for layer in states for tensor in layer],
        )
        return log_probs.asnumpy(), (memory, mask, states)


def cached_decoder(model):
    """The fast decoder of a translator: with a cache, or of a recurrent model with its state."""
    return CachedDecoder(model) if hasattr(model, "decoder") else RecurrentDecoder(model)


def greedy_search(decoder, source, max_length) -> list[Hypothesis]:
    """Take the most probable token at every step, until each sentence has ended.

    Args:
        decoder: a ``CachedDecoder`` or a ``PlainDecoder``.
        source: (B, S) integer ids. A row of padding alone gives an empty hypothesis.
        max_length: the most tokens a hypothesis may have, the end token included; one number, or
            one for each sentence.

    Returns:
        one hypothesis for each sentence. Padding and the begin token are never chosen.

    Raises:
        ValueError: source is not (B, S), max_length is below 1 or beyond the learned positions.
    """
    source, max_length = _checked(decoder, source, max_length)
    sentences = len(source)
    tokens = np.full(sentences, BOS_ID, np.int32)
    ids = [[] for _ in range(sentences)]
    log_prob = np.zeros(sentences)
    is_open = (source != PAD_ID).any(axis=1)
    is_cut = np.zeros(sentences, bool)
    length = 0
    with decoder.running():
        state = decoder.start(source, 1) if is_open.any() else None
        while is_open.any():
            log_probs, state = decoder.step(state, tokens)
            best, best_ids = _top_k(log_probs, 1)
            tokens = best_ids[:, 0]
            log_prob[is_open] += best[is_open, 0]
            length += 1
            is_open &= tokens != EOS_ID
            for sentence in np.flatnonzero(is_open):
                ids[sentence].append(int(tokens[sentence]))
            is_cut |= is_open & (length == max_length)
            is_open &= ~is_cut
    return [
        Hypothesis(tuple(ids[n]), float(log_prob[n]), float(log_prob[n]), not is_cut[n])
        for n in range(sentences)
    ]


def beam_search(
    decoder,
    source,
    beam_size: int,
    max_length,
    length_penalty_alpha: float = 0.0,
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
        decoder: a ``CachedDecoder`` or a ``PlainDecoder``.
        source: (B, S) integer ids. A row of padding alone gives an empty hypothesis.
        beam_size: K.
        max_length: the most tokens a hypothesis may have, the end token included; one number, or
            one for each sentence.
        length_penalty_alpha: α of ``length_penalty``; at least 0.
        n_best: how many hypotheses a sentence returns, at most beam_size.

    Returns:
        for each sentence up to n_best hypotheses, best score first.

    Raises:
        ValueError: source is not (B, S), a size below 1, a negative length penalty, n_best beyond
            beam_size, or max_length beyond the learned positions.
    """
    source, max_length = _checked(decoder, source, max_length)
    if beam_size < 1 or not 1 <= n_best <= beam_size:
        raise ValueError(
            f"beam_size is {beam_size} and n_best {n_best}; expected 1 <= n_best <= beam_size"
        )
    if length_penalty_alpha < 0:
        raise ValueError(f"the length penalty is {length_penalty_alpha}; expected at least 0")
    sentences = len(source)
    beams = [
        _Beam(bool((row != PAD_ID).any()), limit, length_penalty_alpha, n_best)
        for row, limit in zip(source, max_length)
    ]
    first_row = np.arange(sentences)[:, None] * beam_size
    # At first one hypothesis is open, the empty one; a place at −inf holds nothing.
    log_prob = np.full((sentences, beam_size), -np.inf)
    log_prob[[beam.is_open for beam in beams], 0] = 0.0
    tokens = np.full(sentences * beam_size, BOS_ID, np.int32)
    parents = np.arange(sentences * beam_size, dtype=np.int32)
    prefix = np.zeros((sentences, beam_size, 0), np.int32)
    with decoder.running():
        is_open = any(beam.is_open for beam in beams)
        state = decoder.start(source, beam_size) if is_open else None
        while any(beam.is_open for beam in beams):
            log_probs, state = decoder.step(state, tokens, parents if beam_size > 1 else None)
            values, ids = _top_k(log_probs, min(beam_size, log_probs.shape[1]))  # (R, C)
            choices = values.shape[1]
            total = log_prob[:, :, None] + values.reshape(sentences, beam_size, choices)
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


class _Beam:
    """The hypotheses of one sentence that have ended, and whether its search goes on."""

    def __init__(self, is_open, max_length, alpha, n_best):
        self.is_open = is_open
        self.max_length = max_length
        self.alpha = alpha
        self.n_best = n_best
        self.finished = []
        self.cut = [] if is_open else [Hypothesis((), 0.0, 0.0, True)]

    def collect(self, prefix, log_prob):
        """Set aside the ended ones among prefix (K, t); their places in log_prob become −inf."""
        length = prefix.shape[1]
        divisor = length_penalty(length, self.alpha)
        for place in np.flatnonzero((prefix[:, -1] == EOS_ID) & (log_prob > -np.inf)):
            value = float(log_prob[place])
            ids = tuple(int(token) for token in prefix[place, :-1])
            self.finished.append(Hypothesis(ids, value, value / divisor, True))
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
                    value = float(log_prob[place])
                    ids = tuple(int(token) for token in prefix[place])
                    self.cut.append(Hypothesis(ids, value, value / divisor, False))

    def best(self):
        return (self.finished + self.cut)[: self.n_best]


def _top_k(log_probs, k):
    """The k largest of each row, largest first, and their ids: (R, k) each.

    Padding and the begin token are left out. NumPy's argmax k times over: for a beam of 5 about
    ten times as fast as the CPU's TopK or a partition of each row.
    """
    remaining = log_probs.copy()
    remaining[:, [PAD_ID, BOS_ID]] = -np.inf
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
    # A decoder of one's own needs no model with positions.
    limit = getattr(decoder.model.config, "position_limit", None)
    if limit is not None and max_length.max(initial=1) > limit:
        raise ValueError(
            f"max_length is {max_length.max()}; expected at most {limit}, the number of learned "
            "positions"
        )
    return np.ascontiguousarray(source, dtype=np.int32), max_length
