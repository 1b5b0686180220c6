"""Sampling: from a next-token distribution to text.

``generate`` continues prompts with any language model: a GPT (with a cache of keys and values, or
plainly over the whole prefix), or a function from prefixes to log-probabilities.

Letters: R rows (one for each prompt), T prompt length, t prefix length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from step_llm.decoding.decoders import CacheStep
from step_llm.runtime.graph_mode import graph_mode

__all__ = ["CachedGPT", "PlainGPT", "PrefixModel"]


# Room for so many positions at first; it doubles when a text needs more. Each size is compiled.
_FIRST_ROOM = 32


class PrefixModel:
    """Any language model, given as a function of the whole prefix.

    Args:
        log_probs: from R lists of ids to (R, V), the log-probabilities (or logits) of the next
            token after each.
        max_length: the longest prefix that the function takes; None is no limit.
    """

    def __init__(
        self,
        log_probs: Callable[[list[list[int]]], np.ndarray],
        max_length: int | None = None,
    ):
        self.log_probs = log_probs
        self.max_length = max_length

    @contextmanager
    def running(self):
        yield

    def start(self, prompts):
        """Prompts, R lists of ids, to the log-probabilities (R, V) after them, and a state."""
        return self.log_probs(prompts), prompts

    def step(self, state, tokens):
        """Append a token to each row: log-probabilities (R, V) of the next one, and the state."""
        return self.start([[*prefix, int(token)] for prefix, token in zip(state, tokens)])


class PlainGPT(PrefixModel):
    """A GPT as in the textbook: each step reads the whole text again.

    Slow, and what ``CachedGPT`` has to agree with.

    Args:
        model: a ``GPT``.
    """

    def __init__(self, model):
        super().__init__(self._log_probs, model.config.max_length)
        self.model = model

    @contextmanager
    def running(self):
        """Dropout off while texts are generated; afterwards the model is as it was."""
        with _without_dropout(self.model):
            yield

    def _log_probs(self, prefixes):
        hidden, _ = self.model.decode(Tensor(_padded(prefixes)))
        return _log_probs_at(self.model, hidden, _last(prefixes))


class CachedGPT:
    """A GPT with a cache: each step computes one position only.

    The keys and values of earlier positions do not change; they are kept. The prompts are read in
    one pass; the step is compiled, once for each number of rows and room in the cache. Keep one
    CachedGPT for the life of the model, so that nothing is compiled twice. Weights may change
    between texts. ``shapes`` holds what has been compiled so far: (rows, room).

    Args:
        model: a ``GPT``.
    """

    def __init__(self, model):
        self.model = model
        self.max_length = model.config.max_length
        self.shapes = set()
        self._steps = {}  # for each number of rows and room, with its cache

    @contextmanager
    def running(self):
        """Dropout off while texts are generated; afterwards the model is as it was."""
        with _without_dropout(self.model):
            yield

    def start(self, prompts):
        """As ``PrefixModel.start``."""
        hidden, cache = self.model.start(Tensor(_padded(prompts)))
        position = _last(prompts)
        # Behind a shorter prompt the cache holds padding; each step writes over the place it reads.
        tensors = [tensor for pair in cache for tensor in pair]
        room = self._room(tensors[0].shape[2] + 1)  # for the first step, too
        step = self._step(len(position), room).fill(tensors)
        return _log_probs_at(self.model, hidden, position), (step, position, step.turn)

    def step(self, state, tokens):
        """As ``PrefixModel.step``.

        Raises:
            ValueError: a state that is not the one returned last: its cache has gone on since.
        """
        step, position, turn = state
        step.check_turn(turn)
        position = position + 1
        room = self._room(int(position.max()) + 1)
        if step.room < room:
            step = self._step(step.rows, room).fill(step.tensors)
        self.shapes.add((step.rows, step.room))
        with graph_mode():
            log_probs = step(Tensor(np.asarray(tokens, np.int32)), Tensor(position))
            step.turn += 1
            return log_probs.asnumpy(), (step, position, step.turn)

    def _step(self, rows, room):
        if (rows, room) not in self._steps:
            self._steps[rows, room] = _Step(self.model, rows, room)
        return self._steps[rows, room]

    def _room(self, wanted):
        room = _FIRST_ROOM
        while room < wanted:
            room *= 2
        return min(room, self.max_length)


class _Step(CacheStep):
    """One step of all rows: run the model at one position each, project."""

    def __init__(self, model, rows, room):
        super().__init__(model.config, model.config.num_layers, rows, room)
        # The methods, not the model: at each call MindSpore visits every cell inside a cell.
        self.step = model.step
        self.project = model.project

    @ms.jit
    def construct(self, tokens, position):
        hidden, _ = self.step(tokens, position, self.cache())
        logits = self.project(hidden)  # (R, 1, V)
        return ops.log_softmax(logits.reshape((logits.shape[0], logits.shape[2])), -1)


@contextmanager
def _without_dropout(model):
    was_training = model.training
    model.set_train(False)
    try:
        yield
    finally:
        model.set_train(was_training)


def _padded(prefixes):
    """Lists of ids as one (R, T) array; what fills the ends is never looked at."""
    ids = np.zeros((len(prefixes), max(map(len, prefixes))), np.int32)
    for row, prefix in enumerate(prefixes):
        ids[row, : len(prefix)] = prefix
    return ids


def _last(prefixes):
    """The place of each list's last token, (R,)."""
    return np.array([len(prefix) - 1 for prefix in prefixes], np.int32)


def _log_probs_at(model, hidden, position):
    """The log-probabilities (R, V) after one place of each row of hidden vectors (R, T, D)."""
    rows, length, width = hidden.shape
    places = Tensor(np.arange(rows, dtype=np.int32) * length + position)
    hidden = ops.gather(hidden.reshape((rows * length, width)), places, 0)
    logits = model.project(hidden.reshape((rows, 1, width)))  # (R, 1, V)
    return ops.log_softmax(logits, -1).asnumpy()[:, 0]
