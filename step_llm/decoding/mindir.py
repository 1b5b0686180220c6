"""A trained translator as two graphs of MindIR, which MindSpore Lite serves.

A graph has fixed shapes, and tensors alone go in and out. So the encoder's graph and that of one
decoding step are written for so many rows, so long a source, and room for so many tokens; the keys
and values of all layers are one tensor.

Letters: R rows, S source length, L decoder layers, H heads, Dk head width, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from step_llm.data.vocabulary import SpecialIds, TokenizerPair
from step_llm.decoding.export import refuse_if_there
from step_llm.models.transformer import Transformer
from step_llm.models.weights import CheckpointError, read_json, write_json
from step_llm.nn._modes import without_dropout
from step_llm.nn.cache import reorder, take
from step_llm.nn.masks import padding_mask
from step_llm.runtime.files import new_folder
from step_llm.runtime.graph_mode import graph_mode

__all__ = ["MindIRDecoder", "export_mindir"]

_ENCODER, _STEP, _SHAPES = "encoder.mindir", "step.mindir", "shapes.json"


class _EncoderGraph(nn.Cell):
    """Source ids (R, S) to each decoder layer's keys and values of it, (L, 2, R, H, S, Dk)."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def construct(self, source):
        memory, _, _ = self.model.encode(source)
        return _as_one(self.model.decoder.project_memory(memory))


class _StepGraph(nn.Cell):
    """Append a token to each row: log-probabilities (R, V) of the next one, and the new cache."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def construct(self, tokens, position, parents, source, memory, cache):
        room = cache.shape[4]
        pairs = reorder(_as_pairs(cache), parents, take)
        x, mask, rotation = self.model.place(tokens, position, room)
        memory_mask = padding_mask(source, self.model.pad_id)
        hidden, _, _, pairs = self.model.decoder(
            x, _as_pairs(memory), mask, memory_mask, rotation, pairs, position
        )
        logits = self.model.project(hidden)[:, 0]
        return ops.log_softmax(logits, -1), _as_one(pairs)


def _as_one(pairs):
    """Each layer's keys and values, (R, H, S, Dk) each, as one tensor (L, 2, R, H, S, Dk)."""
    return ops.stack([ops.stack([keys, values]) for keys, values in pairs])


def _as_pairs(tensor):
    pairs = ()
    for layer in range(tensor.shape[0]):
        pairs = (*pairs, (tensor[layer, 0], tensor[layer, 1]))
    return pairs


def export_mindir(
    model: Transformer,
    tokenizers: TokenizerPair,
    folder: str | Path,
    rows: int = 5,
    source_length: int = 32,
    room: int = 64,
) -> Path:
    """Write a model as ``encoder.mindir`` and ``step.mindir``, with its tokenizers.

    Args:
        model: what was trained.
        tokenizers: its tokenizers.
        folder: where; nothing may be there. It appears under its name only when it is complete.
        rows: R, sentences times beam size: 5 is one sentence with a beam of 5.
        source_length: S, the most tokens of a source, its end token included.
        room: the most tokens of a translation.

    Returns:
        the folder.

    Raises:
        ValueError: a model that is no ``Transformer``, sizes below 1 or beyond learned positions,
            or something that is there already.
        OSError, RuntimeError: the graphs cannot be made or written. Then nothing is left there.
    """
    if type(model) is not Transformer:
        raise ValueError(
            f"a {type(model).__name__} cannot be exported to MindIR; expected a Transformer that "
            "translates"
        )
    config = model.config
    sizes = {"rows": rows, "source_length": source_length, "room": room}
    for name, size in sizes.items():
        most = None if name == "rows" else config.position_limit
        if size < 1 or (most is not None and size > most):
            expected = "at least 1" if most is None else f"1 to {most}, the learned positions"
            raise ValueError(f"{name} is {size}; expected {expected}")
    heads = {"heads": config.num_heads, "d_head": config.d_model // config.num_heads}
    sizes = {**sizes, "layers": config.num_decoder_layers, **heads}
    row, source = np.zeros(rows, np.int32), np.ones((rows, source_length), np.int32)
    inputs = (row, np.zeros(1, np.int32), row, source, *_empty(sizes))
    refuse_if_there(folder)
    with new_folder(Path(folder)) as partial:
        tokenizers.save(partial)
        write_json(partial / _SHAPES, sizes)
        with without_dropout(model), graph_mode():
            for cell, name, arrays in (
                (_EncoderGraph(model), _ENCODER, (source,)),
                (_StepGraph(model), _STEP, inputs),
            ):
                cell.set_train(False)
                path = partial / name
                ms.export(cell, *map(Tensor, arrays), file_name=str(path), file_format="MINDIR")
                path.chmod(0o644)  # MindSpore lets nobody but the owner read it
    return Path(folder)


def _empty(sizes):
    """Memory and cache, all zeros."""
    for length in (sizes["source_length"], sizes["room"]):
        shape = (sizes["layers"], 2, sizes["rows"], sizes["heads"], length, sizes["d_head"])
        yield np.zeros(shape, np.float32)


class MindIRDecoder:
    """An exported model as a ``StepDecoder``, so that every search runs on its graphs.

    MindSpore itself runs them here, with ``nn.GraphCell``; MindSpore Lite takes the same files, and
    the same tensors in the same order.

    Args:
        folder: what ``export_mindir`` has written.

    Raises:
        CheckpointError: no exported model in the folder, or a damaged file.
    """

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        try:
            self.sizes = read_json(folder / _SHAPES)
            self.tokenizers = TokenizerPair.load(folder)
            self._encoder, self._step = (
                nn.GraphCell(ms.load(str(folder / name))) for name in (_ENCODER, _STEP)
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"cannot read the exported model {folder}: {error}") from error
        self.max_length = self.sizes["room"]
        self.special_ids = SpecialIds()

    def running(self):
        """Graph mode on while a search runs."""
        return graph_mode()

    def start(self, source, beam_size=1):
        """As ``StepDecoder.start``; all rows that the graphs have, at most.

        Raises:
            ValueError: more rows or longer sources than the graphs were exported for.
        """
        rows, length = self.sizes["rows"], self.sizes["source_length"]
        if len(source) * beam_size > rows or source.shape[1] > length:
            raise ValueError(
                f"source has shape {source.shape} with beam size {beam_size}; the graphs are for "
                f"{rows} rows (sentences times beam size) of {length} tokens"
            )
        wanted = len(source) * beam_size
        padded = np.full((rows, length), self.special_ids.pad, np.int32)
        padded[:wanted, : source.shape[1]] = np.repeat(source, beam_size, axis=0)
        padded[wanted:, 0] = self.special_ids.eos  # a row that is not asked for must see something
        memory = self._encoder(Tensor(padded))
        _, cache = _empty(self.sizes)
        state = (Tensor(padded), memory, Tensor(cache), 0)
        return state, np.full(wanted, self.special_ids.bos, np.int32)

    def step(self, state, tokens, parents=None):
        """As ``StepDecoder.step``."""
        source, memory, cache, position = state
        rows, wanted = self.sizes["rows"], len(tokens)
        all_parents = np.arange(rows, dtype=np.int32)
        if parents is not None:
            all_parents[:wanted] = parents
        all_tokens = np.full(rows, self.special_ids.eos, np.int32)
        all_tokens[:wanted] = tokens
        log_probs, cache = self._step(
            Tensor(all_tokens), Tensor(np.array([position], np.int32)), Tensor(all_parents),
            source, memory, cache,
        )  # fmt: skip
        return log_probs.asnumpy()[:wanted], (source, memory, cache, position + 1)
