"""Write the tables of README.md and docs/serving.md from benchmarks/results/*.json; --check only
compares."""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import sys

from common import AXES, RESULTS, ROOT

NAMES = {"mini": "embedded (de→en)", "multi30k": "Multi30k (de→en)"}


def read(name: str) -> dict:
    """What stands in one file of results; empty where there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def translation_table() -> str:
    """One row for each run, then the machine and sacrebleu's signature."""
    rows = [
        "| corpus | seed | model | epochs | minutes | BLEU, beam 5 | chrF |",
        "|---|---|---|---|---|---|---|",
    ]
    notes = []
    for corpus, name in NAMES.items():
        content = read(corpus)
        if not content:
            continue
        for run in content["seeds"]:
            model = run["model"]
            sizes = (
                f"{model['d_model']}, {model['num_encoder_layers']}+{model['num_decoder_layers']}, "
                f"{model['d_ff']}, {model['num_heads']} heads"
            )
            rows.append(
                f"| {name} | {run['seed']} | {sizes} | {run['epochs']} | {run['minutes']:.1f} | "
                f"{run['bleu']:.2f} | {run['chrf']:.2f} |"
            )
        mean = sum(run["bleu"] for run in content["seeds"]) / len(content["seeds"])
        notes.append(
            f"{name}: mean BLEU {mean:.2f} over {len(content['seeds'])} "
            f"{'seeds' if len(content['seeds']) > 1 else 'seed'}, "
            f"{content['seeds'][0]['sentences']} test sentences; {measured_on(content)}; "
            f"`{content['seeds'][0]['signature']}`."
            + (f" {content['remark']}" if "remark" in content else "")
        )
    return "\n".join([*rows, "", *(f"- {note}" for note in notes)])


FAMILY = {
    "add_k": "n-gram, add-k",
    "kneser_ney": "n-gram, Kneser-Ney",
    "neural_lm": "neural, 4 tokens back",
    "gpt": "GPT",
    "rnn": "RNN",
    "rnn-attention": "RNN with attention",
    "lstm": "LSTM",
    "lstm-attention": "LSTM with attention",
    "gru": "GRU",
    "gru-attention": "GRU with attention",
    "transformer": "Transformer",
}


def family_tables() -> str:
    """A table of the language models, one of the translators, then what they were run on.

    A model that has no results has no row.
    """
    content = read("family")
    parts = []
    language = in_order(content.get("language", {}))
    if language:
        rows = [
            "| language model | parameters | minutes | validation perplexity | test perplexity |",
            "|---|---|---|---|---|",
        ]
        for run in language:
            rows.append(
                f"| {language_name(run)} | {run['parameters']:,} | {run['minutes']:.2g} | "
                f"{run['validation_perplexity']:.2f} | {run['test_perplexity']:.2f} |"
            )
        parts.append(rows)
    translators = [(corpus, run) for corpus in NAMES for run in in_order(content.get(corpus, {}))]
    if translators:
        rows = [
            "| corpus | translator | parameters | epochs | minutes | BLEU, beam 5 |",
            "|---|---|---|---|---|---|",
        ]
        for corpus, run in translators:
            rows.append(
                f"| {NAMES[corpus]} | {FAMILY[run['name']]} | {run['parameters']:,} | "
                f"{run['epochs']} | {run['minutes']:.1f} | {run['bleu']:.2f} |"
            )
        parts.append(rows)
    if not parts:
        return "To be measured."
    notes = []
    if language:
        notes.append(
            f"Perplexity per token of {language[0]['vocab_size']:,} joint byte pairs, over "
            f"{language[0]['test_tokens']:,} tokens of the test captions."
        )
    circumstances = {}  # of which rows each is true
    for part, run in [("language models", run) for run in language] + translators:
        note = f"{measured_on(run)}, seed {run['seed']}."
        note += f" {run['remark']}" if "remark" in run else ""
        rows_of = circumstances.setdefault(note, {})
        rows_of.setdefault(NAMES.get(part, part), []).append(FAMILY[run["name"]])
    for note, rows_of in circumstances.items():
        which = "; ".join(f"{part}: {', '.join(names)}" for part, names in rows_of.items())
        notes.append(f"{which} – {note}" if len(circumstances) > 1 else note)
    signatures = sorted({run["signature"] for _, run in translators})
    notes += [f"`{signature}`." for signature in signatures]
    return "\n\n".join(["\n".join(rows) for rows in [*parts, [f"- {note}" for note in notes]]])


