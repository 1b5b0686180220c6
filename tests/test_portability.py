"""Every operator of a training step and of a decoding step is declared for CPU, GPU and Ascend,
and an epoch compiles no more shapes than there are buckets. None of it needs the hardware.

The list of operators: `python tests/test_portability.py`.
"""

from __future__ import annotations

import ast
import os
import re
import tempfile
from pathlib import Path

os.environ.setdefault("GLOG_v", "3")

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from step_llm.data.batches import BUCKETS, Batches, encode_pairs
from step_llm.data.corpus import corpus_folder, read_parallel
from step_llm.data.vocabulary import EOS_ID, train_tokenizers
from step_llm.decoding.decoders import CachedDecoder
from step_llm.decoding.search import beam_search
from step_llm.decoding.translator import Translator
from step_llm.models.config import TransformerConfig
from step_llm.models.transformer import Transformer
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training.recipes import recipe_for
from step_llm.training.step import EvaluationStep, TrainStep
from tests.support import portability
from tests.support.portability import (
    PLATFORMS,
    UNDECLARED,
    StandIn,
    compiled_graphs,
    declared_platforms,
    operators_of,
    saved_graphs,
    undeclared,
)

ROOT = Path(__file__).resolve().parents[1]
# Between them they hold every choice of the configuration that brings operators of its own
# (sinusoidal positions are a constant that is added).
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


def train(choices):
    model = model_for(choices)
    model.set_train(True)
    step = TrainStep(model, adam(model), label_smoothing=0.1, clip_norm=1.0)
    with graph_mode():
        return step(1e-3, batch()).loss.asnumpy()


def decode(choices):
    """A search with beams: encodes, and makes two steps, without and with reordered beams."""
    model = model_for(choices)
    with graph_mode():
        total, _ = EvaluationStep(model.set_train(False))(batch())
    found = beam_search(CachedDecoder(model), np.full((2, 5), 4, np.int32), 2, max_length=2)
    assert len(found) == 2
    return total.asnumpy()


STEPS = {"training": train, "decoding": decode}


# ------------------------------------------------------------------------------- the operators


