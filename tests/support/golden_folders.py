"""The small folders that transformers wrote, changed copies of them, and how they are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from step_llm.models.pretrained import from_pretrained
from step_llm.models.weights import CheckpointError

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "huggingface"


def changed_copy(case, folder, fields=None, tensors=None):
    """A copy of a golden folder with its fields and, of one file, its tensors changed."""
    shutil.copytree(FOLDER / case, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.update(fields or {})
    config = {name: value for name, value in config.items() if value != "remove"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if tensors is not None:
        old = load_file(folder / "model.safetensors")
        save_file(tensors(old), folder / "model.safetensors")
    return folder


def refused(folder, read=from_pretrained):
    """What the error says that reading the folder raises."""
    with pytest.raises(CheckpointError) as error:
        read(folder)
    return str(error.value)
