"""Speed beside PyTorch and Hugging Face, measured in pairs on this machine.

    python benchmarks/speed.py                    everything, about two hours on two cores
    python benchmarks/speed.py step decode        these parts; the others' results stay

The parts: step, epoch, decode, one (a sentence at a time), operations (what a decoding step
consists of, each alone), target (training until a BLEU on the validation set), growth. Each
measurement is a process of its own, the two sides take turns (A B A B), with as many threads each.
Results go to benchmarks/results/speed.json, pictures of the growth beside it;
`python benchmarks/readme.py` puts them into the README. The epoch and the sentences are real
Multi30k (`python -m step_llm fetch`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
from common import PEER_PYTHON, RESULTS, ROOT, machine, paired, run_worker, summary, write_results
from growth import growth

from step_llm.training.recipes import RECIPES

VOCAB = 6000  # of the training step; the parts on Multi30k have the recipe's
# preset: (rounds, steps to warm up, steps timed). The thread count of MindSpore's operators settles
# in their first 30 to 60 launches.
STEPS = {"tiny": (3, 60, 20), "small": (3, 60, 15), "base": (2, 6, 5)}
ROWS, LENGTH = 128, 24
# What the well-known PyTorch tutorial of B. Trevett reaches on Multi30k with 9 million weights.
TARGET_BLEU, TARGET_SEED = 36.5, 3


def bench_step(_):
    """Target tokens a second of a training step, and the peak memory of the process."""
    found = {}
    for preset, (rounds, warmup, steps) in STEPS.items():
        options = {
            "preset": preset, "vocab": VOCAB, "rows": ROWS, "length": LENGTH,
            "warmup": warmup, "steps": steps,
        }  # fmt: skip
        runs = paired("step", options, rounds)
        found[preset] = {
            side: {
                "tokens_per_second": summary(
                    [ROWS * LENGTH / run["seconds"] for run in runs[side]]
                ),
                "step_seconds": summary([run["seconds"] for run in runs[side]]),
                "peak_memory_mib": summary([run["peak_memory_mib"] for run in runs[side]]),
            }
            for side in runs
        }
    return found


def bench_epoch(data):
    """Real target tokens a second over an epoch of Multi30k, data pipeline included."""
    options = {
        "preset": "tiny", "vocab": data["vocab"], "batch_tokens": 2400, "pairs": data["pairs"],
    }  # fmt: skip
    runs = paired("epoch", options, 2)
    found = {
        side: {
            "tokens_per_second": summary([run["tokens"] / run["seconds"] for run in runs[side]]),
            "epoch_seconds": summary([run["seconds"] for run in runs[side]]),
            "peak_memory_mib": summary([run["peak_memory_mib"] for run in runs[side]]),
        }
        for side in runs
    }
    compiled = [run["all_shapes_compiled_seconds"] for run in runs["ours"]]
    found["ours"]["all_shapes_compiled_seconds"] = summary(compiled)
    return found


def bench_decode(data):
    """Sentences a second on 1,000 test sentences, batches of 64, the same output lengths."""
    found = {}
    for name, beam in (("greedy", 1), ("beam 5", 5)):
        options = {
            "preset": "tiny", "vocab": data["vocab"], "beam": beam, "rows": 64,
            "batches": by_length(data["test"], 64),
        }  # fmt: skip
        runs = paired("decode", options, 3 if beam == 1 else 2)
        found[name] = {
            side: {
                "sentences_per_second": summary(
                    [run["sentences"] / run["seconds"] for run in runs[side]]
                )
            }
            for side in runs
        }
    return found


def bench_one(data):
    """Milliseconds for one sentence at a time, greedy."""
    options = {
        "preset": "tiny", "vocab": data["vocab"], "beam": 1,
        "batches": [([source], length) for source, length in data["test"][:200]],
    }  # fmt: skip
    runs = paired("one", options, 3)
    return {
        side: {
            "median_ms": summary([1000 * run["median"] for run in runs[side]]),
            "p95_ms": summary([1000 * run["p95"] for run in runs[side]]),
        }
        for side in runs
    }


# How often a decoding step of `tiny` does each: four layers, each with six projections of D to D
# (the keys and values of the source are there already), two attentions, three LayerNorms.
OPERATIONS = {
    "projection": 24, "feed-forward": 4, "attention": 8, "LayerNorm": 12, "vocabulary": 1,
}  # fmt: skip


def bench_operations(_):
    """Milliseconds of each operation of a decoding step, alone, for one row and for 64."""
    found = {}
    for rows, label in ((1, "one row"), (64, "64 rows")):
        options = {"preset": "tiny", "vocab": 5000, "rows": rows, "chain": 12}
        runs = paired("operations", options, 3)
        found[label] = {
            name: {
                "times": OPERATIONS.get(name, 1),
                **{side: summary([1000 * run[name] for run in runs[side]]) for side in runs},
            }
            for name in (*OPERATIONS, "step")
        }
    return found


def bench_target(data):
    """Minutes from raw Multi30k to greedy BLEU 36.5 on the validation set, with our recipe.

    Ours is the command line, as a learner starts it: reading, byte pairs, compiling and validation
    count. Theirs begins with the sentences encoded.
    """
    recipe = RECIPES["multi30k"]
    peer = {
        "preset": recipe.preset, "vocab": data["vocab"], "pairs": data["pairs"],
        "batch_tokens": recipe.training["batch_tokens"], "seed": TARGET_SEED,
        "warmup": recipe.training["warmup_steps"], "peak": recipe.training["peak_learning_rate"],
        "validation": data["validation"], "references": data["references"],
        "pieces": data["pieces"], "target": TARGET_BLEU, "most_epochs": 20,
    }  # fmt: skip
    runs = {"ours": _train_until(TARGET_BLEU), "theirs": run_worker("theirs", "target", peer)}
    print(f"  target: {runs}", flush=True)
    found = {"target": TARGET_BLEU, "seed": TARGET_SEED}
    for side, run in runs.items():
        found[side] = {**run, "minutes": summary([run["minutes"]])}
    return found


def _train_until(bleu):
    """Start `step_llm train`, follow its log, stop it when an epoch reached this BLEU."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "run" / "log.jsonl"
        started = time.perf_counter()
        command = [sys.executable, "-m", "step_llm", "train", "--corpus", "multi30k"]
        command += ["--seed", str(TARGET_SEED), "--out", str(log.parent)]
        training = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        epochs = []
        while training.poll() is None and not (epochs and epochs[-1]["validation_bleu"] >= bleu):
            time.sleep(0.5)
            lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
            epochs = [json.loads(line) for line in lines if line.startswith('{"event": "epoch"')]
        minutes = (time.perf_counter() - started) / 60
        training.kill()
        training.wait()
    return {
        "minutes": minutes,
        "epochs": len(epochs),
        "validation_bleu": max(epoch["validation_bleu"] for epoch in epochs),
    }


