"""The Chinese edition: the English lessons' code and outputs, and prose that has not drifted."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import nbformat
import pytest

from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"


tool = load_script(ROOT / "tools" / "chinese.py")
FIVE = '<img src="figures/{}.png" width="{}" alt="{}">'
_NO_PROSE = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)|<[^>]*>|https?:\S+", re.DOTALL
)


@pytest.mark.parametrize("name", tool.names())
def test_a_lesson_is_the_english_one_in_chinese(name):
    assert tool.problems(name) == []


def test_nothing_is_there_that_has_no_english_lesson():
    found = {path.relative_to(tool.CHINESE).as_posix() for path in tool.CHINESE.rglob("*.ipynb")}
    assert found == set(tool.names())


@pytest.mark.parametrize("name", tool.names())
def test_the_prose_is_chinese_and_its_links_lead_somewhere(name):
    """Of links, every file has to be there; a lesson's links lead to Chinese lessons."""
    for cell in tool.read(tool.CHINESE / name).cells:
        if cell.cell_type != "markdown":
            continue
        for link in re.findall(r"\]\(([^()\s]+)\)", cell.source):
            if re.match(r"\w+:|#", link):
                continue
            target = (tool.CHINESE / name).parent / link.split("#")[0]
            assert target.exists(), link
        words = _NO_PROSE.sub("", cell.source)
        if len(words) > 80:
            chinese = len(re.findall(r"[一-鿿]", words))
            assert chinese > 0.2 * len(words), cell.id


# ------------------------------------------------------------------------------------ the tool


def notebook(*sources):
    cells = [nbformat.v4.new_markdown_cell(source, id=f"c{n}") for n, source in enumerate(sources)]
    code = nbformat.v4.new_code_cell("print(1)", id="code")
    code.outputs = [nbformat.v4.new_output("stream", name="stdout", text="1\n")]
    return nbformat.v4.new_notebook(cells=[*cells, code])


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(tool, "CHINESE", tmp_path / "notebooks" / "zh")
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook("# Title", "Take 3 of `x`."), tmp_path / "notebooks" / "01_a.ipynb")
    return tmp_path / "notebooks"


def translate(folder, tmp_path, *sources):
    file = tmp_path / "a.md"
    file.write_text("\n\n".join(f"<!-- c{n} -->\n{text}" for n, text in enumerate(sources)))
    return tool.import_("01_a.ipynb", file)


def test_export_translate_import(folder, tmp_path):
    assert tool.names() == ["01_a.ipynb"]
    assert tool.problems("01_a.ipynb") == ["01_a.ipynb: there is no translation"]
    tool.export("01_a.ipynb", tmp_path / "a.md")
    text = (tmp_path / "a.md").read_text()
    assert text == "<!-- c0 -->\n# Title\n\n<!-- c1 -->\nTake 3 of `x`.\n"
    assert translate(folder, tmp_path, "# 标题") == ["01_a.ipynb, c1: not translated"]
    assert translate(folder, tmp_path, "# 标题", "取 `x` 中的 3 个。") == []
    cells = tool.read(folder / "zh" / "01_a.ipynb").cells
    assert [cell.source for cell in cells] == ["# 标题", "取 `x` 中的 3 个。", "print(1)"]
    with pytest.raises(ValueError, match=r"01_a.ipynb has no cell c2"):
        translate(folder, tmp_path, "a", "b", "c")


def test_what_has_drifted_is_told(folder, tmp_path):
    translate(folder, tmp_path, "# 标题", "取 `x` 中的 3 个。")
    english = tool.read(folder / "01_a.ipynb")
    for change, words in (
        (lambda nb: nb.cells[1].update(source="Take 4 of `x`."), "c1: the English has changed"),
        (lambda nb: nb.cells[2].update(source="print(2)"), "code: other code or outputs"),
        (lambda nb: nb.cells[2].update(outputs=[]), "code: other code or outputs"),
        (lambda nb: nb.cells.pop(0), "other cells than the English lesson"),
    ):
        changed = copy.deepcopy(english)
        change(changed)
        nbformat.write(changed, folder / "01_a.ipynb")
        (problem,) = tool.problems("01_a.ipynb")
        assert words in problem
    nbformat.write(english, folder / "01_a.ipynb")
    assert tool.problems("01_a.ipynb") == []
    changed = copy.deepcopy(english)
    changed.cells[2].source = "print(2)"
    nbformat.write(changed, folder / "01_a.ipynb")
    assert tool.carry("01_a.ipynb")
    assert tool.problems("01_a.ipynb") == []
    assert not tool.carry("01_a.ipynb")


@pytest.mark.parametrize(
    ("english", "chinese", "words"),
    [
        ("about 5,000 of 7", "7 个中约 5,000 个", ""),
        ("about 5,000", "约 5000", "numbers differ: missing ['5,000'], too many ['5000']"),
        ("three of 7", "7 个中 3 个", "numbers differ"),
        ("`a` and `b`", "`b` 和 `a`", ""),
        ("`a` and `b`", "`a`", "code differ: missing ['`b`']"),
        ("see $x_1$", "见 $x_2$", "formulas differ"),
        (r"$a \text{ if so}$", r"$a \text{ 如果}$", ""),
        ("[lesson](02_b.ipynb)", "[课](02_b.ipynb)", ""),
        ("[page](../docs/scaling.md)", "[页](../../docs/scaling.md)", ""),
        ("[page](../docs/scaling.md)", "[页](../docs/scaling.md)", "links differ"),
        ("[page](../docs/openi.md#a)", "[页](../../docs/openi.zh-CN.md#a)", ""),
        (FIVE.format("a", 9, "five"), FIVE.format("a", 8, "五个方框"), ""),
        (FIVE.format("a", 9, "5 boxes"), FIVE.format("a", 9, "五个方框"), "numbers differ"),
        (FIVE.format("a", 9, "five"), FIVE.format("b", 9, "五个方框"), "links differ"),
        (FIVE.format("a", 9, "five"), "五个方框", "links differ"),
        ("[x](https://a.b/c_1)", "[某](https://a.b/c_1)", ""),
        ("[x](https://a.b/c_1)", "[某](https://a.b/c_2)", "links differ"),
    ],
)
def test_what_no_translation_changes(english, chinese, words):
    found = "; ".join(tool.differences(english, chinese, "01_a.ipynb"))
    assert (words in found) if words else found == ""


# -------------------------------------------------------------------------------- the glossary


def test_the_glossary_has_the_terms_that_the_english_lessons_bracket():
    glossary = GLOSSARY.read_text(encoding="utf-8")
    missing = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = tool.read(path).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        for bracket in re.findall(r"\(([^()]*[一-鿿][^()]*)\)", text):
            for term in re.findall(r"[一-鿿]+", bracket):
                if term not in glossary and term not in OUTSIDE:
                    missing.setdefault(term, path.name)
    assert missing == {}


# Names, and glosses of everyday words.
OUTSIDE = {"启智社区", "傲慢与偏见", "爱玛", "魔搭", "十亿"}
