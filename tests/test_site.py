"""The tool of the site: addresses, links, which file a page is made of, what the reference holds.

The built site is looked at in a browser: tests/browser/visit_site.py.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
GITHUB = {"repository": "https://github.com/a/b", "branch": "main", "openi": ""}
NOWHERE = {**GITHUB, "repository": ""}
MASKS = '<img src="figures/02-masks.png" width="760"'


tool, reference = (
    load_script(ROOT / "tools" / f"{name}.py") for name in ("site", "site_reference")
)


def test_the_environment_goes_over_the_file_of_settings(monkeypatch):
    assert tool.settings() == {"repository": "", "branch": "main", "openi": ""}
    monkeypatch.setenv("SITE_REPOSITORY", "https://gitee.com/a/b.git/")
    assert tool.settings()["repository"] == "https://gitee.com/a/b"


@pytest.mark.parametrize(
    ("repository", "action", "expected"),
    [
        ("https://github.com/a/b", "edit", "https://github.com/a/b/edit/main/x.md"),
        ("https://gitee.com/a/b", "blob", "https://gitee.com/a/b/blob/main/x.md"),
        ("https://atomgit.com/a/b", "edit", "https://atomgit.com/a/b/blob/main/x.md"),
        ("", "edit", ""),
    ],
)
def test_where_a_file_is_edited(repository, action, expected):
    assert tool.file_address("x.md", action, {**GITHUB, "repository": repository}) == expected


def test_where_a_notebook_is_opened():
    page = "notebooks/zh/02_attention.ipynb"
    assert tool.launch_addresses(page, NOWHERE) == {}
    known = {**GITHUB, "openi": "https://openi.pcl.ac.cn/a/b"}
    assert tool.launch_addresses(page, known) == {
        "Colab": f"https://colab.research.google.com/github/a/b/blob/main/{page}",
        "OpenI": f"https://openi.pcl.ac.cn/a/b/src/branch/main/{page}",
    }


@pytest.mark.parametrize(
    ("text", "known", "expected"),
    [
        ("[x](02_attention.ipynb)", NOWHERE, "[x](02_attention.ipynb)"),
        ("[`x`](solutions/02_attention.ipynb)", NOWHERE, "[`x`](solutions/02_attention.ipynb)"),
        ("[x](../../docs/openi.zh-CN.md#a)", NOWHERE, "[x](../docs/openi.md#a)"),
        (f'{MASKS} alt="a &quot;b&quot;">', NOWHERE, '![a "b"](figures/02-masks.svg)'),
        (f"`{MASKS}>`", NOWHERE, f"`{MASKS}>`"),
        ("[x](../../Makefile)", NOWHERE, "x"),
        ("[x](../../Makefile)", GITHUB, "[x](https://github.com/a/b/blob/main/Makefile)"),
        ("[x](https://y/z) [x](#a)", GITHUB, "[x](https://y/z) [x](#a)"),
        ("`[x](nowhere)` and $x$", NOWHERE, "`[x](nowhere)` and $x$"),
        ("[中文](openi.zh-CN.md)\n\nText", NOWHERE, "Text"),
    ],
)
def test_links_lead_to_pages_or_to_the_repository(text, known, expected):
    page, source = "notebooks/02_attention.ipynb", "notebooks/zh/02_attention.ipynb"
    assert tool.relinked(text, page, source, known)[0] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("一行\n又一行", "一行又一行"),
        ("说完，\n`make x` 再说", "说完，`make x` 再说"),
        ("用 make\n（或 py）", "用 make（或 py）"),
        ("约\n15 分钟", "约\n15 分钟"),  # a space is wanted there
        ("English\nlines", "English\nlines"),
        ("- 一点\n  接着说\n- 又一点", "- 一点接着说\n- 又一点"),
        ("1. 第一步。\n2. 第二步。", "1. 第一步。\n2. 第二步。"),
        ("## 标题\n文字", "## 标题\n文字"),
        ("| 一 |\n| 二 |\n文字", "| 一 |\n| 二 |\n文字"),
        ("段落。\n\n段落", "段落。\n\n段落"),
        ("    make x   # 装好。\n    make y", "    make x   # 装好。\n    make y"),
        ("```python\nx  # 一。\n（y）\n```\n文字", "```python\nx  # 一。\n（y）\n```\n文字"),
        ("公式：\n$$\nx\n$$\n其中", "公式：\n$$\nx\n$$\n其中"),
    ],
)
def test_chinese_paragraphs_have_no_breaks_that_would_be_spaces(text, expected):
    assert tool.unbroken(text) == expected


def test_a_link_to_nothing_stops_the_build():
    with pytest.raises(ValueError, match=r"a\.md: there is no docs/nowhere\.md"):
        tool.relinked("[x](docs/nowhere.md)", "a.md", "a.md", NOWHERE)


def test_images_of_the_documents_are_named():
    page = "notebooks/02_attention.ipynb"
    _, images = tool.relinked(f'{MASKS} alt="a">', page, page, NOWHERE)
    assert images == {"notebooks/figures/02-masks.svg"}


@pytest.mark.parametrize("language", tool.LANGUAGES)
def test_the_site_shows_the_diagrams_of_its_language_by_their_svgs(language):
    """Sharp at every size, and small; the PNGs are for pages that show no SVG."""
    needed = set()
    for page in tool.notebooks():
        notebook, images = tool.notebook_page(page, language, NOWHERE)
        assert "<img" not in "".join(cell.source for cell in notebook.cells)
        needed |= images
    sources = {tool.source_of(image, language) for image in needed}
    folder = f"notebooks/{'zh/' if language == 'zh' else ''}figures"
    assert sources == {f"{folder}/{path.name}" for path in (ROOT / folder).glob("*.svg")}


def test_every_document_of_the_course_can_be_relinked():
    for page in [*tool.PAGES, *tool.notebooks()]:
        for language in tool.LANGUAGES:
            source = tool.source_of(page, language)
            assert tool.page_of(source) == page
            tool.relinked((ROOT / source).read_text(encoding="utf-8"), page, source, NOWHERE)


def test_a_page_is_made_of_the_translation_where_there_is_one():
    chinese = "notebooks/zh/02_attention.ipynb"
    assert tool.source_of("notebooks/02_attention.ipynb", "zh") == chinese
    assert tool.source_of("notebooks/02_attention.ipynb", "en") == "notebooks/02_attention.ipynb"
    for page in ("README", "docs/devices", "docs/laptops", "docs/openi", "docs/teachers"):
        assert tool.source_of(f"{page}.md", "zh") == f"{page}.zh-CN.md"
    assert tool.source_of("docs/design.md", "zh") == "docs/design.md"


def test_the_pages_are_all_there_are():
    documents = {path.name for path in (ROOT / "docs").glob("*.md") if ".zh-CN" not in path.name}
    assert {page for page in tool.PAGES if "/" in page} == {f"docs/{name}" for name in documents}
    for language in tool.LANGUAGES:
        index = (ROOT / "site" / f"index.{language}.md").read_text(encoding="utf-8")
        missing = [page for page in tool.PAGES if f"\n{page.rsplit('.', 1)[0]}\n" not in index]
        assert missing == []


def test_the_reference_has_each_room():
    folders = {path.parent.name for path in (ROOT / "step_llm").glob("*/__init__.py")}
    assert set(reference.ROOMS) == folders


SOURCE = '''
class A(Base):
    """A thing."""
    def __init__(self, width: int, *, eps=1e-5): ...
    def run(self, x: Tensor) -> Tensor:
        """Run."""
    def _hidden(self):
        """No."""
    @staticmethod
    def make(self_less) -> A:
        """Make."""

@dataclass(frozen=True)
class B:
    """Fields."""
    width: int
    name: str = "b"

def f(x: int, /, y=2) -> str:
    """A function."""

def no_words(): ...
'''


def test_public_names_and_their_signatures():
    tree = ast.parse(SOURCE)
    a, b, f = reference._public(tree)
    assert reference._signature(a, "") == "(width: int, *, eps=1e-05)"
    assert reference._signature(a.body[2], "A") == "(x: Tensor) -> Tensor"
    assert reference._signature(a.body[4], "A") == "(self_less) -> A"
    assert reference._signature(b, "") == "(width: int, name: str = 'b')"
    assert reference._signature(f, "") == "(x: int, /, y=2) -> str"
    named = ast.parse(SOURCE + '\n__all__ = ["f", "no_words"]')
    assert [node.name for node in reference._public(named)] == ["f", "no_words"]


def test_nothing_of_the_site_names_an_outside_address_to_load():
    for path in [*(ROOT / "site").rglob("*.css"), *(ROOT / "site").rglob("*.html")]:
        text = path.read_text(encoding="utf-8")
        loads = r"(src|href)=\"(https?:)?//|url\([\"']?(https?:)?//|@import"
        assert not re.search(loads, text), path


def test_the_workflow_builds_visits_and_publishes():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text())
    commands = [step.get("run", "") for step in workflow["jobs"]["build"]["steps"]]
    assert "make test-site" in commands
    assert workflow["jobs"]["publish"]["needs"] == "build"
    assert workflow["jobs"]["publish"]["permissions"] == {"pages": "write", "id-token": "write"}