ABLATION = {
    "baseline": "baseline",
    "nothing_changed": "the same, other masks of dropout",
    "no_residual": "without residual connections",
    "no_layer_norm": "without LayerNorm",
    "no_feed_forward": "without feed-forward",
    "no_scale": "without 1/√Dk",
    "no_positions": "without positions",
    "no_warmup": "without warm-up",
    "no_label_smoothing": "without label smoothing",
    "no_dropout": "without dropout",
    "untied_embeddings": "embeddings not tied",
    "1_head": "1 head",
    "2_heads": "2 heads",
    "8_heads": "8 heads",
    "post_norm": "post-norm",
    "post_norm_no_warmup": "post-norm, without warm-up",
    "learned_positions": "learned positions",
    "rotary_positions": "rotary positions",
}


def ablation_table() -> str:
    """A row for each variant, mean ± standard deviation over the seeds; then what was trained."""
    content = read("ablation")
    if not content:
        return "To be measured."
    rows = [
        "| corpus | translator | seeds | BLEU, greedy | of shuffled sources | validation loss |",
        "|---|---|---|---|---|---|",
    ]
    notes = []
    for corpus in (corpus for corpus in NAMES if corpus in content):
        part = content[corpus]
        for variant, label in ABLATION.items():
            runs = [run for run in part["runs"] if run["variant"] == variant]
            if not runs:
                continue
            cells = [
                mean_and_deviation([run[field] for run in runs], digits)
                for field, digits in (("bleu", 1), ("bleu_shuffled", 1), ("validation_loss", 3))
            ]
            rows.append(f"| {NAMES[corpus]} | {label} | {len(runs)} | {' | '.join(cells)} |")
        settings, model = part["settings"], part["settings"]["model"]
        circumstances = sorted({measured_on(run) for run in part["runs"]})
        signatures = sorted({run["signature"] for run in part["runs"] if "signature" in run})
        sentences = sorted({run["sentences"] for run in part["runs"] if "sentences" in run})
        notes.append(
            f"{NAMES[corpus]}: d_model {model['d_model']}, {model['num_encoder_layers']}+"
            f"{model['num_decoder_layers']} layers, {model['num_heads']} heads, "
            f"{settings['epochs']} epochs, {', '.join(map(str, sentences))} test sentences; "
            f"{'; '.join(circumstances)}; `{', '.join(signatures)}`."
        )
    return "\n".join([*rows, "", *(f"- {note}" for note in notes)])


DECODER = {
    "gpt2": "GPT-2's layer",
    "rms_norm": "RMSNorm for LayerNorm",
    "rotary": "rotary for learned positions",
    "swiglu": "SwiGLU for GELU",
    "2_kv_heads": "2 heads of keys and values for 4",
    "1_kv_head": "1 head of keys and values",
    "no_biases": "no biases",
    "today": "all of them, 2 heads of keys",
}


