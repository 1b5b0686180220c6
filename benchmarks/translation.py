"""Train and score translators with the command line's recipes, and write the results as JSON.

    python benchmarks/translation.py multi30k --seeds 1 2
    python benchmarks/translation.py mini --seeds 1 2

Each seed is one `step_llm train` in a process of its own, and one `step_llm evaluate` on the test
set with beam 5. A run that is there already is gone on with, or taken as it is if it is finished.
The results go to benchmarks/results/CORPUS.json; `python benchmarks/readme.py` puts them into the
README. "minutes" is the time spent in training and validation, compiling included, as the run
itself has added it up (interruptions do not count); machine and versions stand beside it.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date
from pathlib import Path

from common import ROOT, finished, machine, step_llm, write_results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", choices=("mini", "multi30k"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmark")
    parser.add_argument("--remark", help="what a reader should know of these runs; for the README")
    options = parser.parse_args()
    seeds = []
    for seed in options.seeds:
        out = options.runs / f"{options.corpus}-seed{seed}"
        is_new = not out.exists()
        started = time.perf_counter()
        step_llm("train", "--corpus", options.corpus, "--seed", seed, "--out", out, "--resume")
        scores = json.loads(step_llm("evaluate", out, "--json", capture=True))
        seeds.append(result(out, seed, scores))
        if is_new:
            wall_minutes = (time.perf_counter() - started) / 60
            seeds[-1]["wall_minutes_train_and_evaluate"] = round(wall_minutes, 1)
    content = {"machine": machine(), "date": date.today().isoformat(), "seeds": seeds}
    if options.remark:
        content["remark"] = options.remark
    write_results(options.corpus, content)


def result(out, seed, scores):
    """What one run was and what it reached, from its own checkpoints."""
    run, state = finished(out)
    model = json.loads((out / run["last"] / "config.json").read_text())
    history = state["training"]["history"]
    return {
        "seed": seed,
        "bleu": scores["bleu"],
        "chrf": scores["chrf"],
        "signature": scores["signature"],
        "beam_size": scores["beam_size"],
        "length_penalty": scores["length_penalty"],
        "sentences": scores["sentences"],
        "sentences_per_second": scores["sentences_per_second"],
        "minutes": round(state["training"]["seconds"] / 60, 1),
        "epochs": len(history),
        "updates": state["training"]["step"],
        "best_validation_bleu_greedy": max(entry["validation_bleu"] for entry in history),
        "checkpoint": run["best"].split("/")[-1],
        "model": model,
        "training": state["config"],
    }


if __name__ == "__main__":
    main()
