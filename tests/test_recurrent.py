"""The recurrent translator: PyTorch, padding, single steps, search."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from step_llm.data.vocabulary import train_tokenizers
from step_llm.decoding.decoders import PlainDecoder, RecurrentDecoder
from step_llm.decoding.search import beam_search, greedy_search
from step_llm.decoding.translator import Translator
from step_llm.models.recurrent import FanInWeights, RecurrentConfig, RecurrentTranslator
from step_llm.nn.recurrent import RECURRENT_CELLS, Recurrent

GOLDEN = Path(__file__).resolve().parent / "golden" / "recurrent"
TOLERANCE = 1e-5  # of the largest value of each tensor
SOURCE = np.array([[5, 6, 7, 8, 9, 4, 2], [10, 4, 2, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0]], np.int32)
TARGET = np.array([[1, 5, 6, 7, 4], [1, 8, 9, 10, 11], [1, 4, 4, 5, 5]], np.int32)
KINDS = [(cell, attention) for cell in ("rnn", "lstm", "gru") for attention in (True, False)]


def translator(cell="gru", attention=True, seed=1, **changes):
    # Two layers cost twice the time; they are compared with PyTorch's.
    sizes = {"d_model": 12, "num_layers": 1, "dropout": 0.0, **changes}
    config = RecurrentConfig(12, 13, cell, attention, **sizes)
    return RecurrentTranslator(config, seed).set_train(False)


def clear(model):
    """Makes the probabilities differ clearly, so that rounding decides nothing."""
    rng = np.random.default_rng(5)
    for parameter in model.get_parameters():
        noise = rng.normal(0, 0.6, parameter.shape).astype(np.float32)
        parameter.set_data(Tensor(parameter.asnumpy() + noise))
    return model


# PyTorch


@pytest.mark.parametrize("case", ["rnn", "lstm", "gru", "lstm_one_vector"])
def test_agrees_with_pytorch(case):
    with np.load(GOLDEN / f"{case}.npz") as file:
        arrays = dict(file)
    cell, attention = case.split("_")[0], "one_vector" not in case
    layers = sum(name.startswith("weight.bridges") for name in arrays) // 2
    width = arrays["weight.source_embedding.weight"].shape[1]
    config = RecurrentConfig(17, 13, cell, attention, width, layers, 0.0)
    model = RecurrentTranslator(config)
    weights = dict(model.parameters_and_names())
    assert sorted(weights) == sorted(n[7:] for n in arrays if n.startswith("weight."))
    for name, parameter in weights.items():
        assert parameter.shape == arrays[f"weight.{name}"].shape
        parameter.set_data(Tensor(arrays[f"weight.{name}"]))
    source, target = (Tensor(arrays[name].astype(np.int32)) for name in ("source", "target"))
    cotangent = Tensor(arrays["cotangent"])

    def forward(source, target):
        logits = model(source, target)
        return (logits * cotangent).sum(), logits

    names, parameters = list(weights), list(weights.values())
    (_, logits), gradients = ms.value_and_grad(forward, None, parameters, has_aux=True)(
        source, target
    )
    found = {"output.logits": logits.asnumpy()}
    found.update({f"gradient.{n}": g.asnumpy() for n, g in zip(names, gradients)})
    for name, value in found.items():
        off = np.abs(value - arrays[name]).max() / np.abs(arrays[name]).max()
        assert off <= TOLERANCE, f"{name} is off by {off:.1e}"


# The layers


def in_float64(cell, x, h, c, weights):
    """The formulas of the layers' docstrings, one row of vectors at a time."""
    of_input, of_state, b, d = weights
    outputs = []
    for t in range(x.shape[1]):
        u, v = x[:, t] @ of_input.T + b, h @ of_state.T + d
        if cell == "rnn":
            h = np.tanh(u + v)
        elif cell == "lstm":
            i, f, g, o = np.split(u + v, 4, -1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            (r, z, n), (r_state, z_state, n_state) = np.split(u, 3, -1), np.split(v, 3, -1)
            new, keep = np.tanh(n + sigmoid(r + r_state) * n_state), sigmoid(z + z_state)
            h = keep * h + (1 - keep) * new
        outputs.append(h)
    return np.stack(outputs, 1), h, c


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("cell", RECURRENT_CELLS)
@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_a_layer_is_its_formula_also_where_mindspores_tanh_is_not_exact(cell, scale):
    """nn.RNN and nn.GRU are off by 1e-4 there."""
    rng = np.random.default_rng(int(scale * 10))
    layer = Recurrent(cell, 6, 5, FanInWeights(0))
    for parameter in layer.get_parameters():
        parameter.set_data(Tensor(rng.normal(0, scale, parameter.shape).astype(np.float32)))
    weights = [parameter.asnumpy().astype(np.float64) for parameter in layer.get_parameters()]
    x, h, c = (rng.normal(size=s).astype(np.float32) for s in ((4, 3, 6), (4, 5), (4, 5)))
    state = (Tensor(h), Tensor(c))[: layer.state_tensors]
    outputs, last = layer(Tensor(x), state)
    expected, *expected_last = in_float64(cell, x, h, c, weights)
    np.testing.assert_allclose(outputs.asnumpy(), expected, rtol=0, atol=1e-5)
    for found, value in zip(last, expected_last):
        np.testing.assert_allclose(found.asnumpy(), value, rtol=0, atol=1e-5)


def test_a_layer_begins_with_zeros_and_refuses_another_width():
    layer = Recurrent("lstm", 6, 5, FanInWeights(0))
    x, zeros = Tensor(np.ones((2, 3, 6), np.float32)), Tensor(np.zeros((2, 5), np.float32))
    np.testing.assert_array_equal(layer(x)[0].asnumpy(), layer(x, (zeros, zeros))[0].asnumpy())
    with pytest.raises(ValueError, match="6"):
        layer(Tensor(np.ones((2, 3, 5), np.float32)))


# The model


@pytest.mark.parametrize(("cell", "attention"), KINDS)
def test_compiled_as_operator_by_operator(cell, attention, compiled):
    model = translator(cell, attention)
    one = model(Tensor(SOURCE), Tensor(TARGET)).asnumpy()
    assert one.shape == (3, 5, 13)
    other = compiled(model)(Tensor(SOURCE), Tensor(TARGET)).asnumpy()
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(("cell", "attention"), KINDS)
def test_padding_changes_nothing(cell, attention):
    model = clear(translator(cell, attention))
    together = model(Tensor(SOURCE), Tensor(TARGET)).asnumpy()
    for row, length in enumerate((7, 3, 1)):
        source, target = Tensor(SOURCE[row : row + 1, :length]), Tensor(TARGET[row : row + 1])
        np.testing.assert_allclose(together[row], model(source, target).asnumpy()[0], atol=1e-5)
    nothing = model(Tensor(np.zeros_like(SOURCE)), Tensor(TARGET)).asnumpy()
    assert np.isfinite(nothing).all()


@pytest.mark.parametrize(("cell", "attention"), KINDS)
def test_steps_are_the_whole_target_at_once(cell, attention):
    model = clear(translator(cell, attention))
    memory, mask, _ = model.encode(Tensor(SOURCE))
    whole, self_weights, weights = model.decode(Tensor(TARGET), memory, mask)
    assert self_weights == []
    states = model.start(memory)
    for place in range(TARGET.shape[1]):
        hidden, states = model.step(Tensor(TARGET[:, place]), states, memory, mask)
        expected = whole.asnumpy()[:, place]
        np.testing.assert_allclose(hidden.asnumpy()[:, 0], expected, atol=1e-5)
    if attention:
        (weight,) = weights
        assert weight.shape == (3, 1, 5, 7)
        np.testing.assert_allclose(weight.asnumpy().sum(-1), 1.0, atol=1e-5)
        np.testing.assert_allclose(weight.asnumpy()[1, ..., 3:], 0.0, atol=1e-7)
    else:
        assert weights == []


def test_no_target_position_sees_its_future():
    model = clear(translator("rnn"))
    before = model(Tensor(SOURCE), Tensor(TARGET)).asnumpy()
    target = TARGET.copy()
    target[:, 3] = 12
    after = model(Tensor(SOURCE), Tensor(target)).asnumpy()
    np.testing.assert_allclose(after[:, :3], before[:, :3], atol=1e-6)
    assert (np.abs(after[:, 3:] - before[:, 3:]).max(axis=-1) > 1e-4).all()


def test_the_seed_decides_the_weights():
    def weights(seed):
        return {n: p.asnumpy() for n, p in translator("lstm", seed=seed).parameters_and_names()}

    one = weights(3)
    np.random.seed(8)  # noqa: NPY002 — MindSpore's cells draw from it first
    same, other = weights(3), weights(4)
    for name, value in one.items():
        np.testing.assert_array_equal(value, same[name])
        if not name.endswith(".bias"):
            assert (value != other[name]).any(), name


def test_tied_embeddings_are_one_weight():
    config = RecurrentConfig(12, 12, d_model=8, tied_embeddings="all")
    names = dict(RecurrentTranslator(config).parameters_and_names())
    assert sum("embedding" in name for name in names) == 1
    assert "output_weight" not in names


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cell": "tree"}, "cell is 'tree'; expected one of rnn, lstm, gru"),
        ({"d_model": 7}, "d_model is 7; expected an even number"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"tied_embeddings": "all"}, "their sizes are 12 and 13"),
        ({"tied_embeddings": "some"}, "tied_embeddings is 'some'"),
    ],
)
def test_sizes_that_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        RecurrentConfig(12, 13, **changes)


