"""The lessons as files: clean, complete, linked, and few of their outputs left unchecked.

That their cells run and print what is stored, nbval checks (`make test`).
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import unquote

import nbformat
import numpy as np
import pytest
from PIL import Image

from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("*.ipynb"))
SOLUTIONS = sorted(NOTEBOOKS.glob("solutions/*.ipynb"))
FIGURES = NOTEBOOKS / "figures"
IGNORE = "nbval-ignore-output"
# The most cells whose output depends on the run: a training, a clock, quick or full mode, the
# corpus at hand.
MOST_MARKED_IN_A_LESSON = 9  # lesson 12: base, tuned, controls, LoRA twice, DPO, rounding, a chat
MOST_MARKED = 56
MOST_MARKED_TO_LESSON_10 = 45

each_notebook = pytest.mark.parametrize(
    "path", LESSONS + SOLUTIONS, ids=lambda p: f"{p.parent.name}/{p.stem}"
)

each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)


tool = load_script(ROOT / "tools" / "notebooks.py")
diagrams = load_script(ROOT / "tools" / "diagrams.py")
figures = load_script(FIGURES / "make_figures.py")
(raster,) = figures.load("raster")


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def outputs(notebook):
    return [output for cell in code(notebook) for output in cell.outputs]


def test_there_are_lessons_and_each_has_solutions():
    assert LESSONS
    assert [path.name for path in SOLUTIONS] == [path.name for path in LESSONS]


@each_notebook
def test_a_notebook_is_stored_run_from_top_to_bottom(path):
    notebook = read(path)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    for output in outputs(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text


@each_notebook
def test_a_notebook_holds_no_traces_of_the_machine(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|work|tmp|var|Users)/\w", text)
    notebook = read(path)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags", "mystnb"}
    for output in outputs(notebook):
        assert tool.WIDGET not in output.get("data", {})


@each_notebook
def test_a_notebook_silences_the_notes_of_mindspore_and_not_its_errors(path):
    """But two kinds of error lines: CORE's, that a cell stands in no file, at each compilation; and
    ANALYZER's, some thirty lines before the exception that says the same.
    """
    source = "\n".join(cell.source for cell in code(read(path)))
    levels = re.findall(r'environ\["(GLOG_v|MS_SUBMODULE_LOG_v)"\] = "([^"]*)"', source)
    assert levels == [("GLOG_v", "3"), ("MS_SUBMODULE_LOG_v", "{CORE:4,ANALYZER:4}")]
    imported = re.search(r"^(import|from) (mindspore|step_llm)", source, re.MULTILINE)
    assert source.index("GLOG_v") < imported.start()


@each_notebook
def test_nan_is_printed_only_where_a_cell_is_about_it(path):
    for cell in code(read(path)):
        text = "".join(output.get("text", "") for output in cell.outputs)
        assert "isnan" in cell.source or not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_few_cells_are_left_unchecked(capsys):
    marked = {}
    for path in LESSONS + SOLUTIONS:
        for number, cell in enumerate(code(read(path)), start=1):
            assert "NBVAL_" not in cell.source, "cells are marked by a tag, not by a comment"
            if IGNORE in cell.metadata.get("tags", ()):
                marked.setdefault(path, []).append((number, cell.source.splitlines()[0]))
    with capsys.disabled():
        total = sum(len(code(read(path))) for path in LESSONS + SOLUTIONS)
        count = sum(map(len, marked.values()))
        print(f"\n{count} of {total} code cells have outputs that depend on the run:")
        for path, cells in marked.items():
            for number, line in cells:
                print(f"  {path.stem} [{number}] {line[:70]}")
    for path, cells in marked.items():
        assert path in LESSONS, "the solutions print the same everywhere"
        assert len(cells) <= MOST_MARKED_IN_A_LESSON, path.name
    assert count <= MOST_MARKED
    early = sum(len(cells) for path, cells in marked.items() if path.stem < "11")
    assert early <= MOST_MARKED_TO_LESSON_10


@each_notebook
def test_a_cell_finds_its_files_wherever_the_notebook_lies(path):
    """In notebooks/zh/ and in a reader's copy: by ``shipped``, not by a path from the notebook."""
    for cell in code(read(path)):
        for before, file in re.findall(
            r"""(\w*\(?)["']((?:\.\./|\w+/)[\w./-]+)["']""", cell.source
        ):
            is_ours = file.startswith("../") or (ROOT / file).exists()
            assert before == "shipped(" or not is_ours, f"{cell.id}: {file}"