def decoder_table() -> str:
    """A row for each decoder, mean ± standard deviation over the seeds; then what was trained."""
    content = read("decoder")
    if not content:
        return "To be measured."
    rows = [
        "| decoder | parameters | seeds | validation loss | test loss | test perplexity |",
        "|---|---|---|---|---|---|",
    ]
    for variant, label in DECODER.items():
        runs = [run for run in content["runs"] if run["variant"] == variant]
        if not runs:
            continue
        losses = [[run[field] for run in runs] for field in ("validation_loss", "test_loss")]
        cells = [mean_and_deviation(values, 3) for values in losses]
        perplexity = math.exp(statistics.mean(losses[1]))
        rows.append(
            f"| {label} | {runs[0]['parameters']:,} | {len(runs)} | {' | '.join(cells)} "
            f"| {perplexity:.1f} |"
        )
    settings = content["settings"]
    circumstances = sorted({measured_on(run) for run in content["runs"]})
    note = (
        f"*Pride and Prejudice*, d_model {settings['d_model']}, {settings['num_layers']} layers, "
        f"{settings['num_heads']} heads, pieces of {settings['length']} byte pairs, "
        f"{settings['epochs']} epochs; {'; '.join(circumstances)}."
    )
    return "\n".join([*rows, "", note])


def mean_and_deviation(values: list, digits: int) -> str:
    """Mean ± standard deviation; a run that has no number diverged, and is counted."""
    found = [value for value in values if value is not None]
    if not found:
        return "diverged"
    text = f"{statistics.mean(found):.{digits}f}"
    if len(found) > 1:
        text += f" ± {statistics.stdev(found):.{digits}f}"
    lost = len(values) - len(found)
    return f"{text} ({lost} diverged)" if lost else text


def in_order(runs: dict) -> list[dict]:
    """The runs there are, as FAMILY orders them."""
    return [runs[name] for name in FAMILY if name in runs]


def language_name(run: dict) -> str:
    """The model's name with what the validation captions chose."""
    chosen = run["chosen"]
    if "order" not in chosen:
        return FAMILY[run["name"]]
    setting = ", ".join(
        f"{'n' if name == 'order' else name} = {value:g}" for name, value in chosen.items()
    )
    return f"{FAMILY[run['name']]} ({setting})"


def measured_on(content: dict) -> str:
    """The machine, the versions and the day of a measurement."""
    machine = content["machine"]
    cores = f"{machine['cores']} {'core' if machine['cores'] == 1 else 'cores'}"
    peers = {"torch": "PyTorch", "transformers": "transformers"}
    versions = [f"MindSpore {machine['mindspore']}", f"Python {machine['python']}"]
    versions += [f"{peers[k]} {v}" for k, v in content.get("peers", {}).items() if k in peers]
    return f"{cores} of {machine['processor']}, {', '.join(versions)}, {content['date']}"


PICTURES = """
![Three plots of the seconds of a training step: against sequence length, sentences in a batch and \
d_model, each above a line for the arithmetic at the machine's peak](\
../benchmarks/results/growth-training.png)

![Seconds of greedy decoding against the tokens written; the line without a cache is the steeper \
one](../benchmarks/results/growth-decoding.png)"""


def speed_table() -> str:
    """A row for each measurement beside a peer: medians, and how many times as good ours is."""
    content = read("speed")
    if not content:
        return "To be measured."
    rows = [
        "| measured | step_llm | peer | times as good | goal |",
        "|---|---|---|---|---|",
    ]
    for part, results in ((part, content[part]["results"]) for part in SPEED if part in content):
        for label, ours, theirs, unit, is_less_better, goal in SPEED[part](results):
            ratio = theirs["median"] / ours["median"]
            ratio = ratio if is_less_better else 1 / ratio
            rows.append(
                f"| {label} | {spread(ours)} {unit} | {spread(theirs)} {unit} | {ratio:.2f} "
                f"| {goal} |"
            )
    measured = {}  # where and when, and which parts were measured there
    for part in (part for part in (*SPEED, "operations") if part in content):
        measured.setdefault(measured_on(content[part]), []).append(f"`{part}`")
    notes = [f"{', '.join(parts)}: {where}." for where, parts in measured.items()]
    if "growth" in content:
        growth = content["growth"]["results"]
        exponents = ", ".join(
            f"{AXES[name]} {sweep['exponent_of_the_last_three']:.2f}"
            for name, sweep in growth["sweeps"].items()
        )
        notes.append(
            f"How a step's time grows: exponents over the last three sizes {exponents}; measured "
            f"peak of a matrix product {growth['peak_gflops']:.0f} GFLOP/s ("
            f"{measured_on(content['growth'])})."
        )
    alone = operations_table(content["operations"]["results"]) if "operations" in content else ""
    pictures = PICTURES if "growth" in content else ""
    return "\n".join([*rows, "", *(f"- {note}" for note in notes), alone, pictures]).rstrip()


