"""Write the README's table of results from benchmarks/results/*.json; --check only compares."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
NAMES = {"mini": "embedded (de→en)", "multi30k": "Multi30k (de→en)"}


def table() -> str:
    """The results as Markdown: one row for each run, then the machine and sacrebleu's signature."""
    rows = [
        "| corpus | seed | model | epochs | minutes | BLEU, beam 5 | chrF |",
        "|---|---|---|---|---|---|---|",
    ]
    notes = []
    for corpus, name in NAMES.items():
        path = ROOT / "benchmarks" / "results" / f"{corpus}.json"
        if not path.exists():
            continue
        content = json.loads(path.read_text(encoding="utf-8"))
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
        machine = content["machine"]
        notes.append(
            f"{name}: mean BLEU {mean:.2f} over {len(content['seeds'])} "
            f"{'seeds' if len(content['seeds']) > 1 else 'seed'}, "
            f"{content['seeds'][0]['sentences']} test sentences; {machine['cores']} "
            f"{'core' if machine['cores'] == 1 else 'cores'} of "
            f"{machine['processor']}, MindSpore {machine['mindspore']}, "
            f"Python {machine['python']}, {content['date']}; "
            f"`{content['seeds'][0]['signature']}`."
            + (f" {content['remark']}" if "remark" in content else "")
        )
    return "\n".join([*rows, "", *(f"- {note}" for note in notes)])


def with_minutes(text: str) -> str:
    """The last column of the table of lessons, from benchmarks/results/lessons.json."""
    path = ROOT / "benchmarks" / "results" / "lessons.json"
    lessons = json.loads(path.read_text(encoding="utf-8"))["lessons"] if path.exists() else {}
    for name, run in lessons.items():
        row = re.compile(rf"^(\|.*\(notebooks/{name}\.ipynb\).*\|)[^|\n]*\|$", re.MULTILINE)
        text = row.sub(rf"\g<1> {run['minutes']:.1f}, {run['memory_gib']:.1f} GiB |", text)
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if the README differs")
    options = parser.parse_args()
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = with_minutes(text).split(BEGIN)
    after = rest.split(END)[1]
    wanted = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if options.check:
        if wanted != text:
            print("README.md does not hold the results; run: python benchmarks/readme.py")
        return int(wanted != text)
    readme.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
