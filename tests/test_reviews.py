"""The rated sentences of reviews: the file is what it says, and no review is in two splits."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from step_llm import read_reviews
from step_llm.data.corpus import DataError
from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "data" / "reviews"
SPLITS = ("train", "val", "test")

make_reviews = load_script(ROOT / "data" / "make_reviews.py")


def test_the_file_is_the_one_that_its_readme_names():
    content = (FOLDER / "reviews.tsv").read_bytes()
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(content).hexdigest() in readme
    assert content.count(b"\n") == 3708
    assert "MIT License" in (FOLDER / "LICENSE.txt").read_text(encoding="utf-8")


def test_the_file_is_what_the_command_makes_of_the_distribution():
    """Where the source is at hand: VADER_SDIST names it."""
    named = os.environ.get("VADER_SDIST")
    if not named:
        pytest.skip("VADER_SDIST does not name the source distribution of vaderSentiment 3.3.2")
    source = Path(named)
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(source.read_bytes()).hexdigest() in readme
    assert make_reviews.extract(source) == (FOLDER / "reviews.tsv").read_bytes()


def archive(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_the_command_changes_the_ends_of_lines_alone(tmp_path):
    inner = archive({f"h/{make_reviews.MEMBER}": b"1_1\t-0.9\ta b \r\n1_2\t1\tc"})
    path = tmp_path / "v.tar.gz"
    path.write_bytes(archive({f"v-1/{make_reviews.ARCHIVE}": inner}))
    assert make_reviews.extract(path) == b"1_1\t-0.9\ta b \n1_2\t1\tc\n"
    path.write_bytes(archive({"v-1/other": inner}))
    with pytest.raises(ValueError, match="holds 0 files additional_resources"):
        make_reviews.extract(path)
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="is no archive"):
        make_reviews.extract(path)


def test_the_splits():
    parts = {split: read_reviews(split) for split in SPLITS}
    counts = {s: (len(p.texts), int(p.labels.sum()), len(set(p.reviews))) for s, p in parts.items()}
    assert counts == {"train": (1868, 1073, 181), "val": (524, 327, 59), "test": (593, 350, 58)}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not set(parts[one].reviews) & set(parts[other].reviews)
    for part in parts.values():
        assert len(part.texts) == len(part.ratings) == len(part.labels) == len(part.reviews)
        assert np.array_equal(part.labels, part.ratings > 0)
        assert np.abs(part.ratings).min() >= 0.5
    test = parts["test"]
    assert (test.texts[0][:26], test.ratings[0], test.reviews[0]) == (
        "has destroyed several of m", np.float32(-2.75), 5
    )  # fmt: skip
    assert len(read_reviews("test", least=2).texts) < 593


LINES = "1_1\t1.5\tgood\n2_1\t-1.5\tbad\n2_2\t2\tfine\n5_1\t0.1\tso so\n"


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "own.tsv"
    path.write_text(LINES.replace("\n", "\r\n"), encoding="utf-8", newline="")
    assert read_reviews("train", path).texts == ("bad", "fine")
    with pytest.raises(DataError, match=r"the split 'val' has 1 sentences rated beyond ±0.5"):
        read_reviews("val", path)
    with pytest.raises(DataError, match=r"the split 'test' has 0 sentences"):
        read_reviews("test", path)


@pytest.mark.parametrize(
    "line",
    [
        "", "3_1\t1", "3_1\t1\ta\tb", "3\t1\ta", "3_1\tone\ta", "3_1\tnan\ta", "3_1\t4.5\ta",
        "3_1\t1\t ",
    ],
)  # fmt: skip
def test_a_line_of_another_layout_is_named(tmp_path, line):
    path = tmp_path / "own.tsv"
    path.write_text(f"{LINES}{line}\n6_1\t1\tgood\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"own.tsv, line 5: expected three parts between tabs"):
        read_reviews("train", path)


def test_what_cannot_be_read(tmp_path):
    path = tmp_path / "own.tsv"
    with pytest.raises(DataError, match=re.escape(f"there is no file {path}")):
        read_reviews("train", path)
    path.write_bytes(b"2_1\t1\tgut\n2_2\t-1\t\xfcbel\n")
    with pytest.raises(DataError, match="line 2: not UTF-8"):
        read_reviews("train", path)
    with pytest.raises(ValueError, match="split is 'dev'; expected train, val or test"):
        read_reviews("dev")
    with pytest.raises(ValueError, match="least is 0; expected a number above 0"):
        read_reviews("train", least=0)
