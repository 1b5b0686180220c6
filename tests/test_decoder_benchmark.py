"""benchmarks/decoder.py: its variants are of one size, and the last one is the library's."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor

from step_llm.models.decoder_lm import DecoderLM, DecoderLMConfig
from step_llm.nn.layer_norm import LayerNorm
from step_llm.nn.rms_norm import RMSNorm
from step_llm.nn.swiglu import SwiGLU

ROOT = Path(__file__).resolve().parent.parent
IDS = np.random.default_rng(1).integers(4, 50, (2, 12)).astype(np.int32)


@pytest.fixture
def decoder(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("decoder")


@pytest.fixture
def build(decoder):
    def model_of(name, vocab_size=50):
        return decoder.Decoder(decoder.VARIANTS[name], decoder.SETTINGS, vocab_size, 1)

    return model_of


def test_all_variants_have_as_many_parameters(decoder, build):
    sizes = {
        name: sum(weight.size for weight in build(name, 1256).trainable_params())
        for name in decoder.VARIANTS
    }
    assert max(sizes.values()) < 1.001 * min(sizes.values()), sizes


def test_a_variant_changes_what_it_says(decoder, build):
    kinds = {
        name: {type(cell) for _, cell in build(name).cells_and_names()} for name in decoder.VARIANTS
    }
    assert {name for name in kinds if RMSNorm in kinds[name]} == {"rms_norm", "today"}
    assert {name for name in kinds if LayerNorm in kinds[name]} == {*kinds} - {"rms_norm", "today"}
    assert {name for name in kinds if SwiGLU in kinds[name]} == {"swiglu", "today"}
    has_bias = {
        name for name in kinds if any("bias" in p.name for p in build(name).trainable_params())
    }
    assert has_bias == {*kinds} - {"no_biases", "today"}
    for name in kinds:
        model, kv_heads = build(name), {"2_kv_heads": 2, "today": 2, "1_kv_head": 1}.get(name, 4)
        assert (model.positions is None) == (name in ("rotary", "today"))
        assert {layer.attention.num_kv_heads for layer in model.layers} == {kv_heads}


@pytest.mark.parametrize("name", ["gpt2", "today"])
def test_a_token_is_seen_by_those_behind_it_alone(build, name):
    model = build(name).set_train(False)
    before = model(Tensor(IDS)).asnumpy()
    changed = IDS.copy()
    changed[:, 5] = 4 + (changed[:, 5] - 3) % 46
    moved = np.abs(model(Tensor(changed)).asnumpy() - before).max((0, 2)) > 1e-6
    assert moved.tolist() == [False] * 5 + [True] * 7


def test_today_is_the_librarys_decoder(decoder, build):
    ours = build("today").set_train(False)
    settings = decoder.SETTINGS
    theirs = DecoderLM(
        DecoderLMConfig(
            50, settings["d_model"], settings["num_heads"], 2, 32, settings["num_layers"],
            decoder.VARIANTS["today"].d_ff,
        )
    ).set_train(False)  # fmt: skip
    for mine, other in zip(ours.trainable_params(), theirs.trainable_params()):
        other.set_data(Tensor(mine.asnumpy()))
    np.testing.assert_allclose(
        ours(Tensor(IDS)).asnumpy(), theirs(Tensor(IDS)).asnumpy(), atol=1e-5
    )


def test_the_stored_runs_are_of_these_settings_with_three_seeds_each(decoder):
    content = json.loads((ROOT / "benchmarks/results/decoder.json").read_text(encoding="utf-8"))
    assert content["settings"] == decoder.SETTINGS
    found = {(run["variant"], run["seed"]) for run in content["runs"]}
    assert len(found) == len(content["runs"])
    assert found == {(name, seed) for name in decoder.VARIANTS for seed in (1, 2, 3)}
    for run in content["runs"]:
        best = min(epoch["validation_loss"] for epoch in run["history"])
        assert run["validation_loss"] == best
        assert len(run["history"]) == content["settings"]["epochs"]
