"""A run folder removes what its own run made and no longer needs, and nothing else."""

from __future__ import annotations

import json
import os

import pytest

from step_llm.models.weights import CheckpointError
from step_llm.training.run_folder import RunFolder, read_run, write_run


def checkpoint(folder, name, run):
    """A folder as ``save_checkpoint`` makes one, as far as a run folder looks at it."""
    path = folder / "checkpoints" / name
    path.mkdir(parents=True)
    (path / "model.safetensors").write_text("weights", encoding="utf-8")
    if run is not None:
        (path / "state.json").write_text(json.dumps({"run": run}), encoding="utf-8")
    return path


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.fixture
def begun(tmp_path):
    """A run folder with its name in run.json."""
    folder = RunFolder(tmp_path / "run")
    folder.make()
    return folder, folder.begin(is_new=True)


def test_what_this_run_made_and_needs_no_more_is_removed(begun):
    folder, run = begun
    paths = {
        name: checkpoint(folder.path, name, run)
        for name in ("step-0000002", "step-0000003", "step-0000004", "step-12345678",
                     "average-0000003", "average-0000004")
    }  # fmt: skip
    write_run(
        folder.path,
        {"run": run, "last": "checkpoints/step-0000004", "best": "checkpoints/average-0000003"},
    )
    folder.remove_others([paths["step-0000003"]])
    assert names(folder.path) == ["average-0000003", "step-0000003", "step-0000004"]


@pytest.mark.parametrize(
    ("name", "marker"),
    [
        ("mine", "own"),
        ("step-2", "own"),
        ("step-0000002-copy", "own"),
        ("best", "own"),
        ("average", "own"),
        (".step-0000002.partial-7.zip", "own"),
        (".mine.partial-7", "own"),
        (".git", None),
        ("step-0000002", None),
        ("step-0000002", "another"),
        ("step-0000002", 5),
    ],
)
def test_what_is_not_provably_this_runs_stays(begun, name, marker):
    folder, run = begun
    path = checkpoint(folder.path, name, run if marker == "own" else marker)
    folder.remove_others([])
    assert (path / "model.safetensors").read_text(encoding="utf-8") == "weights"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '["run"]'])
def test_a_marker_that_cannot_be_read_proves_nothing(begun, text):
    folder, _ = begun
    path = checkpoint(folder.path, "step-0000002", None)
    (path / "state.json").write_text(text, encoding="utf-8")
    folder.remove_others([])
    assert names(folder.path) == ["step-0000002"]


@pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX systems")
def test_links_and_pipes_stay(begun, tmp_path):
    folder, run = begun
    elsewhere = checkpoint(tmp_path / "elsewhere", "step-0000002", run)
    (folder.path / "checkpoints").mkdir()
    (folder.path / "checkpoints" / "step-0000002").symlink_to(elsewhere)
    (folder.path / "checkpoints" / ".step-0000003.partial-7").symlink_to(elsewhere)
    linked = checkpoint(folder.path, "step-0000004", None)
    (linked / "state.json").symlink_to(elsewhere / "state.json")
    os.mkfifo(checkpoint(folder.path, "step-0000005", None) / "state.json")
    before = names(folder.path)
    folder.remove_others([])
    assert names(folder.path) == before
    assert (elsewhere / "state.json").exists()


def test_what_a_kill_left_is_removed_by_the_names_that_we_make(begun):
    folder, _ = begun
    ours = (
        ".run.json.partial-7", ".log.jsonl.partial-7", ".history.png.partial-7",
        ".log.partial-7", ".history.partial-7.png", ".probe-7",  # an older version's
    )  # fmt: skip
    others = (".env", ".log.partial-x", ".notes.partial-7", ".probe-mine", ".history.partial-7")
    for name in (*ours, *others):
        (folder.path / name).write_text("", encoding="utf-8")
    for name in (".step-0000002.partial-7", ".average-0000002.old-7"):
        checkpoint(folder.path, name, None)
    folder.remove_others([])
    assert names(folder.path) == []
    assert sorted(p.name for p in folder.path.glob(".*")) == sorted(others)


def test_killed_while_it_removes_a_checkpoint_there_is_never_half_of_one(begun, monkeypatch):
    folder, run = begun
    checkpoint(folder.path, "step-0000002", run)
    monkeypatch.setattr("shutil.rmtree", lambda path, **_: None)
    folder.remove_others([])
    assert [name.split("-")[:2] for name in names(folder.path)] == [[".step", "0000002.old"]]
    monkeypatch.undo()
    folder.remove_others([])
    assert names(folder.path) == []


@pytest.mark.parametrize("run", [None, "{}", "dangling"])
def test_checkpoints_of_which_nothing_tells_are_refused(tmp_path, run):
    """Without run.json a training would start over, and take them for its own."""
    path = checkpoint(tmp_path, "step-0000002", "a run")
    if run == "dangling":
        (tmp_path / "run.json").symlink_to(tmp_path / "gone.json")
    elif run is not None:
        (tmp_path / "run.json").write_text(run, encoding="utf-8")
    folder = RunFolder(tmp_path)
    for act in (folder.make, lambda: folder.begin(is_new=True)):
        with pytest.raises(CheckpointError, match=r"checkpoints is not empty, and no .*run\.json"):
            act()
    folder.remove_others([])  # even so
    assert path.exists()


def test_a_linked_folder_of_checkpoints_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="checkpoints is a link; expected a folder"):
        RunFolder(tmp_path / "run").make()


def test_an_empty_name_is_refused():
    with pytest.raises(CheckpointError, match="the run folder's name is empty; name a folder"):
        RunFolder("")


def test_a_run_keeps_its_name_and_an_older_one_gets_one(begun, tmp_path):
    folder, run = begun
    assert folder.begin(is_new=True) == run  # killed before its first checkpoint
    write_run(folder.path, {"run": run, "last": "checkpoints/a"})
    assert folder.begin(is_new=False) == run
    with pytest.raises(CheckpointError, match="already holds a training run; go on with it"):
        folder.begin(is_new=True)
    other = RunFolder(tmp_path / "other")
    other.make()
    write_run(other.path, {"last": "checkpoints/a"})
    name = other.begin(is_new=False)
    assert read_run(other.path) == {"run": name, "last": "checkpoints/a"}
    assert name != run
