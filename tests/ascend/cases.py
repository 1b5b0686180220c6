"""What is run on the stand-in for CANN: every model, in every precision and mode.

    python -m tests.ascend.cases translator/float32 gpt/decoding

A case is MODEL/MODE. The modes: a training step in each precision, in compiled graphs;
``pynative``, forward and gradient operator by operator; ``decoding``, a search with a cache or a
state; ``msrun``, a training step of several processes. Each is done twice: what is launched the
second time stands in the record after "# CASE", up to "# end".
A process on the stand-in may crash when it ends, so a case has passed when it says so.
"""

from __future__ import annotations

import ctypes
import sys

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from step_llm.decoding.decoders import PlainDecoder, cached_decoder
from step_llm.decoding.language import CachedGPT, PlainGPT
from step_llm.models.bert import (
    BertConfig,
    BertForClassification,
    BertForMaskedLM,
    BertForPreTraining,
)
from step_llm.models.config import TransformerConfig
from step_llm.models.decoder_lm import DecoderLM, DecoderLMConfig
from step_llm.models.gpt import GPT, GPTConfig
from step_llm.models.marian import Marian, MarianConfig
from step_llm.models.neural_lm import NeuralLM, NeuralLMConfig
from step_llm.models.recurrent import RecurrentConfig, RecurrentTranslator
from step_llm.models.transformer import Transformer
from step_llm.models.vit import ViT, ViTConfig
from step_llm.nn.forms import device_form
from step_llm.nn.lora import add_lora
from step_llm.nn.quantised import quantise
from step_llm.runtime.device import use_device
from step_llm.runtime.graph_mode import compiled, graph_mode
from step_llm.training.distributed import Group, join_group
from step_llm.training.objectives import class_objective, pretraining_objective, token_objective
from step_llm.training.precision import PRECISIONS
from step_llm.training.preference import dpo_objective
from step_llm.training.step import EvaluationStep, TrainStep
from tests.support.stand_in import carry_out

__all__ = ["CASES", "CASES_OF", "CONTROLS", "MODELS", "OBJECTIVES", "QUICK", "batch_of"]

_ROWS, _LENGTH = 4, 6
# Flash attention takes head widths that are multiples of 16.
_SMALL = {"d_model": 32, "num_heads": 2, "d_ff": 64}


def _translator(**choices):
    sizes = {"num_encoder_layers": 1, "num_decoder_layers": 1}
    return Transformer(TransformerConfig(32, 32, **_SMALL, **sizes, **choices))


def _marian():
    sizes = {"num_encoder_layers": 1, "num_decoder_layers": 1}
    return Marian(MarianConfig(32, 32, **_SMALL, **sizes), pad_id=0, bos_id=1, eos_id=2)


def _decoder_lm():
    return DecoderLM(
        DecoderLMConfig(
            32, **_SMALL, num_kv_heads=1, d_head=16, num_layers=1, biases="qkv",
            has_head_norm=True, sliding_window=4, is_tied=False,
        )
    )  # fmt: skip


def _lora():
    model = _decoder_lm()
    add_lora(model, r"query|value", 2, 4.0)
    return model


def _gpt():
    return GPT(GPTConfig(32, **_SMALL, num_layers=1, max_length=64))


def _bert(kind, *rest):
    return kind(BertConfig(32, **_SMALL, num_layers=1), *rest)


def _recurrent(cell):
    # GRUs of Ascend's own operator want sizes divisible by 16; the encoder halves this one.
    return RecurrentTranslator(RecurrentConfig(32, 32, cell=cell, d_model=32))