def bench_growth(_):
    """How the cost grows with the sizes; the library alone."""
    return growth(run_worker)


PARTS = {
    "step": bench_step,
    "epoch": bench_epoch,
    "decode": bench_decode,
    "one": bench_one,
    "operations": bench_operations,
    "target": bench_target,
    "growth": bench_growth,
}


def by_length(pairs, rows):
    """Batches of sources sorted by length; each with its longest reference as output length."""
    ordered = sorted(pairs, key=lambda pair: len(pair[0]), reverse=True)
    return [
        ([source for source, _ in ordered[i : i + rows]], max(n for _, n in ordered[i : i + rows]))
        for i in range(0, len(ordered), rows)
    ]


def multi30k():
    """Multi30k with the recipe's byte pairs: the training pairs in a file, the rest as lists."""
    from step_llm import corpus_folder, encode_pairs, read_parallel, train_tokenizers

    folder = corpus_folder("multi30k")
    text, validation, test = (read_parallel(folder, split) for split in ("train", "val", "test"))
    size = RECIPES["multi30k"].vocab_size
    tokenizers = train_tokenizers(text.source, text.target, kind="bpe", vocab_size=size)
    training, encoded_validation, encoded_test = (
        encode_pairs(part, tokenizers) for part in (text, validation, test)
    )
    arrays = {}
    for side in ("source", "target"):
        ids = getattr(training, side)
        arrays[f"{side}_ids"] = np.concatenate(ids)
        arrays[f"{side}_lengths"] = np.array([len(line) for line in ids])
    path = ROOT / "runs" / "benchmark" / "pairs.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    pieces = [tokenizers.target.token(i).replace("▁", " ") for i in range(len(tokenizers.target))]
    return {
        "pairs": str(path),
        "vocab": len(pieces),
        "pieces": pieces,
        "tokenizers": tokenizers,
        "validation": [source.tolist() for source in encoded_validation.source],
        "references": list(validation.target),
        "test": [
            (source.tolist(), len(target) - 1)
            for source, target in zip(encoded_test.source, encoded_test.target)
        ],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="part", help="default: all")
    parts = parser.parse_args().parts or list(PARTS)
    if set(parts) - set(PARTS):
        parser.error(f"unknown parts {sorted(set(parts) - set(PARTS))}; known: {', '.join(PARTS)}")
    data = multi30k() if {"epoch", "decode", "one", "target"} & set(parts) else None
    path = RESULTS / "speed.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in parts:
        print(f"{part}:", flush=True)
        content[part] = {
            "machine": machine(),
            "peers": peers() if part != "growth" else {},
            "date": date.today().isoformat(),
            "results": PARTS[part](data),
        }
        write_results("speed", content)


def peers():
    question = (
        "import importlib.metadata as m, json, platform; print(json.dumps({'python': "
        "platform.python_version(), **{p: m.version(p) for p in ('torch', 'transformers')}}))"
    )
    return json.loads(subprocess.check_output([str(PEER_PYTHON), "-c", question], text=True))


if __name__ == "__main__":
    main()
