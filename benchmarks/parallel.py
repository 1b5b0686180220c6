"""One, two and four processes that share the same number of threads; write the results as JSON.

    python benchmarks/parallel.py

The same training step in each layout: `msrun` starts the processes of a group, each takes its rows
of the batch, and their gradients are summed. A process of one thread is held to one core; four of
them share two. The layouts take turns, each measurement in fresh processes. The machine needs two
quiet cores. The results go to benchmarks/results/parallel.json, and `python benchmarks/readme.py`
puts them into docs/using.md.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

from common import ROOT, machine, summary, timed, write_results

# Processes, and threads of each: one thread in all, then two, then four.
LAYOUTS = {
    "1x1": (1, 1), "1x2": (1, 2), "2x1": (2, 1), "1x4": (1, 4), "2x2": (2, 2), "4x1": (4, 1),
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--vocab", type=int, default=5000)
    parser.add_argument("--rows", type=int, default=128, help="sentences of an update, of all")
    parser.add_argument("--length", type=int, default=24)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument(
        "--try", dest="is_try", action="store_true",
        help="take whatever cores there are, and print in place of writing",
    )  # fmt: skip
    options = vars(parser.parse_args())
    rounds, is_try = options.pop("rounds"), options.pop("is_try")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2 and not is_try:
        sys.exit(f"this process may use {len(cores)} core; the comparison needs two")
    cores = [cores[0], cores[-1]]
    seconds = {name: [] for name in LAYOUTS}
    for number in range(rounds):
        for name, (processes, threads) in LAYOUTS.items():
            found = measure(processes, threads, cores, options)
            seconds[name].append(found["seconds"])
            print(f"  {name} {number + 1}/{rounds}: {found}", flush=True)
    tokens = options["rows"] * options["length"]
    content = {
        "machine": machine(), "date": date.today().isoformat(), "options": options,
        "rounds": rounds,
        "tokens_per_second": {
            name: summary([tokens / each for each in values]) for name, values in seconds.items()
        },
    }  # fmt: skip
    if is_try:
        print(json.dumps(content, indent=1))
    else:
        write_results("parallel", content)


def measure(processes, threads, cores, options):
    """Seconds of a step in one layout, as the first process of fresh ones measures it."""
    task = json.dumps({**options, "cores": cores, "threads": threads})
    command = ["python", "benchmarks/parallel.py", "worker", task]
    environment = {
        **os.environ, "GLOG_v": "3", "OMP_NUM_THREADS": str(threads),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as logs:
        if processes > 1:
            command = [
                sys.executable, "-m", "mindspore.parallel.cluster.run",
                f"--worker_num={processes}", f"--local_worker_num={processes}",
                f"--master_port={free_port()}", "--join=True", f"--log_dir={logs}", *command,
            ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        log = Path(logs) / "worker_0.log"
        told = log.read_text(encoding="utf-8") if log.exists() else done.stdout
    if done.returncode:
        sys.exit(told + done.stderr)
    # MindSpore may say good-bye below it.
    return json.loads(next(line for line in told.splitlines() if line.startswith('{"seconds"')))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def worker(task):
    """One process of a layout: seconds of the training step that the trainer would take."""
    if task["threads"] == 1:
        # Before MindSpore is imported, which makes as many threads as the process has cores.
        cores = task["cores"]
        os.sched_setaffinity(0, [cores[int(os.environ.get("RANK_ID", 0)) % len(cores)]])
    import numpy as np
    from mindspore import Tensor
    from ours import RATE, model_of, train_step_of

    from step_llm.runtime.graph_mode import graph_mode
    from step_llm.training.distributed import join_group

    group = join_group()
    model = model_of(task, tied_embeddings="all")
    step = train_step_of(model, group)
    rng = np.random.default_rng(0)
    shape = task["rows"], task["length"]
    batch = [Tensor(rng.integers(4, task["vocab"], shape).astype(np.int32)) for _ in range(3)]

    def one():
        step(RATE, batch).loss.asnumpy()

    with graph_mode():
        print(json.dumps(timed(one, task["warmup"], task["steps"])), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(json.loads(sys.argv[2]))
    else:
        main()
