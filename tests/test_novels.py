"""The novels: their bytes, their splits, and the pieces that a language model reads."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from step_llm.data.arrays import stream_arrays
from step_llm.data.corpus import DataError
from step_llm.data.novels import NOVELS, read_novel

FOLDER = Path(__file__).resolve().parents[1] / "data" / "novels"


@pytest.mark.parametrize("name", NOVELS)
def test_the_readme_has_the_sum_of_the_file(name):
    readme = (FOLDER / "README.md").read_text("utf-8")
    row = re.search(rf"`{name}.txt`.*\| ([\d,]+) \| `(\w+)`", readme)
    content = (FOLDER / f"{name}.txt").read_bytes()
    assert hashlib.sha256(content).hexdigest() == row[2]
    assert len(content.split()) == int(row[1].replace(",", ""))


@pytest.mark.parametrize(
    ("name", "chapters", "begins"),
    [("pride_and_prejudice", 61, "It is a truth universally acknowledged"),
     ("emma", 55, "Emma Woodhouse, handsome, clever, and rich")],
)  # fmt: skip
def test_every_paragraph_is_in_one_split(name, chapters, begins):
    splits = {split: read_novel(name, split) for split in ("train", "val", "test")}
    assert splits["train"][0].startswith(begins)
    text = (FOLDER / f"{name}.txt").read_text("utf-8")
    _title, *bodies = re.split(r"^(?:Chapter|CHAPTER) .+$", text, flags=re.MULTILINE)
    assert len(bodies) == chapters
    expected = {"train": [], "val": [], "test": []}
    for number, body in enumerate(bodies, start=1):
        body = re.sub(r"^(VOLUME .+|FINIS|THE END)$", "", body, flags=re.MULTILINE)
        split = "val" if number % 10 == 5 else "test" if number % 10 == 0 else "train"
        expected[split] += body.replace("_", "").split()
    for split, paragraphs in splits.items():
        assert " ".join(paragraphs).split() == expected[split]
        assert all(line == " ".join(line.split()) for line in paragraphs)
    assert not set(splits["train"]) & {p for p in splits["test"] if len(p) > 60}


def test_what_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no novel 'persuasion'; expected one of pride_and"):
        read_novel("persuasion", "train")
    with pytest.raises(DataError, match="no split 'dev'; expected one of train"):
        read_novel("emma", "dev")
    monkeypatch.setenv("STEP_LLM_DATA", str(tmp_path))
    (tmp_path / "novels").mkdir()
    (tmp_path / "novels" / "emma.txt").write_text("no chapters here")
    with pytest.raises(DataError, match='no line such as "Chapter 1"'):
        read_novel("emma", "train")


def test_pieces_of_a_stream():
    inputs, labels = stream_arrays([[5, 6, 7], [8], [9, 10]], length=4, end_id=2)
    assert inputs.tolist() == [[5, 6, 7, 2], [8, 2, 9, 10]]
    assert labels.tolist() == [[6, 7, 2, 8], [2, 9, 10, 2]]
    inputs, labels = stream_arrays([[5, 6, 7], [8], [9]], length=4, end_id=2)
    assert labels.tolist() == [[6, 7, 2, 8], [2, 9, 2, 0]]
    assert inputs.dtype == labels.dtype == np.int32


@pytest.mark.parametrize("length", [1, 3, 7, 50])
def test_each_token_but_the_first_is_a_label_once(length):
    texts = [list(range(4, 4 + n)) for n in (3, 1, 9)]
    stream = [token for text in texts for token in [*text, 2]]
    inputs, labels = stream_arrays(texts, length, end_id=2)
    assert [t for t in labels.ravel() if t] == stream[1:]
    assert (labels.ravel()[:-1] == inputs.ravel()[1:]).all()


@pytest.mark.parametrize(
    ("texts", "length", "end", "message"),
    [([[5]], 0, 2, "length is 0"), ([], 4, 2, "hold 0 tokens"), ([[]], 4, 2, "hold 1 tokens"),
     ([[5]], 4, 0, "both 0; expected two")],
)  # fmt: skip
def test_a_stream_that_cannot_be_cut(texts, length, end, message):
    with pytest.raises(ValueError, match=message):
        stream_arrays(texts, length, end)
