"""The exported model's side of benchmarks/serve.py, one measurement a process.

    echo '{"option": value, …}' | python benchmarks/engine.py TASK

The tasks of ours.py that decode, with the same options and results; "folder" is the exported model.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import ctranslate2
import numpy as np
from common import cores

PIECES = "pieces.json"


def _translator(options):
    with open(f"{options['folder']}/{PIECES}", encoding="utf-8") as file:
        pieces = json.load(file)
    translator = ctranslate2.Translator(options["folder"], intra_threads=cores())

    def search(sources, length):
        # Without the end token: the engine adds it. Every translation gets the same length.
        rows = [[pieces[token] for token in source[:-1]] for source in sources]
        found = translator.translate_batch(
            rows, beam_size=options["beam"], length_penalty=0.6,
            min_decoding_length=length, max_decoding_length=length,
        )  # fmt: skip
        assert all(len(result.hypotheses[0]) == length for result in found)

    return search


def decode(options):
    """Seconds for all batches of sources, each to a given output length."""
    search = _translator(options)
    search(*options["batches"][0])
    started = time.perf_counter()
    for batch in options["batches"]:
        search(*batch)
    return {
        "seconds": time.perf_counter() - started,
        "sentences": sum(len(batch[0]) for batch in options["batches"]),
    }


def one(options):
    """Seconds for each sentence alone."""
    search, seconds = _translator(options), []
    for batch in options["batches"][:5] + options["batches"]:
        started = time.perf_counter()
        search(*batch)
        seconds.append(time.perf_counter() - started)
    seconds = seconds[5:]
    return {"median": statistics.median(seconds), "p95": float(np.percentile(seconds, 95))}


TASKS = {f.__name__: f for f in (decode, one)}


if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](json.load(sys.stdin))))
