"""How long a training waits for the compiler: in the first run, and in every later one.

    python benchmarks/compiling.py [--rounds 3]

The training step of `make translate` gets one batch of each of its eight shapes, in a process of
its own with an empty graph cache, and then in another process with what the first has left. From
the start of the training (after the imports, with the model built) to the first update, and to the
update of the last shape. The result goes to benchmarks/results/compiling.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date

from common import ROOT, cores, machine, summary, write_results

WORKER = """
import sys
sys.path.insert(0, "benchmarks")
import compiling
compiling.measure(sys.argv[1])
"""
VOCAB = 5256  # 5,000 byte pairs and 256 bytes


def measure(graphs: str):
    """In a worker: one update of each shape, longest last; prints the seconds as JSON."""
    os.environ["STEP_LLM_GRAPH_CACHE"] = graphs  # which common.py has switched off
    import mindspore as ms
    import numpy as np
    from mindspore import nn

    from step_llm.models.config import TransformerConfig
    from step_llm.models.transformer import Transformer
    from step_llm.runtime.device import use_device
    from step_llm.runtime.graph_mode import graph_mode
    from step_llm.training.recipes import recipe_for
    from step_llm.training.step import TrainStep

    use_device("CPU")
    ms.set_seed(1)
    recipe = recipe_for("multi30k")
    config = TransformerConfig.preset(
        recipe.preset, VOCAB, VOCAB, tied_embeddings="all", **recipe.model
    )
    model = Transformer(config, seed=1).set_train()
    adam = nn.Adam(model.trainable_params(), 1e-3, beta1=0.9, beta2=0.98, eps=1e-9)
    train_step = TrainStep(model, adam, label_smoothing=0.1)
    rng = np.random.default_rng(1)
    started, seconds = time.perf_counter(), []
    with graph_mode():
        for length in recipe.training["buckets"]:
            rows = recipe.training["batch_tokens"] // length // 8 * 8
            batch = [rng.integers(4, VOCAB, (rows, length)).astype(np.int32) for _ in range(3)]
            train_step(1e-4, batch).loss.asnumpy()
            seconds.append(time.perf_counter() - started)
    print(json.dumps({"first": seconds[0], "all": seconds[-1], "shapes": len(seconds)}))


def run(graphs: str) -> dict:
    threads = str(cores())
    environment = {**os.environ, "GLOG_v": "3", "OMP_NUM_THREADS": threads}
    done = subprocess.run(
        [sys.executable, "-c", WORKER, graphs], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
        text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    found = {"first run": [], "later run": []}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as graphs:
            for name in found:
                found[name].append(run(graphs))
                print(f"{number + 1}/{rounds} {name}: {found[name][-1]}", flush=True)
    results = {
        name: {
            "first_update_seconds": summary([one["first"] for one in runs]),
            "all_shapes_seconds": summary([one["all"] for one in runs]),
            "shapes": runs[0]["shapes"],
        }
        for name, runs in found.items()
    }
    content = {"machine": machine(), "date": date.today().isoformat(), "results": results}
    write_results("compiling", content)


if __name__ == "__main__":
    main()
