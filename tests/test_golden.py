"""The library against the golden files: what PyTorch computes from the same weights and inputs.

Outputs, gradients of every input and of every weight, operator by operator and compiled. The
figures themselves: `python tests/test_golden.py`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("GLOG_v", "3")

import mindspore as ms
import numpy as np
import pytest

from step_llm.cli.golden import CASES, GOLDEN, MODES, TOLERANCE, measure, read

ROOT = Path(__file__).resolve().parents[1]


def test_every_golden_file_is_compared():
    assert {path.stem for path in GOLDEN.glob("*.npz")} == set(CASES)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_pytorch(case, mode):
    distances = measure(case, MODES[mode])
    # Not «> TOLERANCE»: NaN must fail.
    wrong = {name: d for name, d in distances.items() if not d <= TOLERANCE}
    assert not wrong


@pytest.fixture(scope="module")
def torch_python():
    """An interpreter that has PyTorch: this one, or that of `make test-golden`."""
    if importlib.util.find_spec("torch"):
        return sys.executable
    for python in (".venv-golden/bin/python", ".venv-golden/Scripts/python.exe"):
        if (ROOT / python).exists():
            return str(ROOT / python)
    pytest.skip("PyTorch is not installed, and .venv-golden is not there (make test-golden)")


def check_script(python, folder):
    command = [python, str(GOLDEN / "make_golden.py"), "--check", "--folder", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_golden_files_can_be_made_again(torch_python):
    done = check_script(torch_python, GOLDEN)
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_names_a_changed_file(torch_python, tmp_path):
    for path in GOLDEN.glob("*.npz"):
        shutil.copy(path, tmp_path)
    arrays = read("attention_cross")
    arrays["gradient.input.key"][1, 2, 3] += 1e-3
    np.savez(tmp_path / "attention_cross.npz", **arrays)
    done = check_script(torch_python, tmp_path)
    assert done.returncode == 1
    assert "attention_cross.npz: gradient.input.key" in done.stdout


if __name__ == "__main__":
    print(f"MindSpore {ms.__version__}: largest difference from PyTorch, of each tensor's maximum")
    for golden_case in CASES:
        for golden_mode, golden_kind in MODES.items():
            result = measure(golden_case, golden_kind)
            outputs_worst = max(d for n, d in result.items() if n.startswith("output"))
            gradients_worst = max(d for n, d in result.items() if n.startswith("gradient"))
            print(
                f"{golden_case:25} {golden_mode:9} outputs {outputs_worst:.1e} "
                f"gradients {gradients_worst:.1e}"
            )
