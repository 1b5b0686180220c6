"""The boot file (启动文件) of a training task on OpenI: installs what the image lacks, and trains.

The platform starts a Python file with parameters of the form --name=value. They are those of
`python -m step_llm train`, and one more: command, which names another command:

    corpus=multi30k   preset=small   epochs=20   out=runs/small
    command=check

What the platform adds itself (data_url, train_url and the like) is left out: c2net tells the rest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Parameters that tasks of the platform's older kinds add.
OF_THE_PLATFORM = (
    "data_url", "multi_data_url", "train_url", "ckpt_url", "pretrain_url", "model_url",
    "result_url", "num_gpus", "device_target", "enable_modelarts",
)  # fmt: skip
DEFAULTS = {"train": ("--corpus=multi30k", "--out=runs/task")}


def words_of(parameters: list[str]) -> list[str]:
    """The command line of step_llm for the parameters of a task."""
    command, words = "train", []
    for parameter in parameters:
        name, _, value = parameter.lstrip("-").partition("=")
        if name == "command":
            command = value
        elif name not in OF_THE_PLATFORM:
            words.append(f"--{name}={value}" if value else f"--{name}")
    given = {word.partition("=")[0] for word in words}
    defaults = [w for w in DEFAULTS.get(command, ()) if w.partition("=")[0] not in given]
    return [command, *defaults, *words]


def missing_packages() -> list[str]:
    """The requirements without MindSpore: the image's own belongs to its CANN."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line and line[0] != "#" and "mindspore" not in line]
    return [*lines, "c2net>=0.2.0,<1"]


def main() -> int:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", *missing_packages()]
    if subprocess.call(pip):
        print("note: pip failed (no network?); going on with the packages that are there")
    words = words_of(sys.argv[1:])
    print("$ python -m step_llm", *words, flush=True)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    # By a process of its own, which imports what pip has just installed.
    return subprocess.call(
        [sys.executable, "-m", "step_llm", *words], env={**os.environ, "PYTHONPATH": path}
    )


if __name__ == "__main__":
    sys.exit(main())
