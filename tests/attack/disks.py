"""Training on a disk that fills up: one line, and the last checkpoint stands and goes on."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess

import pytest

from step_llm.models.weights import CheckpointError
from step_llm.training.checkpoint import load_model
from step_llm.training.run_folder import find_checkpoint, read_run
from tests.attack.conftest import ended, training, weights


@contextlib.contextmanager
def disk(folder, size):
    """A disk of so many bytes; where none can be mounted, no file may be longer."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        is_mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        is_mounted = False

    def no_longer_file():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 4, resource.RLIM_INFINITY))

    try:
        yield {} if is_mounted else {"preexec_fn": no_longer_file}
    finally:
        if is_mounted:
            subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.8, 1.0, 1.3])
def test_a_full_disk_while_training(corpus, uninterrupted, tmp_path, share, count):
    """The share is of what the finished run takes."""
    files = [path for path in uninterrupted[0].rglob("*") if path.is_file()]
    size = 4096 * max(4, int(share * sum(1 + path.stat().st_size // 4096 for path in files)))
    saved = tmp_path / "saved"
    with disk(tmp_path / "disk", size) as changes:
        run = tmp_path / "disk" / "run"
        status, said = ended(training(corpus, run, **changes))
        is_told = status == 0 or (status == 2 and said.startswith("step_llm: error: "))
        count.add(None if is_told else f"status {status}: {said}")
        if "last" in read_run(run):  # it may be stopped before its first one
            try:
                count.add(load_model(find_checkpoint(run, "last")) and None)
            except CheckpointError as error:
                count.add(str(error))
        shutil.copytree(run, saved)
    # On a disk with room it goes on, and ends as if nothing had been.
    status, said = ended(training(corpus, saved))
    count.add(None if status == 0 else f"status {status}: {said}")
    count.add(None if weights(saved) == weights(uninterrupted[0]) else "other weights")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(corpus, tmp_path, count):
    (tmp_path / "run").mkdir(mode=0o500)
    status, said = ended(training(corpus, tmp_path / "run"))
    is_told = status == 2 and "cannot write to the run folder" in said
    count.add(None if is_told else f"status {status}: {said}")
