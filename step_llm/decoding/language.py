"""Language models as decoders: a GPT or ``DecoderLM``, plainly or with a cache, or any function of
the prefix.

Letters: R rows (one for each prompt), T prompt length, t prefix length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
from mindspore import Tensor, nn, ops

from step_llm.data.batches import padded
from step_llm.decoding.decoders import FIRST_ROOM, CacheState, as_input
from step_llm.nn._modes import without_dropout
from step_llm.nn.cache import reorder, take, with_room
from step_llm.nn.forms import device_form
from step_llm.runtime.graph_mode import compiled, graph_mode

__all__ = ["CachedGPT", "PlainGPT", "PrefixModel"]


class PrefixModel:
    """Any language model, given as a function of the whole prefix. A ``StepDecoder``.

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

    def running(self):
        """Nothing to prepare."""
        return nullcontext()

    def start(self, prompts, beam_size=1):
        """As ``StepDecoder.start``: the state is each prompt without its last token."""
        rows = [prompt for prompt in prompts for _ in range(beam_size)]
        return [list(row[:-1]) for row in rows], np.array([row[-1] for row in rows], np.int32)

    def step(self, state, tokens, parents=None):
        """As ``StepDecoder.step``."""
        if parents is not None:
            state = [state[parent] for parent in parents]
        state = [[*prefix, int(token)] for prefix, token in zip(state, tokens)]
        return self.log_probs(state), state


class PlainGPT(PrefixModel):
    """A GPT as in the textbook: each step reads the whole text again.

    Slow, and what ``CachedGPT`` has to agree with.

    Args:
        model: a ``GPT`` or ``DecoderLM``.
    """

    def __init__(self, model):
        super().__init__(self._log_probs, model.config.max_length)
        self.model = model

    def running(self):
        """Dropout off while texts are generated."""
        return without_dropout(self.model)

    def _log_probs(self, prefixes):
        hidden = self.model.decode(Tensor(_padded(prefixes)), need_weights=False)[0]  # (R, t, D)
        last = Tensor(np.array([len(prefix) - 1 for prefix in prefixes], np.int32))
        rows, length, width = hidden.shape
        hidden = hidden.reshape((rows * length, width))
        hidden = ops.gather(hidden, ops.arange(rows) * length + last, 0)
        logits = self.model.project(hidden.reshape((rows, 1, width)))  # (R, 1, V)
        return ops.log_softmax(logits, -1).asnumpy()[:, 0]


class _Step(nn.Cell):
    """One position of each row: run the layers, project to log-probabilities (R, 1, V)."""

    def __init__(self, model):
        super().__init__()
        # The methods, not the model: at each call MindSpore visits every cell inside a cell.
        self.place = model.place
        self.decode = model.layers.construct
        self.project = model.project
        self.take = device_form(take)

    @compiled
    def construct(self, tokens, position, parents, cache):
        cache = reorder(cache, parents, self.take)
        x, mask, rotation = self.place(tokens, position, cache[0][0].shape[2])
        hidden, _, cache = self.decode(x, mask, rotation, cache, position)
        return ops.log_softmax(self.project(hidden), -1), cache


class CachedGPT:
    """A GPT with a cache: each step computes one position only. A ``StepDecoder``.

    The keys and values of earlier positions do not change; they are kept. The prompts are read in
    one pass; the step is compiled, once for each number of rows and room in the cache. Keep one
    CachedGPT for the life of the model, so that nothing is compiled twice. Weights may change
    between texts.

    Args:
        model: a ``GPT`` or ``DecoderLM``.
    """

    running = PlainGPT.running

    def __init__(self, model):
        self.model = model
        self.max_length = model.config.max_length
        self._step = _Step(model)

    def start(self, prompts, beam_size=1):
        """As ``StepDecoder.start``."""
        rows = [prompt for prompt in prompts for _ in range(beam_size)]
        cache = self.model.decode(Tensor(_padded(rows)), need_weights=False)[2]
        position = np.array([len(row) - 1 for row in rows], np.int32)
        # Behind a shorter prompt the cache holds padding, which the mask hides; the first step
        # writes the prompt's last token once more.
        cache = with_room(cache, self._room(cache[0][0].shape[2]))
        return CacheState(cache, position), np.array([row[-1] for row in rows], np.int32)

    def step(self, state, tokens, parents=None):
        """As ``StepDecoder.step``."""
        cache, position = state.cache, state.position
        if parents is not None:
            position = position[parents]
            parents = Tensor(parents)
        cache = with_room(cache, self._room(int(position.max()) + 1))
        with graph_mode():
            log_probs, cache = self._step(
                Tensor(np.asarray(tokens, np.int32)), Tensor(position), parents, cache
            )
            log_probs = log_probs.asnumpy()[:, 0]
        return log_probs, CacheState(as_input(cache), position + 1)

    def _room(self, wanted):
        room = FIRST_ROOM
        while room < wanted:
            room *= 2
        return min(room, self.max_length)


def _padded(prefixes):
    """Lists of ids as one (R, T) array; what fills the ends is never looked at."""
    return padded(prefixes, len(prefixes), max(map(len, prefixes)))
