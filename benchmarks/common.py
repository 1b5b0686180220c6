"""What the benchmarks share: the machine's description, writing results, and paired runs."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

# A time here includes compiling: no graph of an earlier run is taken.
os.environ["STEP_LLM_GRAPH_CACHE"] = "0"

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
# What growth.py varies, as the pictures and the README call it.
AXES = {"length": "sequence length", "rows": "sentences in a batch", "d_model": "d_model"}
PEER_PYTHON = ROOT / ".venv-golden" / "bin" / "python"


def cores() -> int:
    """The cores that this process may use: `taskset` may have given it fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def machine(packages=("mindspore", "numpy", "tokenizers", "sacrebleu")) -> dict:
    """The processor, its cores, and the versions that the results belong to."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = names[0].split(":", 1)[1].strip() if names else name
    return {
        "processor": name,
        "cores": cores(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def write_results(name: str, content: dict) -> None:
    """Write benchmarks/results/NAME.json, aside first and then renamed."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)
    print(f"wrote {path.relative_to(ROOT)}")


def step_llm(*words, capture: bool = False, input: str | None = None) -> str:
    """Run a command of the library, and return what it prints if that is asked for."""
    command = [sys.executable, "-m", "step_llm", *map(str, words)]
    output = subprocess.PIPE if capture else None
    done = subprocess.run(
        command, cwd=ROOT, check=True, input=input, stdout=output, text=True, encoding="utf-8"
    )
    return done.stdout


def finished(folder: Path) -> tuple[dict, dict]:
    """What a run folder says of its checkpoints, and the state of the last one.

    The best checkpoint, which is scored, knows nothing of the epochs after it.
    """
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    state = json.loads((folder / run["last"] / "state.json").read_text(encoding="utf-8"))
    return run, state


def run_worker(side: str, task: str, options: dict) -> dict:
    """One measurement in a fresh process: "ours" and "engine" (this Python), or "theirs"
    (.venv-golden)."""
    python, script = {
        "ours": (sys.executable, "benchmarks/ours.py"),
        "theirs": (str(PEER_PYTHON), "benchmarks/theirs.py"),
        "engine": (sys.executable, "benchmarks/engine.py"),
    }[side]
    threads = str(cores())
    environment = {
        **os.environ, "GLOG_v": "3", "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads,
    }  # fmt: skip
    done = subprocess.run(
        [python, script, task], input=json.dumps(options),
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def timed(step, warmup: int, steps: int) -> dict:
    """Seconds of a function that waits for its own result: the first call, and the median later.

    Args:
        step: what is timed.
        warmup: calls after the first that do not count.
        steps: calls that count.
    """
    seconds = []
    for _ in range(1 + warmup + steps):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return {"seconds": statistics.median(seconds[1 + warmup :]), "first_seconds": seconds[0]}


def paired(task: str, options: dict, rounds: int) -> dict:
    """Run ours and theirs in turn, A B A B …; the list of measurements of each side."""
    measured = {"ours": [], "theirs": []}
    for number in range(rounds):
        for side in measured:
            measured[side].append(run_worker(side, task, options))
            print(f"  {task} {number + 1}/{rounds} {side}: {measured[side][-1]}", flush=True)
    return measured


def summary(values) -> dict:
    """Median, least and greatest."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
    }


def peak_memory_mib() -> float:
    """The most memory that this process has had in use, in MiB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")
