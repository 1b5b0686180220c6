"""What runs the checks: the Makefile, on paths as people have them, and GitHub's workflow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "checks.yml"
LESSONS = {path.name.split("_")[0] for path in (ROOT / "notebooks").glob("*.ipynb")}


# ------------------------------------------------------------------------------------ the Makefile


@pytest.fixture(params=["plain", "Ada's course", "x';touch PWN;'", "a $(touch PWN) b", 'a"b'])
def tree(request, tmp_path):
    """A checkout in a folder of that name, whose Python writes down what it is called with."""
    folder = tmp_path / request.param
    recorder = f"#!/bin/sh\nprintf '%s\\n' \"$MULTI30K_MIRROR\" \"$@\" >>'{tmp_path}/called'\n"
    scripts = {
        ".venv/bin/python": recorder,
        "tools/setup.sh": f"#!/bin/sh\nprintf '%s\\n' \"$PYTHON\" >>'{tmp_path}/setup'\n",
    }
    for name, text in scripts.items():
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    shutil.copy(ROOT / "Makefile", folder)
    (tmp_path / "shared" / "multi30k").mkdir(parents=True)
    return folder


def make(tree, *arguments):
    # These tests run under make themselves, which hands its variables on.
    ours = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MULTI30K_MIRROR", "PYTHON")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    command = ["make", *arguments]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(tree.parent.rglob("PWN"))
    called = tree.parent / "called"
    return called.read_text(encoding="utf-8").splitlines() if called.exists() else []


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.skipif(sys.platform == "win32", reason="the Makefile is for POSIX systems")
def test_no_name_of_a_folder_is_taken_for_a_command(tree):
    assert f"--ServerApp.root_dir={tree}" in make(tree, "lab")
    assert str(tree.parent / "shared" / "multi30k") in make(tree, "test")
    make(tree, "setup", "PYTHON=/opt/Ada's python/bin/python")
    asked = (tree.parent / "setup").read_text(encoding="utf-8").splitlines()
    assert asked[-1] == "/opt/Ada's python/bin/python"


# ----------------------------------------------------------------------------- GitHub's workflow


@pytest.fixture(scope="module")
def workflow():
    content = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    content["on"] = content.pop(True)  # YAML 1.1 reads the word so, and GitHub knows it
    return content


def commands(job):
    return "\n".join(step.get("run", "") for step in job["steps"])


def variants(job):
    matrix = dict(job.get("strategy", {}).get("matrix", {}))
    return matrix.pop("include", None) or [
        {name: value} for name, values in matrix.items() for value in values
    ]


def test_every_job_can_be_run_and_ends(workflow):
    for name, job in workflow["jobs"].items():
        assert job["runs-on"], name
        assert 0 < job["timeout-minutes"] <= 60, name
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), name
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/none@v0"))
        used = set(re.findall(r"matrix\.(\w+)", str(job)))
        assert all(used <= set(variant) for variant in variants(job)), name


def test_every_target_is_one_of_the_makefile(workflow):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    called = set(re.findall(r"\bmake ([a-z-]+)", WORKFLOW.read_text(encoding="utf-8")))
    assert called >= {"lab", "test-library", "test-lessons", "test-oldest", "test-golden"}
    assert called <= targets


def test_the_other_systems_do_what_a_learner_there_does(workflow):
    said = commands(workflow["jobs"]["unproven"])
    called = re.findall(r"^python tools/make\.py (\S+)(.*)$", said, flags=re.MULTILINE)
    assert [target for target, _ in called] == ["setup", "test-unit", "test-lessons"]
    lessons = called[-1][1].split()
    assert len(lessons) == 2
    assert all((ROOT / lesson).is_file() for lesson in lessons)


def test_every_lesson_is_run_and_once(workflow):
    groups = [variant["lessons"].split() for variant in variants(workflow["jobs"]["lessons"])]
    numbers = [number for group in groups for number in group]
    assert sorted(numbers) == sorted(LESSONS)
    assert ["04", "05", "06"] in groups  # one takes the other's model


def test_oldest_and_newest_python(workflow):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    oldest, beyond = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', text).groups()
    pythons = {v["python"]: v["command"] for v in variants(workflow["jobs"]["library"])}
    assert pythons == {
        f"3.{oldest}": "make test-oldest",
        f"3.{int(beyond) - 1}": "make test-library",
    }


def test_only_what_is_called_unproven_may_fail(workflow):
    lenient = {name for name, job in workflow["jobs"].items() if job.get("continue-on-error")}
    assert lenient == {"unproven"}
    systems = {variant["system"] for variant in variants(workflow["jobs"]["unproven"])}
    assert systems == {"macos-latest", "windows-latest"}
    assert "unproven" in workflow["jobs"]["unproven"]["name"]


def test_the_schedule_computes_the_golden_values_again(workflow):
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", workflow["on"]["schedule"][0]["cron"])
    assert "schedule" in workflow["jobs"]["golden"]["if"]
    assert "make test-golden" in commands(workflow["jobs"]["golden"])
    # What runs at every push runs then too.
    assert "schedule" in workflow["jobs"]["devices"]["if"]
    for command in ("make test-ascend", "make test-gpu"):
        assert command in commands(workflow["jobs"]["devices"])
    rare = ("golden", "devices")
    assert all("if" not in job for name, job in workflow["jobs"].items() if name not in rare)


def test_the_downloads_are_kept_between_runs(workflow):
    for name, job in workflow["jobs"].items():
        (setup,) = (s for s in job["steps"] if s.get("uses", "").startswith("actions/setup-python"))
        assert setup["with"]["cache"] == "pip", name
        assert list(ROOT.glob(setup["with"]["cache-dependency-path"])), name


# ----------------------------------------------------------------------------- the shell scripts

SCRIPTS = ("data/fetch_multi30k.sh", "tools/setup.sh", ".ci/run")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck")
def test_the_linter_of_shell_scripts_is_content():
    done = subprocess.run(
        ["shellcheck", "--external-sources", *SCRIPTS], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_a_shell_script_can_be_read_in_one_go():
    for path in [*ROOT.glob("data/*.sh"), *ROOT.glob("tools/*.sh")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 250, path
