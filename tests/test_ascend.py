"""MindSpore's own Ascend backend compiles the library's graphs, selects their kernels and launches
them, on a stand-in for CANN: what is launched is what tests/ascend/ says. It needs no NPU.

These are some cases; `make test-ascend` runs all of them. docs/devices.md says what this shows.
"""

from __future__ import annotations

import importlib.metadata
import json
import warnings

import pytest

from tests.ascend import build, records
from tests.ascend.cases import CASES_OF, CONTROLS, QUICK
from tests.ascend.records import Record, Step
from tests.ascend.run import SOCS, run_cases

MINDSPORE = importlib.metadata.version("mindspore")
needs_stand_in = pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "-")
slow = pytest.mark.slow
SOME = {"Ascend910B1": QUICK, "Ascend910A": ("decoder-lm/decoding", "vit/float16")}
ON_HOST = {"host TensorToScalar"}  # the learning rate: Ascend's Adam takes a number


@pytest.fixture(scope="module")
def cann(tmp_path_factory):
    """The stand-in; MindSpore looks for "cann" in the path of its folder."""
    return build.build(tmp_path_factory.mktemp("stand-in"))


# ------------------------------------------------------------------------------- on the stand-in


@slow
@needs_stand_in
@pytest.mark.parametrize("soc", SOCS)
def test_what_is_launched_is_in_the_list(cann, soc, tmp_path):
    record = tmp_path / "launches.txt"
    assert run_cases(cann, soc, SOME[soc], record) == {}
    found = records.read(record)
    assert set(found.steps) == set(SOME[soc])
    made_with, expected = records.known(soc)
    if made_with != MINDSPORE:
        pytest.skip(f"reached the end; the list is MindSpore {made_with}'s, this is {MINDSPORE}")
    assert records.complaints(found, expected, is_whole=False) == []
    for line in records.lower_budget(found, expected):
        warnings.warn(line, stacklevel=1)


@slow
@needs_stand_in
def test_an_operator_that_the_device_lacks_is_found(cann, tmp_path):
    """The CPU's form of an LSTM. MindSpore says nothing: it takes the host's kernel instead."""
    record = tmp_path / "launches.txt"
    run_cases(cann, "Ascend910B1", CONTROLS, record)
    _, expected = records.known("Ascend910B1")
    assert "not in the list: host LSTM" in records.complaints(
        records.read(record), expected, is_whole=False
    )


# ------------------------------------------------------------------------------- the files


@pytest.mark.parametrize("soc", SOCS)
def test_the_files_hold_every_case(soc):
    _, expected = records.known(soc)
    assert set(expected.steps) == set(CASES_OF[soc])
    assert {line for line in expected.operators if line.startswith("host")} <= ON_HOST


def test_bfloat16_launches_what_float16_does():
    """So that a few models are enough."""
    _, expected = records.known("Ascend910B1")
    cases = [case for case in expected.steps if case.endswith("/bfloat16")]
    assert cases
    for case in cases:
        assert expected.steps[case] == expected.steps[case.replace("bfloat16", "float16")]
    in_bfloat16 = {line for line in expected.operators if "bfloat16" in line}
    assert {line.replace("bfloat16", "float16") for line in in_bfloat16} <= expected.operators


@pytest.mark.parametrize("soc", SOCS)
def test_a_tenth_of_the_kernels_of_any_step_at_most_goes_through_aclop(soc):
    _, expected = records.known(soc)
    for case, step in expected.steps.items():
        assert step.aclop <= 0.1 * step.launches, case


def test_a_910a_is_given_nothing_that_it_lacks():
    _, expected = records.known("Ascend910A")
    lacking = ("bfloat16", "FlashAttention", "RmsNorm")
    assert not [line for line in expected.operators if any(word in line for word in lacking)]
    _, of_910b = records.known("Ascend910B1")
    for word in lacking:  # and a 910B is given all of it
        assert any(word in line for line in of_910b.operators), word


