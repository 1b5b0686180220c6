"""The whole model: its weights, its masks, and decoding with a cache."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mindspore import Tensor

from step_llm.models.config import TransformerConfig
from step_llm.models.transformer import Transformer
from step_llm.nn.cache import with_room
from step_llm.nn.embedding import Embedding
from step_llm.nn.positions import sinusoidal_encoding

POSITIONS = ("sinusoidal", "learned", "rotary")
NORMS = ("post", "pre")


def config(**changes):
    sizes = {
        "d_model": 16,
        "num_heads": 2,
        "num_encoder_layers": 1,
        "num_decoder_layers": 1,
        "d_ff": 24,
        "max_length": 12,
    }
    return TransformerConfig(11, 13, **{**sizes, **changes})


def ids(*rows):
    return Tensor(np.array(rows, np.int32))


SOURCE = ids([4, 9, 2, 7, 10], [5, 3, 8, 0, 0])
TARGET = ids([1, 12, 6, 2], [1, 7, 0, 0])


# Weights

# Without embeddings, learned positions and output matrix, for D = d_model and F = d_ff:
# attention 4 (D² + D), feed-forward 2 D F + F + D, LayerNorm 2 D;
# an encoder layer has 1 + 1 + 2 of them, a decoder layer 2 + 1 + 3.
LAYERS = {
    "tiny": 4 * 132_480 + 4 * 198_784,
    "small": 3 * 527_104 + 3 * 790_784,
}
WIDTH = {"tiny": 128, "small": 256}


@pytest.mark.parametrize("preset", LAYERS)
def test_number_of_weights(preset):
    width, layers = WIDTH[preset], LAYERS[preset]

    def count(**changes):
        model = Transformer(TransformerConfig.preset(preset, 21, 21, **changes))
        return sum(weight.size for weight in model.trainable_params())

    assert count() == layers + 3 * 21 * width
    assert count(tied_embeddings="output") == layers + 2 * 21 * width
    assert count(tied_embeddings="all") == layers + 21 * width
    assert count(positions="rotary") == layers + 3 * 21 * width
    assert count(positions="learned", max_length=9) == layers + (3 * 21 + 2 * 9) * width
    assert count(norm="pre") == layers + 3 * 21 * width + 2 * 2 * width


def test_the_base_model_has_the_papers_65_million_weights():
    # Table 3: one vocabulary of about 37,000, tied on all three sides.
    model = Transformer(TransformerConfig.preset("base", 37_000, 37_000, tied_embeddings="all"))
    count = sum(weight.size for weight in model.trainable_params())
    assert count == 6 * 3_152_384 + 6 * 4_204_032 + 37_000 * 512
    assert count == pytest.approx(65e6, rel=0.05)


def test_tied_weights_are_one_parameter():
    same = TransformerConfig(13, 13, d_model=16, num_heads=2, d_ff=24, tied_embeddings="all")
    model = Transformer(same)
    assert model.source_embedding.weight is model.target_embedding.weight
    tables = [weight for weight in model.get_parameters() if weight.shape == (13, 16)]
    assert len(tables) == 1
    assert model.output_weight is None
    model = Transformer(config(tied_embeddings="output"))
    assert model.source_embedding.weight is not model.target_embedding.weight
    assert model.output_weight is None


@pytest.mark.parametrize("tied", ["none", "output"])
def test_the_projection_uses_the_embedding_if_tied(tied):
    model = Transformer(config(tied_embeddings=tied))
    hidden = np.random.default_rng(0).normal(size=(2, 3, 16)).astype(np.float32)
    table = np.random.default_rng(1).normal(size=(13, 16)).astype(np.float32)
    model.target_embedding.weight.set_data(Tensor(table))
    weight = table if tied == "output" else model.output_weight.asnumpy()
    logits = model.project(Tensor(hidden)).asnumpy()
    np.testing.assert_allclose(logits, hidden @ weight.T, rtol=0, atol=1e-5)
    is_embedding = np.allclose(logits, hidden @ table.T, rtol=0, atol=1e-5)
    assert is_embedding == (tied == "output")


def test_names_of_weights_are_unique():
    names = [weight.name for weight in Transformer(config()).get_parameters()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("norm", NORMS)
def test_initial_weights(norm):
    model = Transformer(config(d_model=64, d_ff=128, norm=norm, positions="learned", max_length=99))
    seen = set()
    for name, weight in model.parameters_and_names():
        values = weight.asnumpy()
        kind = name.split(".")[-1]
        if kind in ("bias", "beta"):
            assert (values == 0).all(), name
        elif kind == "gamma":
            assert (values == 1).all(), name
        elif "embedding" in name or "positions" in name or name == "output_weight":
            kind = "table"
            assert values.std() == pytest.approx(64**-0.5, rel=0.1), name
            assert abs(values.mean()) < 5 * 64**-0.5 / math.sqrt(values.size), name
        else:
            kind = "matrix"
            bound = math.sqrt(6 / sum(values.shape))
            assert np.abs(values).max() <= bound, name
            assert np.abs(values).max() > 0.99 * bound, name  # uniform up to the bound …
            assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.05), name
        seen.add(kind)
    assert seen == {"bias", "beta", "gamma", "table", "matrix"}


def test_no_two_matrices_start_alike():
    firsts = [
        weight.asnumpy().ravel()[0]
        for weight in Transformer(config()).get_parameters()
        if not weight.name.endswith(("bias", "beta", "gamma"))
    ]
    assert len(firsts) == len(set(firsts))


def weights_of(model):
    return {name: weight.asnumpy() for name, weight in model.parameters_and_names()}


def test_the_seed_decides_the_weights():
    one = weights_of(Transformer(config(), seed=3))
    np.random.seed(8)  # noqa: NPY002 — the global generator must have no say
    same = weights_of(Transformer(config(), seed=3))
    other = weights_of(Transformer(config(), seed=4))
    for name, values in one.items():
        np.testing.assert_array_equal(values, same[name])
        if not name.endswith(("bias", "beta", "gamma")):
            assert (values != other[name]).any(), name


# Embedding


def test_embedding_is_scaled_by_the_root_of_the_width(in_mode):
    cell = Embedding(5, 9)
    table = np.random.default_rng(0).normal(size=(5, 9)).astype(np.float32)
    cell.weight.set_data(Tensor(table))
    vectors = in_mode(cell)(ids([4, 0], [2, 2])).asnumpy()
    np.testing.assert_allclose(vectors, 3 * table[[[4, 0], [2, 2]]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3)])
def test_ids_have_two_axes(shape):
    with pytest.raises(ValueError, match=r"expected \(B, T\)") as error:
        Embedding(5, 9)(Tensor(np.ones(shape, np.int32)))
    assert str(shape) in str(error.value)


def test_each_side_has_its_own_vocabulary():
    model = Transformer(config())  # 11 source ids, 13 target ids
    assert model.source_embedding.weight.shape == (11, 16)
    assert model.target_embedding.weight.shape == (13, 16)


# The model


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("positions", POSITIONS)
def test_shapes(positions, norm):
    model = Transformer(
        config(positions=positions, norm=norm, num_encoder_layers=3, num_decoder_layers=2)
    )
    assert model(SOURCE, TARGET).shape == (2, 4, 13)
    memory, mask, weights = model.encode(SOURCE)
    assert memory.shape == (2, 5, 16)
    np.testing.assert_array_equal(mask.asnumpy()[:, 0, 0], SOURCE.asnumpy() != 0)
    assert [w.shape for w in weights] == [(2, 2, 5, 5)] * 3
    hidden, self_weights, weights, _ = model.decode(TARGET, memory, mask)
    assert hidden.shape == (2, 4, 16)
    assert [w.shape for w in self_weights] == [(2, 2, 4, 4)] * 2
    assert (np.triu(self_weights[1].asnumpy(), 1) == 0).all()
    assert [w.shape for w in weights] == [(2, 2, 4, 5)] * 2
    assert (weights[1].asnumpy()[1, ..., 3:] == 0).all()


def test_positions_are_added_to_scaled_embeddings():
    model = Transformer(config())
    model.set_train(False)
    table = model.source_embedding.weight.asnumpy()
    x = table[SOURCE.asnumpy()] * 4 + sinusoidal_encoding(5, 16).asnumpy()
    expected, _, _ = model.encoder(Tensor(x.astype(np.float32)), model.encode(SOURCE)[1])
    memory = model.encode(SOURCE)[0]
    np.testing.assert_allclose(memory.asnumpy(), expected.asnumpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_order_of_the_source_matters(positions):
    model = Transformer(config(positions=positions))
    model.set_train(False)
    one, other = model(ids([4, 9, 2]), ids([1, 5])), model(ids([9, 4, 2]), ids([1, 5]))
    assert np.abs(one.asnumpy() - other.asnumpy()).max() > 1e-3


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("positions", POSITIONS)
def test_padding_changes_nothing(positions, norm):
    model = Transformer(config(positions=positions, norm=norm))
    model.set_train(False)
    alone = model(ids([5, 3, 8]), ids([1, 7])).asnumpy()
    # The same sentences are the second row here, filled up to the first row's length.
    in_a_batch = model(SOURCE, TARGET).asnumpy()
    np.testing.assert_allclose(in_a_batch[1:, :2], alone, rtol=0, atol=1e-5)


def test_padding_has_the_id_the_model_was_told():
    model = Transformer(config(), pad_id=9)
    model.set_train(False)
    alone = model(ids([5, 0, 8]), ids([1, 0])).asnumpy()
    padded = model(ids([5, 0, 8, 9, 9]), ids([1, 0, 9])).asnumpy()
    np.testing.assert_allclose(padded[:, :2], alone, rtol=0, atol=1e-5)


def test_nobody_looks_at_padding_even_before_a_token():
    model = Transformer(config())
    model.set_train(False)
    source, target = ids([5, 0, 8]), ids([1, 0, 7])
    before = model(source, target).asnumpy()
    for embedding in (model.source_embedding, model.target_embedding):
        table = embedding.weight.asnumpy()
        table[0] *= -5
        embedding.weight.set_data(Tensor(table))
    after = model(source, target).asnumpy()
    np.testing.assert_allclose(after[:, [0, 2]], before[:, [0, 2]], rtol=0, atol=1e-5)
    assert np.abs(after[:, 1] - before[:, 1]).max() > 1e-3


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_past_does_not_see_the_future(positions):
    model = Transformer(config(positions=positions))
    model.set_train(False)
    one = model(ids([4, 9, 2]), ids([1, 5, 6, 7])).asnumpy()
    other = model(ids([4, 9, 2]), ids([1, 5, 11, 12])).asnumpy()
    np.testing.assert_array_equal(one[:, :2], other[:, :2])
    assert np.abs(one[:, 2:] - other[:, 2:]).max() > 1e-3


@pytest.mark.parametrize(
    ("positions", "norm", "tied"),
    [("sinusoidal", "post", "none"), ("learned", "pre", "output"), ("rotary", "pre", "none")],
)
def test_compiled_equals_pynative(positions, norm, tied, compiled):
    model = Transformer(config(positions=positions, norm=norm, tied_embeddings=tied))
    model.set_train(False)
    expected = model(SOURCE, TARGET).asnumpy()
    logits = compiled(model)(SOURCE, TARGET).asnumpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_more_tokens_than_learned_positions_are_refused():
    model = Transformer(config(positions="learned", max_length=4))
    model(ids([1, 2, 3, 4]), ids([1, 2, 3, 4]))
    with pytest.raises(ValueError, match="length 5 is longer than the 4 learned positions"):
        model(ids([1, 2, 3, 4, 5]), ids([1]))
    with pytest.raises(ValueError, match="length 5 is longer than the 4 learned positions"):
        model(ids([1]), ids([1, 2, 3, 4, 5]))


def test_dropout_is_active_in_training_alone():
    model = Transformer(config(dropout=0.5))
    model.set_train(False)
    calm = model(SOURCE, TARGET).asnumpy()
    np.testing.assert_array_equal(model(SOURCE, TARGET).asnumpy(), calm)
    model.set_train(True)
    one, other = model(SOURCE, TARGET).asnumpy(), model(SOURCE, TARGET).asnumpy()
    assert np.abs(one - other).max() > 1e-2


# Decoding with a cache


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("positions", POSITIONS)
def test_step_by_step_equals_all_at_once(positions, norm):
    model = Transformer(config(positions=positions, norm=norm, num_decoder_layers=2))
    model.set_train(False)
    target = np.array([[1, 12, 6, 2], [1, 7, 3, 8]], np.int32)
    memory, mask, _ = model.encode(SOURCE)
    hidden, _, _, kept = model.decode(Tensor(target), memory, mask)
    whole = model.project(hidden).asnumpy()
    projected = model.decoder.project_memory(memory)
    assert [keys.shape for keys, _ in projected] == [(2, 2, 5, 8)] * 2
    room = 7  # more than needed: places not yet written must have no influence
    filling = Tensor(np.full((2, 2, room, 8), 1e3, np.float32))
    cache = [(filling, filling) for _ in range(2)]
    for t in range(target.shape[1]):
        position = Tensor(np.array([t], np.int32))
        x, self_mask, rotation = model.place(Tensor(target[:, t]), position, room)
        hidden, _, _, cache = model.decoder(
            x, projected, self_mask, mask, rotation, cache, position
        )
        assert hidden.shape == (2, 1, 16)
        logits = model.project(hidden).asnumpy()
        np.testing.assert_allclose(logits[:, 0], whole[:, t], rtol=0, atol=1e-5)
        keys = cache[1][0].asnumpy()
        assert keys.shape == (2, 2, room, 8)
        assert (keys[:, :, t] != 1e3).all()
        assert (keys[:, :, t + 1 :] == 1e3).all()
    for own, all_at_once in zip(cache, with_room(kept, room)):  # what decode returns is a cache
        for one, other in zip(own, all_at_once):
            one, other = one.asnumpy()[:, :, :4], other.asnumpy()[:, :, :4]
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
