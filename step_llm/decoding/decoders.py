"""Decoders: from what was written so far to the log-probabilities of the next token.

All of them have the three methods of ``StepDecoder``, so any search runs on any decoder. Each model
can be read plainly, the whole prefix at every step, or with a state that remembers the prefix: a
cache of keys and values, or a recurrent model's own.

Letters: B inputs, K beam size, R = B · K rows, S source length, t prefix length, V vocabulary.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
from mindspore import Tensor, mutable, nn, ops

from step_llm.data.vocabulary import SpecialIds
from step_llm.nn._modes import without_dropout
from step_llm.nn.cache import empty_cache, reorder, take, with_room
from step_llm.nn.forms import device_form
from step_llm.runtime.graph_mode import compiled, graph_mode

__all__ = [
    "FIRST_ROOM", "CachedDecoder", "PlainDecoder", "RecurrentDecoder", "StepDecoder",
    "cached_decoder", "special_ids",
]  # fmt: skip

# Room for so many positions at first; it doubles when a sentence needs more. Every size is compiled
# once, so a small first size costs little and keeps short sentences fast.
FIRST_ROOM = 32


class StepDecoder(Protocol):
    """What a search needs of a model.

    Args:
        max_length: the most positions that the model has; None is no limit.

    A decoder of a model with special ids of its own says so in ``special_ids``, a ``SpecialIds``.
    """

    max_length: int | None

    def running(self):
        """A context in which a search runs; afterwards the model is as it was before."""

    def start(self, inputs, beam_size: int = 1) -> tuple[Any, np.ndarray]:
        """The state before the first step, of R = B · beam_size rows, and their first tokens (R,).

        Args:
            inputs: what is to be continued: source ids (B, S) of a translator; B prompts, lists of
                ids, of a language model.
            beam_size: how many rows each input gets, one after another.
        """

    def step(self, state, tokens, parents=None) -> tuple[np.ndarray, Any]:
        """Append a token to each row: log-probabilities (R, V) of the next one, and the new state.

        A state is not changed by it, and can be continued again.

        Args:
            state: what ``start`` or an earlier ``step`` returned.
            tokens: (R,) ids.
            parents: (R,) which row of the state each row continues; None means its own.
        """


def special_ids(model) -> SpecialIds:
    """The special ids of a translator: those that it names, else those of this library."""
    if hasattr(model, "eos_id"):
        return SpecialIds(model.pad_id, model.bos_id, model.eos_id)
    return SpecialIds()


class _TranslationDecoder:
    """What decoders of translators share."""

    def __init__(self, model):
        self.model = model
        self.special_ids = special_ids(model)
        self.max_length = model.config.position_limit

    def _first_tokens(self, rows):
        return np.full(rows, self.special_ids.bos, np.int32)


class PlainDecoder(_TranslationDecoder):
    """A translator as in the textbook: each step decodes the whole prefix again.

    Slow, and what ``CachedDecoder`` has to agree with.

    Args:
        model: a ``Transformer``, a ``Marian`` or a ``RecurrentTranslator``.
    """

    def running(self):
        """Dropout off while a search runs."""
        return without_dropout(self.model)

    def start(self, source, beam_size=1):
        """As ``StepDecoder.start``."""
        rows = np.repeat(source, beam_size, axis=0)
        memory, mask, _ = self.model.encode(Tensor(rows))
        prefix = np.zeros((len(rows), 0), np.int32)
        return (memory, mask, prefix), self._first_tokens(len(rows))

    def step(self, state, tokens, parents=None):
        """As ``StepDecoder.step``."""
        memory, mask, prefix = state
        if parents is not None:
            prefix = prefix[parents]
        prefix = np.concatenate([prefix, tokens[:, None]], axis=1)  # (R, t)
        hidden = self.model.decode(Tensor(prefix), memory, mask)[0]
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
        self.take = device_form(take)

    @compiled
    def construct(self, source, rows):
        memory, mask, _ = self.encode(source)
        return reorder(self.project_memory(memory), rows, self.take), self.take(mask, rows)


class _Step(nn.Cell):
    """One position: reorder the cache, run the decoder, project to log-probabilities (R, 1, V)."""

    def __init__(self, model):
        super().__init__()
        self.place = model.place
        self.decode = model.decoder.construct
        self.project = model.project
        self.take = device_form(take)

    @compiled
    def construct(self, tokens, position, parents, memory, memory_mask, cache):
        cache = reorder(cache, parents, self.take)
        room = cache[0][0].shape[2]
        x, mask, rotation = self.place(tokens, position, room)
        hidden, _, _, cache = self.decode(x, memory, mask, memory_mask, rotation, cache, position)
        return ops.log_softmax(self.project(hidden), -1), cache


class CacheState(NamedTuple):
    """Where a cached search stands.

    Args:
        cache: each layer's keys and values (R, H, room, Dk), see ``nn.cache``.
        position: the place of the next token: one number, or (R,).
        memory, mask: of a translator, the source's keys and values, and its mask.
    """

    cache: tuple
    position: int | np.ndarray
    memory: tuple = ()
    mask: Tensor | None = None


class CachedDecoder(_TranslationDecoder):
    """A translator with a cache: each step computes one position only.

    The keys and values of earlier positions, and those of the source, do not change; they are kept.
    The step is compiled, once for each number of rows, source length and room in the cache. Keep
    one CachedDecoder for the life of the model, so that nothing is compiled twice. Weights may
    change between searches.

    Args:
        model: a ``Transformer`` or a ``Marian``.
    """

    def __init__(self, model):
        super().__init__(model)
        self._start = _Start(model)
        self._step = _Step(model)

    @contextmanager
    def running(self):
        """Dropout off and graph mode on while a search runs."""
        with without_dropout(self.model), graph_mode():
            yield

    def start(self, source, beam_size=1):
        """As ``StepDecoder.start``."""
        config = self.model.config
        rows = np.repeat(np.arange(len(source), dtype=np.int32), beam_size)
        memory, mask = self._start(Tensor(source), Tensor(rows))
        cache = empty_cache(
            config.num_decoder_layers, len(rows), config.num_heads, self._room(FIRST_ROOM),
            config.d_model // config.num_heads,
        )  # fmt: skip
        return CacheState(cache, 0, as_input(memory), mask), self._first_tokens(len(rows))

    def step(self, state, tokens, parents=None):
        """As ``StepDecoder.step``."""
        cache, position, memory, mask = state
        room = cache[0][0].shape[2]
        if position == room:
            cache = with_room(cache, self._room(2 * room))
        log_probs, cache = self._step(
            Tensor(tokens), Tensor(np.array([position], np.int32)),
            None if parents is None else Tensor(parents), memory, mask, cache,
        )  # fmt: skip
        return log_probs.asnumpy()[:, 0], CacheState(as_input(cache), position + 1, memory, mask)

    def _room(self, wanted):
        return wanted if self.max_length is None else min(wanted, self.max_length)


def as_input(tensors):
    """What a compiled function returned, as something that it can be given again: a tuple that is
    not marked as changing would be taken for a constant, and compiled at every step."""
    return mutable(tuple(map(tuple, tensors)))


class _RecurrentStart(nn.Cell):
    """Encode, and repeat each sentence's memory and first state for its rows."""

    def __init__(self, model):
        super().__init__()
        self.encode = model.encode
        self.first_states = model.start
        self.take = device_form(take)

    @compiled
    def construct(self, source, rows):
        (words, sentence, first), mask, _ = self.encode(source)
        memory = (self.take(words, rows), self.take(sentence, rows), self.take(first, rows, 1))
        return memory, self.take(mask, rows), self.first_states(memory)