def test_a_kernel_that_is_not_in_the_list_is_told():
    expected = Record(frozenset({"aclnnAdd float32:2", "aclnnMul float32:2"}), {})
    found = Record(frozenset({"aclnnAdd float32:2", "aclnnAdd float16:2"}), {})
    other = "not in the list: aclnnAdd float16:2"
    missing = "in the list, and launched by nothing: aclnnMul float32:2"
    assert records.complaints(found, expected, is_whole=False) == [other]
    assert records.complaints(found, expected, is_whole=True) == [other, missing]


def test_a_budget_is_kept_and_only_falls():
    expected = Record(frozenset(), {"gpt/float32": Step(100, 10)})
    for step, told, lower in (
        (Step(100, 10), 0, 0), (Step(100, 11), 1, 0), (Step(120, 12), 2, 0), (Step(90, 10), 0, 1),
        (Step(120, 9), 1, 1),
    ):  # fmt: skip
        found = Record(frozenset(), {"gpt/float32": step})
        assert len(records.complaints(found, expected, is_whole=False)) == told
        assert len(records.lower_budget(found, expected)) == lower
    other = Record(frozenset(), {"gpt/float16": Step(1, 0)})
    assert "has no budget" in records.complaints(other, expected, is_whole=False)[0]
    assert records.lower_budget(other, expected) == []


def test_a_record_is_read(tmp_path):
    path = tmp_path / "launches.txt"
    lines = [
        "aclnnAdd float32:2", "# gpt/float32", "aclnnAdd float32:2", "aclopAddN float32:1", "# end",
        "aclnnMul float32:1",
    ]  # fmt: skip
    path.write_text("\n".join(lines), encoding="utf-8")
    operators = {line for line in lines if not line.startswith("#")}
    assert records.read(path) == Record(frozenset(operators), {"gpt/float32": Step(2, 1)})
    path.write_text("aclnnAdd float32:2\nunread aclnnMul", encoding="utf-8")
    with pytest.raises(ValueError, match="found no end of the arguments: unread aclnnMul"):
        records.read(path)
    with pytest.raises(ValueError, match="holds no launch of a kernel"):
        records.read(tmp_path / "nothing")


def test_what_is_written_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_HERE", tmp_path)
    monkeypatch.setattr(records, "_BUDGET", tmp_path / "launches.json")
    first = Record(frozenset({"aclnnAdd float32:2"}), {"gpt/float32": Step(3, 1)})
    records.write("Ascend910B1", "2.10.0", first, is_whole=True)
    assert records.known("Ascend910B1") == ("2.10.0", first)
    more = Record(frozenset({"aclnnMul float32:2"}), {"vit/float32": Step(2, 0)})
    records.write("Ascend910B1", "2.10.0", more, is_whole=False)
    both = Record(first.operators | more.operators, {**first.steps, **more.steps})
    assert records.known("Ascend910B1") == ("2.10.0", both)
    records.write("Ascend910B1", "2.10.0", more, is_whole=True)
    assert records.known("Ascend910B1") == ("2.10.0", more)
    assert set(json.loads((tmp_path / "launches.json").read_text())) == {"Ascend910B1"}


# ------------------------------------------------------------------------------- the generator


def test_the_parts_of_a_mangled_name():
    assert build._parts("_ZN2ge5Shape6SetDimEml") == ["ge", "Shape", "SetDim"]
    assert build._parts("_ZNK2ge5Shape7GetDimsEv") == ["ge", "Shape", "GetDims"]
    assert build._parts("_ZN2ge8OperatorC1ERKSs") == ["ge", "Operator", "C1"]


def test_operators_on_the_host_are_read_from_the_notes():
    note = "[kernel_select_ascend.cc:240] TryBackoffCpu] Try to use backoff CPU kernel, node:"
    output = f"{note}Default/LSTM-op0\nwords\n{note}Gradients/Default/x/Erf-op12\n"
    assert build.on_host(output) == {"LSTM", "Erf"}
    assert build.on_host("nothing") == set()
