"""The decoder of today and its parts. Parity with Llama and Qwen: test_pretrained_decoders.py."""

from __future__ import annotations

import json
import math

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from step_llm.models.decoder_lm import DecoderLM, DecoderLMConfig
from step_llm.models.gpt import GPT, GPTConfig
from step_llm.models.registry import build, describe
from step_llm.nn.activations import silu
from step_llm.nn.cache import with_room
from step_llm.nn.masks import causal_mask, seen_mask
from step_llm.nn.rms_norm import RMSNorm, rms_norm
from step_llm.nn.swiglu import SwiGLU
from step_llm.training.objectives import token_objective
from step_llm.training.step import TrainStep

SIZES = {
    "vocab_size": 11, "d_model": 12, "num_heads": 4, "num_kv_heads": 2, "d_head": 6,
    "num_layers": 2, "d_ff": 20, "max_length": 16,
}  # fmt: skip
LLAMA3 = ("llama3", 4.0, 1.0, 4.0, 16)
IDS = np.array([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]], np.int32)
VARIANTS = {
    "llama": {},
    "qwen2": {"biases": "qkv", "is_tied": False, "sliding_window": 3, "full_layers": 1},
    "qwen3": {"has_head_norm": True, "num_kv_heads": 1, "rotary_scaling": LLAMA3},
    "window": {"sliding_window": 2, "biases": "all", "num_kv_heads": 4},
}


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def filled(cell, seed=0, deviation=0.4):
    """The cell with large random weights: among small ones an error is small, too."""
    rng = np.random.default_rng(seed)
    for name, weight in cell.parameters_and_names():
        value = rng.normal(0.0, deviation, weight.shape) + name.endswith("gamma")
        weight.set_data(Tensor(value.astype(np.float32)))
    return cell


def decoder_lm(seed=1, **changes):
    return filled(DecoderLM(DecoderLMConfig(**{**SIZES, **changes})), seed).set_train(False)


# RMSNorm


def exact_rms_norm(x, gamma, epsilon):
    """In float64, and the gradients of sum(y · c) with c = cos(0, 1, …), from the formula."""
    x, gamma = x.astype(np.float64), gamma.astype(np.float64)
    scale = 1.0 / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon)
    weights = np.cos(np.arange(x.size).reshape(x.shape))
    g = weights * gamma
    x_gradient = scale * g - x * scale**3 * (g * x).mean(-1, keepdims=True)
    gamma_gradient = (weights * x * scale).reshape(-1, x.shape[-1]).sum(0)
    return x * scale * gamma, x_gradient, gamma_gradient


@pytest.mark.parametrize(("shape", "epsilon"), [((3, 7), 1e-6), ((2, 3, 16), 1e-3), ((5,), 0.5)])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_rms_norm_and_its_gradient(shape, epsilon, size):
    x, gamma = random(1, *shape) * np.float32(size), random(2, shape[-1])

    def total(x, gamma):
        y = rms_norm(x, gamma, epsilon)
        return (y * ops.cos(ops.arange(y.size).reshape(y.shape).astype(ms.float32))).sum(), y

    (_, y), gradients = ms.value_and_grad(total, (0, 1), has_aux=True)(Tensor(x), Tensor(gamma))
    for found, exact in zip((y, *gradients), exact_rms_norm(x, gamma, epsilon)):
        limit = 3e-6 * max(np.abs(exact).max(), 1.0 / size)
        np.testing.assert_allclose(found.asnumpy(), exact, rtol=0, atol=limit)


def test_rms_norm_by_hand(in_mode):
    """√((9 + 16) / 2) is 3.5355."""
    cell = RMSNorm(2, epsilon=1e-12)
    cell.gamma.set_data(Tensor([1.0, 10.0], ms.float32))
    y = in_mode(cell)(Tensor([[3.0, 4.0], [0.0, 0.0]], ms.float32)).asnumpy()
    np.testing.assert_allclose(y, [[3 / 12.5**0.5, 40 / 12.5**0.5], [0, 0]], rtol=1e-6)


