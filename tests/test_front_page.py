"""What visitors of the repository meet: the pages to begin with, the version, what names it."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
import yaml

import step_llm

ROOT = Path(__file__).resolve().parents[1]


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_the_same_wherever_it_is_named():
    assert re.fullmatch(r"\d+\.\d+\.\d+", step_llm.__version__)
    for name, line in {
        "pyproject.toml": r'^name = "step_llm"\nversion = "(.+)"$',
        "uv.lock": r'^name = "step-llm"\nversion = "(.+)"$',
    }.items():
        assert re.findall(line, text(name), re.MULTILINE) == [step_llm.__version__], name


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "docs/design.md"])
def test_the_pages_to_begin_with_are_short(name):
    assert len(text(name).splitlines()) <= 120


# ------------------------------------------------------------------------------------- CITATION.cff


def test_the_citation_has_what_its_format_asks_for():
    """Required, and what is allowed, by the schema of version 1.2.0."""
    citation = yaml.safe_load(text("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert set(citation) <= {
        "abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi",
        "identifiers", "keywords", "license", "license-url", "message", "preferred-citation",
        "references", "repository", "repository-artifact", "repository-code", "title", "type",
        "url", "version",
    }  # fmt: skip
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    # An entity has a name, a person one in parts.
    assert all({"name"} & set(a) or {"family-names"} & set(a) for a in citation["authors"])
    assert len(set(citation["keywords"])) == len(citation["keywords"])
    assert all(isinstance(word, str) for word in citation["keywords"])
    assert date.fromisoformat(citation["date-released"])  # a string: the schema knows no other date
    assert citation["version"] == step_llm.__version__
    assert f'license = "{citation["license"]}"' in text("pyproject.toml")


# ------------------------------------------------------------------------------------- CHANGELOG.md


def test_the_changelog_begins_with_this_version_and_keeps_its_form():
    changes = text("CHANGELOG.md")
    headings = re.findall(r"^## (.+)$", changes, re.MULTILINE)
    assert all(re.fullmatch(r"Unreleased|\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", h) for h in headings)
    released = [heading for heading in headings if heading != "Unreleased"]
    assert headings[-len(released) :] == released, "what is not released comes first"
    citation = yaml.safe_load(text("CITATION.cff"))
    assert released[0] == f"{step_llm.__version__} - {citation['date-released']}"
    numbers = [tuple(map(int, heading.split(" ")[0].split("."))) for heading in released]
    assert numbers == sorted(set(numbers), reverse=True)
    kinds = set(re.findall(r"^### (.+)$", changes, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for command in re.findall(r"`make ([a-z-]+)", changes):
        assert f"\n{command}:" in text("Makefile"), command


# -------------------------------------------------------------------------------------- issue forms

FORMS = sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*-*.yml"))
HAN = re.compile(r"[一-鿿]")


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_github_takes(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form) <= {*"name description body labels".split()}
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert fields
    ids = [field["id"] for field in fields]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[\w-]+", name) for name in ids)
    labels = [field["attributes"]["label"] for field in fields]
    assert len(set(labels)) == len(labels)
    assert any(field.get("validations", {}).get("required") for field in fields)
    for field in form["body"]:
        known = {
            "markdown": {"value"},
            "input": {"label", "description", "placeholder"},
            "textarea": {"label", "description", "placeholder", "render"},
            "dropdown": {"label", "description", "options"},
        }[field["type"]]
        assert set(field["attributes"]) <= known
        assert set(field) <= {"type", "id", "attributes", "validations"}


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_asks_in_both_languages(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    asked = [form["name"], form["description"]]
    for field in form["body"]:
        asked += [field["attributes"].get(key) for key in ("label", "description", "value")]
    for words in filter(None, asked):
        assert HAN.search(words), words
        assert re.search(r"[A-Za-z]{2}", words), words


def test_the_forms_ask_for_reports_that_there_are():
    everything = "\n".join(path.read_text(encoding="utf-8") for path in FORMS)
    for command in set(re.findall(r"python -m step_llm (\w[\w-]*)", everything)):
        assert f'"{command}"' in text("step_llm/cli/parser.py"), command
    for target in set(re.findall(r"make(?:\.py)? ([a-z-]+)", everything)):
        assert f"\n{target}:" in text("Makefile"), target
    for page in set(re.findall(r"docs/[\w.-]+\.md", everything)):
        assert (ROOT / page).is_file(), page
    assert {"python -m step_llm info", "make check-device"} <= set(
        re.findall(r"python -m step_llm info|make check-device", everything)
    )
    blank = yaml.safe_load(text(".github/ISSUE_TEMPLATE/config.yml"))
    assert blank == {"blank_issues_enabled": True}