def operations_table(results: dict) -> str:
    """What a decoding step consists of: milliseconds of each operation, alone, ours and theirs."""
    rows = [
        "",
        f"A decoding step of `tiny`, operation by operation, each alone: milliseconds, step_llm / "
        f"peer ({' and '.join(results)}).",
        "",
        f"| operation | in a step | {' | '.join(results)} |",
        "|---|---|" + "---|" * len(results),
    ]
    for name, first in next(iter(results.values())).items():
        cells = [
            f"{found[name]['ours']['median']:.3f} / {found[name]['theirs']['median']:.3f}"
            for found in results.values()
        ]
        times = "" if name == "step" else f"{first['times']} ×"
        label = "**the whole step**" if name == "step" else name
        rows.append(f"| {label} | {times} | {' | '.join(cells)} |")
    without = ", ".join(
        f"{label} {_without_products(found):.2f} ms" for label, found in results.items()
    )
    rows += [
        "",
        "With the peer's time for projections, feed-forward, attention and vocabulary in the place "
        f"of ours, the step would take: {without}.",
    ]
    return "\n".join(rows)


def _without_products(found: dict) -> float:
    """Our step, had its matrix products the peer's times."""
    products = [name for name in found if name not in ("step", "LayerNorm")]
    lost = sum(
        found[name]["times"] * (found[name]["ours"]["median"] - found[name]["theirs"]["median"])
        for name in products
    )
    return found["step"]["ours"]["median"] - lost


def precision_table() -> str:
    """A row for each precision: BLEU on the whole test set, and updates that were skipped."""
    content = read("precision")
    if not content:
        return "To be measured."
    rows = ["| precision | BLEU, beam 5 | chrF | updates | skipped |", "|---|---|---|---|---|"]
    for run in content["runs"]:
        if "refused" in run:
            rows.append(f"| {run['precision']} | refused: {run['refused']} | – | – | – |")
        else:
            rows.append(
                f"| {run['precision']} | {run['bleu']:.2f} | {run['chrf']:.2f} | {run['updates']} "
                f"| {run['skipped']} |"
            )
    trained = next(run for run in content["runs"] if "bleu" in run)
    note = (
        f"- embedded (de→en), {content['epochs']} epochs, seed {content['seed']}, "
        f"{trained['sentences']} test sentences; {measured_on(content)}; `{trained['signature']}`."
    )
    return "\n".join([*rows, "", note])


def parallel_table() -> str:
    """A row for each layout, then what several processes make of one process's threads."""
    content = read("parallel")
    if not content:
        return "To be measured."
    rates = content["tokens_per_second"]
    alone = rates["1x1"]["median"]
    rows = ["| processes × threads | tokens/s | times 1 × 1 |", "|---|---|---|"]
    beside = []
    for name, rate in rates.items():
        rows.append(
            f"| {name.replace('x', ' × ')} | {spread(rate)} | {rate['median'] / alone:.2f} |"
        )
        processes, threads = map(int, name.split("x"))
        one = rates.get(f"1x{processes * threads}")
        if processes > 1:
            share = f"{rate['median'] / one['median']:.0%}"
            beside.append(f"{name.replace('x', ' × ')} {share}")
    options = content["options"]
    note = (
        f"- Of the tokens of one process with as many threads: {', '.join(beside)}. A training "
        f"step of `{options['preset']}`, {options['rows']} × {options['length']}; "
        f"{measured_on(content)}."
    )
    return "\n".join([*rows, "", note])


