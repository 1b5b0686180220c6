"""What ``check`` runs in processes of their own: several that train together, and a lesson.

``msrun`` starts ``python -m step_llm.cli.check_processes DEVICE``: each process makes some updates
together with the others, and the same alone, and prints in a line of JSON how far they differ.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import step_llm
from step_llm.cli.check_model import nan_last, small_batch, small_step
from step_llm.cli.terminal import one_line
from step_llm.models.weights import weights_of
from step_llm.runtime.device import present_devices, use_device
from step_llm.runtime.files import shipped
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training.distributed import Group, join_group

__all__ = ["LESSON", "run_lesson", "train_together"]

LESSON = "notebooks/05_multi30k_translation.ipynb"
_UPDATES = 3
_SECONDS = 600  # after which a job hangs
_ROOM = 10.0  # sums in another order, update after update
_MARK = '{"rank"'


def train_together(device: str, tolerance: float) -> tuple[bool | None, str]:
    """Data parallel updates of as many processes as there are devices (on a CPU two) against those
    of one.

    Args:
        device: "Ascend", "GPU" or "CPU".
        tolerance: as for the forms; updates may differ by more.
    """
    if not sys.platform.startswith("linux"):
        return None, "several processes are for Linux"
    count = 2 if device == "CPU" else present_devices().get(device, 0)
    if count < 2:
        return None, f"{count} {device} here; it takes two"
    with tempfile.TemporaryDirectory() as logs:
        status = _run_job(count, device, Path(logs))
        said = [
            path.read_text(encoding="utf-8", errors="replace").splitlines()
            for path in sorted(Path(logs).glob("worker_*.log"))
        ]
    found = [json.loads(line) for lines in said for line in lines if line.startswith(_MARK)]
    if status or len(found) != count:
        cause = f"no end after {_SECONDS} s" if status is None else f"status {status}"
        return False, f"{len(found)} of {count} processes reached the end, {cause}: {_cause(said)}"
    worst = max((one["difference"] for one in found), key=nan_last)
    allowed = _ROOM * tolerance
    return bool(worst <= allowed), (
        f"{count} processes: after {_UPDATES} updates the weights differ from one process's by "
        f"{worst:.1e} of the largest change, allowed {allowed:.0e}"
    )


def _run_job(count, device, logs):
    """The job's exit status; None if it had to be ended."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    # msrun starts the "python", or "python3", that it finds on the path.
    folder = Path(sys.executable).parent
    name = "python" if (folder / "python").exists() else "python3"
    command = [
        sys.executable, "-m", "mindspore.parallel.cluster.run", f"--worker_num={count}",
        f"--local_worker_num={count}", f"--master_port={port}", "--join=True",
        f"--log_dir={logs}", name, "-m", "step_llm.cli.check_processes", device,
    ]  # fmt: skip
    changes = {"PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}", **_importable()}
    job = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, **changes},
    )  # fmt: skip
    try:
        return job.wait(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if job.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)  # msrun and what it has started
            job.wait()


def _importable():
    """What makes another process find the step_llm that this one runs."""
    own = str(Path(step_llm.__file__).resolve().parents[1])
    others = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{own}{os.pathsep}{others}" if others else own}


def _cause(said):
    """The last line of a process that has an error in it, or the last of all."""
    lines = [line for one in said for line in one if line.strip() and not line.startswith(_MARK)]
    errors = [line for line in lines if "Error" in line]
    return one_line((errors or lines or ["nothing was said"])[-1])


def _work(device: str) -> None:
    """One of the processes."""
    use_device(device, prepare=join_group)
    group = join_group()
    moved = []
    for members in (Group(), group):
        model, step = small_step(members)
        before = weights_of(model)
        with graph_mode():
            for _ in range(_UPDATES):
                step(1e-2, small_batch(2 * group.size + 1))
        moved.append({name: value - before[name] for name, value in weights_of(model).items()})
    alone, together = moved
    largest = max(np.abs(change).max() for change in alone.values())
    furthest = max(np.abs(together[name] - change).max() for name, change in alone.items())
    print(json.dumps({"rank": group.rank, "difference": float(furthest / largest)}), flush=True)


def run_lesson(device: str, say) -> tuple[bool | None, str]:
    """Lesson 05 from top to bottom in quick mode, on a copy, in a kernel of its own."""
    path = shipped(LESSON)
    if not path.is_file():
        return None, "the lessons are in a checkout of the course, not in the installed package"
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError
    except ImportError as error:
        return None, f"no {error.name} here, which runs notebooks"
    notebook = nbformat.read(path, as_version=4)
    last, place = len(notebook.cells), 0

    def begin(cell, cell_index):
        nonlocal place
        place = cell_index + 1
        say(f"cell {place} of {last}")

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as runs:
        client = NotebookClient(
            notebook, timeout=3600, kernel_name="python3",
            resources={"metadata": {"path": path.parent}}, on_cell_start=begin,
        )  # fmt: skip
        settings = {
            "STEP_LLM_QUICK": "1", "STEP_LLM_DEVICE": device, "STEP_LLM_RUNS": runs,
            "STEP_LLM_RECORD": "0", **_importable(),
        }  # fmt: skip
        os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this Python's kernel, not the user's
        try:
            client.execute(env={**os.environ, **settings})
        except CellExecutionError as error:
            return False, f"in cell {place} of {last}: {error.ename}: {error.evalue}"
    minutes = (time.perf_counter() - started) / 60
    return True, f"{minutes:.1f} minutes in quick mode, {last} cells"


if __name__ == "__main__":
    _work(sys.argv[1])
