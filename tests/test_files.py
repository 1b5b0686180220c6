"""Files and folders that are never half there, whatever comes in between."""

from __future__ import annotations

import pytest

from step_llm.runtime.files import new_folder, replacing


class Killed(BaseException):
    """What no ``except Exception`` catches."""


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_takes_the_place_of_another_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("old", encoding="utf-8")
    with replacing(path) as partial:
        partial.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
        assert partial.name.startswith(".run.json.partial-")  # what a kill leaves can be told
    assert path.read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["run.json"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, Killed])
def test_a_file_is_not_replaced_by_half_of_one(tmp_path, error):
    path = tmp_path / "run.json"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(error), replacing(path) as partial:  # noqa: PT012
        partial.write_text("ne", encoding="utf-8")
        raise error
    assert path.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["run.json"]


def test_a_folder_gets_its_name_at_the_end_of_the_block(tmp_path):
    folder = tmp_path / "runs" / "model"
    with new_folder(folder) as partial:
        (partial / "a").write_text("a", encoding="utf-8")
        assert not folder.exists()
    assert names(tmp_path) == ["a", "model", "runs"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, Killed])
def test_half_a_folder_is_taken_away(tmp_path, error):
    with pytest.raises(error), new_folder(tmp_path / "model") as partial:  # noqa: PT012
        (partial / "a").write_text("a", encoding="utf-8")
        raise error
    assert names(tmp_path) == []


def test_what_a_kill_left_of_a_folder_is_not_in_the_next_one(tmp_path):
    with new_folder(tmp_path / "probe") as partial:
        left = tmp_path / partial.name.replace("probe", "model")
    left.mkdir()
    (left / "old").touch()
    with new_folder(tmp_path / "model") as partial:
        assert partial == left
        (partial / "new").touch()
    assert names(tmp_path / "model") == ["new"]
