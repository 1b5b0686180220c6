"""The Chinese pages: what no translation changes is that of the English pages.

That is code, sections, rows, points of a list, links and numbers. The notebooks have a tool of
their own for it (tools/chinese.py), which knows their cells.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix().replace(".zh-CN.", ".")
    for path in (*ROOT.glob("*.zh-CN.md"), *ROOT.glob("docs/*.zh-CN.md"))
)
_SWITCH = re.compile(r"^\[(?:中文|English)\]\((.+)\)\n", re.MULTILINE)
# A benchmark writes its table into one page, the English one.
_TABLE = re.compile(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", re.DOTALL)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^    \S.*$", re.MULTILINE)
_COMMENT = re.compile(r"\s+# .*")
_IN_A_LINE = re.compile(r"`[^`]+`")
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# What begins a section, a row, a point of a list and a step of a way.
_STARTS = re.compile(r"^(#+ |\||- |\d+\. )", re.MULTILINE)


def parts(text: str) -> dict[str, Counter]:
    """What a page holds beside its words, with the paths of the English edition."""
    text = text.replace(".zh-CN.md", ".md").replace("../..", "..").replace(" LANGUAGE=zh", "")
    text = re.sub(r"\b(notebooks|my)/zh\b", r"\1", text)
    text = _TABLE.sub("", _SWITCH.sub("", text))
    blocks = [*_FENCED.findall(text), *_INDENTED.findall(text)]
    text = _INDENTED.sub("", _FENCED.sub("", text))
    words, text = _IN_A_LINE.findall(text), _IN_A_LINE.sub(" ", text)
    links, text = _LINK.findall(text), _LINK.sub("]", text)
    found = {
        # The comments of code are words.
        "blocks of code": [" ".join(_COMMENT.sub("", block).split()) for block in blocks],
        # A sentence more or less may name a thing again.
        "code": {" ".join(word.split()) for word in words},
        "links": links,
        "sections, rows, points": _STARTS.findall(text),
        "numbers": _NUMBER.findall(_STARTS.sub("", text)),
    }
    return {what: Counter(items) for what, items in found.items()}


def differences(english: str, chinese: str) -> list[str]:
    """Where two pages differ in what no translation changes."""
    wanted, own = parts(english), parts(chinese)
    return [
        f"{what} differ: missing {sorted((wanted[what] - own[what]).elements())}, "
        f"too many {sorted((own[what] - wanted[what]).elements())}"
        for what in wanted if wanted[what] != own[what]
    ]  # fmt: skip


def read(page: str) -> tuple[str, str]:
    return tuple(
        (ROOT / name).read_text(encoding="utf-8")
        for name in (page, page.replace(".md", ".zh-CN.md"))
    )


@pytest.mark.parametrize("page", PAGES)
def test_a_chinese_page_is_the_english_one_in_chinese(page):
    english, chinese = read(page)
    assert differences(english, chinese) == []
    # Each leads to the other, in the line below its title.
    name = Path(page).name
    assert english.splitlines()[2] == f"[中文]({name.replace('.md', '.zh-CN.md')})"
    assert chinese.splitlines()[2] == f"[English]({name})"


@pytest.mark.parametrize("page", PAGES)
def test_a_link_of_a_chinese_page_leads_to_a_chinese_page_if_there_is_one(page):
    _, chinese = read(page)
    folder = (ROOT / page).parent
    for link in _LINK.findall(_SWITCH.sub("", chinese)):
        file = link.split("#")[0]
        if file.endswith(".md") and ".zh-CN." not in file:
            assert not (folder / file.replace(".md", ".zh-CN.md")).exists(), link


def test_what_readers_begin_with_is_there_in_chinese():
    first = {
        "README.md",
        *(f"docs/{name}.md" for name in ("devices", "laptops", "openi", "teachers")),
    }
    assert first <= set(PAGES)


ENGLISH = """# A page

[中文](a.zh-CN.md)

See [that](b.md), take 3 of `make x`:

    make x   # now

- one
"""
CHINESE = """# 一页

[English](a.md)

见[那一页](b.zh-CN.md)，取 3 个 `make x`：

    make x   # 现在

- 一
"""


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "", []),
        ("现在", "马上", []),
        (
            "make x   #",
            "make y   #",
            ["blocks of code differ: missing ['make x'], too many ['make y']"],
        ),
        ("`make x`", "`make`", ["code differ: missing ['`make x`'], too many ['`make`']"]),
        ("取 3 个", "取三个", ["numbers differ: missing ['3'], too many []"]),
        ("b.zh-CN.md", "c.md", ["links differ: missing ['b.md'], too many ['c.md']"]),
        ("- 一", "- 一\n- 二", ["sections, rows, points differ: missing [], too many ['- ']"]),
        ("# 一页", "## 一页", ["sections, rows, points differ: missing ['# '], too many ['## ']"]),
    ],
)
def test_what_a_translation_must_not_change(before, after, expected):
    assert differences(ENGLISH, CHINESE.replace(before, after)) == expected
