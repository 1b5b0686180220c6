"""The lessons as files: clean, complete, linked, and few of their outputs left unchecked.

That their cells run and print what is stored, nbval checks (`make test`).
"""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

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
MOST_MARKED = 60

each_notebook = pytest.mark.parametrize(
    "path", LESSONS + SOLUTIONS, ids=lambda p: f"{p.parent.name}/{p.stem}"
)

each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)


tool = load_script(ROOT / "tools" / "notebooks.py")
figures = load_script(FIGURES / "make_figures.py")


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


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
    assert len(re.findall(r"!\[[^\]]{40,}\]\(figures/[\w.-]+\.svg\)", text)) >= 1
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
    for name, text in figures.drawings().items():
        assert f"figures/{name})" in everything
        root = ElementTree.fromstring(text)
        described = {child.tag.split("}")[1]: child.text for child in root}
        assert described["title"]
        assert len(described["desc"]) > 40
        for element in root.iter():
            if element.tag.endswith("}text"):
                assert float(element.get("font-size")) >= 11


@pytest.mark.parametrize("folder", ["", "solutions", "zh", "zh/solutions"])
def test_a_diagram_is_shown_wherever_markdown_is(folder):
    """A picture is a plain link to a file beside the notebook, with words: no HTML, which the web
    pages of repositories clean away, no attachment, which they do not know, no address of a server.
    """
    shown = 0
    for path in sorted((NOTEBOOKS / folder).glob("*.ipynb")):
        text = prose(read(path))
        assert not re.search(r"<(img|svg|object|embed|iframe)\b|attachment:|data:image", text), path
        pictures = re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", text)
        assert len(pictures) == text.count("![")
        for words, link in pictures:
            assert re.fullmatch(r"figures/[\w-]+\.svg", link), (path, link)
            assert (path.parent / link).exists(), (path, link)
            assert len(words) > (20 if folder.startswith("zh") else 40), (path, link)
            assert bool(re.search(r"[一-鿿]", words)) == folder.startswith("zh"), (path, link)
        shown += len(pictures)
    assert (shown > 30) == ("solutions" not in folder)


def test_a_diagram_needs_nothing_but_its_file():
    """Where a page shows an SVG as a picture, nothing in it is run, fetched or linked."""
    for language in figures.FOLDERS:
        for name, text in figures.drawings(language).items():
            root = ElementTree.fromstring(text)
            tags = {element.tag.split("}")[1] for element in root.iter()}
            assert not tags & {"style", "script", "image", "foreignObject", "use", "a"}, name
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), name
            assert set(root.keys()) >= {"width", "height", "viewBox"}, name


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
