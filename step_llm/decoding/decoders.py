"""Search: from the model's next-token probabilities to a translation.

Two ways to run the decoder (with a cache of keys and values, or plainly over the whole prefix) and
two ways to choose tokens (greedy, beam). Any search runs on any decoder.

Letters: B sentences, K beam size, R = B · K rows, S source length, t prefix length, V vocabulary.
"""

from __future__ import annotations

from contextlib import contextmanager

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from step_llm.runtime.graph_mode import graph_mode

__all__ = ["CacheStep", "CachedDecoder", "PlainDecoder", "RecurrentDecoder", "cached_decoder"]


# Room for so many target positions at first; it doubles when a sentence needs more. Every size is
# compiled once, so a small first size costs little and keeps short sentences fast.
_FIRST_ROOM = 32


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
