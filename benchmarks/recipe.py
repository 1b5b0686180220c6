"""Which recipe gives the most BLEU in an hour on two cores? One step at a time, on validation.

    python benchmarks/recipe.py --seeds 1                      every step of the ladder
    python benchmarks/recipe.py --steps r_drop --seeds 1 2 3   of one step, more seeds
    python benchmarks/recipe.py --steps r_drop --seeds 1 2 3 --test   look at the test set, once

A step is a line of options for `step_llm train --corpus multi30k`. Each training is a process of
its own in runs/recipe/, and goes on where it was stopped. Its validation BLEU (beam 5) and its
minutes of training and validation, compiling included, stand in benchmarks/results/recipe.json as
soon as it is done; one that stands there is not repeated. Steps are chosen by these. The test set
is looked at with --test alone, and what it said once is kept. Into German there is a second BLEU
beside sacrebleu's, over the tokens of Multi30k's published tables.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from datetime import date
from pathlib import Path

from common import RESULTS, ROOT, finished, machine, step_llm, write_results
from sacrebleu.metrics import BLEU
from sacremoses import MosesPunctNormalizer, MosesTokenizer

from step_llm.data.corpus import corpus_folder

# R-Drop makes two passes of each batch: of half the size, as many updates as without it.
_R_DROP = {
    "--dropout": 0.2, "--epochs": 24, "--r-drop": 3.0, "--positions": "rotary",
    "--batch-tokens": 1200,
}  # fmt: skip
_FAST = {"--dropout": 0.1, "--epochs": 8, "--average": 3}
# The learning rate falls to nearly 0 at the end, in place of the paper's slow fall.
_COOLDOWN = {"--cooldown": 0.5}
# Options beside the recipe's own. On two cores a step takes an hour at most, a fast one 15 minutes.
LADDER = {
    "dropout_0.1": {"--dropout": 0.1, "--epochs": 20},
    "dropout_0.2": {"--dropout": 0.2, "--epochs": 20},
    "longer": {"--dropout": 0.2, "--epochs": 32},
    "rotary": {"--dropout": 0.2, "--epochs": 30, "--positions": "rotary"},
    "r_drop": {"--dropout": 0.2, "--epochs": 18, "--r-drop": 3.0},
    "r_drop_rotary": {
        "--dropout": 0.2, "--epochs": 18, "--r-drop": 3.0, "--positions": "rotary",
    },
    "r_drop_small_batches": {**_R_DROP, "--epochs": 18},
    "r_drop_long": _R_DROP,
    "r_drop_long_cooldown": {**_R_DROP, **_COOLDOWN},
    # The other way round, for the score that the published tables have.
    "en_de": {"--source": "en", "--target": "de", **_R_DROP},
    "fast": _FAST,
    "fast_rotary": {**_FAST, "--positions": "rotary"},
    "fast_cooldown": {**_FAST, "--positions": "rotary", **_COOLDOWN},
}  # fmt: skip


def stored() -> dict:
    """What there is: for each step its options and a list of runs, one a seed."""
    path = RESULTS / "recipe.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def score(folder: Path, split: str, options: dict) -> dict:
    """BLEU and chrF of a run's best checkpoint with beam 5; into German also BLEU over tokens."""
    found = json.loads(step_llm("evaluate", folder, "--split", split, "--json", capture=True))
    scores = {name: found[name] for name in ("bleu", "chrf", "signature", "sentences")}
    if options.get("--target") == "de":
        texts = corpus_folder("multi30k")
        source, references = (
            (texts / f"{split}.{name}").read_text(encoding="utf-8") for name in ("en", "de")
        )
        translations = step_llm("translate", folder, capture=True, input=source)
        scores["tokenised_bleu"] = round(
            tokenised_bleu(translations.splitlines(), references.splitlines(), "de"), 2
        )
    return scores


def tokenised_bleu(translations: list[str], references: list[str], language: str) -> float:
    """BLEU as the tables of papers on Multi30k have it: over the tokens of the data set's own
    preparation (lower case, plain punctuation, the Moses tokenizer), and without smoothing."""
    plain, cut = MosesPunctNormalizer(language), MosesTokenizer(language)
    sides = [
        [cut.tokenize(plain.normalize(text.lower()), return_str=True) for text in side]
        for side in (translations, references)
    ]
    measure = BLEU(tokenize="none", smooth_method="none", force=True)
    return measure.corpus_score(sides[0], [sides[1]]).score


def commit() -> str | None:
    """What the code is at; None where it is no clone. Results that are not committed yet are no
    other code."""
    git = ["git", "-C", str(ROOT)]
    try:
        words = [*git, "rev-parse", "--short", "HEAD"]
        name = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        words = [*git, "diff", "--quiet", "HEAD", "--", ".", ":!benchmarks/results"]
        return name if subprocess.run(words).returncode == 0 else f"{name}-dirty"
    except (OSError, subprocess.CalledProcessError):
        return None


def train(name: str, seed: int, folder: Path) -> dict:
    """Train a step with a seed, and score it on validation; with the commit that it ran with."""
    words = [word for option in LADDER[name].items() for word in option]
    step_llm("train", "--corpus", "multi30k", "--seed", seed, "--out", folder, "--resume", *words)
    run, state = finished(folder)
    progress = state["training"]
    return {
        "seed": seed,
        "commit": commit(),
        "validation": score(folder, "val", LADDER[name]),
        "minutes": round(progress["seconds"] / 60, 1),
        "updates": progress["step"],
        "history": progress["history"],  # of each epoch: seconds so far, losses, greedy BLEU
        "checkpoint": run["best"].split("/")[-1],
        "training": state["config"],
        "date": date.today().isoformat(),
        "machine": machine(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", nargs="+", choices=tuple(LADDER), default=tuple(LADDER))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "recipe")
    parser.add_argument("--remark", help="what a reader should know of these runs; for the table")
    parser.add_argument("--test", action="store_true", help="score trained runs on the test set")
    options = parser.parse_args()
    for seed in options.seeds:
        for name in options.steps:
            folder = options.runs / f"{name}-seed{seed}"
            content = stored()
            step = content.setdefault(name, {"options": LADDER[name], "runs": []})
            if step["options"] != LADDER[name]:
                parser.error(f"the results of {name} have other options; take them out first")
            found = [run for run in step["runs"] if run["seed"] == seed]
            if not found:
                if options.test:
                    parser.error(f"{name} with seed {seed} is not trained yet")
                found = [train(name, seed, folder)]
                if options.remark:
                    found[0]["remark"] = options.remark
                content = stored()  # anew: another process may have written the file meanwhile
                content.setdefault(name, step)["runs"] += found
                write_results("recipe", content)
            if options.test and "test" not in found[0]:
                found[0]["test"] = score(folder, "test", LADDER[name])
                write_results("recipe", content)
            print(name, seed, {key: found[0].get(key) for key in ("validation", "test", "minutes")})


if __name__ == "__main__":
    main()
