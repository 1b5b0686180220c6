"""Write data/translator/, the trained translator that comes with the library, from a run.

    python -m step_llm train --corpus mini --seed 1 --out runs/mini
    python data/make_translator.py runs/mini

It is the run's best checkpoint, with its weights in float16: half the bytes, and translations that
are the same. The embedded corpus is the project's own, so the weights may go with it.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

os.environ.setdefault("GLOG_v", "3")  # MindSpore: errors only, no notes

import numpy as np
from safetensors.numpy import load_file, save_file

from step_llm.training.run_folder import find_checkpoint

FOLDER = Path(__file__).resolve().parent / "translator"


def write(run: Path, folder: Path) -> None:
    """Put the best checkpoint of a run into a folder that is there."""
    checkpoint = find_checkpoint(run)
    weights = load_file(checkpoint / "model.safetensors")
    halved = {name: value.astype(np.float16) for name, value in weights.items()}
    save_file(halved, folder / "model.safetensors")
    for name in ("config.json", "state.json", "tokenizer.json"):
        shutil.copyfile(checkpoint / name, folder / name)
    (folder / "model.safetensors").chmod(0o644)  # safetensors leaves it to its owner alone


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="the run folder of a translator")
    FOLDER.mkdir(exist_ok=True)
    write(parser.parse_args().run, FOLDER)


if __name__ == "__main__":
    main()
