"""The Chinese edition speaks Chinese: what the checks say, and what training tells."""

from __future__ import annotations

import ast
import io
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from step_llm import course, exercises
from step_llm.cli.terminal import tell
from step_llm.course import progress
from step_llm.data.batches import EncodedText
from step_llm.runtime import language
from step_llm.runtime.language import in_chinese
from step_llm.training import report
from step_llm.training.measures import PERPLEXITY
from tests.support.language import english_left
from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
CHECKS = ROOT / "step_llm" / "course" / "checks"
SHARED = CHECKS / "zh" / "judge.json"
MODULES = [path.stem for path in sorted(CHECKS.glob("lesson_*.py"))]
TABLES = [
    *sorted((CHECKS / "zh").glob("*.json")), progress.CHINESE,
    *(ROOT / "step_llm" / room / "zh.json" for room in ("cli", "data", "evaluation", "training")),
]  # fmt: skip
differences = load_script(ROOT / "tools" / "chinese.py").differences
# Texts of the checks that no reader sees as such: sentences to count n-grams in, and what MindSpore
# says in one case.
NOT_SAID = {
    "the the the the", "the cat is here", "a a a dog", "a cat", "a dog", "a dog a dog a dog",
    "a dog is chasing a ball", "there is a dog and a dog", "one two", "source code not available",
}  # fmt: skip


@pytest.fixture
def chinese(monkeypatch):
    monkeypatch.setenv("STEP_LLM_LANGUAGE", "zh")


def table(path):
    return json.loads(path.read_text(encoding="utf-8"))


# --------------------------------------------------------------------------------- which language


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("notebooks", "en"), ("notebooks/solutions", "en"), ("notebooks/zh", "zh"),
        ("notebooks/zh/solutions", "zh"), ("my/zh", "zh"), ("zh/notebooks", "en"),
    ],
)  # fmt: skip
def test_the_edition_is_known_by_its_folder(tmp_path, monkeypatch, folder, expected):
    monkeypatch.delenv("STEP_LLM_LANGUAGE", raising=False)
    (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / folder)
    assert language.language() == expected
    for chosen in ("en", "zh"):
        monkeypatch.setenv("STEP_LLM_LANGUAGE", chosen)
        assert language.language() == chosen


def test_a_language_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("STEP_LLM_LANGUAGE", "de")
    with pytest.raises(ValueError, match=r"STEP_LLM_LANGUAGE is 'de'; expected en or zh"):
        language.language()


# --------------------------------------------------------------------------------------- a table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the mask", "掩码"),
        ("no table knows this", "no table knows this"),
        ("the mask has shape (2,); expected (3, 3)", "掩码的形状是 (2,)，应为 (3, 3)"),
        ("w has shape (2,); expected (3, 3)", "w 的形状是 (2,)，应为 (3, 3)"),
        ("part 2 of 7", "7 的第 2 部分"),
        ("a word of theirs: none", "a word of theirs: none"),
        ("case 4: part 2 of the mask", "情形 4：掩码 的第 2 部分"),
        ("case 4: no table knows this", "case 4: no table knows this"),
        ("it is 3 more", "it is 3 more"),
        ("it is 3 more.", "多了 3。"),
        ("it is red.", "它是red。"),
    ],
)
def test_values_may_be_texts_and_a_text_may_stand_behind_another(tmp_path, text, expected):
    entries = {
        "the mask": "掩码", "part {} of {}": "{1} 的第 {0} 部分", "case {}: ": "情形 {}：",
        "{} has shape {}; expected {}": "{}的形状是 {}，应为 {}",
        "none": "无", "it is {}.": "它是{}。", "it is {} more.": "多了 {}。",
    }  # fmt: skip
    (tmp_path / "zh.json").write_text(json.dumps(entries), encoding="utf-8")
    assert in_chinese(text, tmp_path / "none.json", tmp_path / "zh.json") == expected


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_english_and_chinese_have_the_same_numbers_code_and_values(path):
    others = (SHARED,) if path.parent == SHARED.parent else ()
    for english, own in table(path).items():
        plain = [re.sub(r"\{\d?\}", "", text) for text in (english, own)]
        assert differences(*plain, "") == [], english
        assert re.search("[一-鿿。]", own), english  # a hint may be code alone, and a full stop
        values = [f"<{chr(97 + place)}>" for place in range(english.count("{}"))]
        filled = own.format(*values) if values else own  # code may have braces
        assert all(filled.count(value) == 1 for value in values), english
        # No other entry of the table takes it.
        text = english.format(*values) if values else english
        assert in_chinese(text, path, *others) == filled


# ---------------------------------------------------------------------------- what the checks say


