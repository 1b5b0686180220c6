"""``demo``: all the steps to a translator, each shown as the command that it is."""

from __future__ import annotations

from pathlib import Path

from step_llm.cli.commands import main
from step_llm.cli.fetch import run_fetcher
from step_llm.cli.terminal import tell

__all__ = ["run"]

_SENTENCES = {
    "multi30k": (
        "Ein Mann fährt mit dem Fahrrad durch die Stadt.",
        "Zwei Hunde spielen im Schnee.",
        "Eine Frau in einem roten Kleid liest ein Buch.",
    ),
    "mini": (
        "Ein kleiner Junge spielt im Garten.",
        "Zwei Frauen trinken Kaffee.",
        "Der Hund läuft über die Straße.",
    ),
}


def run(options):
    corpus = options.corpus
    if corpus != "mini" and run_fetcher(options):
        if corpus == "multi30k":
            raise ValueError("Multi30k could not be fetched; see above")
        tell("Multi30k could not be fetched: the embedded corpus serves instead.")
        corpus = "mini"
    corpus = corpus or "multi30k"
    name, recipe = corpus, []
    if corpus == "multi30k":
        name = "multi30k-fast" if options.fast else "multi30k-best"
        recipe = ["--recipe", name]
    out = options.out or str(Path("runs") / name)
    device = ["--device", options.device] if options.device else []
    for step in (
        ["train", "--corpus", corpus, *recipe, "--out", out, "--resume", *device],
        ["evaluate", out, "--split", "test", *device],
        ["translate", out, *_SENTENCES[corpus], *device],
    ):
        words = " ".join(repr(word) if " " in word else word for word in step)
        print(f"$ python -m step_llm {words}", flush=True)
        status = main(step)
        if status:
            return status
    return 0
