"""Several processes make the update of one, end together when one dies, and go on as other many.

The jobs are real: `msrun` starts `python -m step_llm` (with a small preset, tests/small_job.py).
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, nn
from safetensors.numpy import load_file

from step_llm.data.arrays import ArrayBatches
from step_llm.training.distributed import Group, GroupError, fingerprint, join_group
from tests.support.msrun import end, environment, free_port, of_job, said, start

ROOT = Path(__file__).resolve().parents[1]
JOB = ROOT / "tests" / "small_job.py"
NOUNS = {"hund": "dog", "mann": "man", "junge": "boy", "könig": "king", "bär": "bear"}
VERBS = {"läuft": "runs", "sitzt": "sits", "singt": "sings", "schläft": "sleeps"}
ARTICLES = {"ein": "a", "der": "the", "jeder": "every", "kein": "no", "dieser": "this"}
slow = pytest.mark.slow


# ------------------------------------------------------------------------------- without msrun


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_the_shares_are_the_batch_and_all_of_one_shape(size):
    batch = np.arange(5 * 3).reshape(5, 3) + 1
    shares = [Group(rank, size).share(batch, pad_id=0) for rank in range(size)]
    assert {share.shape for share in shares} == {(-(-5 // size), 3)}
    rows = np.concatenate(shares)
    padding = ~rows.any(axis=1)
    assert padding.sum() == -5 % size
    np.testing.assert_array_equal(np.sort(rows[~padding], axis=0), batch)


def test_whatever_a_batch_holds_is_shared():
    labels, images = np.arange(5), np.arange(5 * 12).reshape(5, 3, 2, 2)
    for rank, rows in ((0, [0, 2, 4]), (1, [1, 3])):
        group = Group(rank, 2)
        share = group.share(labels, pad_id=-1)
        assert share.tolist() == [*rows, -1][:3]
        np.testing.assert_array_equal(group.share(images)[: len(rows)], images[rows])
        assert group.share(Tensor(images)).shape == (3, 3, 2, 2)
        np.testing.assert_array_equal(group.share(Tensor(labels), pad_id=-1).asnumpy(), share)
        assert group.share(0.5) == 0.5
    for value in (labels, Tensor(labels), 0.5):
        assert Group().share(value) is value


def test_a_process_on_its_own(monkeypatch):
    monkeypatch.delenv("MS_ROLE", raising=False)
    group = join_group()
    assert group == Group(0, 1)
    assert group.is_first
    numbers = np.array([0.1, 2.0**53 + 1])  # float64 stays float64
    np.testing.assert_array_equal(group.sum(numbers), numbers)
    np.testing.assert_array_equal(group.from_first(numbers), numbers)
    group.check_same("weights", 2**32 - 1)


def worker(rank, first):
    """A worker of two, whose partner gives the numbers ``first``."""
    group = Group(rank, 2)
    group.__dict__["_sum"] = lambda numbers: numbers + Tensor(np.float32(first))
    return group


def test_workers_that_do_not_fit_together():
    number = (7 << 16) + 9
    worker(1, [7, 9]).check_same("weights", number)
    with pytest.raises(GroupError, match="worker 1 of 2 has weights that worker 0 has not"):
        worker(1, [7, 8]).check_same("weights", number)
    worker(0, [0, 0]).check_same("weights", number)  # the first is right by definition
    np.testing.assert_array_equal(worker(1, [5, 6]).from_first(np.array([1, 2])), [5, 6])


def test_weights_go_to_all_workers_by_name_in_whatever_order_each_has_them():
    firsts = {"b": np.ones((2, 3), np.float32), "a": np.full(2, 7, np.float32)}
    sent = []
    first = worker(0, 0)
    first.__dict__["_sum"] = lambda numbers: sent.append(numbers.asnumpy()) or numbers
    first.weights_from_first(firsts)
    own = {"a": np.zeros(2, np.float32), "b": np.zeros((2, 3), np.float32)}
    for group, weights in ((worker(1, sent[0]), own), (Group(), firsts)):
        found = group.weights_from_first(weights)
        for name, value in firsts.items():
            np.testing.assert_array_equal(found[name], value)


def test_workers_on_other_data_weights_or_options_are_told_in_what():
    model = nn.Dense(2, 2)
    batches = ArrayBatches((np.arange(4.0), np.arange(4)), 2, seed=1)
    other = ArrayBatches((np.arange(4.0), np.arange(4)), 2, seed=2)
    told = []
    first = worker(0, 0)
    first.__dict__["_sum"] = lambda numbers: told.append(numbers.asnumpy()) or numbers
    first.check_job(batches, model, "options")

    def second(batches, model, options):
        group, firsts = Group(1, 2), iter(told)
        group.__dict__["_sum"] = lambda numbers: numbers + Tensor(next(firsts))
        group.check_job(batches, model, options)

    second(batches, model, "options")
    for what, job in (
        ("training data", (other, model, "options")),
        ("weights", (batches, nn.Dense(2, 2, weight_init="zeros"), "options")),
        ("options or a checkpoint", (batches, model, "others")),
    ):
        with pytest.raises(GroupError, match=f"worker 1 of 2 has {what} that worker 0 has not"):
            second(*job)
    Group().check_job(None, None, "alone, there is nothing to compare")


def test_a_fingerprint_sees_one_changed_value():
    arrays = [np.arange(6, dtype=np.int32).reshape(2, 3), np.ones(2, np.float32)]
    number = fingerprint(*arrays)
    assert 0 <= number < 2**32
    assert number == fingerprint(*[array.copy() for array in arrays])
    arrays[1][1] = np.nextafter(np.float32(1), np.float32(2))
    assert number != fingerprint(*arrays)


def test_a_job_that_cannot_meet_says_so(monkeypatch):
    import mindspore.communication as communication

    def alone():
        raise RuntimeError("Failed to connect\n to the scheduler")

    monkeypatch.setenv("MS_ROLE", "MS_WORKER")
    monkeypatch.setenv("MS_NODE_TIMEOUT", "7")
    monkeypatch.setattr(communication, "init", alone)
    with pytest.raises(GroupError, match=r"cannot meet: Failed to connect to the scheduler$"):
        join_group()
    assert os.environ["MS_NODE_TIMEOUT"] == "7"  # the user's own stays


# ---------------------------------------------------------------------------------- real jobs


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """100 sentences: with 5 of them a batch 20 updates an epoch, and no number of workers divides
    a batch. Each run has two epochs."""
    folder = tmp_path_factory.mktemp("corpus")
    pairs = [
        (f"{article} {noun} {verb} .", f"{ARTICLES[article]} {NOUNS[noun]} {VERBS[verb]} .")
        for article, noun, verb in itertools.product(ARTICLES, NOUNS, VERBS)
    ]
    for split, part in (("train", pairs), ("val", pairs[:7])):
        for language, side in zip(("de", "en"), zip(*part)):
            (folder / f"{split}.{language}").write_text("\n".join(side) + "\n", encoding="utf-8")
    return folder


def arguments(corpus, out, *more):
    return [
        str(JOB), "train", "--corpus", str(corpus), "--out", str(out), "--tokens", "word",
        "--preset", "tiny", "--batch-tokens", "64", "--dropout", "0", "--warmup-steps", "5",
        "--epochs", "2", "--seed", "3", *more,
    ]  # fmt: skip


def log_of(out):
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def train_alone(corpus, out, *more):
    done = subprocess.run(
        [sys.executable, *arguments(corpus, out, *more)],
        capture_output=True, text=True, timeout=300, env=environment(), cwd=corpus,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory):
    """40 updates by one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    train_alone(corpus, out)
    return out