class _RecurrentStep(nn.Cell):
    """One position: reorder the states, run the cells once, project."""

    def __init__(self, model):
        super().__init__()
        self.step = model.step
        self.project = model.project
        self.take = device_form(take)

    @compiled
    def construct(self, tokens, parents, memory, mask, states):
        hidden, states = self.step(tokens, reorder(states, parents, self.take), memory, mask)
        return ops.log_softmax(self.project(hidden), -1), states


class RecurrentDecoder(_TranslationDecoder):
    """A recurrent translator, whose state says all of the prefix.

    As ``CachedDecoder``: a step is compiled, and costs the same at every position.

    Args:
        model: a ``RecurrentTranslator``.
    """

    running = CachedDecoder.running

    def __init__(self, model):
        super().__init__(model)
        self._start = _RecurrentStart(model)
        self._step = _RecurrentStep(model)

    def start(self, source, beam_size=1):
        """As ``StepDecoder.start``."""
        rows = np.repeat(np.arange(len(source), dtype=np.int32), beam_size)
        memory, mask, states = self._start(Tensor(source), Tensor(rows))
        state = (mutable(tuple(memory)), mask, as_input(states))
        return state, self._first_tokens(len(rows))

    def step(self, state, tokens, parents=None):
        """As ``StepDecoder.step``."""
        memory, mask, states = state
        parents = None if parents is None else Tensor(parents)
        log_probs, states = self._step(Tensor(tokens), parents, memory, mask, states)
        return log_probs.asnumpy()[:, 0], (memory, mask, as_input(states))


def cached_decoder(model) -> StepDecoder:
    """The fast decoder of a translator: with a cache, or of a recurrent model with its state."""
    return CachedDecoder(model) if hasattr(model, "decoder") else RecurrentDecoder(model)
