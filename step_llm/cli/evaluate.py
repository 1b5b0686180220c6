"""``evaluate``: BLEU and chrF of a trained translator."""

from __future__ import annotations

import json
import shlex
import time

from step_llm.cli.job import notes_of
from step_llm.cli.terminal import tell
from step_llm.cli.translate import translated
from step_llm.data.corpus import corpus_folder, read_parallel
from step_llm.decoding.translator import Translator
from step_llm.evaluation.metrics import score
from step_llm.runtime.device import use_device
from step_llm.training.checkpoint import load_model, read_state
from step_llm.training.run_folder import find_checkpoint

__all__ = ["run"]


def run(options):
    device = use_device(options.device)
    model, tokenizers = load_model(options.folder)
    checkpoint = find_checkpoint(options.folder)
    notes = notes_of(checkpoint, read_state(checkpoint))
    corpus = options.corpus or notes.get("corpus")
    if corpus is None:
        raise ValueError(f"{checkpoint} does not name its corpus; name it with --corpus")
    text = read_parallel(corpus_folder(corpus), options.split, notes["source"], notes["target"])
    translator = Translator(model, tokenizers)
    started = time.perf_counter()
    hypotheses = translated(translator, text.source, options)
    seconds = time.perf_counter() - started
    scores = score(hypotheses, text.target)
    if options.json:
        result = {
            "bleu": round(scores.bleu, 2),
            "chrf": round(scores.chrf, 2),
            "signature": scores.signature,
            "chrf_signature": scores.chrf_signature,
            "sentences": scores.sentences,
            "sentences_per_second": round(scores.sentences / seconds, 2),
            "seconds": round(seconds, 2),
            "device": device.name,
            "corpus": corpus,
            "split": options.split,
            "beam_size": options.beam,
            "length_penalty": options.length_penalty,
        }
        print(json.dumps(result))
    else:
        print(device)
        print(f"{corpus}, {options.split}, beam {options.beam}:")
        print(scores)
        tell(f"{scores.sentences / seconds:.1f} sentences per second, compiling included")
        tell(f"next: python -m step_llm translate {shlex.quote(options.folder)}")
