"""A task on OpenI, with the platform's own package c2net, which can be driven anywhere in its MOUNT
mode: its environment variables say where the folders are."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from step_llm.cli import check, evaluate, fetch, resume, train
from step_llm.cli import commands as cli
from step_llm.cli.parser import make_parser
from step_llm.runtime import openi
from step_llm.runtime.openi import OpenIError, Task, find_task
from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("CODE", "DATASET", "PRETRAIN_MODEL", "OUTPUT")


@pytest.fixture
def task(tmp_path, monkeypatch):
    """Makes this process a task; returns its folder."""
    monkeypatch.setenv("DATA_DOWNLOAD_METHOD", "MOUNT")
    for name in FOLDERS:
        monkeypatch.setenv(f"LOCAL_{name}_PATH", str(tmp_path / name.lower()))
    monkeypatch.delenv("MULTI30K_MIRROR", raising=False)
    return tmp_path


def mount(task, *path, content=b"x"):
    file = task.joinpath("dataset", *path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file.parent


def test_outside_of_the_platform_nothing_is_asked(monkeypatch):
    monkeypatch.delenv("DATA_DOWNLOAD_METHOD", raising=False)
    monkeypatch.setitem(sys.modules, "c2net.context", None)  # importing it would fail
    assert find_task() is None
    monkeypatch.setenv("DATA_DOWNLOAD_METHOD", "")
    assert find_task() is None


def test_c2net_knows_the_folders(task, capsys):
    mount(task, "multi30k", "train.de")
    found = find_task()
    assert found == Task(task / "dataset", task / "output")
    assert found.output.is_dir()  # c2net makes it
    found.upload()
    assert capsys.readouterr().out == ""  # its banner is kept away


def test_without_the_package_a_note_says_what_is_missing(task, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "c2net.context", None)
    assert find_task() is None
    assert "pip install c2net" in capsys.readouterr().err


def test_what_c2net_refuses_is_told_in_one_line(task, monkeypatch):
    monkeypatch.delenv("LOCAL_OUTPUT_PATH")
    with pytest.raises(OpenIError, match=r"LOCAL_OUTPUT_PATH.*; unset DATA_DOWNLOAD_METHOD to"):
        find_task()
    monkeypatch.setenv("DATA_DOWNLOAD_METHOD", "PIGEON")
    with pytest.raises(OpenIError, match="Unknown data download method: PIGEON"):
        find_task()


@pytest.mark.parametrize(
    "path",
    [
        ("train.de",),
        ("multi30k", "train.de.gz"),
        ("multi30k", "multi30k-master", "data", "task1", "raw", "train.de.gz"),
        ("a", "b", "c", "training.tar.gz"),
    ],
)
def test_a_mounted_data_set_is_found(task, path):
    assert find_task().multi30k() is None
    mount(task, "another", "pictures", "1.png")
    folder = mount(task, *path)
    found = find_task().multi30k()
    if "raw" in path:
        # Either folder is a mirror: the script knows both layouts.
        assert found in (folder, folder.parents[2])
    else:
        assert found == folder


def test_run_folders_lie_in_the_output(task):
    found = find_task()
    assert found.run_folder("runs/a", is_new=True) == task / "output" / "runs" / "a"
    assert found.run_folder("runs/a") == Path("runs/a")  # not trained here: as the user says
    (task / "output" / "runs" / "a").mkdir(parents=True)
    assert found.run_folder("runs/a") == task / "output" / "runs" / "a"
    assert found.run_folder("/tmp/a", is_new=True) == Path("/tmp/a")


def test_fetch_takes_the_mounted_data_set_as_its_mirror(task, monkeypatch):
    folder = mount(task, "multi30k", "train.de.gz", content=b"")
    asked = []

    def run(command, **options):
        asked.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(fetch, "subprocess", SimpleNamespace(run=run))  # c2net needs the real one
    assert cli.main(["fetch", "--out", str(task / "texts")]) == 0
    assert asked[0][-2:] == ["--mirror", str(folder)]
    assert cli.main(["fetch", "--mirror", "/elsewhere"]) == 0
    assert asked[1][-2:] == ["--mirror", "/elsewhere"]
    monkeypatch.setenv("MULTI30K_MIRROR", "http://mirror")
    assert cli.main(["fetch"]) == 0
    assert "--mirror" not in asked[2]  # the script reads the variable itself


def test_commands_read_and_write_in_the_output_folder(task, monkeypatch):
    given = {}
    for module in (train, resume, evaluate, check):
        monkeypatch.setattr(module, "run", lambda options: given.update({options.command: options}))
    assert cli.main(["train", "--corpus", "mini", "--out", "runs/first"]) == 0
    assert given["train"].out == str(task / "output" / "runs" / "first")
    Path(given["train"].out).mkdir(parents=True)
    assert cli.main(["evaluate", "runs/first"]) == 0
    assert given["evaluate"].folder == given["train"].out
    assert cli.main(["resume", "runs/first"]) == 0
    assert given["resume"].folder == given["train"].out
    assert cli.main(["check"]) == 0
    assert given["check"].out == str(task / "output" / "runs" / "check.md")
    assert given["check"].task == Task(task / "dataset", task / "output")


@pytest.mark.slow
def test_a_training_run_ends_in_an_upload(task, monkeypatch):
    """Also one that fails: its checkpoints are worth keeping."""
    from step_llm.models import config
    from step_llm.training.trainer import Trainer

    monkeypatch.setitem(config.PRESETS, "tiny", (8, 1, 1, 8, 1))
    uploads = []
    monkeypatch.setattr(openi.Task, "upload", lambda self: uploads.append(self.output))
    fits = iter([None, RuntimeError("the power has gone")])

    def fit(self):
        (self.folder / "made").touch()
        outcome = next(fits)
        if outcome:
            raise outcome

    monkeypatch.setattr(Trainer, "fit", fit)
    words = ["train", "--corpus", "mini", "--preset", "tiny", "--out"]
    assert cli.main([*words, "runs/a"]) == 0
    assert cli.main([*words, "runs/b"]) == 2
    assert uploads == [task / "output"] * 2
    assert (task / "output" / "runs" / "a" / "made").exists()
    assert (task / "output" / "runs" / "b" / "made").exists()


# ------------------------------------------------------------------------------ the boot file


@pytest.fixture
def boot():
    return load_script(ROOT / "tools" / "openi_task.py")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("", "train --corpus=multi30k --out=runs/task"),
        ("--corpus=mini --data_url=/x --train_url=/y", "train --out=runs/task --corpus=mini"),
        ("--command=check --num_gpus=1", "check"),
        ("--epochs=2 --resume", "train --corpus=multi30k --out=runs/task --epochs=2 --resume"),
    ],
)
def test_a_tasks_parameters_are_options_of_a_command(boot, parameters, expected):
    words = boot.words_of(parameters.split())
    assert words == expected.split()
    assert make_parser().parse_args(words).command == words[0]


def test_a_task_keeps_the_images_mindspore(boot, monkeypatch):
    called = []
    monkeypatch.setattr(boot.subprocess, "call", lambda command, **_: called.append(command) or 0)
    monkeypatch.setattr(sys, "argv", ["openi_task.py", "--command=info"])
    assert boot.main() == 0
    pip, program = called
    assert not [word for word in pip if "mindspore" in word]
    assert [word for word in pip if word.startswith(("numpy>=", "c2net>="))]
    assert program[1:] == ["-m", "step_llm", "info"]
