"""Training, killed at random: a run that was killed again and again ends as one that was not."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time

from step_llm.training.checkpoint import load_model
from step_llm.training.run_folder import find_checkpoint, read_run
from tests.attack.conftest import SCALE, ended, training, weights


def fault_of(run):
    """What a kill has left that it must not: a checkpoint that run.json names is whole."""
    named = read_run(run)
    try:
        for role in {"last", "best"} & set(named):
            load_model(find_checkpoint(run, role))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def kill_in(process, seconds):
    """SIGKILL after so long; whether it was still running."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def kill_at_write(process, run, rng):
    """SIGKILL while a checkpoint is being written aside, or within the next milliseconds."""
    checkpoints = run / "checkpoints"
    while process.poll() is None:
        if checkpoints.is_dir() and any(n.startswith(".") for n in os.listdir(checkpoints)):
            return kill_in(process, rng.random() * 0.02)
        time.sleep(0.0005)
    return False


def test_killed_at_random_moments(corpus, uninterrupted, tmp_path, count):
    expected, seconds = weights(uninterrupted[0]), uninterrupted[1]
    rng, run, kills = random.Random(5), tmp_path / "run", round(12 * SCALE)
    while count.tried < kills:
        process = training(corpus, run)
        # A process that has just begun again has seconds before its first update.
        is_killed = (
            kill_at_write(process, run, rng)
            if count.tried % 2
            else kill_in(process, seconds * rng.uniform(0.2, 1.0))
        )
        if is_killed:
            count.add(fault_of(run))
        else:
            assert ended(training(corpus, run))[0] == 0
            assert weights(run) == expected
            run = tmp_path / f"run{count.tried}"
            seconds *= 0.8  # its graphs were compiled before
    assert ended(training(corpus, run))[0] == 0
    assert weights(run) == expected
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]


def test_stopped_by_signals(corpus, uninterrupted, tmp_path, count):
    """Ctrl-C and SIGTERM at any moment: one line, no page, and the run goes on."""
    seconds, rng, run = uninterrupted[1], random.Random(6), tmp_path / "run"
    for number in range(round(6 * SCALE)):
        process = training(corpus, run)
        time.sleep(1.0 + seconds * rng.random())  # Python itself has begun by then
        process.send_signal((signal.SIGINT, signal.SIGTERM)[number % 2])
        status, said = ended(process)
        is_told = status in (0, 130, -signal.SIGTERM) and "Error" not in said
        count.add(None if is_told else f"status {status}: {said}")
        count.add(fault_of(run))
    assert ended(training(corpus, run))[0] == 0
    assert weights(run) == weights(uninterrupted[0])


def test_two_at_once(corpus, uninterrupted, tmp_path, count):
    """The second one is refused, and the first one is none the worse."""
    run = tmp_path / "run"
    first = training(corpus, run)
    while not (run / "run.json").exists():
        assert first.poll() is None
        time.sleep(0.01)
    status, said = ended(training(corpus, run))
    is_refused = status == 2 and f"another training is writing to {run}" in said
    is_later = status == 0 and first.poll() is not None  # on a busy machine the first had ended
    count.add(None if is_refused or is_later else f"status {status}: {said}")
    assert ended(first)[0] == 0
    assert weights(run) == weights(uninterrupted[0])
