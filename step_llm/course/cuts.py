"""Three cuts of a model, run in two processes and held against one: for lesson 10.

    msrun --worker_num=2 --local_worker_num=2 --join=True --log_dir=logs \
        python -m step_llm.course.cuts

Each process computes the whole thing too, and prints how far its part is from it, in a line of
JSON. What a sharded optimizer saves of a process's memory, two other jobs show: a larger model with
the whole optimizer, `… step_llm.course.cuts memory whole`, and with a share, `… memory share`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from step_llm.models.gpt import GPT, GPTConfig
from step_llm.models.weights import weights_of
from step_llm.nn.encoder import EncoderLayer
from step_llm.nn.initial import XavierWeights
from step_llm.runtime.graph_mode import compiled, graph_mode
from step_llm.training.distributed import Group, join_group
from step_llm.training.objectives import token_objective
from step_llm.training.pipeline import Pipeline
from step_llm.training.sharded_optimizer import ShardedOptimizer
from step_llm.training.step import TrainStep
from step_llm.training.tensor_parallel import cut_layers

__all__ = ["memory", "optimizer", "pipeline", "tensor"]

SIZES = GPTConfig(100, 64, 4, 2, 256, dropout=0.0, max_length=16)
LARGE = GPTConfig(8000, 512, 8, 6, 2048, dropout=0.0, max_length=16)
ROWS, LENGTH = 8, 16


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Ids and labels, (ROWS, LENGTH) each."""
    ids = np.random.default_rng(1).integers(1, 100, (ROWS, LENGTH + 1)).astype(np.int32)
    return ids[:, :-1], ids[:, 1:]


class _Gradient(nn.Cell):
    """The loss of a batch and its gradients."""

    def __init__(self, model):
        super().__init__()

        def forward(*tensors):
            return token_objective(model, tensors)

        weights = model.trainable_params()
        self.value_and_grad = ms.value_and_grad(forward, None, weights, has_aux=True)

    @compiled
    def construct(self, *tensors):
        return self.value_and_grad(*tensors)


def tensor(group: Group) -> dict:
    """Each process has half of the heads and of the inner units of a GPT."""
    found = {}
    for name in ("whole", "cut"):
        model = GPT(SIZES, seed=1).set_train()
        if name == "cut":
            cut_layers(model, group)
        weights = model.trainable_params()
        (loss, _), gradients = _Gradient(model)(*map(Tensor, batch()))
        found[name] = (
            float(loss.asnumpy()),
            {weight.name: part.asnumpy() for weight, part in zip(weights, gradients)},
        )
    (loss, whole), (cut_loss, cut) = found["whole"], found["cut"]
    pairs = []
    for name, own in cut.items():
        expected = whole[name]
        for axis in range(own.ndim):  # where the layer is cut, this process's part of it
            if own.shape[axis] != expected.shape[axis]:
                expected = np.split(expected, group.size, axis)[group.rank]
        pairs.append((own, expected))
    return {
        "weights": sum(part.size for part in whole.values()),
        "own_weights": sum(part.size for part in cut.values()),
        "loss": loss, "cut_loss": cut_loss, "gradient_difference": _difference(pairs),
    }  # fmt: skip


def _difference(pairs):
    """The largest difference of own and expected, as a share of the largest value expected."""
    largest = max(float(np.abs(expected).max()) for _, expected in pairs)
    return max(float(np.abs(own - expected).max()) for own, expected in pairs) / largest


def optimizer(group: Group, updates: int = 5) -> dict:
    """Each process has half of Adam's state, and half of the batch."""
    found, state = [], []
    for is_cut in (False, True):
        model = GPT(SIZES, seed=1).set_train()
        weights = model.trainable_params()
        adam = _adam(weights)
        if is_cut:
            adam = ShardedOptimizer(_adam, weights, group)
        step = TrainStep(model, adam, group=group if is_cut else None)
        for _ in range(updates):
            step(1e-3, batch())
        own = adam.optimizer if is_cut else adam
        state.append(sum(p.nbytes for p in (*own.moment1, *own.moment2)))
        found.append(weights_of(model))
    whole, cut = found
    furthest = max(float(np.abs(cut[name] - value).max()) for name, value in whole.items())
    return {"bytes": state[0], "own_bytes": state[1], "weight_difference": furthest}


