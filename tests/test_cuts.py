"""A model cut over two processes is the model: tensor parallel, optimizer sharding, pipeline.

The job is real: `msrun` starts step_llm.course.cuts, as lesson 10 does, and each process compares
its part with the whole.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from mindspore import Tensor, nn

from step_llm.course import cuts
from step_llm.models.gpt import GPT, GPTConfig
from step_llm.nn.encoder import EncoderLayer
from step_llm.training.distributed import Group
from step_llm.training.pipeline import Pipeline
from step_llm.training.sharded_optimizer import ShardedOptimizer, shares_of
from step_llm.training.tensor_parallel import InputShare, OutputShare, cut_layers
from tests.support.msrun import end, said, start


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each process says of each cut: {cut: [of process 0, of process 1]}."""
    logs = tmp_path_factory.mktemp("job") / "logs"
    process = start(2, ["-m", "step_llm.course.cuts"], logs, MS_NODE_TIMEOUT="120")
    try:
        assert process.wait(timeout=300) == 0, said(logs)
    finally:
        end(logs)
    cuts = {}
    for rank in (0, 1):
        for line in (logs / f"worker_{rank}.log").read_text(encoding="utf-8").splitlines():
            if line.startswith('{"cut"'):
                values = json.loads(line)
                assert values["rank"] == rank
                cuts.setdefault(values["cut"], []).append(values)
    assert {cut: len(both) for cut, both in cuts.items()} == dict.fromkeys(
        ("tensor", "optimizer", "pipeline"), 2
    )
    return cuts


@pytest.mark.slow
def test_half_of_each_layer_gives_the_whole_loss_and_its_part_of_the_gradient(found):
    for one in found["tensor"]:
        assert one["cut_loss"] == pytest.approx(one["loss"], rel=1e-6)
        assert one["gradient_difference"] < 1e-5
        # Embeddings, positions, LayerNorms and the last bias of each part are whole.
        assert one["own_weights"] < 0.6 * one["weights"]


@pytest.mark.slow
def test_half_of_adam_makes_the_same_updates(found):
    first, second = found["optimizer"]
    assert first["own_bytes"] + second["own_bytes"] == first["bytes"] == second["bytes"]
    assert abs(first["own_bytes"] - second["own_bytes"]) < 0.05 * first["bytes"]
    for one in (first, second):
        assert one["weight_difference"] < 1e-5


@pytest.mark.slow
def test_two_stages_give_the_gradient_of_the_whole_batch(found):
    first, second = found["pipeline"]
    assert second["own_loss"] == pytest.approx(second["loss"], rel=1e-6)
    for one in (first, second):
        assert one["gradient_difference"] < 1e-5


# ------------------------------------------------------------------------------- without msrun


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is read from Linux")
def test_the_memory_of_a_process_is_told_beside_what_it_holds(monkeypatch):
    monkeypatch.setattr(cuts, "LARGE", cuts.SIZES)
    found = cuts.memory(Group(), is_cut=False, updates=1)
    assert found["state_mb"] == pytest.approx(2 * found["weights_mb"])
    assert found["after_mb"] > found["before_mb"] > 100  # MindSpore itself takes more


def test_an_unknown_job_is_refused():
    with pytest.raises(SystemExit, match="expected nothing, or memory whole or memory share"):
        cuts.main("memory half")


def test_the_parts_of_a_layer_are_the_layer():
    """What two processes would compute one after the other: parts side by side, and a sum."""
    layer = GPT(GPTConfig(9, 8, 2, 1, 16, max_length=4), seed=1).layers.layers[0].feed_forward
    x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    inner, parts = layer.inner(Tensor(x)).asnumpy(), []
    for rank in (0, 1):
        share = OutputShare(layer.inner, Group(rank, 2))
        parts.append(share(Tensor(x)).asnumpy())
    np.testing.assert_allclose(np.concatenate(parts, -1), inner, atol=1e-6)
    columns = [InputShare(layer.outer, Group(rank, 2)).weight.asnumpy() for rank in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(columns, 1), layer.outer.weight.asnumpy())


def test_cut_layers_share_heads_of_keys_and_keep_names_apart():
    layer = EncoderLayer(8, 4, 16, num_kv_heads=2)
    cut_layers(layer, Group(1, 2))
    attention = layer.self_attention
    assert (attention.num_heads, attention.num_kv_heads) == (2, 1)
    assert attention.query_projection.weight.shape == (4, 8)
    assert attention.key_projection.weight.shape == (2, 8)
    assert attention.output_projection.weight.shape == (8, 4)
    names = [weight.name for weight in layer.trainable_params()]
    assert len(set(names)) == len(names) == 16
    assert "self_attention.query_projection.weight" in names


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (lambda: EncoderLayer(9, 3, 16), "3 heads for 2 processes; expected a multiple"),
        (lambda: EncoderLayer(8, 4, 16, num_kv_heads=1), "1 heads for 2 processes"),
        (lambda: EncoderLayer(8, 4, 15), "15 inner units for 2 processes"),
    ],
)
def test_what_cannot_be_shared_is_refused_and_left_whole(layer, words):
    layer = layer()
    before = {name: weight.shape for name, weight in layer.parameters_and_names()}
    with pytest.raises(ValueError, match=words):
        cut_layers(layer, Group(0, 2))
    assert {name: weight.shape for name, weight in layer.parameters_and_names()} == before


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_hold_every_weight_once_and_are_even(count):
    sizes = [int(size) for size in np.random.default_rng(count).integers(1, 1000, 40)]
    shares = shares_of(sizes, count)
    assert sorted(place for share in shares for place in share) == list(range(40))
    held = [sum(sizes[place] for place in share) for share in shares]
    assert max(held) - min(held) <= max(sizes)


def test_too_few_weights_and_too_many_processes_are_refused():
    weights = nn.Dense(2, 2).trainable_params()
    with pytest.raises(ValueError, match="2 weights for 3 processes"):
        ShardedOptimizer(lambda weights: nn.Adam(weights, 1e-3), weights, Group(0, 3))
    with pytest.raises(ValueError, match="a group of 3; expected 2"):
        Pipeline(nn.Dense(2, 2), None, (1, 2), Group(0, 3))
    stage = Pipeline(nn.Dense(2, 2), None, (1, 2), Group(0, 2))
    with pytest.raises(ValueError, match="5 rows in 2 micro-batches"):
        stage.gradients(np.ones((5, 2)), np.ones((5, 2)), 2)
