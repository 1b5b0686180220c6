"""The device: what is chosen, what is said of it, and what an absent one gives. No hardware needed:
the three functions that touch it are replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from step_llm.runtime import device
from step_llm.runtime.device import (
    DeviceError,
    chip,
    choose_device,
    current_device,
    present_devices,
    use_device,
)

ROOT = Path(__file__).resolve().parents[1]
# Which devices a machine has, and what is taken there if nobody asks.
MACHINES = [
    ({"CPU": 1}, "CPU", "no Ascend and no GPU found"),
    ({"GPU": 2, "CPU": 1}, "GPU", "no Ascend found"),
    ({"Ascend": 8, "CPU": 1}, "Ascend", "8 found"),
    ({"Ascend": 1, "GPU": 1, "CPU": 1}, "Ascend", "1 found"),
]


@pytest.fixture
def machine(monkeypatch):
    """Pretends a machine with these devices; returns the list of those that were started."""
    monkeypatch.delenv("STEP_LLM_DEVICE", raising=False)
    started = []

    def pretend(counts):
        monkeypatch.setattr(device, "_count", lambda name: counts.get(name, 0))
        monkeypatch.setattr(device, "_start", started.append)
        monkeypatch.setattr(device, "_try", lambda: None)
        return started

    return pretend


@pytest.mark.parametrize(("counts", "name", "reason"), MACHINES)
def test_the_best_that_is_there(machine, counts, name, reason):
    started = machine(counts)
    assert present_devices() == counts
    choice = use_device()
    assert (choice.name, choice.reason) == (name, reason)
    assert str(choice) == f"device {name} ({reason})"
    assert started == [name]


@pytest.mark.parametrize("wanted", ["CPU", "cpu", "Cpu"])
def test_what_is_asked_for(machine, wanted):
    started = machine({"Ascend": 8, "CPU": 1})
    assert str(use_device(wanted)) == "device CPU (--device asks for it)"
    assert started == ["CPU"]


def test_the_environment_asks_and_the_option_overrides_it(machine, monkeypatch):
    started = machine({"Ascend": 8, "GPU": 1, "CPU": 1})
    monkeypatch.setenv("STEP_LLM_DEVICE", "gpu")
    assert str(use_device()) == "device GPU (STEP_LLM_DEVICE asks for it)"
    assert use_device("CPU").name == "CPU"
    monkeypatch.setenv("STEP_LLM_DEVICE", "")  # as if it were not set
    assert use_device().name == "Ascend"
    assert started == ["GPU", "CPU", "Ascend"]


@pytest.mark.parametrize("wanted", ["TPU", "", "cuda"])
def test_an_unknown_name(machine, monkeypatch, wanted):
    started = machine({"CPU": 1})
    with pytest.raises(DeviceError, match=f"^--device is '{wanted}'; expected CPU, GPU or Ascend$"):
        use_device(wanted)
    monkeypatch.setenv("STEP_LLM_DEVICE", "NPU")
    with pytest.raises(DeviceError, match=r"^STEP_LLM_DEVICE is 'NPU'; expected"):
        choose_device()
    assert started == []


def test_a_missing_device_names_what_is_present(machine, monkeypatch):
    started = machine({"GPU": 1, "CPU": 1})
    monkeypatch.setattr(device, "_cause", lambda name: f"lib{name}.so: cannot open")
    with pytest.raises(DeviceError) as error:
        use_device("ascend")
    assert str(error.value) == (
        "--device is Ascend, but MindSpore finds none here; present: GPU, CPU. Choose one of "
        "these, or install what Ascend needs (libAscend.so: cannot open)"
    )
    monkeypatch.setenv("STEP_LLM_DEVICE", "Ascend")
    with pytest.raises(DeviceError, match=r"^STEP_LLM_DEVICE is Ascend, but MindSpore finds none"):
        use_device()
    assert started == []


def test_a_gpu_that_is_not_found_says_where_cuda_is_looked_for(machine, monkeypatch, tmp_path):
    """MindSpore asks CUDA_HOME for the version, and loads no plugin without it."""
    machine({"CPU": 1})
    told = "CUDA_HOME names no CUDA 11 with its bin/nvcc"
    monkeypatch.delenv("CUDA_HOME", raising=False)
    with pytest.raises(DeviceError, match=told):
        use_device("GPU")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert device._cause("GPU") == told
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvcc").touch()
    assert told not in device._cause("GPU")


def test_a_device_that_is_there_but_does_not_compute(machine, monkeypatch):
    machine({"GPU": 1, "CPU": 1})

    def broken(name):
        raise RuntimeError("no kernel image\n  is available\n")

    expected = (
        "device GPU (no Ascend found) cannot be used: no kernel image is available; "
        "--device CPU goes on without it"
    )
    for name, replacement in (("_try", lambda: broken(None)), ("_start", broken)):
        monkeypatch.setattr(device, name, replacement)
        with pytest.raises(DeviceError) as error:
            use_device()
        assert str(error.value) == expected


def test_a_group_meets_after_the_choice_and_before_the_first_sum(machine, monkeypatch):
    order = machine({"GPU": 1, "CPU": 1})
    monkeypatch.setattr(device, "_try", lambda: order.append("sum"))
    use_device(prepare=lambda: order.append("group"))
    assert order == ["GPU", "group", "sum"]

    def alone():
        raise RuntimeError("nobody there")

    with pytest.raises(RuntimeError, match=r"^nobody there$"):  # not taken for the device's fault
        use_device(prepare=alone)


@pytest.mark.parametrize("before", ["Ascend", "CPU"])
def test_mindspore_is_always_told_the_device(monkeypatch, before):
    """On an image for Ascend, Ascend is current before anybody has set it, and not yet set up."""
    import mindspore as ms

    told = []
    monkeypatch.setattr(device, "current_device", lambda: before)
    monkeypatch.setattr(ms, "set_device", told.append)
    device._start("Ascend")
    assert told == ["Ascend"]


def test_a_process_that_has_computed_may_keep_its_device_and_not_change_it(monkeypatch):
    import mindspore as ms

    def too_late(name):
        raise RuntimeError("The runtime has been initialized")

    monkeypatch.setattr(ms, "set_device", too_late)
    monkeypatch.setattr(device, "current_device", lambda: "CPU")
    device._start("CPU")
    with pytest.raises(RuntimeError, match="has been initialized"):
        device._start("GPU")


def test_probing_never_raises(monkeypatch):
    """Whatever MindSpore does when it is asked: a device that cannot be counted is not there."""
    import mindspore as ms

    def raises():
        raise RuntimeError("Device GPU not exist.")

    monkeypatch.setattr(ms.device_context.gpu, "is_available", lambda: True)
    monkeypatch.setattr(ms.device_context.gpu, "device_count", raises)
    assert device._count("GPU") == 0
    monkeypatch.setattr(ms.device_context.gpu, "device_count", lambda: 3)
    assert device._count("GPU") == 3
    monkeypatch.setattr(ms.device_context.gpu, "is_available", lambda: False)
    assert device._count("GPU") == 0


def test_on_this_machine():
    present = present_devices()
    assert list(present)[-1] == "CPU"
    assert current_device() in present
    assert (chip() != "") == (current_device() == "Ascend")
    # What the tests run on, whatever it is, can be chosen again.
    assert use_device(current_device()).name == current_device()


def test_no_other_module_knows_the_device():
    """Neither sets, nor asks for it, nor branches on it."""
    for path in (ROOT / "step_llm").rglob("*.py"):
        if path.name == "device.py":
            continue
        text = path.read_text(encoding="utf-8")
        for word in ("set_device", "device_target", "device_context", "hal."):
            assert word not in text, (path.name, word)


def test_probing_is_silent():
    """MindSpore would log two lines for every device that is not there."""
    program = "from step_llm.runtime.device import present_devices as p; print(*p())"
    kept = {k: v for k, v in os.environ.items() if k not in ("GLOG_v", "STEP_LLM_DEVICE")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=120, env={**kept, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "CPU"
    assert "is not available" not in done.stderr


def test_on_a_cpu_an_error_is_raised_in_its_own_line():
    """In a process of its own: here, conftest.py has MindSpore wait for each operator."""
    program = (
        "from mindspore import ops; from step_llm.runtime.device import use_device\n"
        "use_device('CPU')\n"
        "try:\n"
        "    ops.matmul(ops.ones((2, 3)), ops.ones((2, 3)))\n"
        "except Exception:\n"
        "    print('in its own line')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "in its own line\n", done.stderr
