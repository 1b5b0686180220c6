"""Train the embedded corpus in each precision and score the test set; write the results as JSON.

    python benchmarks/precision.py

The same recipe, seed and number of epochs for all; a run that is there already is gone on with. A
precision that the device cannot compute in is named with the reason. The results go to
benchmarks/results/precision.json, and `python benchmarks/readme.py` puts them into the README.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import date
from pathlib import Path

from common import ROOT, machine, write_results

from step_llm.training.recipes import RECIPES

PRECISIONS = ("float32", "float16", "bfloat16")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=RECIPES["mini"].training["epochs"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmark")
    options = parser.parse_args()
    runs = []
    for precision in PRECISIONS:
        out = options.runs / f"{precision}-seed{options.seed}"
        trained = step_llm(
            "train", "--corpus", "mini", "--seed", options.seed, "--epochs", options.epochs,
            "--precision", precision, "--out", out, "--resume",
        )  # fmt: skip
        told = trained.stderr.strip().split("\n")[-1]
        if f"precision is {precision}, but MindSpore" in told:
            runs.append({"precision": precision, "refused": told.split("error: ")[-1]})
            continue
        if trained.returncode:
            sys.exit(told)
        scored = step_llm("evaluate", out, "--json")
        scored.check_returncode()
        scores = json.loads(scored.stdout)
        state = json.loads((out / last(out) / "state.json").read_text())["training"]
        runs.append(
            {
                "precision": precision, "bleu": scores["bleu"], "chrf": scores["chrf"],
                "signature": scores["signature"], "sentences": scores["sentences"],
                "updates": state["step"], "skipped": state["skipped"],
                "minutes": round(state["seconds"] / 60, 1),
            }
        )  # fmt: skip
        print(runs[-1], flush=True)
    content = {
        "machine": machine(), "date": date.today().isoformat(), "corpus": "mini",
        "epochs": options.epochs, "seed": options.seed, "runs": runs,
    }  # fmt: skip
    write_results("precision", content)


def last(out):
    return json.loads((out / "run.json").read_text())["last"]


def step_llm(*arguments):
    command = [sys.executable, "-m", "step_llm", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


if __name__ == "__main__":
    main()