def test_rms_norm_of_half_precision_is_computed_in_float32():
    y = RMSNorm(4)(Tensor(np.full((2, 4), 6e4, np.float16)))  # its square is beyond float16
    assert y.dtype == ms.float16
    np.testing.assert_array_equal(y.asnumpy(), np.ones((2, 4)))


def test_rms_norm_wants_its_width():
    with pytest.raises(ValueError, match=r"x has shape \(2, 3\); expected .* with last axis 4"):
        RMSNorm(4)(Tensor(random(0, 2, 3)))


# SwiGLU


def exact_swiglu(x, gate, up, down):
    z = x @ gate.T
    return (z / (1.0 + np.exp(-z)) * (x @ up.T)) @ down.T


def test_swiglu_and_its_gradient(in_mode):
    """The gradient against differences in float64."""
    cell, x = filled(SwiGLU(5, 7), 3), random(4, 2, 3, 5)
    arrays = [
        array.astype(np.float64)
        for array in (
            x,
            *(p.asnumpy() for p in (cell.gate.weight, cell.up.weight, cell.down.weight)),
        )
    ]
    np.testing.assert_allclose(in_mode(cell)(Tensor(x)).asnumpy(), exact_swiglu(*arrays), atol=1e-6)
    weights = list(cell.get_parameters())
    found = ms.grad(lambda x: (cell(x) ** 2).sum(), 0, weights)(Tensor(x))
    for array, gradient in zip(arrays, (found[0], *found[1])):
        expected = np.zeros(array.shape)
        for place in np.ndindex(array.shape):
            sums, old = [], array[place]
            for step in (1e-5, -1e-5):
                array[place] = old + step
                sums.append((exact_swiglu(*arrays) ** 2).sum())
            array[place] = old
            expected[place] = (sums[0] - sums[1]) / 2e-5
        limit = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(gradient.asnumpy(), expected, rtol=0, atol=limit)


def test_swiglu_has_no_biases_and_two_thirds_of_the_width_for_equal_weights():
    assert sum(p.size for p in SwiGLU(12, 32).get_parameters()) == 2 * 12 * 48
    with pytest.raises(ValueError, match="last axis 5"):
        SwiGLU(5, 7)(Tensor(random(0, 1, 2, 6)))


def test_silu():
    x = np.linspace(-30, 30, 601).astype(np.float32)
    exact = x / (1.0 + np.exp(-x.astype(np.float64)))
    np.testing.assert_allclose(silu(Tensor(x)).asnumpy(), exact, rtol=0, atol=3e-6)


# Sliding windows


@pytest.mark.parametrize("window", [1, 2, 3, 7, 8, 100])
def test_the_mask_of_a_sliding_window(window):
    seen = [[t - window < s <= t for s in range(7)] for t in range(7)]
    assert causal_mask(7, window).asnumpy()[0, 0].tolist() == seen
    position = np.array([0, 3, 6], np.int32)
    rows = seen_mask(Tensor(position), 7, window).asnumpy()
    assert rows.shape == (3, 1, 1, 7)
    assert rows[:, 0, 0].tolist() == [seen[t] for t in position]


