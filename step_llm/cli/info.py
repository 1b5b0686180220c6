"""``info``: what is installed and where the data lies; or what a run is."""

from __future__ import annotations

import json
import os
import platform

import mindspore as ms

import step_llm
from step_llm.cli.terminal import visible
from step_llm.data.corpus import CORPORA, corpus_folder
from step_llm.models.registry import architecture_of
from step_llm.runtime.device import choose_device
from step_llm.training.checkpoint import load_model, read_state
from step_llm.training.run_folder import find_checkpoint

__all__ = ["run"]


def run(options):
    print(f"step_llm {step_llm.__version__}, MindSpore {ms.__version__}, "
          f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
          f"{os.cpu_count()} CPU cores")  # fmt: skip
    print(choose_device())
    for name in CORPORA:
        folder = corpus_folder(name)
        is_there = (folder / "train.de").is_file()
        note = "" if is_there else " (not fetched yet: python -m step_llm fetch)"
        print(f"corpus {name}: {folder}{note}")
    if options.folder is not None:
        _tell_of_run(options.folder)


def _tell_of_run(folder):
    checkpoint = find_checkpoint(folder)
    model, tokenizers = load_model(checkpoint)
    print(f"checkpoint {checkpoint}")
    print(f"{architecture_of(model)}, {sum(p.size for p in model.get_parameters()):,} weights, "
          f"{model.config}")  # fmt: skip
    print(f"tokens: {tokenizers.source.kind}, {len(tokenizers.source)} source, "
          f"{len(tokenizers.target)} target")  # fmt: skip
    notes = read_state(checkpoint).get("notes", {})
    print(f"notes: {visible(json.dumps(notes, ensure_ascii=False))}")
    # The best checkpoint knows nothing of the epochs after it; the last one does.
    state = read_state(find_checkpoint(folder, "last"))
    for entry in state.get("training", {}).get("history", []):
        # BLEU, or of a language model perplexity.
        name = next(n for n in entry if n.startswith("validation_") and n != "validation_loss")
        name, value = name.removeprefix("validation_"), entry[name]
        value = f"BLEU {value:.1f}" if name == "bleu" else f"{name} {value:.2f}"
        print(
            f"epoch {entry['epoch']}: training loss {entry['train_loss']:.3f}, validation loss "
            f"{entry['validation_loss']:.3f}, validation {value}"
        )
