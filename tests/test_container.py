"""The Dockerfile and the devcontainer, read as far as that goes: nothing is built here."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def stages():
    """Stage: its instructions, as (word, the rest)."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found = {}
    for line in filter(None, map(str.strip, text.split("\n"))):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            image, name = re.fullmatch(r"(\S+) AS (\w+)", rest).groups()
            found[name] = [(word, image)]
        else:
            found[name].append((word, rest.strip()))
    return found


def test_the_image_is_the_official_one_of_a_supported_python(stages):
    (_, image), *_ = stages["base"]
    version = re.fullmatch(r"python:(3\.\d+)-slim-\w+", image).group(1)
    assert version in (ROOT / "tools" / "setup.sh").read_text(encoding="utf-8")
    assert stages["course"][0] == ("FROM", "base")


def test_nothing_runs_as_root(stages):
    users = [rest for word, rest in stages["base"] if word == "USER"]
    assert users == ["learner"]
    assert stages["base"][-1][0] == "USER"  # only the system's packages come before it
    assert not [rest for word, rest in stages["course"] if word == "USER"]
    copies = [rest for word, rest in stages["course"] if word == "COPY"]
    assert all(rest.startswith("--chown=learner:learner ") for rest in copies)
    for instructions in stages.values():
        assert not [rest for word, rest in instructions if word == "ADD" or "sudo" in rest]


def test_what_is_copied_is_there_and_makes_the_environment(stages):
    for rest in (rest for word, rest in stages["course"] if word == "COPY"):
        for pattern in rest.split()[1:-1]:
            assert pattern == "." or list(ROOT.glob(pattern))
    command = json.loads(stages["course"][-1][1])
    assert command[:2] == ["make", "lab"]
    assert "--ip=0.0.0.0" in command[2]


def test_what_is_the_learners_own_stays_out_of_the_image():
    """And everything else that git does not keep."""
    text = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    patterns = [line.strip("/") for line in text.split("\n") if line and line[0] != "#"]
    for path in (".git", ".venv", ".venv-golden", "data/multi30k", "data/models", "runs", "my"):
        assert any(fnmatch.fnmatch(path, pattern) for pattern in patterns), path
    for path in ("data/mini", "notebooks", "requirements.txt", "Makefile"):
        assert not any(fnmatch.fnmatch(path, pattern) for pattern in patterns), path


def test_the_devcontainer_is_of_that_file(stages):
    path = ROOT / ".devcontainer" / "devcontainer.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    build = settings["build"]
    assert (path.parent / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (path.parent / build["context"]).resolve() == ROOT
    assert build["target"] in stages
    assert ("USER", settings["remoteUser"]) in stages[build["target"]]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    target = settings["postCreateCommand"].removeprefix("make ")
    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    assert settings["forwardPorts"] == [8888]