def test_a_layer_sees_its_window_and_nothing_else():
    """What a place gets is what it gets at the end of a text that begins with its window."""
    model = decoder_lm(num_layers=1, sliding_window=3)
    whole = model(Tensor(IDS)).asnumpy()
    for t in range(3, 6):
        part = model(Tensor(IDS[:, t - 2 : t + 1])).asnumpy()
        np.testing.assert_allclose(whole[:, t], part[:, -1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("full_layers", "reach"), [(0, 3), (1, 6), (2, 6), (9, 6)])
def test_windows_add_up_over_the_layers(full_layers, reach):
    """Two layers that see one place back see two places back together."""
    model = decoder_lm(sliding_window=2, full_layers=full_layers)
    before = model(Tensor(IDS)).asnumpy()
    ids = IDS.copy()
    ids[:, 0] = (ids[:, 0] + 1) % 11
    moved = (model(Tensor(ids)).asnumpy() != before).any(axis=(0, 2))
    assert moved.tolist() == [t < reach for t in range(6)]


# The model


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_position_sees_its_future(variant, in_mode):
    model = in_mode(decoder_lm(**VARIANTS[variant]))
    before = model(Tensor(IDS)).asnumpy()
    assert before.shape == (2, 6, 11)
    ids = IDS.copy()
    ids[:, 2] = (ids[:, 2] + 1) % 11
    after = model(Tensor(ids)).asnumpy()
    np.testing.assert_array_equal(after[:, :2], before[:, :2])
    assert (after[:, 2] != before[:, 2]).any(axis=-1).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_start_and_steps_are_the_whole_text_at_once(variant):
    """Two texts, of 2 and 3 tokens at first, in a cache with room for 6."""
    model = decoder_lm(**VARIANTS[variant])
    whole = model.decode(Tensor(IDS))[0].asnumpy()
    hidden, weights, cache = model.decode(Tensor(IDS[:, :3]))
    np.testing.assert_allclose(hidden.asnumpy(), whole[:, :3], rtol=0, atol=2e-5)
    cache = with_room(cache, 6)
    assert [layer[0].shape for layer in cache] == [(2, model.config.num_kv_heads, 6, 6)] * 2
    assert [layer.shape for layer in weights] == [(2, 4, 3, 3)] * 2
    places = np.array([2, 3], np.int32)  # the first text's third token is written over
    while places.max() < 6:
        tokens, position = Tensor(IDS[np.arange(2), places]), Tensor(places)
        x, masks, rotation = model.place(tokens, position, 6)
        hidden, _, cache = model.layers(x, masks, rotation, cache, position)
        expected = whole[np.arange(2), places]
        np.testing.assert_allclose(hidden.asnumpy()[:, 0], expected, rtol=0, atol=2e-5)
        places = places + 1


def test_only_distances_count():
    """With a first token before it that nothing can see, a text gets the logits it had alone."""
    model = decoder_lm(num_layers=1, sliding_window=5)
    longer = np.concatenate([IDS[:, :1]] * 4 + [IDS], axis=1)
    np.testing.assert_allclose(
        model(Tensor(longer)).asnumpy()[:, -1], model(Tensor(IDS)).asnumpy()[:, -1], atol=1e-5
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_weight_learns(variant):
    model = decoder_lm(**VARIANTS[variant]).set_train(True)
    weights = list(model.trainable_params())

    def loss(ids, labels):
        total, count = token_objective(model, (ids, labels))
        return total / count

    gradients = ms.grad(loss, None, weights)(Tensor(IDS[:, :-1]), Tensor(IDS[:, 1:]))
    for weight, gradient in zip(weights, gradients):
        # A bias of the keys moves all scores of a query alike, as far as nothing turns it.
        least = 1e-7 if "key_projection.bias" in weight.name else 1e-4
        assert np.abs(gradient.asnumpy()).max() > least, weight.name


def test_what_each_setting_adds():
    names = {n: set(dict(decoder_lm(**v).parameters_and_names())) for n, v in VARIANTS.items()}
    attention = "layers.layers.0.self_attention."
    first = {name for name in names["qwen2"] - names["llama"] if "layers.1" not in name}
    assert first == {
        "output_weight", *(f"{attention}{n}_projection.bias" for n in ("query", "key", "value"))
    }  # fmt: skip
    first = {name for name in names["qwen3"] - names["llama"] if "layers.1" not in name}
    assert first == {f"{attention}query_norm.gamma", f"{attention}key_norm.gamma"}
    assert f"{attention}output_projection.bias" in names["window"]


def test_the_number_of_weights_is_that_of_published_models():
    """Counted on a small one by the same rule."""

    def count(vocab, width, layers, heads, kv_heads, d_head, inner, kind):
        layer = 2 * width * heads * d_head + 2 * width * kv_heads * d_head + 3 * width * inner
        layer += 2 * width
        layer += (heads + 2 * kv_heads) * d_head if kind == "qwen2" else 0
        layer += 2 * d_head if kind == "qwen3" else 0
        return vocab * width + layers * layer + width

    assert count(128256, 2048, 16, 32, 8, 64, 8192, "llama") == 1_235_814_400  # Llama 3.2 1B
    assert count(151936, 896, 24, 14, 2, 64, 4864, "qwen2") == 494_032_768  # Qwen2.5 0.5B
    assert count(151936, 1024, 28, 16, 8, 128, 3072, "qwen3") == 596_049_920  # Qwen3 0.6B
    for kind, changes in (
        ("llama", {}), ("qwen2", {"biases": "qkv"}), ("qwen3", {"has_head_norm": True}),
    ):  # fmt: skip
        found = sum(p.size for p in decoder_lm(**changes).get_parameters())
        assert found == count(11, 12, 2, 4, 2, 6, 20, kind)


def test_the_first_weights():
    config = DecoderLMConfig(300, 48, 4, 2, 16, 3, 96, is_tied=False, biases="all")
    for name, parameter in DecoderLM(config, seed=2).parameters_and_names():
        values = parameter.asnumpy()
        if name.endswith(("gamma", "bias")):
            assert (values == name.endswith("gamma")).all()
        else:
            # What ends one of the 6 residual branches begins smaller.
            ends = name.endswith(("output_projection.weight", "down.weight"))
            deviation = 0.02 / math.sqrt(6) if ends else 0.02
            assert values.std() == pytest.approx(deviation, rel=0.08), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_way_to_json_and_back(variant):
    model = decoder_lm(**VARIANTS[variant])
    again = build(json.loads(json.dumps(describe(model))))
    assert isinstance(again, DecoderLM)
    assert again.config == model.config
    assert again.pad_id == model.pad_id


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_kv_heads": 3}, "num_heads 4 is not divisible by num_kv_heads 3"),
        ({"d_head": 5}, "d_head 5 is odd"),
        ({"d_head": 0}, "d_head is 0; expected a whole number of at least 1"),
        ({"sliding_window": -1}, "sliding_window is -1; expected a whole number of at least 0"),
        ({"full_layers": 1.5}, "full_layers is 1.5; expected a whole number"),
        ({"biases": "some"}, "biases is 'some'; expected one of all, qkv, none"),
        ({"is_tied": 1}, "is_tied is 1; expected True or False"),
        ({"has_head_norm": "yes"}, "has_head_norm is 'yes'; expected True or False"),
        ({"rotary_base": 0.0}, "base of the rotary positions is 0.0; expected more than 0"),
        ({"rotary_scaling": ("yarn", 4.0)}, "scaling of the rotary positions is 'yarn'; expected"),
        ({"norm_epsilon": 0.0}, "norm_epsilon is 0.0; expected more than 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_sizes_that_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        DecoderLMConfig(**{**SIZES, **changes})


def test_ids_that_are_refused():
    with pytest.raises(ValueError, match=r"ids has shape \(4,\); expected \(B, T\)"):
        decoder_lm()(Tensor(np.zeros(4, np.int32)))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_it_learns_two_texts_by_heart(precision):
    changes = {"has_head_norm": True, "biases": "qkv", "sliding_window": 4, "full_layers": 1}
    model = DecoderLM(DecoderLMConfig(**{**SIZES, **changes}), seed=1).set_train(True)
    optimizer = nn.Adam(model.trainable_params(), 1e-2)
    step = TrainStep(model, optimizer, precision=precision)
    losses = [float(step(1e-2, (IDS[:, :-1], IDS[:, 1:])).loss) for _ in range(40)]
    assert losses[0] == pytest.approx(math.log(11), abs=0.3)
    assert losses[-1] < 0.2


@pytest.mark.parametrize("make", [decoder_lm, lambda: GPT(GPTConfig(11, num_layers=2), seed=1)])
def test_weights_are_kept_only_where_they_are_wanted(make):
    """Of a long text they take more memory than all else."""
    model, ids = make().set_train(False), Tensor(np.array([[1, 2, 3]], np.int32))
    hidden, weights, cache = model.decode(ids)
    alone, none, same_cache = model.decode(ids, need_weights=False)
    assert len(weights) == len(cache) == len(same_cache) == model.config.num_layers
    assert len(none) == 0
    np.testing.assert_array_equal(hidden.asnumpy(), alone.asnumpy())
