"""LoRA: its value by hand, what learns and what does not, and the way back into the weights."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from step_llm.models.config import TransformerConfig
from step_llm.models.decoder_lm import DecoderLM, DecoderLMConfig
from step_llm.models.gpt import GPT, GPTConfig
from step_llm.models.transformer import Transformer
from step_llm.nn.linear import Linear
from step_llm.nn.lora import LoRA, add_lora, merge_lora
from step_llm.training.objectives import token_objective

IDS = np.array([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]], np.int32)


def decoder_lm():
    sizes = {"d_model": 16, "num_heads": 2, "num_kv_heads": 1, "d_head": 8, "d_ff": 24}
    return DecoderLM(DecoderLMConfig(11, num_layers=2, **sizes), seed=1)


def gpt():
    sizes = {"d_model": 16, "num_heads": 2, "num_layers": 2, "d_ff": 24, "max_length": 6}
    return GPT(GPTConfig(11, **sizes), seed=1)


def stir(model, seed=0):
    """Random values for what was added; B of 0 would hide all errors."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_params():
        weight.set_data(Tensor(rng.normal(0.0, 0.3, weight.shape).astype(np.float32)))


def test_by_hand(in_mode):
    base = Linear(2, 3)
    base.weight.set_data(Tensor([[1, 0], [0, 1], [1, 1]], ms.float32))
    base.bias.set_data(Tensor([0, 0, 10], ms.float32))
    lora = LoRA(base, rank=1, alpha=0.5)
    x = Tensor([[[1, 2], [3, 4]]], ms.float32)
    np.testing.assert_array_equal(lora(x).asnumpy(), [[[1, 2, 13], [3, 4, 17]]])
    lora.a.set_data(Tensor([[2, 1]], ms.float32))  # x Aᵀ: 4 and 10, of that the half
    lora.b.set_data(Tensor([[1], [0], [-3]], ms.float32))
    expected = [[[1 + 2, 2, 13 - 6], [3 + 5, 4, 17 - 15]]]
    np.testing.assert_array_equal(in_mode(lora)(x).asnumpy(), expected)
    merged = lora.merged()
    np.testing.assert_array_equal(merged.weight.asnumpy(), [[2, 0.5], [0, 1], [-2, -0.5]])
    np.testing.assert_array_equal(merged(x).asnumpy(), expected)


@pytest.mark.parametrize("make", [decoder_lm, gpt])
@pytest.mark.parametrize("pattern", ["(query|value)_projection$", "feed_forward", ""])
def test_it_begins_as_the_model_was_and_merged_equals_unmerged(make, pattern):
    model = make().set_train(False)
    plain, names = model(Tensor(IDS)).asnumpy(), list(dict(model.parameters_and_names()))
    paths = add_lora(model, pattern, rank=2, alpha=3.0)
    np.testing.assert_array_equal(model(Tensor(IDS)).asnumpy(), plain)
    stir(model)
    unmerged = model(Tensor(IDS)).asnumpy()
    assert np.abs(unmerged - plain).max() > 1e-3
    assert merge_lora(model) == paths
    np.testing.assert_allclose(model(Tensor(IDS)).asnumpy(), unmerged, rtol=0, atol=2e-6)
    # And the model is what it was: the same names, all of which may learn.
    assert list(dict(model.parameters_and_names())) == names
    assert [weight.name for weight in model.trainable_params()] == names


def test_only_what_was_added_learns():
    model = decoder_lm().set_train(True)
    before = {name: p.asnumpy().copy() for name, p in model.parameters_and_names()}
    paths = add_lora(model, r"layers\.1.*(query|value)_projection$", rank=2)
    attention = "layers.layers.1.self_attention"
    assert paths == [f"{attention}.query_projection", f"{attention}.value_projection"]
    weights = model.trainable_params()
    assert [w.name for w in weights] == [f"{path}.{name}" for path in paths for name in "ab"]
    optimizer = nn.Adam(weights, 1e-2)

    def loss(ids, labels):
        total, count = token_objective(model, (ids, labels))
        return total / count

    step, losses = ms.value_and_grad(loss, None, weights), []
    for _ in range(5):
        value, gradients = step(Tensor(IDS[:, :-1]), Tensor(IDS[:, 1:]))
        optimizer(gradients)
        losses.append(float(value.asnumpy()))
    assert losses[-1] < losses[0]
    after = {name.replace(".base.", "."): p.asnumpy() for name, p in model.parameters_and_names()}
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def test_few_weights_are_added():
    """4 matrices of 16 × 16 and 16 × 8 get 2 · (16 + 16) and 2 · (16 + 8) numbers each."""
    model = decoder_lm()
    add_lora(model, "(query|value)_projection$", rank=2)
    assert sum(weight.size for weight in model.trainable_params()) == 2 * 2 * (32 + 24)


def test_a_translator_takes_it_too():
    sizes = {"d_model": 8, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 1}
    model = Transformer(TransformerConfig(11, 11, d_ff=8, **sizes), seed=1).set_train(False)
    paths = add_lora(model, "cross_attention.*_projection", rank=1)
    assert len(paths) == 4
    stir(model)
    unmerged = model(Tensor(IDS), Tensor(IDS)).asnumpy()
    merge_lora(model)
    merged = model(Tensor(IDS), Tensor(IDS)).asnumpy()
    np.testing.assert_allclose(merged, unmerged, rtol=0, atol=2e-6)


def test_the_seed_decides_what_is_added():
    found = []
    for seed in (1, 1, 2):
        model = gpt()
        add_lora(model, "outer", rank=2, seed=seed)
        found.append([weight.asnumpy() for weight in model.trainable_params()])
    for one, same, other in zip(*found):
        np.testing.assert_array_equal(one, same)
        assert (one != other).any() or not one.any()
    assert (found[0][0] != found[0][2]).any()  # each layer has its own


@pytest.mark.parametrize("rank", [0, 9, -1, 1.0, True, None])
def test_ranks_that_are_refused(rank):
    with pytest.raises(ValueError, match=f"rank is {rank!r}; expected a whole number from 1 to 8"):
        LoRA(Linear(8, 12), rank, 1.0)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_alphas_that_are_refused(alpha):
    with pytest.raises(ValueError, match=f"alpha is {alpha}; expected more than 0"):
        LoRA(Linear(8, 12), 1, alpha)


def test_models_that_are_refused():
    model = gpt()
    with pytest.raises(ValueError, match=r"no LoRA; expected one that add_lora has changed"):
        merge_lora(model)
    with pytest.raises(ValueError, match=r"no layer's path matches 'q_proj'; the model has for ex"):
        add_lora(model, "q_proj")
    before = model(Tensor(IDS)).asnumpy()
    with pytest.raises(ValueError, match="rank is 99"):
        add_lora(model, "", rank=99)
    # And nothing has happened to it.
    assert len(model.trainable_params()) == len(list(model.get_parameters()))
    np.testing.assert_array_equal(model.set_train(False)(Tensor(IDS)).shape, before.shape)
    add_lora(model, "query")
    with pytest.raises(ValueError, match="has a LoRA already; merge it first"):
        add_lora(model, "value")