def assert_same_weights(out, alone, step):
    name = f"checkpoints/step-{step:07d}/model.safetensors"
    expected, found = load_file(str(alone / name)), load_file(str(out / name))
    for name, value in expected.items():
        # A key's bias adds the same to all scores of a query, which softmax ignores: its gradient
        # is 0 but for rounding, and Adam makes full steps of that, to either side.
        if not name.endswith("key_projection.bias"):
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5, err_msg=name)


def assert_same_run(out, alone):
    """The weights after 20 and after 40 updates, and all that was logged: once, by one worker."""
    for step in (20, 40):
        assert_same_weights(out, alone, step)
    ours, theirs = log_of(out), log_of(alone)
    epoch = ["step"] * 20 + ["epoch"]
    assert [entry["event"] for entry in ours] == [*epoch, *epoch, "average"]
    assert [entry.get("step") for entry in ours] == [entry.get("step") for entry in theirs]
    for one, other in zip(ours, theirs):
        if one["event"] == "step":
            assert one["tokens"] == other["tokens"]
            assert one["loss"] == pytest.approx(other["loss"], abs=2e-5)
        else:
            assert one["validation_loss"] == pytest.approx(other["validation_loss"], abs=2e-4)
            assert one["validation_bleu"] == other["validation_bleu"]
    assert theirs[19]["loss"] < theirs[0]["loss"] - 0.5  # the updates have changed something


