"""Sentences per second of ours, of the exported model, and of Hugging Face's Marian.

    python benchmarks/serve.py                   about half an hour on two cores
    python benchmarks/serve.py --sentences 64    a trial: one round, and nothing is written

The model is the preset `tiny` with Multi30k's byte pairs and random weights; every translation has
the length of its reference, so that all sides write as much. Each measurement is a process of its
own, the four sides take turns (A B C D A …), with as many threads each. Results go to
benchmarks/results/serve.json; `python benchmarks/readme.py` puts them into docs/serving.md. Keep
the machine quiet meanwhile.
"""

from __future__ import annotations

import argparse
import json
import shutil
from datetime import date

from common import ROOT, machine, run_worker, summary, write_results
from engine import PIECES
from ours import model_of
from speed import by_length, multi30k, peers

from step_llm import export_ctranslate2

# name of a side: the worker, and which export it reads
SIDES = {
    "ours": ("ours", None),
    "float32": ("engine", "float32"),
    "int8": ("engine", "int8"),
    "theirs": ("theirs", None),
}
ROUNDS = 3


def in_turn(task, options, rounds, folder):
    """Run all sides in turn; the list of measurements of each."""
    found = {side: [] for side in SIDES}
    for number in range(rounds):
        for side, (worker, kind) in SIDES.items():
            own = {**options, "folder": str(folder / kind)} if kind else options
            found[side].append(run_worker(worker, task, own))
            print(f"  {task} {number + 1}/{rounds} {side}: {found[side][-1]}", flush=True)
    return found


def export(options, tokenizers):
    """The model of ours.py, exported with and without 8-bit weights; the folder of both."""
    folder = ROOT / "runs" / "benchmark" / "serve"
    shutil.rmtree(folder, ignore_errors=True)
    model = model_of(options, tied_embeddings="all")
    for kind in ("float32", "int8"):
        out = export_ctranslate2(model, tokenizers, folder / kind, is_int8=kind == "int8")
        pieces = json.dumps(tokenizers.source.pieces())
        (out / PIECES).write_text(pieces, encoding="utf-8")
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sentences", type=int, metavar="N", help="a trial with so many")
    trial = parser.parse_args().sentences
    rounds = 1 if trial else ROUNDS
    data = multi30k()
    options = {"preset": "tiny", "vocab": data["vocab"], "rows": 64}
    folder = export(options, data["tokenizers"])
    test, results = data["test"][:trial], {}
    for name, beam in (("greedy", 1), ("beam 5", 5)):
        batches = by_length(test, 64)
        runs = in_turn("decode", {**options, "beam": beam, "batches": batches}, rounds, folder)
        results[name] = {
            side: summary([run["sentences"] / run["seconds"] for run in runs[side]])
            for side in runs
        }
    alone = [([source], length) for source, length in test[:200]]
    runs = in_turn("one", {**options, "beam": 1, "batches": alone}, rounds, folder)
    results["one at a time"] = {
        side: summary([1 / run["median"] for run in runs[side]]) for side in runs
    }
    for name, sides in results.items():
        medians = ", ".join(f"{side} {values['median']:.1f}" for side, values in sides.items())
        print(f"{name}: {medians} sentences/s")
    if not trial:
        packages = ("mindspore", "numpy", "ctranslate2")
        content = {
            "machine": machine(packages), "peers": peers(), "date": date.today().isoformat(),
            "sentences": len(test), "results": results,
        }  # fmt: skip
        write_results("serve", content)


if __name__ == "__main__":
    main()
