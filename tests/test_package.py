"""The package as pip installs it: whole, and used from a folder that is no checkout.

A source distribution is built from a copy of the project, the wheel from that, and the wheel is
unpacked into a folder of its own, which is all that the programs below find of step_llm.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from step_llm.cli import check_forms
from step_llm.runtime.device import use_device
from step_llm.training.precision import PRECISIONS

ROOT = Path(__file__).resolve().parents[1]
SPLITS = ("train", "val", "test")
TEXTS = {
    f"{split}.{language}": f"{split} {language}\n"
    for split in SPLITS
    for language in "de en".split()
}


def run(*command, **options):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True, text=True, encoding="utf-8", timeout=600, **options,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    """The environment of a process that has setuptools: this one's may be missing, or old."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        if int(metadata.version("setuptools").split(".")[0]) >= 77:
            return kept
    except metadata.PackageNotFoundError:
        pass
    folder = tmp_path_factory.mktemp("setuptools")
    run("-m", "pip", "install", "--quiet", "--target", folder, "setuptools>=77", env=kept)
    return {**kept, "PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def wheel(builder, tmp_path_factory):
    """A wheel from the source distribution of a copy of what git would give."""
    folder = tmp_path_factory.mktemp("project")
    tree = folder / "tree"
    ignored = shutil.ignore_patterns("__pycache__", "multi30k", "runs", ".*", "*.egg-info", "build")
    shutil.copytree(ROOT, tree, ignore=ignored)
    (tree / "data" / "multi30k").mkdir()
    (tree / "data" / "multi30k" / "train.de").write_text("not to be given away", encoding="utf-8")
    program = "from setuptools import build_meta; print(build_meta.build_sdist('..'))"
    name = run("-c", program, cwd=tree, env=builder).split()[-1]
    with tarfile.open(folder / name) as archive:
        names = archive.getnames()
    assert not [name for name in names if "multi30k/" in name or "__pycache__" in name]
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    run("-m", "pip", "wheel", *options, folder / name, env=builder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    run("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", folder, wheel)
    return folder


@pytest.fixture
def elsewhere(site, tmp_path, monkeypatch):
    """Where a learner starts programs: a folder without a checkout, and a home of their own."""
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    home.mkdir()
    for name in ("STEP_LLM_DATA", "XDG_CACHE_HOME", "MULTI30K_MIRROR", "GLOG_v"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MULTI30K_SOURCES", "")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.chdir(here)
    return tmp_path


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_wheel_has_what_is_needed_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        (points,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "step_llm = step_llm.__main__:main" in archive.read(points).decode()
    own = (".py", ".html", ".json")  # modules, the attention explorer's page, hints and tables
    modules = {f"step_llm/{name}" for name in files(ROOT / "step_llm") if name.endswith(own)}
    data = {f"data/mini/{name}" for name in files(ROOT / "data" / "mini")}
    data |= {"data/fetch_multi30k.sh", "data/download.sh", "data/multi30k.sha256"}
    data |= {"data/multi30k.sources", "data/novels/README.md"}
    data |= {f"data/novels/{path.name}" for path in (ROOT / "data" / "novels").glob("*.txt")}
    for folder in ("reviews", "translator"):
        data |= {f"data/{folder}/{name}" for name in files(ROOT / "data" / folder)}
    golden = {f"tests/golden/{path.name}" for path in (ROOT / "tests" / "golden").glob("*.npz")}
    assert len(golden) >= 13
    shipped = {f"step_llm/_shipped/{name}" for name in data | golden}
    assert {name for name in names if ".dist-info/" not in name} == modules | shipped


def test_help_and_version(elsewhere):
    assert "resume" in run("-m", "step_llm", "--help")
    assert re.fullmatch(r"step_llm \d+\.\d+\.\d+\n", run("-m", "step_llm", "--version"))
    assert "~/.cache/step_llm" in run("-m", "step_llm", "fetch", "--help")


def test_where_things_are(elsewhere, site):
    """What came with the package, inside it; what is made, never there."""
    program = (
        "import json, step_llm\n"
        "from step_llm.course.lesson import run_folder\n"
        "text = step_llm.read_parallel(step_llm.corpus_folder('mini'), 'train')\n"
        "places = [step_llm.__file__, step_llm.corpus_folder('mini'),\n"
        "          step_llm.corpus_folder('multi30k'), run_folder('lesson').parent]\n"
        "print(json.dumps([len(text), *map(str, places)]))\n"
    )
    lines, package, mini, multi30k, runs = json.loads(run("-c", program).splitlines()[-1])
    assert lines == 10_000
    novel = "import step_llm; print(step_llm.read_novel('emma', 'train')[0][:14])"
    assert run("-c", novel) == "Emma Woodhouse\n"
    assert Path(package) == site / "step_llm" / "__init__.py"
    assert Path(mini).is_relative_to(site)
    assert Path(multi30k) == elsewhere / "home" / ".cache" / "step_llm" / "multi30k"
    assert Path(runs) == elsewhere / "here" / "runs"


@pytest.mark.skipif(shutil.which("bash") is None, reason="the fetcher is a bash script")
def test_what_is_fetched_goes_to_the_users_cache(elsewhere, site, monkeypatch):
    copy, mirror = elsewhere / "site", elsewhere / "mirror"
    shutil.copytree(site, copy)
    mirror.mkdir()
    sums = ""
    for name, text in TEXTS.items():
        (mirror / name).write_bytes(text.encode())
        sums += f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n"
    # The real texts are not at hand everywhere; six small ones with their own sums stand for them.
    (copy / "step_llm" / "_shipped" / "data" / "multi30k.sha256").write_bytes(sums.encode())
    monkeypatch.setenv("PYTHONPATH", str(copy))
    before = files(copy)
    fetch = ("-m", "step_llm", "fetch", "--mirror", mirror)
    for folder in ("home/.cache/step_llm", "named"):
        run(*fetch)
        assert (elsewhere / folder / "multi30k" / "test.en").read_text() == TEXTS["test.en"]
        monkeypatch.setenv("STEP_LLM_DATA", str(elsewhere / "named"))
    told = run("-m", "step_llm", "info")
    assert f"corpus multi30k: {elsewhere / 'named' / 'multi30k'}\n" in told
    assert f"corpus mini: {copy / 'step_llm' / '_shipped' / 'data' / 'mini'}\n" in told
    assert {name for name in files(copy) if "__pycache__" not in name} <= before


@pytest.mark.slow
def test_the_whole_check_passes_where_it_is_installed(elsewhere):
    done = subprocess.run(
        [sys.executable, "-m", "step_llm", "check", "--out", "new/report.md"],
        capture_output=True, text=True, encoding="utf-8", timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = (elsewhere / "here" / "new" / "report.md").read_text(encoding="utf-8")
    assert report in done.stdout
    parts = 4 + len(PRECISIONS) + len(check_forms.checks(1e-5))
    assert "FAIL" not in report
    assert report.count("| pass |") + report.count("| not here |") == parts
    assert re.search(r"\| as PyTorch \(golden files\) \| pass \| \d+ s \| \d\d comparisons", report)
    assert "| training, 50 steps | pass |" in report
    assert "shapes compiled in" in report
    assert "target tokens a second" in report
    assert "| training in float32 | pass |" in report
    assert f"| device | {use_device().name} (" in report
    if sys.platform.startswith("linux"):
        words = r"pass .* 2 processes: after 3 updates the weights differ .* by \d\.\de-\d\d"
        assert re.search(words, report)
    assert str(elsewhere) not in report