@slow
@pytest.mark.parametrize("choices", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_all_operators_are_declared_for_every_platform(step, choices, tmp_path):
    with saved_graphs(tmp_path):
        assert np.isfinite(step(choices))
    operators = operators_of(tmp_path)
    # That the graph was read: what no Transformer can be without.
    assert {"BatchMatMul", "Softmax", "Gather"} <= operators
    assert ("Adam" in operators) == (step is train)
    assert undeclared(operators) == []


@slow
@pytest.mark.parametrize(
    ("shape", "norm"),
    # The CPU's LayerNorm is the operator for few rows, and products of matrices for many.
    [((2, 5), ("LayerNorm", "LayerNormGrad")), ((104, 5), ("Rsqrt", "MatMulExt"))],
)
def test_half_precision_uses_what_every_platform_has(tmp_path, shape, norm):
    """And computes in float16 what it should, and nothing else."""
    model = model_for(MODELS["pre-norm"]).set_train(True)
    step = TrainStep(model, adam(model), label_smoothing=0.1, precision="float16", accumulate=2)
    step.loss_scale = 16.0, 0  # 20 equal tokens: their gradient overflows with the first one
    with saved_graphs(tmp_path), graph_mode():
        loss, _, is_made = step(1e-3, batch(*shape), batch(*shape))
    assert np.isfinite(loss.asnumpy())
    assert is_made
    assert undeclared(operators_of(tmp_path)) == []
    types = {}
    node = re.compile(r"= PrimFunc_(\w+)\(.*\n\s*: \((.*)\) -> ")
    for path in compiled_graphs(tmp_path):
        for name, inputs in node.findall(path.read_text(encoding="utf-8")):
            types.setdefault(name, set()).update(re.findall(r"Tensor\[(Float\w+)\]", inputs))
    in_float32 = ("Softmax", "SoftmaxBackward", "LogSoftmax", "LogSoftmaxGrad", "Sqrt", *norm)
    assert all(types[name] == {"Float32"} for name in in_float32), types
    assert types["BatchMatMul"] == types["MatMul"] == {"Float16"}


def test_a_stand_in_has_a_reason_and_is_still_needed():
    for name, stand_in in UNDECLARED.items():
        assert stand_in.reason
        assert stand_in.replacement
        assert declared_platforms(stand_in.declared_by) == set(PLATFORMS)
        # Once MindSpore declares it, the exception has to go.
        assert undeclared([name], stand_ins={})
    for name, forward in portability._GRADIENT_OF.items():
        assert declared_platforms(name) == declared_platforms(forward) != frozenset(), name


class OnlyAscend(ops.Primitive):
    """An operator of one platform.

    Supported Platforms:
        ``Ascend``

    Examples:
        >>> ``CPU`` and ``GPU`` in the text do not count.
    """


def test_what_is_not_declared_is_refused(monkeypatch):
    monkeypatch.setattr(ops.operations, "OnlyAscend", OnlyAscend, raising=False)
    assert declared_platforms("OnlyAscend") == {"Ascend"}
    assert declared_platforms("NoSuchOperator") == frozenset()
    assert declared_platforms("mindspore.ops.no_such_function") == frozenset()
    first, second = undeclared(["MatMul", "OnlyAscend", "NoSuchOperator", "Softmax"])
    assert first.startswith("NoSuchOperator is not declared for Ascend, CPU, GPU by MindSpore ")
    assert second.startswith("OnlyAscend is not declared for CPU, GPU by MindSpore ")
    stand_in = StandIn("mindspore.ops.matmul", "a test", "none")
    assert undeclared(["OnlyAscend"], {"OnlyAscend": stand_in}) == []


def test_operators_are_read_from_a_graph(tmp_path):
    graph = (
        "%para1_x: <Tensor[Float32], (2, 3)> : [2, 3]\n"
        "subgraph @1_f() {\n"
        "  %0(equiv_18_CNode_2) = Load(%para5_weight, UMonad[U]) cnode_attrs: {}\n"
        "  %1(equiv_4_CNode_3) = PrimFunc_MatMul(%para1_x, %0, Bool(0), Bool(1))\n"
        "      : (<Tensor[Float32], (2, 3)>) -> (<Tensor[Float32], (2, 4)>)\n"
        "      # In file layers.py:3, 1~2/    y = OnlyAComment(x)/\n"
        "  %2(CNode_4) = Adam(%1) {use_locking: Bool(0)}\n"
        "  %3(CNode_5) = TupleGetItem(%2, I64(0))\n"
        "  Return(%3)\n}\n"
    )
    (tmp_path / "rank_0").mkdir()
    (tmp_path / "rank_0" / "21_validate_0076.ir").write_text(graph, encoding="utf-8")
    (tmp_path / "rank_0" / "13_optimize_0068.ir").write_text("  %1(x) = Other(%0)\n")
    assert operators_of(tmp_path) == {"MatMul", "Adam"}
    assert len(compiled_graphs(tmp_path)) == 1
    with pytest.raises(ValueError, match="holds no operator of a compiled graph"):
        operators_of(tmp_path / "nothing")


def test_the_code_uses_nothing_that_is_declared_for_fewer():
    """What the library writes down, whether or not a graph above came by it."""
    modules = {
        "ops": "mindspore.ops", "nn": "mindspore.nn", "mint": "mindspore.mint",
        "amp": "mindspore.amp",
    }  # fmt: skip
    used = set()
    for path in (ROOT / "step_llm").rglob("*.py"):
        if path.parent.name == "forms":
            continue  # each for one device alone
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module = modules.get(node.value.id)
                if module:
                    used.add(f"{module}.{node.attr}")
    assert {"mindspore.ops.softmax", "mindspore.nn.Adam"} <= used
    # Without any declaration are tools of the framework: nn.Cell, ops.depend and the like.
    declared = {name: declared_platforms(name) for name in used}
    fewer = {name: sorted(p) for name, p in declared.items() if p and p != set(PLATFORMS)}
    assert not fewer
    assert sum(map(bool, declared.values())) > 20


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


if __name__ == "__main__":
    print(f"MindSpore {ms.__version__}: operators of the compiled graphs, and who declares them")
    every = set()
    for a_name, a_step in STEPS.items():
        for a_model, its_choices in MODELS.items():
            with tempfile.TemporaryDirectory() as a_folder:
                with saved_graphs(a_folder):
                    a_step(its_choices)
                its_operators = operators_of(a_folder)
            print(f"{a_name}, {a_model}: {len(its_operators)} operators")
            every |= its_operators
    for an_operator in sorted(every):
        who = UNDECLARED[an_operator].declared_by if an_operator in UNDECLARED else ""
        print(f"{an_operator:20} {', '.join(sorted(declared_platforms(who or an_operator)))} {who}")
