"""``export``: a trained translator in the format of an engine that serves it."""

from __future__ import annotations

from pathlib import Path

from step_llm.decoding.export import export_ctranslate2, refuse_if_there
from step_llm.decoding.exported import engine
from step_llm.decoding.mindir import export_mindir
from step_llm.runtime.device import use_device
from step_llm.training.checkpoint import load_model

__all__ = ["run"]

_SIZES = ("rows", "source_length", "room")


def run(options):
    is_mindir = options.to == "mindir"
    sizes = {name: getattr(options, name) for name in _SIZES}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    if is_mindir and options.int8:
        raise ValueError("--int8 is for --to ctranslate2; a MindIR is quantised by MindSpore Lite")
    if sizes and not is_mindir:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sizes)
        raise ValueError(
            f"{names}: for --to mindir alone; CTranslate2 takes sentences of any length"
        )
    refuse_if_there(options.out)  # before seconds are spent on reading the model
    try:
        if not is_mindir:
            engine()
    except ImportError as error:
        raise RuntimeError(str(error)) from error
    use_device(options.device)
    model, tokenizers = load_model(options.folder)
    if is_mindir:
        export_mindir(model, tokenizers, options.out, **sizes)
    else:
        export_ctranslate2(model, tokenizers, options.out, options.int8)
    size = sum(path.stat().st_size for path in Path(options.out).iterdir()) / 1e6
    print(f"{options.out}: {options.to}{', int8' if options.int8 else ''}, {size:.1f} MB")
