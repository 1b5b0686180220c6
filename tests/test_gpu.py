"""MindSpore's own GPU backend compiles the library's graphs, selects a kernel for each operator and
asks for it, on a stand-in for CUDA: what is asked for is in tests/gpu/kernels.txt. It needs no GPU.

These are some cases; `make test-gpu` runs all of them. docs/devices.md says what this shows.
"""

from __future__ import annotations

import importlib.metadata

import pytest

from tests.gpu import build
from tests.gpu.cases import CASES, CONTROLS, QUICK
from tests.gpu.run import known, run_cases

MINDSPORE = importlib.metadata.version("mindspore")
needs_stand_in = pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "-")
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def cuda(tmp_path_factory):
    return build.build(tmp_path_factory.mktemp("stand-in"))


@slow
@needs_stand_in
def test_what_is_asked_for_is_in_the_list(cuda):
    failed, found = run_cases(cuda, QUICK)
    assert failed == {}
    made_with, expected = known()
    if made_with != MINDSPORE:
        pytest.skip(f"reached the end; the list is MindSpore {made_with}'s, this is {MINDSPORE}")
    assert found - expected == set()
    assert {"cublasGemmEx<float>", "cublasGemmEx<half>"} <= found


@slow
@needs_stand_in
@pytest.mark.parametrize(
    ("control", "told"),
    [
        # MindSpore's own, whose documentation names the GPU.
        ("control-gru/float32", "Unsupported op [CudnnGRU] on GPU"),
        ("control-bfloat16/bfloat16", "precision is bfloat16, but MindSpore"),
    ],
)
def test_what_a_gpu_lacks_is_found(cuda, control, told):
    assert control in CONTROLS
    failed, _ = run_cases(cuda, [control])
    assert told in failed[control]


def test_the_list_holds_nothing_that_the_host_computes():
    assert not {name for name in known()[1] if name.startswith("cpu")}


def test_a_kernel_of_the_cpu_is_noticed():
    note = "[WARNING] DEVICE(1):x [setter.cc:1] F] Add select kernel failed, try to backoff"
    assert build.backed_off(f"{note} on CPU.\nother\n") == {
        " Add select kernel failed, try to backoff on CPU."
    }
    assert build.backed_off("nothing") == set()


def test_every_case_of_the_tests_is_one():
    assert set(QUICK) <= set(CASES)


def test_names_are_plain():
    """With what tells the types, and without arguments."""
    symbols = ["_Z12CalTransposeIfLb0EE9cudaErrormPKT_RK13TransposeInfoPS1_P11CUstream_st"]
    assert build.plain_name([*symbols, "cublasGemmEx<half>"]) == [
        "CalTranspose<float, false>", "cublasGemmEx<half>",
    ]  # fmt: skip


def test_what_the_stand_in_has_to_say_is_sorted_by_kind():
    lines = build._stand_ins(
        {
            "_Z1fi",
            "_Z1gi",
            "cudaMalloc",
            "cudnnCreate",
            "cudnnOpTensor",
            "cudnnSetStream",
            "malloc",
        },
        {"_Z1fi"},
    ).splitlines()
    assert lines == [
        'KERNEL(0, "_Z1fi")', "MAKES(cudnnCreate)", "COMPUTES(cudnnOpTensor)",
        "AGREES(cudnnSetStream)",
    ]  # fmt: skip
