"""``fetch-model``: a published model's folder, from ModelScope, Hugging Face or a mirror."""

from __future__ import annotations

import shlex
from pathlib import Path

from step_llm.cli.terminal import tell
from step_llm.models.published import fetch_model
from step_llm.models.weights import read_json
from step_llm.runtime.download import Downloader

__all__ = ["run"]

_CONTINUE_TEXT = ("gpt2", "llama", "qwen2", "qwen3")


def run(options):
    folder = fetch_model(
        options.name, options.out, options.mirror, Downloader(timeout=options.timeout)
    )
    tell(f"{options.name} is in place in {folder}")
    kind = read_json(Path(folder) / "config.json").get("model_type")
    if kind in _CONTINUE_TEXT:
        tell(f"next: python -m step_llm chat {shlex.quote(str(folder))}")
    else:
        tell(f"next: in Python, step_llm.from_pretrained({str(folder)!r})")