@each_lesson
def test_a_lesson_has_what_every_lesson_has(path):
    notebook = read(path)
    text = prose(notebook)
    first = notebook.cells[0].source
    assert re.match(r"# \d+b?\. \S", first)
    assert re.search(r"\bminutes?\b", first)
    assert re.search(r"\d GiB|MiB", first)
    assert "course.about()" in "\n".join(cell.source for cell in code(notebook)[:3])
    assert re.search(r"[\u4e00-\u9fff]{2}", text), "terms have their Chinese equivalent"
    assert f"solutions/{path.name}" in text
    assert diagrams.DIAGRAM.search(text)
    plots = [o for o in outputs(notebook) if "image/png" in o.get("data", {})]
    assert len(plots) >= 2
    assert re.search(r"(?m)^(#+ |\*\*)(Summary|What you have seen)", text)
    assert "https://" in text, "the papers are linked"


def name_and_number(path):
    """As the front page has it: 05b What each part is worth."""
    number, letter, name = re.match(r"# (\d+)(b?)\. (.+)", read(path).cells[0].source).groups()
    return f"{int(number):02}{letter} {name}"


@pytest.mark.parametrize(("folder", "solutions"), [("", "solutions"), ("zh", "答案")])
@each_lesson
def test_a_lesson_leads_to_its_neighbours_and_its_solutions(path, folder, solutions):
    lessons = [NOTEBOOKS / folder / lesson.name for lesson in LESSONS]
    place = LESSONS.index(path)
    ways = [f"[← {name_and_number(found)}]({found.name})" for found in lessons[:place][-1:]]
    ways += [f"[{name_and_number(found)} →]({found.name})" for found in lessons[place + 1 :][:1]]
    ways.append(f"[{solutions}](solutions/{path.name})")
    cells = read(lessons[place]).cells
    assert cells[0].source.splitlines()[2] == " | ".join(ways)
    assert " | ".join(ways) in cells[-1].source.splitlines()


@pytest.mark.parametrize(
    ("folder", "heading", "report", "good"),
    [
        ("", "Experiment", "**Report**", "**A good report**"),
        ("zh", "实验", "**报告**", "**好的报告**"),
    ],
)
@each_lesson
def test_an_experiment_says_what_to_report_and_what_a_good_report_is(
    path, folder, heading, report, good
):
    text = prose(read(NOTEBOOKS / folder / path.name))
    first, *experiments = re.split(rf"(?m)^### {heading} \d+b?\.[A-Z]\b", text)
    assert experiments
    assert report not in first
    for experiment in experiments:
        assert experiment.count(report) == experiment.count(good) == 1
    # One name for one thing: no rubric, no good answer.
    assert not re.search(r"(?i)rubric|\*a good (report|answer)\*(?!\*)|评分标准|\*好的答案", text)