# name: a model
MODELS = {
    "translator": lambda: _translator(norm="post", positions="learned", tied_embeddings="none"),
    "translator-pre": lambda: _translator(norm="pre", positions="rotary", tied_embeddings="all"),
    "marian": _marian,
    "rnn": lambda: _recurrent("rnn"),
    "lstm": lambda: _recurrent("lstm"),
    "gru": lambda: _recurrent("gru"),
    "gpt": _gpt,
    "decoder-lm": _decoder_lm,
    "lora": _lora,
    "dpo": _gpt,
    "neural-lm": lambda: NeuralLM(NeuralLMConfig(32, d_model=16, hidden_size=32, has_direct=True)),
    "bert": lambda: _bert(BertForPreTraining),
    "bert-masked": lambda: _bert(BertForMaskedLM),
    "bert-classes": lambda: _bert(BertForClassification, 3),
    "vit": lambda: ViT(ViTConfig(8, 2, 10, channels=1, **_SMALL, num_layers=1)),
    "quantised": _decoder_lm,
}
_RECURRENT = ("rnn", "lstm", "gru")
_TRANSLATORS = ("translator", "translator-pre", "marian", *_RECURRENT)
_CACHED = (*_TRANSLATORS, "gpt", "decoder-lm", "quantised")
# Other weights, another head or another objective of a model that is in the table.
_VARIANTS = ("lora", "dpo", "quantised", "bert-masked", "bert-classes")
# What is launched in bfloat16 is what is launched in float16, in another type: tests/test_ascend.py
# holds these to it, and the others are spared. (An operator of the recurrent ones had no bfloat16.)
_IN_BFLOAT16 = ("translator", "translator-pre", "decoder-lm", "rnn")
# A recurrent graph is long: but for the training step the plain cell stands for all.
_IN_FLOAT32 = ("lstm", "gru")
OBJECTIVES = {
    "bert": pretraining_objective,
    "bert-classes": class_objective,
    "vit": class_objective,
    "dpo": dpo_objective(),
}


def _ids(first, rows=_ROWS, length=_LENGTH):
    return np.full((rows, length), first, np.int32)


def batch_of(name):
    classes = np.zeros(_ROWS, np.int32)
    if name in _RECURRENT:  # they are written out word by word: fewer words, the same kernels
        return [_ids(4, length=3), _ids(5, length=3), _ids(6, length=3)]
    if name in _TRANSLATORS:
        return [_ids(4), _ids(5), _ids(6)]
    if name == "bert":
        return [_ids(4), _ids(0), _ids(6), classes]
    if name == "bert-classes":
        return [_ids(4), classes]
    if name == "vit":
        return [np.ones((_ROWS, 1, 8, 8), np.float32), classes]
    if name == "dpo":
        reference = np.zeros(_ROWS, np.float32)
        return [_ids(4), _ids(5), reference, reference, _ids(6), _ids(7)]
    return [_ids(4), _ids(5)]


def _mark(text):
    """Into the record; everything that was asked for before must have been waited for."""
    ctypes.CDLL("libascendcl.so").cann_mark(text.encode())


def _train(name, precision, group=None):
    model = MODELS[name]().set_train(True)
    weights = model.trainable_params()
    optimizer = device_form(nn.Adam)(weights, 1e-3, beta1=0.9, beta2=0.98, eps=1e-9)
    objective = OBJECTIVES.get(name, token_objective)
    step = TrainStep(
        model, optimizer, objective, label_smoothing=0.1, precision=precision, group=group
    )
    with graph_mode():
        for mark in ("", f"{name}/{precision if group is None else 'msrun'}"):
            if mark:
                _mark(mark)
            is_made = step(1e-3, batch_of(name)).is_made
            # Nothing is computed, and what stands in memory may look like an overflow. The second
            # graph is a part of the step either way.
            if not is_made:
                step.update_step(Tensor(1e-3, ms.float32), Tensor(1.0, ms.float32)).asnumpy()
    _mark("end")