def test_presets():
    assert RecurrentConfig.preset("tiny", 9, 9, dropout=0.2).d_model == 256
    with pytest.raises(ValueError, match="preset is 'huge'; expected one of tiny, small, base"):
        RecurrentConfig.preset("huge", 9, 9)


# Search


@pytest.mark.parametrize(("cell", "attention"), [("lstm", True), ("rnn", False)])
def test_the_state_changes_no_token_of_the_searches(cell, attention):
    model = clear(translator(cell, attention, seed=2))
    fast, slow = RecurrentDecoder(model), PlainDecoder(model)
    for quick, plain in zip(greedy_search(fast, SOURCE, 5), greedy_search(slow, SOURCE, 5)):
        assert quick.ids == plain.ids
        assert quick.log_prob == pytest.approx(plain.log_prob, abs=1e-4)
    beams = (beam_search(decoder, SOURCE, 3, 5, 0.6, n_best=3) for decoder in (fast, slow))
    for quick, plain in zip(*beams):
        assert [h.ids for h in quick] == [h.ids for h in plain]
        assert [h.score for h in quick] == pytest.approx([h.score for h in plain], abs=1e-4)
    assert len(fast._start.compile_cache) == len(fast._step.compile_cache) == 2  # 3 and 9 rows


def test_a_translator_of_text():
    text = ["ein hund läuft .", "ein mann sitzt ."]
    tokenizers = train_tokenizers(text, text, kind="word", min_freq=1)
    size = len(tokenizers.source)
    for attention in (True, False):
        config = RecurrentConfig(size, size, "rnn", attention, 8, 1, 0.0)
        translator = Translator(clear(RecurrentTranslator(config)), tokenizers)
        translations = translator.translate([*text, ""])
        assert translations[2] == ""
        assert translator.translate(text[1:]) == translations[1:2]
        if attention:
            found = translator.attention(text[0])
            assert found.weights.shape == (len(found.target_tokens), len(found.source_tokens))
            np.testing.assert_allclose(found.weights.sum(axis=1), 1.0, atol=1e-5)
        else:
            with pytest.raises(ValueError, match="this model has no attention"):
                translator.attention(text[0])
