"""``fetch-model``: a published model's folder, from ModelScope, Hugging Face or a mirror."""

from __future__ import annotations

from step_llm.models.published import fetch_model
from step_llm.runtime.download import Downloader

__all__ = ["run"]


def run(options):
    folder = fetch_model(
        options.name, options.out, options.mirror, Downloader(timeout=options.timeout)
    )
    print(f"{options.name} is in place in {folder}")
