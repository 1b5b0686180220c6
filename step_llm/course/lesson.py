"""What every lesson asks for at its top: where it runs, and whether in full or in quick mode."""

from __future__ import annotations

import os
import platform
from contextlib import contextmanager
from pathlib import Path

import mindspore as ms
import numpy as np

from step_llm.course.progress import CHINESE
from step_llm.runtime.device import use_device
from step_llm.runtime.files import runs_folder
from step_llm.runtime.language import say

__all__ = ["about", "is_quick", "run_folder", "stoppable"]


def about() -> None:
    """Print the versions, the device and the mode that a lesson runs with.

    The device is chosen here, before the lesson computes anything; see ``device.use_device``.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"Python {platform.python_version()}")
    print(f"MindSpore {ms.__version__}")
    print(f"NumPy {np.__version__}")
    print(say(f"device: {use_device().name}, CPU cores: {cores}", CHINESE))
    print(say(f"mode: {'quick' if is_quick() else 'full'}", CHINESE))


def is_quick() -> bool:
    """Whether the environment variable STEP_LLM_QUICK asks for short training runs.

    The checks set it (`make test`): the same cells run, on less data or for fewer epochs.
    """
    return os.environ.get("STEP_LLM_QUICK", "0") not in ("", "0")


def run_folder(name: str) -> Path:
    """Where a lesson keeps a trained model: ``runs/NAME``, or ``runs/NAME-quick`` in quick mode."""
    return runs_folder() / (f"{name}-quick" if is_quick() else name)


@contextmanager
def stoppable():
    """Inside, ■ (Interrupt) ends a training and nothing else: the weights stay as they are now, and
    the cell goes on after the block."""
    try:
        yield
    except KeyboardInterrupt:
        print(say("stopped: going on with what was learned so far", CHINESE))