def _adam(weights):
    return nn.Adam(weights, 1e-3)


def memory(group: Group, is_cut: bool, updates: int = 3) -> dict:
    """MB that this process holds before and after some updates of a larger model, as Linux says."""
    model = GPT(LARGE, seed=1).set_train()
    weights = model.trainable_params()
    adam = ShardedOptimizer(_adam, weights, group) if is_cut else _adam(weights)
    step = TrainStep(model, adam, group=group)
    before = _resident()
    for _ in range(updates):
        step(1e-3, batch())
    own = adam.optimizer if is_cut else adam
    return {
        "weights_mb": sum(weight.nbytes for weight in weights) / 1e6,
        "state_mb": sum(p.nbytes for p in (*own.moment1, *own.moment2)) / 1e6,
        "before_mb": before, "after_mb": _resident(),
    }  # fmt: skip


def _resident():
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) * 1024 / 1e6


class _Layers(nn.Cell):
    def __init__(self, count):
        super().__init__()
        initial = XavierWeights(seed=3)
        sizes = {"dropout": 0.0, "norm": "pre", "initial": initial}
        self.layers = nn.CellList([EncoderLayer(32, 4, 64, **sizes) for _ in range(count)])

    def construct(self, x):
        for layer in self.layers:
            x = layer(x)[0]
        return x


class _Loss(nn.Cell):
    def construct(self, h, labels):
        return ops.square(h - labels).sum()


def pipeline(group: Group, micro_batches: int = 4) -> dict:
    """The first process has two layers, the second the other two."""
    rng = np.random.default_rng(2)
    x, labels = (rng.normal(size=(ROWS, LENGTH, 32)).astype(np.float32) for _ in range(2))
    whole, own = _Layers(4), _Layers(2)
    for path, weight in whole.parameters_and_names():
        weight.name = f"whole.{path}"
    place = 2 * group.rank
    halves = [(own.layers[n], whole.layers[place + n]) for n in range(2)]
    for mine, theirs in halves:
        for weight, other in zip(mine.trainable_params(), theirs.trainable_params()):
            weight.set_data(Tensor(other.asnumpy().copy()))
    stage = Pipeline(own, _Loss(), (ROWS // micro_batches, LENGTH, 32), group)
    loss, gradients = stage.gradients(x, labels, micro_batches)

    weights = [weight for _, theirs in halves for weight in theirs.trainable_params()]

    def forward(x, labels):
        return _Loss()(whole(x), labels)

    expected_loss, expected = ms.value_and_grad(forward, None, weights)(Tensor(x), Tensor(labels))
    pairs = [(own, part.asnumpy()) for own, part in zip(gradients, expected)]
    return {
        "loss": float(expected_loss.asnumpy()), "own_loss": loss,
        "gradient_difference": _difference(pairs), "micro_batches": micro_batches,
    }  # fmt: skip


_JOBS = {
    "": {"tensor": tensor, "optimizer": optimizer, "pipeline": pipeline},
    "memory whole": {"memory": lambda group: memory(group, is_cut=False)},
    "memory share": {"memory": lambda group: memory(group, is_cut=True)},
}


def main(asked):
    if asked not in _JOBS:
        sys.exit(f"asked for {asked!r}; expected nothing, or {' or '.join(filter(None, _JOBS))}")
    group = join_group()
    with graph_mode():
        for name, part in _JOBS[asked].items():
            print(json.dumps({"cut": name, "rank": group.rank, **part(group)}), flush=True)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