SERVE = {
    "ours": "step_llm",
    "float32": "exported, float32",
    "int8": "exported, int8",
    "theirs": "Hugging Face, Marian",
}


def serve_table() -> str:
    """A row for each side; in brackets how many times as fast as Hugging Face."""
    content = read("serve")
    if not content:
        return "To be measured: `python benchmarks/serve.py`."
    results = content["results"]
    rows = [f"| sentences per second | {' | '.join(results)} |", "|---" * (1 + len(results)) + "|"]
    for side, name in SERVE.items():
        cells = []
        for sides in results.values():
            times = sides[side]["median"] / sides["theirs"]["median"]
            cells.append(spread(sides[side]) + ("" if side == "theirs" else f", {times:.2f} ×"))
        rows.append(f"| {name} | {' | '.join(cells)} |")
    engine = content["machine"]["ctranslate2"]
    return "\n".join([*rows, "", f"- CTranslate2 {engine}; {measured_on(content)}."])


def compiling_table() -> str:
    """A row for the first run and one for every later one."""
    content = read("compiling")
    if not content:
        return "To be measured: `python benchmarks/compiling.py`."
    rows = ["| seconds until | the first update | all shapes have been seen |", "|---|---|---|"]
    for name, run in content["results"].items():
        first, every = spread(run["first_update_seconds"]), spread(run["all_shapes_seconds"])
        rows.append(f"| {name} | {first} | {every} |")
    shapes = content["results"]["first run"]["shapes"]
    return "\n".join([*rows, "", f"- {shapes} shapes; {measured_on(content)}."])