def _pynative(name):
    """Forward and gradient, and where there is a plain decoder, a step of it."""
    model = MODELS[name]().set_train(True)
    objective = OBJECTIVES.get(name, token_objective)

    def forward(*tensors):
        return objective(model, tensors, 0.1)[0]

    gradient = ms.value_and_grad(forward, None, model.trainable_params())
    batch = [Tensor(part) for part in batch_of(name)]
    for mark in ("", f"{name}/pynative"):
        if mark:
            _mark(mark)
        for part in gradient(*batch)[1]:
            part.asnumpy()
    _mark("end")
    decoder, first = _decoder(name, PlainDecoder, PlainGPT)
    if decoder is not None:
        with decoder.running():
            state, tokens = decoder.start(first)
            decoder.step(state, tokens)


def _decoder(name, of_translator, of_language_model):
    if name in _TRANSLATORS:
        return of_translator(MODELS[name]()), _ids(4)
    if name in _CACHED:
        model = MODELS[name]()
        if name == "quantised":
            quantise(model)
        return of_language_model(model), [[1, 4, 5, 6]] * _ROWS
    return None, None


def _decode(name):
    decoder, first = _decoder(name, cached_decoder, CachedGPT)
    with decoder.running():
        state, tokens = decoder.start(first, 2)
        for mark in ("", f"{name}/decoding"):
            if mark:
                _mark(mark)
            _, state = decoder.step(state, tokens, np.arange(2 * _ROWS, dtype=np.int32))
            if mark:
                _mark("end")
        decoder.step(state, tokens)
    if name in _TRANSLATORS:
        EvaluationStep(decoder.model.set_train(False))(batch_of(name))[0].asnumpy()


def _msrun(name):
    """The step of several processes, in the only one that msrun has started."""
    alone = join_group()
    _train(name, "float32", Group(alone.rank, alone.size + 1))


def _precisions(name):
    if name in _VARIANTS:
        return () if name == "quantised" else ("float32",)
    if name in _IN_FLOAT32:
        return ("float32",)
    return PRECISIONS if name in _IN_BFLOAT16 else ("float32", "float16")


def _cases():
    cases = {}
    for name in MODELS:
        for precision in PRECISIONS:
            if precision in _precisions(name):
                cases[f"{name}/{precision}"] = lambda n=name, p=precision: _train(n, p)
        if name not in (*_VARIANTS, *_IN_FLOAT32):
            cases[f"{name}/pynative"] = lambda n=name: _pynative(n)
        if name in _CACHED and name not in _IN_FLOAT32:
            cases[f"{name}/decoding"] = lambda n=name: _decode(n)
    cases["translator/msrun"] = lambda: _msrun("translator")
    return cases


CASES = _cases()
# A 910A has no bfloat16. What it does not do as a 910B: half precision, attention, the backend.
_ON_910A = tuple(
    case for case in CASES
    if case == "translator/float32" or case.split("/")[1] in ("float16", "decoding")
)  # fmt: skip
CASES_OF = {"Ascend910B1": tuple(CASES), "Ascend910A": _ON_910A}
# What every run of the tests takes, in a minute or two: what differs most.
QUICK = (
    "translator/float32", "translator/decoding", "translator-pre/pynative", "gpt/decoding",
    "decoder-lm/bfloat16", "vit/float16", "neural-lm/float32",
)  # fmt: skip


class _Lstm(nn.Cell):
    """The CPU's form of an LSTM: an operator that Ascend does not have."""

    def __init__(self):
        super().__init__()
        self.lstm = ops.LSTM(8, 8, 1, True, False, 0.0)

    @compiled
    def construct(self, x, state, weights):
        return self.lstm(x, state, state, weights)[0]


def _unknown_operator():
    x, state = ops.ones((3, 2, 8), ms.float32), ops.ones((1, 2, 8), ms.float32)
    with graph_mode():
        _Lstm()(x, state, ops.ones((4 * 8 * 17, 1, 1), ms.float32)).asnumpy()


# Must not reach the end: it shows that an operator which a device lacks is found.
CONTROLS = {"control/unknown-operator": _unknown_operator}


def main(names):
    use_device("Ascend", prepare=join_group)
    carry_out(names, {**CASES, **CONTROLS})


if __name__ == "__main__":
    main(sys.argv[1:])