def links(text):
    """Targets of Markdown links and images, and of HTML's src and href."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    found = re.findall(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", text)
    return found + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)


@pytest.mark.parametrize(
    "path",
    [*LESSONS, *SOLUTIONS, *sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("d*/*.md"))],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_every_link_and_image_resolves(path):
    text = prose(read(path)) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    for target in links(text):
        if re.match(r"(https?|mailto):", target) or target.startswith("#"):
            continue
        file = path.parent / unquote(target.split("#")[0])
        assert file.exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize(("name", "folder"), [("README.md", ""), ("README.zh-CN.md", "zh/")])
def test_the_front_page_is_short_and_lists_every_lesson(name, folder):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.count("\n") <= 120
    for path in LESSONS:
        assert f"](notebooks/{folder}{path.name})" in text


def test_the_diagrams_are_the_ones_that_their_script_draws():
    assert figures.differences() == []


def _luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    parts = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_letters_in_diagrams_stand_out():
    """Contrast with the white ground, by the Web Content Accessibility Guidelines (1.4.3)."""
    assert 1.05 / (_luminance("#78909c") + 0.05) == pytest.approx(3.35, abs=0.01)
    for name, text in figures.drawings().items():
        for colour in set(re.findall(r'<text[^>]* fill="(#[0-9a-f]{6})"', text)):
            assert 1.05 / (_luminance(colour) + 0.05) >= 4.5, (name, colour)


def test_every_diagram_is_used_and_described():
    everything = "\n".join(prose(read(path)) for path in LESSONS)
    used = {file for file, _, _ in diagrams.DIAGRAM.findall(everything)}
    assert used == {f"figures/{Path(name).stem}" for name in figures.drawings()}
    for text in figures.drawings().values():
        root = ElementTree.fromstring(text)
        described = {child.tag.split("}")[1]: child.text for child in root}
        assert described["title"]
        assert len(described["desc"]) > 40
        for element in root.iter():
            if element.tag.endswith("}text"):
                assert float(element.get("font-size")) >= 11


@pytest.mark.parametrize("folder", ["", "solutions", "zh", "zh/solutions"])
def test_a_diagram_is_shown_wherever_markdown_is(folder):
    """As a PNG beside the notebook, at the width of the design, with words: web pages of
    repositories know no attachment, and GitHub's page of a notebook shows no SVG beside it.
    """
    shown = 0
    for path in sorted((NOTEBOOKS / folder).glob("*.ipynb")):
        text = prose(read(path))
        assert not re.search(r"!\[|<(svg|object|embed|iframe)\b|attachment:|data:image", text), path
        pictures = diagrams.DIAGRAM.findall(text)
        assert len(pictures) == len(re.findall(r"(?i)<img", text)), f"{path}: see tools/diagrams.py"
        for file, width, words in pictures:
            assert (path.parent / f"{file}.png").exists(), (path, file)
            svg = ElementTree.parse(path.parent / f"{file}.svg").getroot()
            assert width == svg.get("width"), (path, file)
            assert len(words) > (20 if folder.startswith("zh") else 40), (path, file)
            assert bool(re.search(r"[一-鿿]", words)) == folder.startswith("zh"), (path, file)
        shown += len(pictures)
    assert (shown > 30) == ("solutions" not in folder)


def test_a_png_is_its_svg_with_twice_the_pixels_and_small():
    """That it is drawn from the SVG that is there, the digest in it says: differences()."""
    total = 0
    for folder in figures.FOLDERS.values():
        for path in sorted(folder.glob("*.svg")):
            svg, png = ElementTree.parse(path).getroot(), path.with_suffix(".png")
            with Image.open(png) as image:
                assert image.size == (2 * int(svg.get("width")), 2 * int(svg.get("height"))), png
                assert len(np.unique(np.asarray(image.convert("RGBA").convert("L")))) > 10, (
                    f"{png} shows nothing"
                )
            total += png.stat().st_size
    assert total < 2_500_000


def test_a_diagram_needs_nothing_but_its_file():
    """Where a page shows an SVG as a picture, nothing in it is run, fetched or linked."""
    for language in figures.FOLDERS:
        for name, text in figures.drawings(language).items():
            root = ElementTree.fromstring(text)
            tags = {element.tag.split("}")[1] for element in root.iter()}
            assert not tags & {"style", "script", "image", "foreignObject", "use", "a"}, name
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), name
            assert set(root.keys()) >= {"width", "height", "viewBox"}, name


# ---------------------------------------------------------------- make figures


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """One diagram in both languages, and a rasteriser that draws nothing but counts."""
    folders = {"en": tmp_path / "figures", "zh-CN": tmp_path / "zh" / "figures"}
    asked = []

    def rasterised(svgs):
        asked.extend(svgs)
        file = io.BytesIO()
        Image.new("RGBA", (4, 2), "#fbfbf9").save(file, "PNG")
        return [file.getvalue() for _ in svgs]

    monkeypatch.setattr(figures, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(figures, "FOLDERS", folders)
    monkeypatch.setattr(figures, "drawings", lambda language="en": {"a.svg": f"<svg>{language}"})
    monkeypatch.setattr(raster, "rasterised", rasterised)
    assert figures.main([]) == 0
    assert asked == ["<svg>en", "<svg>zh-CN"]
    assert figures.differences() == []
    asked.clear()
    return tmp_path, asked


def damage_missing(folder):
    (folder / "figures/a.png").unlink()


def damage_stale(folder):
    """As after a change of the SVG without make figures, or a merge that took the other PNG."""
    shutil.copy(folder / "zh/figures/a.png", folder / "figures/a.png")


def damage_unnamed(folder):
    """Drawn by another tool, or saved anew without its text."""
    Image.new("RGB", (4, 2)).save(folder / "figures/a.png")


def damage_no_picture(folder):
    (folder / "figures/a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"cut")


@pytest.mark.parametrize(
    "damage", [damage_missing, damage_stale, damage_unnamed, damage_no_picture]
)
def test_a_png_that_does_not_belong_to_its_svg_is_found_and_drawn_again(drawn, capsys, damage):
    folder, asked = drawn
    damage(folder)
    assert figures.main(["--check"]) == 1
    assert capsys.readouterr().out == "figures/a.png is not what is drawn now\n"
    assert figures.main([]) == 0
    assert asked == ["<svg>en"], "the other one is as it should be, and is not drawn again"
    assert figures.main(["--check"]) == 0


def test_a_png_of_no_diagram_is_found(drawn, capsys):
    folder, _ = drawn
    shutil.copy(folder / "figures/a.png", folder / "zh/figures/old.png")
    assert figures.main(["--check"]) == 1
    assert capsys.readouterr().out == "zh/figures/old.png is not what is drawn now\n"


def test_without_a_rasteriser_nothing_is_written(drawn, monkeypatch, capsys):
    folder, _ = drawn

    def files():
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def rasterised(svgs):
        if svgs:
            raise raster.Missing("no font here has 图: install one")
        return []

    monkeypatch.setattr(raster, "rasterised", rasterised)
    before = files()
    assert figures.main([]) == 0, "who has changed no diagram needs none"
    monkeypatch.setattr(
        figures, "drawings", lambda language="en": {"a.svg": f"<svg>new {language}"}
    )
    assert figures.main([]) == 1
    said = capsys.readouterr().err
    assert said == "make_figures: no font here has 图: install one. Nothing is written.\n"
    assert files() == before


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(raster.Missing, match=r"pip install -r requirements-dev\.txt"):
        raster.rasterised(["<svg>"])
    monkeypatch.setattr(raster, "findSystemFonts", list)
    with pytest.raises(raster.Missing, match=r"none of Liberation Sans.*fonts-liberation"):
        raster.fonts({"a"}, tmp_path)
    monkeypatch.setattr(raster, "FAMILIES", (("DejaVu Sans",),))
    with pytest.raises(raster.Missing, match=r"no font here has 图: .*fonts-noto-cjk"):
        raster.fonts({"a", "✓", "图"}, tmp_path)


def test_a_picture_keeps_its_areas_and_nearly_its_edges():
    """More shades than a palette has places: a fill stays what it was, a shade moves a little."""
    pixels = np.full((40, 60, 4), (251, 251, 249, 255), np.uint8)
    pixels[:10, :, :3] = np.arange(600).reshape(10, 60, 1) % 250  # 250 greys
    pixels[10:20, :, 0] = np.arange(600).reshape(10, 60) % 120  # 120 reds
    pixels[0, 0] = 0  # a corner that is not there
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    image = Image.open(io.BytesIO(raster.packed(file.getvalue(), "<svg>")))
    assert image.mode == "P"
    assert image.info[raster.KEY] == raster.digest("<svg>")
    found = np.asarray(image.convert("RGBA"))
    np.testing.assert_array_equal(found[20:], pixels[20:])
    assert found[0, 0, 3] == 0
    assert np.abs(found.astype(int) - pixels).max() <= 4


LABEL = '<text x="{}" y="20" font-size="14" text-anchor="start" fill="#000"{}>{}</text>'


def test_each_character_comes_from_the_font_that_is_meant_for_it():
    """A label looks like its parts, each drawn alone: one that is in no first font changes none
    of the others, nor their weight.
    """
    pytest.importorskip("resvg_py")

    def pixels(bold, *labels):
        texts = "".join(LABEL.format(x, ' font-weight="bold"' * bold, text) for x, text in labels)
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="120" height="30">{texts}</svg>'
        (png,) = raster.rasterised([svg])
        return np.asarray(Image.open(io.BytesIO(png)))[..., 3].astype(int)

    try:
        ink = {bold: pixels(bold, (10, "ab 图✓")) for bold in (False, True)}
    except raster.Missing as missing:
        pytest.skip(str(missing))
    for bold in (False, True):
        alone = pixels(bold, (10, "ab"))
        width = alone.any(axis=0).nonzero()[0].max() + 1
        np.testing.assert_array_equal(ink[bold][:, :width], alone[:, :width])
        assert ink[bold][:, width:].any()
    right = np.s_[:, 2 * 30 :]  # the Chinese character and the sign
    assert ink[True][right].sum() > 1.15 * ink[False][right].sum()


# ---------------------------------------------------------------- the Chinese diagrams


LATIN = re.compile(r"[A-Za-z]{3,}\w*")


def test_the_chinese_diagrams_have_no_english_words_left():
    (chinese,) = figures.load("labels_zh")
    kept = set()
    for name, text in figures.drawings("zh-CN").items():
        root = ElementTree.fromstring(text)
        described = {child.tag.split("}")[1]: child.text for child in root}
        for field in ("title", "desc"):
            assert re.search(r"[一-鿿]", described[field]), name
        for element in root.iter():
            label = element.text or ""
            if element.tag.endswith("}text") and LATIN.search(label):
                words = {label} if label in chinese.KEPT else set(LATIN.findall(label))
                assert words <= chinese.KEPT, (name, label)
                kept |= words
    assert kept == chinese.KEPT, "a word is kept that no diagram has"


def test_every_chinese_label_is_used_by_a_diagram(monkeypatch):
    canvas, chinese = figures.load("canvas", "labels_zh")
    used = set()

    class Words(dict):
        def get(self, label, default=None):
            used.add(label)
            return super().get(label, default)

    monkeypatch.setattr(canvas, "WORDS", Words())
    drawn = figures.drawings("zh-CN")
    assert set(chinese.LABELS) - used == set()
    assert {f"{name}.svg" for name in chinese.TITLES} == set(drawn)
    assert drawn.keys() == figures.drawings().keys()
    assert not canvas.WORDS, "the English diagrams have English words again"


# ---------------------------------------------------------------- tools/notebooks.py


def small_notebook(path, *sources, tags=()):
    notebook = nbformat.v4.new_notebook()
    for number, source in enumerate(sources):
        cell = nbformat.v4.new_code_cell(source, id=f"cell-{number}")
        if number in tags:
            cell.metadata["tags"] = [IGNORE]
        notebook.cells.append(cell)
    nbformat.write(notebook, path)
    return path


def run_tool(*arguments):
    command = [sys.executable, str(ROOT / "tools" / "notebooks.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_second_run_changes_nothing(tmp_path):
    path = small_notebook(
        tmp_path / "a.ipynb",
        "import time\nprint(f'{time.time() % 1:.6f} s')",
        "print(time.time())",
        "2 + 2",
        tags=(1,),
    )
    first = run_tool(path)
    assert "written" in first.stdout, first.stderr
    stored = path.read_bytes()
    second = run_tool(path)
    assert "unchanged" in second.stdout, second.stderr
    assert path.read_bytes() == stored
    cells = code(read(path))
    assert [cell.execution_count for cell in cells] == [1, 2, 3]
    assert cells[2].outputs[0].data["text/plain"] == "4"
    assert all(set(cell.metadata) <= {"tags"} for cell in cells)


def test_an_output_that_has_changed_is_stored(tmp_path):
    (tmp_path / "value").write_text("one")
    path = small_notebook(tmp_path / "a.ipynb", "print(open('value').read())")
    run_tool(path)
    (tmp_path / "value").write_text("two")
    assert "written" in run_tool(path).stdout
    assert code(read(path))[0].outputs[0].text == "two\n"


def test_a_cell_that_raises_leaves_the_file_alone(tmp_path):
    path = small_notebook(tmp_path / "a.ipynb", "print(1)", "1 / 0")
    stored = path.read_bytes()
    done = run_tool(path)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert path.read_bytes() == stored
    assert list(tmp_path.iterdir()) == [path]


def test_pieces_of_a_stream_become_one():
    piece = {"output_type": "stream", "name": "stdout"}
    joined = tool._clean_outputs(
        [nbformat.from_dict({**piece, "text": text}) for text in ("a", "b")], 1
    )
    assert [output.text for output in joined] == ["ab"]