def texts(source):
    """The texts in a module with words in them, {} for what is put in; without docstrings.

    What stands before ``value + "a text"`` is a text of its own.
    """
    tree = ast.parse(source)
    docstrings = {
        node.body[0].value for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef))
        and ast.get_docstring(node) is not None
    }  # fmt: skip
    found = []

    def visit(node):
        if node in docstrings:
            return
        text = _text(node)
        if text is not None:
            found.append(text)
        for child in _inside(node) if text is not None else ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def _text(node):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join("{}" if _text(part) is None else part.value for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        if left is not None or right is not None:
            return (left or "") + ("{}" if right is None else right)
    return None


def _inside(node):
    """What is put into a text."""
    if isinstance(node, ast.BinOp):
        for side in (node.left, node.right):
            yield from [side] if _text(side) is None else _inside(side)
    elif isinstance(node, ast.JoinedStr):
        yield from (part.value for part in node.values if isinstance(part, ast.FormattedValue))


def said(source):
    """Those texts that are words for a reader, not a name or a sign."""
    return {
        text for text in texts(source)
        if " " in text and re.search(r"[A-Za-z]{2,}", text.replace("{}", ""))
    } - NOT_SAID  # fmt: skip


def test_texts_are_found_in_all_their_forms():
    source = (
        'def f(x):\n    """Not this."""\n    case = f"case {x:g}: "\n'
        '    return g(case + "it is wrong" + more, ("two words", "one"), f"{x} is {\'an egg\'}")\n'
    )
    assert said(source) == {"case {}: ", "it is wrong{}", "two words", "{} is {}", "an egg"}


@pytest.mark.parametrize("module", ["judge", *MODULES])
def test_all_that_a_check_says_is_there_in_chinese(module):
    source = (CHECKS / f"{module}.py").read_text(encoding="utf-8")
    known = table(SHARED).keys() | table(CHECKS / "zh" / f"{module}.json").keys()
    assert said(source) - known == set()


@pytest.mark.parametrize("module", ["judge", *MODULES])
def test_what_stands_behind_a_case_begins_with_a_word(module):
    """In ``case + f"{n} are counted"`` the case has no end that a table could see."""
    for node in ast.walk(ast.parse((CHECKS / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.BinOp) and _text(node.left) is None:
            assert not (_text(node.right) or "").startswith("{}"), ast.unparse(node)


@pytest.mark.parametrize("module", MODULES)
def test_a_table_holds_nothing_that_is_not_said(module):
    source = (CHECKS / f"{module}.py").read_text(encoding="utf-8")
    hints = table(CHECKS / "hints" / f"{module}.json").values()
    known = {*texts(source), *(hint for some in hints for hint in some)}
    assert table(CHECKS / "zh" / f"{module}.json").keys() - known == set()


def test_every_exercise_has_a_pointer_and_nearly_the_answer():
    for number in exercises.numbers():
        pointer, nearly = exercises.hints(number)
        assert pointer != nearly
        assert "`" in nearly or number == "2.1", number  # 2.1 is worked out by hand
        for code in re.findall("`([^`]*)`", pointer + nearly):
            ast.parse(code)
        for hint in (pointer, nearly):
            assert 20 < len(hint) < 330, hint
    held = sum(len(table(path)) for path in (CHECKS / "hints").glob("*.json"))
    assert held == len(exercises.numbers())


def test_a_lesson_without_hints_and_tables_is_checked_as_ever(monkeypatch, chinese, capsys):
    monkeypatch.setattr(exercises, "_lessons", lambda: {"77": "lesson_77"})
    monkeypatch.setattr(exercises, "_exercises", lambda lesson: {"1": wrong})

    def wrong(answer):
        raise exercises.Wrong("no table knows this")

    for _ in range(3):
        exercises.check("77.1", 0)
    assert capsys.readouterr().out == "77.1 ✗ 不对: no table knows this\n" * 3


# -------------------------------------------------------------------------- hints, and the editions


def share(x, weight, bias):
    return float(((x @ weight.T + bias).asnumpy() <= 0).mean())


def test_who_is_wrong_again_is_told_more_until_it_passes(monkeypatch, capsys):
    monkeypatch.setattr(exercises, "_failures", type(exercises._failures)())
    pointer, nearly = exercises.hints("4.1")

    def lines(answer):
        exercises.check("4.1", answer)
        return capsys.readouterr().out.splitlines()

    (first,) = lines(lambda *given: 2.0)
    assert first.startswith("4.1 ✗ wrong: the share is off by up to ")
    assert lines(None)[1:] == []
    assert lines(lambda *given: 2.0) == [first, f"    hint: {pointer}"]
    for _ in range(2):
        assert lines(lambda *given: 2.0) == [first, f"    hint: {nearly}"]
    exercises.check("4.2", lambda *given: 2.0)
    assert len(capsys.readouterr().out.splitlines()) == 1  # each exercise is counted for itself
    assert len(lines(share)) == 1
    assert lines(lambda *given: 2.0) == [first]


def test_a_check_speaks_chinese(chinese, monkeypatch, capsys):
    monkeypatch.setattr(exercises, "_failures", type(exercises._failures)())
    for answer in (None, share, lambda *given: 2.0, lambda *given: 2.0):
        exercises.check("4.1", answer)
    *lines, hint = capsys.readouterr().out.splitlines()
    assert lines[0] == "4.1 还没做: 请在上面写出你的答案，再运行这个单元格"
    assert lines[1].startswith("4.1 ✓ 通过: ")
    assert re.match(r"4.1 ✗ 不对: 这个比例最多相差 [\d.]+。数出 x · weightᵀ \+ bias ", lines[2])
    assert hint.startswith("    提示: 算出 ReLU 的输入")
    assert english_left("".join([*lines, hint])) == []


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "word"), [("zh", "还没做"), ("", "not yet")])
def test_a_kernel_speaks_the_language_of_its_notebooks_folder(monkeypatch, folder, word):
    monkeypatch.delenv("STEP_LLM_LANGUAGE")
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    source = "from step_llm import exercises\nexercises.check('0.1', None)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    resources = {"metadata": {"path": str(ROOT / "notebooks" / folder)}}
    NotebookClient(notebook, kernel_name="python3", timeout=300, resources=resources).execute()
    (output,) = notebook.cells[0].outputs
    assert output.text.startswith(f"0.1 {word}: ")


def test_an_exception_stays_english_within_a_chinese_sentence(chinese):
    message = "your code raised ValueError: 9 is not in list (line 3 of its cell: return x; x (2,))"
    words = "你的代码抛出了 ValueError: 9 is not in list（所在单元格的第 3 行: return x; x (2,)）"
    assert exercises.told("4.1", message) == words


def test_the_readers_record_is_shown_in_chinese(chinese, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("STEP_LLM_RUNS", str(tmp_path))
    progress.record("0.1", "passed")
    exercises.progress()
    head, first, *_, last = capsys.readouterr().out.splitlines()
    assert head.startswith("课      ✓ 通过，~ 试过，· 未做 ")
    assert head.endswith("通过")
    assert first.endswith("4 题中 1 题")
    # What is twice as wide counts twice, so that the columns stand one below the other.
    wide = len(re.findall("[一-鿿，]", head[: head.rindex("通过")]))
    assert head.rindex("通过") + wide == first.index("4 题中")
    assert last.startswith("通过 1 题，试过 0 题，")


def test_a_lesson_says_in_chinese_where_it_runs(chinese, monkeypatch, capsys):
    monkeypatch.setenv("STEP_LLM_QUICK", "1")
    course.about()
    with course.stoppable():
        raise KeyboardInterrupt
    *_, device, mode, stopped = capsys.readouterr().out.splitlines()
    assert re.match(r"设备：\w+，CPU 核数：\d+$", device)
    assert mode == "模式：快速"
    assert stopped == "已停止：用目前学到的结果继续"


def told_by_commands():
    """What the commands say of their progress, a value put in wherever they put one."""
    for path in sorted((ROOT / "step_llm" / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = isinstance(node, ast.Call) and getattr(node.func, "id", "")
            text = _text(node.args[0]) if name in ("say", "tell") else None
            if text and not path.name.startswith("check"):  # its report is for an issue: in English
                yield text.replace("{}", "7")


def test_commands_tell_their_progress_in_chinese(chinese, capsys):
    texts = list(told_by_commands())
    assert len(texts) >= 12
    for text in texts:
        tell(text)
        assert re.search("[一-鿿]", capsys.readouterr().out), text
    pair = (np.array([1, 2]),)
    for left_out in ({"empty_lines": (3,), "long_lines": (7, 9)}, {"long_lines": (7, 9)}, {}):
        tell(EncodedText(pair, pair, 5, 5, **left_out, name="a/val").report)
    assert capsys.readouterr().out.splitlines() == [
        "a/val：1 个句对；有一侧为空的 1 个未采用（第一个在第 3 行），"
        "过长的 2 个未采用（第一个在第 7 行）",
        "a/val：1 个句对；过长的 2 个未采用（第一个在第 7 行）",
        "a/val：1 个句对",
    ]


def test_training_tells_its_progress_in_chinese(chinese, monkeypatch, capsys):
    bar = report.progress_bar("epoch 1/3", 10, 0, is_shown=True)
    report.tell_compiling(bar, [], set(), 4)
    bar.fp = io.StringIO()
    bar.close()
    report.tell_epoch(
        {"epoch": 2, "train_loss": 3.0, "validation_loss": 2.5, "seconds": 90},
        PERPLEXITY.text.format(12.3), 4,
    )  # fmt: skip
    report.tell_average({"epochs": 3, "validation_loss": 2.5}, "BLEU 30.0 (greedy)", "BLEU 29.0")
    report.tell_left_out([OSError("a.ckpt is damaged")])
    with report.waiting("validation", is_shown=True):
        pass
    out, shown = capsys.readouterr()
    assert bar.desc == "第 1/3 轮"
    assert bar.unit == "批次"
    assert out.splitlines() == [
        "第 2 轮：训练损失 3.000，验证损失 2.500，验证：困惑度 12.30，1.5 分钟，至今跳过 4 次更新",
        "最后 3 轮的平均：验证损失 2.500，验证：BLEU 30.0（贪心）（此前最好：BLEU 29.0）",
        "未计入平均：a.ckpt is damaged",
    ]
    assert "验证 …" in shown