def recipe_table() -> str:
    """A row for each step of the ladder that has been trained, then where that was."""
    content = read("recipe")
    rows = [
        "| recipe | options of `train` | seeds | minutes | to 36.5 | to 40 "
        "| validation BLEU | test BLEU | commit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    notes = {}
    for name, step in content.items():
        runs = step["runs"]
        if not runs:
            continue
        words = " ".join(f"{key} {value}" for key, value in step["options"].items())
        minutes = statistics.mean(run["minutes"] for run in runs)
        reached = [minutes_until(runs, bleu) for bleu in (36.5, 40.0)]
        scores = [mean_score(runs, split) for split in ("validation", "test")]
        rows.append(
            f"| {name} | `{words}` | {', '.join(str(run['seed']) for run in runs)} | "
            f"{minutes:.0f} | {' | '.join(reached + scores)} | {runs[0]['commit'] or '–'} |"
        )
        for run in runs:
            note = f"{measured_on(run)}; `{run['validation']['signature']}`."
            note += f" {run['remark']}" if "remark" in run else ""
            notes.setdefault(note, None)
    if len(rows) == 2:
        return "To be measured: `python benchmarks/recipe.py`."
    return "\n".join([*rows, "", *(f"- {note}" for note in notes)])


def minutes_until(runs: list, bleu: float) -> str:
    """The mean minutes until a greedy validation BLEU; a dash where a run did not reach it."""
    firsts = [
        next((e["seconds"] for e in run["history"] if e["validation_bleu"] >= bleu), None)
        for run in runs
    ]
    return "–" if None in firsts else f"{statistics.mean(firsts) / 60:.0f}"


def mean_score(runs: list, split: str) -> str:
    """The mean BLEU of runs on a split; a dash where one was not scored."""
    found = [run[split]["bleu"] for run in runs if split in run]
    return f"{statistics.mean(found):.2f}" if len(found) == len(runs) else "–"


def spread(values: dict) -> str:
    """A median in three digits, with least and greatest in brackets if there is more than one."""
    digits = max(0, 3 - len(str(int(values["median"]))))
    median, least, most = (f"{values[k]:,.{digits}f}" for k in ("median", "min", "max"))
    return median if values["min"] == values["max"] else f"{median} ({least}–{most})"


def _step_rows(results):
    goals = {"tiny": 1.2, "small": 1.2, "base": 1.0}
    for preset, sides in results.items():
        ours, theirs = sides["ours"], sides["theirs"]
        yield (
            f"training step, `{preset}`, 128 × 24",
            ours["tokens_per_second"], theirs["tokens_per_second"], "tokens/s", False,
            f"≥ {goals[preset]}",
        )  # fmt: skip
    for preset, sides in results.items():
        yield (
            f"memory of that process, `{preset}`",
            sides["ours"]["peak_memory_mib"], sides["theirs"]["peak_memory_mib"], "MiB", True,
            "≥ 0.67",
        )  # fmt: skip


def _epoch_rows(results):
    ours, theirs = (results[side]["tokens_per_second"] for side in ("ours", "theirs"))
    yield "epoch of Multi30k, real target tokens", ours, theirs, "tokens/s", False, "≥ 1.2"


def _decode_rows(results):
    for name, sides in results.items():
        ours, theirs = (sides[side]["sentences_per_second"] for side in ("ours", "theirs"))
        yield f"decoding, {name}, batches of 64", ours, theirs, "sentences/s", False, "≥ 1.0"


def _one_rows(results):
    for key, name in (("median_ms", "median"), ("p95_ms", "95th percentile")):
        ours, theirs = (results[side][key] for side in ("ours", "theirs"))
        yield f"one sentence at a time, {name}", ours, theirs, "ms", True, "≥ 1.0"


def _target_rows(results):
    ours, theirs = (results[side]["minutes"] for side in ("ours", "theirs"))
    yield (
        f"raw Multi30k to validation BLEU {results['target']}",
        ours, theirs, "minutes", True, "≥ 1.25",
    )  # fmt: skip


SPEED = {
    "step": _step_rows,
    "epoch": _epoch_rows,
    "decode": _decode_rows,
    "one": _one_rows,
    "target": _target_rows,
}


def with_minutes(text: str) -> str:
    """The last column of the table of lessons."""
    for name, run in read("lessons").get("lessons", {}).items():
        row = re.compile(rf"^(\|.*\(notebooks/(?:zh/)?{name}\.ipynb\).*\|)[^|\n]*\|$", re.MULTILINE)
        text = row.sub(rf"\g<1> {run['minutes']:.1f}, {run['memory_gib']:.1f} GiB |", text)
    return text


def with_table(text: str, name: str, table: str) -> str:
    """The text with a table between `<!-- name: begin -->` and `<!-- name: end -->`."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


# Where each table stands: <!-- name: begin --> … <!-- name: end --> in exactly one of the pages.
TABLES = {
    "results": translation_table,
    "family": family_tables,
    "ablation": ablation_table,
    "decoder": decoder_table,
    "precision": precision_table,
    "speed": speed_table,
    "parallel": parallel_table,
    "serve": serve_table,
    "compiling": compiling_table,
    "recipe": recipe_table,
}
PAGES = (
    "README.md", "README.zh-CN.md", "docs/results.md", "docs/benchmarks.md", "docs/using.md",
    "docs/serving.md",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if a table differs")
    options = parser.parse_args()
    status, missing = 0, dict(TABLES)
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        wanted = with_minutes(text)
        for name in [name for name in missing if f"<!-- {name}: begin -->" in text]:
            wanted = with_table(wanted, name, missing.pop(name)())
        if wanted != text and options.check:
            print(f"{page} does not hold the results; run: python benchmarks/readme.py")
            status = 1
        elif wanted != text:
            path.write_text(wanted, encoding="utf-8")
    for name in missing:
        print(f"no page has a place for the table {name}")
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
