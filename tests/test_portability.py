"""What is compiled: products in half precision and the rest in float32, and no more graphs than
there are buckets. Whether an Ascend has the kernels: tests/test_ascend.py.
"""

from __future__ import annotations

import os
import re

os.environ.setdefault("GLOG_v", "3")

import numpy as np
import pytest
from mindspore import Tensor, nn

from step_llm.data.batches import BUCKETS, Batches, encode_pairs
from step_llm.data.buckets import fewer
from step_llm.data.corpus import corpus_folder, read_parallel
from step_llm.data.vocabulary import EOS_ID, train_tokenizers
from step_llm.decoding.decoders import CachedDecoder
from step_llm.decoding.search import beam_search
from step_llm.decoding.translator import Translator
from step_llm.models.config import TransformerConfig
from step_llm.models.transformer import Transformer
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training.recipes import recipe_for
from step_llm.training.step import TrainStep
from tests.support.portability import compiled_graphs, saved_graphs

MODELS = {
    "post-norm": {"norm": "post", "positions": "learned", "tied_embeddings": "none"},
    "pre-norm": {"norm": "pre", "positions": "rotary", "tied_embeddings": "all"},
}
slow = pytest.mark.slow


def model_for(choices, seed=0):
    config = TransformerConfig(
        30, 30, d_model=8, num_heads=2, num_encoder_layers=1, num_decoder_layers=1, d_ff=16,
        **choices,
    )  # fmt: skip
    return Transformer(config, seed=seed)


def adam(model):
    return nn.Adam(model.trainable_params(), learning_rate=1e-3, beta1=0.9, beta2=0.98, eps=1e-9)


def batch(rows=2, length=5):
    return [Tensor(np.full((rows, length), 4 + n, np.int32)) for n in range(3)]


# ------------------------------------------------------------------------------------ the types


@slow
@pytest.mark.parametrize(
    ("shape", "norm"),
    # The CPU's LayerNorm is the operator for few rows, and products of matrices for many.
    [((2, 5), ("LayerNorm", "LayerNormGrad")), ((104, 5), ("Rsqrt", "MatMulExt"))],
)
def test_half_precision_computes_in_float16_what_it_should(tmp_path, shape, norm):
    """And nothing else."""
    model = model_for(MODELS["pre-norm"]).set_train(True)
    step = TrainStep(model, adam(model), label_smoothing=0.1, precision="float16", accumulate=2)
    step.loss_scale = 16.0, 0  # 20 equal tokens: their gradient overflows with the first one
    with saved_graphs(tmp_path), graph_mode():
        loss, _, is_made = step(1e-3, batch(*shape), batch(*shape))
    assert np.isfinite(loss.asnumpy())
    assert is_made
    types = {}
    node = re.compile(r"= PrimFunc_(\w+)\(.*\n\s*: \((.*)\) -> ")
    for path in compiled_graphs(tmp_path):
        for name, inputs in node.findall(path.read_text(encoding="utf-8")):
            types.setdefault(name, set()).update(re.findall(r"Tensor\[(Float\w+)\]", inputs))
    in_float32 = ("Softmax", "SoftmaxBackward", "LogSoftmax", "LogSoftmaxGrad", "Sqrt", *norm)
    assert all(types[name] == {"Float32"} for name in in_float32), types
    assert types["BatchMatMul"] == types["MatMul"] == {"Float16"}


# ---------------------------------------------------------------------------------- the shapes


class NeverEnding(CachedDecoder):
    """Decodes without computing anything, and as long as it may: the most shapes there can be.

    ``starts`` and ``steps`` are the shapes for which the graphs would be compiled.
    """

    def __init__(self, model):
        super().__init__(model)
        self.starts, self.steps = set(), set()
        self._start, self._step = self._silent_start, self._silent_step

    def _silent_start(self, source, rows):
        self.starts.add((*source.shape, len(rows)))
        return [], Tensor(np.ones((len(rows), 1, 1, source.shape[1]), bool))

    def _silent_step(self, tokens, position, parents, memory, mask, cache):
        room = cache[0][0].shape[2]
        self.steps.add((len(tokens), mask.shape[3], room, parents is not None))
        logits = np.zeros((len(tokens), 1, self.model.config.target_vocab_size), np.float32)
        logits[:, :, EOS_ID + 1] = 1.0
        return Tensor(logits), cache


def texts(corpus):
    folder = corpus_folder(corpus)
    if not (folder / "train.de").is_file():
        pytest.skip(f"{corpus} has not been fetched")
    return read_parallel(folder, "train"), read_parallel(folder, "val")


@pytest.mark.parametrize("corpus", ["mini", "multi30k"])
def test_an_epoch_has_no_more_shapes_than_buckets(corpus):
    training_text, validation_text = texts(corpus)
    recipe = recipe_for(corpus)
    tokenizers = train_tokenizers(
        training_text.source, training_text.target, recipe.tokens, recipe.vocab_size
    )
    buckets, rows = recipe.training["buckets"], recipe.training["batch_tokens"]
    batches = Batches(encode_pairs(training_text, tokenizers, buckets[-1]), buckets, rows)
    shapes = {tuple(array.shape for array in arrays) for arrays in batches.epoch()}
    assert len(shapes) <= len(buckets)
    assert all(len(set(shape)) == 1 for shape in shapes)

    size = len(tokenizers.source)
    config = TransformerConfig(size, size, d_model=2, num_heads=1, num_decoder_layers=1, d_ff=2)
    for beam_size in (1, 5):
        decoder = NeverEnding(Transformer(config))
        translator = Translator(decoder.model, tokenizers)
        translator.decoder = decoder
        translator.translate(list(validation_text.source), beam_size)
        assert 0 < len(decoder.starts) <= len(BUCKETS)
        assert 0 < len(decoder.steps) <= len(BUCKETS)


@slow
def test_a_shape_is_compiled_once(tmp_path):
    """The graphs that MindSpore wrote are as many as the shapes it was given."""
    model = model_for(MODELS["post-norm"]).set_train(True)
    step = TrainStep(model, adam(model), label_smoothing=0.1, clip_norm=1.0)
    shapes = [(2, 5), (1, 7)]
    with saved_graphs(tmp_path / "training"), graph_mode():
        for _ in range(3):
            for shape in shapes:
                step(1e-3, batch(*shape)).loss.asnumpy()
    assert len(compiled_graphs(tmp_path / "training")) == len(shapes)

    decoder = CachedDecoder(model)
    with saved_graphs(tmp_path / "decoding"):
        for length in (4, 6, 4, 6):
            beam_search(decoder, np.full((2, length), 4, np.int32), 2, max_length=4)
    assert len(compiled_graphs(tmp_path / "decoding")) == 4  # two starts, two steps


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (99, BUCKETS), (8, BUCKETS), (6, (14, 16, 18, 25, 33, 64)), (4, (14, 18, 25, 64)),
        (3, (16, 25, 64)), (1, (64,)),
    ],
)  # fmt: skip
def test_fewer_lengths_are_some_of_them_and_the_longest(most, expected):
    assert fewer(BUCKETS, most) == expected
    assert fewer(expected, most) == expected