@slow
def test_two_processes_a_killed_one_and_fewer_that_go_on(corpus, alone, tmp_path):
    """20 updates by two are those of one. Then one of the two dies; the job ends within a minute,
    and one process in place of two goes on from the last checkpoint, in the middle of an epoch."""
    out, logs = tmp_path / "run", tmp_path / "logs"
    process = start(2, arguments(corpus, out, "--save-every", "25"), logs, DIES="1:28")
    try:
        deadline = time.monotonic() + 200
        while not (out / "checkpoints" / "step-0000025").exists():
            assert process.poll() is None, said(logs)
            assert time.monotonic() < deadline, said(logs)
            time.sleep(0.2)
        reached = time.monotonic()  # update 28 follows within a second
        assert process.wait(timeout=60) != 0
        assert "Distributed job exited with exception" in said(logs)
        while of_job(logs):
            assert time.monotonic() - reached < 60, said(logs)
            time.sleep(0.2)
    finally:
        end(logs)
    assert_same_weights(out, alone, 20)
    first, second = ((logs / f"worker_{n}.log").read_text(errors="replace") for n in (0, 1))
    assert "2 workers; each takes its share" in first
    assert "epoch" not in second
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["last"].endswith("-0000025")
    said_again = train_alone(corpus, out, "--resume", "--save-every", "25")
    assert "going on after step 25" in said_again
    assert_same_run(out, alone)


# -------------------------------------------------------------------------------- two machines


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True)


@pytest.fixture
def machines():
    """Two network namespaces with an address each, joined by a virtual cable; or why there can be
    none here."""
    names, why = [f"step{os.getpid()}{side}" for side in "ab"], ""
    if shutil.which("ip") is None:
        why = "iproute2 is not installed"
    else:
        made = ip("netns", "add", names[0])
        why = made.stderr.strip() if made.returncode else ""
    if why:
        yield [], why
        return
    try:
        for words in (
            f"netns add {names[1]}",
            f"link add name veth0 netns {names[0]} type veth peer name veth0 netns {names[1]}",
            *(f"-n {name} addr add 10.77.0.{n}/24 dev veth0" for n, name in enumerate(names, 1)),
            *(f"-n {name} link set {link} up" for name in names for link in ("lo", "veth0")),
        ):
            done = ip(*words.split())
            assert done.returncode == 0, (words, done.stderr)
        yield names, ""
    finally:
        for name in names:
            ip("netns", "del", name)


def four_processes(names, corpus, alone, folder):
    """The run folder and the logs of a job that goes on after ``alone``'s 20 updates.

    In place of the logs None, if the workers did all their work and MindSpore's scheduler then took
    one of them for dead: seen once, when the scheduler got no sign of a worker for 200 s, though
    that worker had taken part in every sum.
    """
    out, port, jobs = folder / "run", free_port(), []
    shutil.copytree(alone, out)
    run = {"last": "checkpoints/step-0000020", "best": "checkpoints/step-0000020"}
    (out / "run.json").write_text(json.dumps(run), encoding="utf-8")
    for newer in ("step-0000040", "average-0000040"):
        shutil.rmtree(out / "checkpoints" / newer)
    job = arguments(corpus, out, "--resume")
    logs = [folder / f"machine{rank}" for rank in range(len(names) or 1)]
    patient = {"MS_NODE_TIMEOUT": "200"}  # on a busy machine a silent worker need not be dead
    try:
        for rank, name in enumerate(names):
            options = (
                "--local_worker_num=2", f"--node_rank={rank}",
                "--master_addr=10.77.0.1", f"--master_port={port}",
            )  # fmt: skip
            prefix = ("ip", "netns", "exec", name)
            jobs.append(start(4, job, logs[rank], prefix, options, **patient))
        if not names:
            jobs.append(start(4, job, logs[0], **patient))
        deadline = time.monotonic() + 300
        try:
            ends = [process.wait(timeout=deadline - time.monotonic()) for process in jobs]
        except subprocess.TimeoutExpired:
            pytest.fail("no end after 300 s:\n" + "\n".join(map(said, logs)))
    finally:
        for its_logs in logs:
            end(its_logs)
    if any(ends):
        everything = "\n".join(map(said, logs))
        if "is timed out" not in everything or "\ndone: " not in everything:
            pytest.fail(everything)
        warnings.warn(f"MindSpore's scheduler lost sight of a worker:\n{everything}", stacklevel=2)
        return out, None
    return out, logs


@slow
def test_four_processes_on_two_machines_go_on_where_one_stood(machines, corpus, alone, tmp_path):
    """Their 20 updates are those of the one process. Each of two namespaces has an msrun with two
    workers; they reach each other only through their addresses."""
    names, why = machines
    out, logs = four_processes(names, corpus, alone, tmp_path / "first")
    if logs is None:
        assert_same_run(out, alone)
        out, logs = four_processes(names, corpus, alone, tmp_path / "second")
        assert logs is not None, "a worker was lost sight of twice"
    assert_same_run(out, alone)
    paths = [path for its_logs in logs for path in sorted(its_logs.glob("worker_*.log"))]
    first, *others = (path.read_text(errors="replace") for path in paths)
    assert "4 workers; each takes its share" in first
    assert "going on after step 20" in first
    assert "done: " in first
    assert len(others) == 3
    assert not any("best checkpoint" in other for other in others)
    if why:
        pytest.skip(f"no network namespaces ({why}); four processes of one machine were equal")
    assert (logs[0] / "scheduler.log").exists()
    assert not (logs[1] / "scheduler.log").exists()
