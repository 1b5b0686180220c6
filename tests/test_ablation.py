"""The ablations: each variant changes what it says, and nothing else."""

from __future__ import annotations

import importlib
import itertools
import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from step_llm.models.weights import weights_of

ROOT = Path(__file__).resolve().parent.parent
SIZES = {
    "d_model": 16, "num_heads": 4, "num_encoder_layers": 1, "num_decoder_layers": 2, "d_ff": 24,
}  # fmt: skip
SOURCE = ms.Tensor(np.array([[5, 6, 7, 8, 2], [9, 3, 4, 2, 0]], np.int32))
TARGET = ms.Tensor(np.array([[1, 7, 8], [1, 4, 0]], np.int32))


@pytest.fixture
def ablation(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("ablation")


@pytest.fixture
def build(ablation):
    return lambda name: ablation.build(ablation.VARIANTS[name], SIZES, 30, 1).set_train(False)


def logits(model, source=SOURCE):
    return model(source, TARGET).asnumpy()


@pytest.mark.parametrize("name", ["no_residual", "untied_embeddings", "learned_positions"])
def test_what_a_variant_has_in_common_begins_the_same(build, name):
    baseline, variant = weights_of(build("baseline")), weights_of(build(name))
    common = [path for path in variant if path in baseline]
    assert len(common) > 20
    for path in common:
        np.testing.assert_array_equal(variant[path], baseline[path])


def test_every_weight_has_a_name_of_its_own(build, ablation):
    for name in ablation.VARIANTS:
        names = [weight.name for weight in build(name).trainable_params()]
        assert len(set(names)) == len(names)


def test_without_positions_the_order_of_the_source_is_not_seen(build):
    turned = ms.Tensor(SOURCE.asnumpy()[:, [2, 0, 3, 1, 4]])
    without, baseline = build("no_positions"), build("baseline")
    np.testing.assert_allclose(logits(without, turned), logits(without), atol=1e-5)
    assert np.abs(logits(baseline, turned) - logits(baseline)).max() > 1e-2


def test_without_the_scale_the_scores_are_larger(build):
    baseline, variant = build("baseline"), build("no_scale")
    for cell in (variant.encoder.layers[0], variant.decoder.layers[1]):
        projection = cell.self_attention.query_projection
        projection.weight.set_data(projection.weight / 2)  # √Dk = 2
    projection = variant.decoder.layers[0].self_attention.query_projection
    projection.weight.set_data(projection.weight / 2)
    for layer in variant.decoder.layers:
        projection = layer.cross_attention.query_projection
        projection.weight.set_data(projection.weight / 2)
    np.testing.assert_allclose(logits(variant), logits(baseline), atol=1e-5)


def test_without_residual_nothing_of_x_is_left(build):
    residual = build("no_residual").encoder.layers[0].attention_residual
    x, output = (ms.Tensor(np.full((2, 3, 16), value, np.float32)) for value in (5.0, 0.25))
    np.testing.assert_array_equal(residual.after(x, output).asnumpy(), output.asnumpy())


def test_without_layer_norm_or_feed_forward_none_is_left(build):
    kinds = {type(cell).__name__ for _, cell in build("no_layer_norm").cells_and_names()}
    assert "LayerNorm" not in kinds
    kinds = {type(cell).__name__ for _, cell in build("no_feed_forward").cells_and_names()}
    assert "FeedForward" not in kinds


def test_without_warmup_the_rest_of_the_schedule_is_the_same(ablation):
    settings = {"warmup_steps": 10, "peak_learning_rate": 0.1, "has_warmup": True}
    cold = {**settings, "has_warmup": False}
    rates = [
        (ablation.learning_rate(n, settings), ablation.learning_rate(n, cold)) for n in (1, 5, 40)
    ]
    assert rates == [pytest.approx(pair) for pair in ((0.01, 0.1), (0.05, 0.1), (0.05, 0.05))]


def test_shuffled_sentences_have_the_same_words(ablation):
    sentences = ["ein hund rennt schnell.", "ja"]
    found = ablation.shuffled(sentences, seed=0)
    assert [sorted(text.split()) for text in found] == [sorted(text.split()) for text in sentences]


def test_the_stored_results_are_those_of_this_script(ablation):
    path = ROOT / "benchmarks" / "results" / "ablation.json"
    for corpus, part in json.loads(path.read_text(encoding="utf-8")).items():
        assert part["settings"] == ablation.settings_of(corpus)
        done = [(run["variant"], run["seed"]) for run in part["runs"]]
        assert len(set(done)) == len(done)
        seeds = {run["seed"] for run in part["runs"] if run["variant"] == "baseline"}
        # Every variant has every seed of the baseline: they are compared seed by seed.
        assert set(done) == set(itertools.product({variant for variant, _ in done}, seeds))
        if corpus == "mini":
            assert {variant for variant, _ in done} == set(ablation.VARIANTS)
            assert len(seeds) >= 3
        for run in part["runs"]:
            assert (run["validation_loss"] is None) == (run["diverged_at"] is not None)
            assert 0 <= run["bleu_shuffled"] <= run["bleu"] + 5 <= 105
