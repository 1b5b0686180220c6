"""The device that everything runs on: which there are, which one is taken, and why.

Ascend, else GPU, else CPU, unless ``--device`` or the environment variable STEP_LLM_DEVICE names
one. No other module knows the device.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "DEVICES",
    "EARLY_CHIPS",
    "DeviceChoice",
    "DeviceError",
    "chip",
    "choose_device",
    "current_device",
    "present_devices",
    "quiet",
    "software",
    "take_interrupts_back",
    "use_device",
]

DEVICES = ("Ascend", "GPU", "CPU")  # the order in which they are preferred
# A 910A, a 310 and a 310P, as ``chip`` names them: without bfloat16, flash attention and infinite
# numbers; a product takes float16 there, whatever it is given.
EARLY_CHIPS = ("ascend910", "ascend310", "ascend310p")
_VARIABLE = "STEP_LLM_DEVICE"


class DeviceError(ValueError):
    """A device that is unknown, missing or does not compute; says what there is instead."""


@dataclass(frozen=True)
class DeviceChoice:
    """A device, and why it was taken.

    Args:
        name: "Ascend", "GPU" or "CPU".
        reason: a few words.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"device {self.name} ({self.reason})"


def present_devices() -> dict[str, int]:
    """The kinds of device that MindSpore can reach here, preferred first, and how many of each."""
    counts = {name: _count(name) for name in DEVICES}
    return {name: count for name, count in counts.items() if count}


def choose_device(wanted: str | None = None, asked_by: str = "--device") -> DeviceChoice:
    """Decide for a device, without touching it.

    Args:
        wanted: "Ascend", "GPU" or "CPU", in any case. None takes what STEP_LLM_DEVICE says, and
            without that the first of Ascend, GPU and CPU that is there.
        asked_by: how the user asked for ``wanted``; messages name it.

    Raises:
        DeviceError: an unknown name, or a device that is not there; names those that are.
    """
    if wanted is None and os.environ.get(_VARIABLE):
        wanted, asked_by = os.environ[_VARIABLE], _VARIABLE
    if wanted is None:
        present = present_devices()
        name = next(iter(present), "CPU")
        missing = DEVICES[: DEVICES.index(name)]
        if not missing:
            return DeviceChoice(name, f"{present[name]} found")
        return DeviceChoice(name, "no " + " and no ".join(missing) + " found")
    names = {name.lower(): name for name in DEVICES}
    name = names.get(wanted.lower())
    if name is None:
        raise DeviceError(f"{asked_by} is {wanted!r}; expected CPU, GPU or Ascend")
    if not _count(name):
        cause = _cause(name)
        raise DeviceError(
            f"{asked_by} is {name}, but MindSpore finds none here; present: "
            f"{', '.join(present_devices())}. Choose one of these, or install what {name} needs"
            + (f" ({cause})" if cause else "")
        )
    return DeviceChoice(name, f"{asked_by} asks for it")


def use_device(
    wanted: str | None = None, asked_by: str = "--device", prepare=lambda: None
) -> DeviceChoice:
    """Decide for a device, make MindSpore use it from now on, and try it with one small sum.

    Call it before anything is computed: MindSpore does not change the device of a process later.
    From then on Ctrl-C, and ■ in a notebook, raise KeyboardInterrupt while MindSpore computes, too.

    Args:
        wanted, asked_by: as in ``choose_device``.
        prepare: called once MindSpore has the device, before anything is computed; a group of
            processes has to meet there.

    Raises:
        DeviceError: what ``choose_device`` refuses; a device that does not compute; another one
            than this process has already computed on.
    """
    choice = choose_device(wanted, asked_by)
    with _explained(choice):
        _start(choice.name)
    prepare()
    with _explained(choice):
        _try()
    _survive_interrupts()
    return choice


@contextmanager
def _explained(choice):
    try:
        with quiet():
            yield
    except Exception as error:  # MindSpore raises several types for a device that does not work.
        others = [name for name in present_devices() if name != choice.name]
        advice = f"; --device {others[0]} goes on without it" if others else ""
        raise DeviceError(
            f"{choice} cannot be used: {' '.join(str(error).split())[:300]}{advice}"
        ) from error


def current_device() -> str:
    """The name of the device that MindSpore computes on now."""
    import mindspore as ms

    return ms.get_context("device_target")


def chip() -> str:
    """The kind of NPU that MindSpore computes on, such as "ascend910b" (a 910B) or "ascend910" (a
    910A); empty on other devices."""
    if current_device() != "Ascend":
        return ""
    from mindspore._c_expression import MSContext

    return MSContext.get_instance().get_ascend_soc_version()


def software(name: str) -> str:
    """What is known of a device and its software, for a report: how many there are, of what kind,
    the version of CANN or of the driver. Empty on a CPU."""
    if name == "CPU":
        return ""
    known = [f"{_count(name)} × {chip() or name}"]
    if name == "Ascend":
        known.append(f"CANN {_cann_version() or 'of an unknown version'}")
        return ", ".join(known)
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        known += sorted(set(done.stdout.split("\n")) - {""})
    except (OSError, subprocess.SubprocessError):
        known.append("nvidia-smi says nothing")
    return ", ".join(known)


def _cann_version():
    """As the installation of CANN notes it."""
    home = Path(os.environ.get("ASCEND_HOME_PATH", "/usr/local/Ascend/ascend-toolkit/latest"))
    try:
        text = (home / "compiler" / "version.info").read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return ""
    found = re.search(r"^Version=(\S+)", text, re.MULTILINE)
    return found.group(1)[:40] if found else ""


def _count(name: str) -> int:
    """How many devices of one kind there are: the only question asked of the hardware."""
    import mindspore as ms

    if name == "CPU":
        return 1
    module = getattr(ms.device_context, name.lower())
    with quiet():
        try:
            # The first says that the plugin was loaded (its libraries are there), the second
            # that there is hardware under it.
            return module.device_count() if module.is_available() else 0
        except Exception:  # MindSpore's way to say no differs from version to version.
            return 0


def _start(name: str) -> None:
    """Make MindSpore take a device; whatever it raises says that it cannot."""
    import mindspore as ms

    before = current_device()  # on an Ascend image Ascend, before anybody has asked for it
    try:
        ms.set_device(name)
    except RuntimeError:  # this process has computed already: well, if it was on this device
        if before != name:
            raise
    if name == "Ascend":
        # Kernel by kernel, which is the rule on a 910B. On a 910A a Cell in graph mode would go to
        # GraphEngine's backend (deprecated since 2.9), whatever its ``ms.jit`` says.
        ms.set_context(jit_level="O0")
    if name == "CPU" and hasattr(ms.runtime, "launch_blocking"):
        # An operator outside of a compiled function runs in the thread that asks for it, and an
        # error is raised in the line that made it. To hand small operators to another thread costs
        # far more than it gains: held to one core, the gradient through 100 products of 8 x 16
        # numbers took 1,090 ms, and takes 22 ms so.
        ms.runtime.launch_blocking()


def _try() -> None:
    """Compute something on it."""
    import mindspore as ms

    ms.ops.add(ms.Tensor(1.0), ms.Tensor(1.0)).asnumpy()


def _survive_interrupts() -> None:
    """Make an interrupt what it is in any other Python program.

    MindSpore (2.10) puts its own handler of SIGINT in the place of Python's each time a compiled
    function is called, and that handler ends the process: it sends SIGTERM to it. Nobody handles
    that one, so Python can, and raises KeyboardInterrupt when MindSpore's call returns.
    """
    if "MS_ROLE" in os.environ:  # one of several processes, which have to end together
        return
    if threading.current_thread() is not threading.main_thread():  # only that one may
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def take_interrupts_back() -> None:
    """Give SIGINT to Python's handler again, before a program waits for its user.

    MindSpore's own (see above) stays after a compiled function has returned, and a read that it
    interrupts goes on.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))


def _cause(name: str) -> str:
    """What MindSpore noted about a plugin that it could not load; empty if nothing."""
    if name == "GPU" and not Path(os.environ.get("CUDA_HOME", ""), "bin", "nvcc").is_file():
        # Without it MindSpore 2.10 does not look at its plugin, and notes nothing.
        return "CUDA_HOME names no CUDA 11 with its bin/nvcc"
    try:
        from mindspore._c_expression import MSContext

        notes = MSContext.get_instance().load_plugin_error().splitlines()
    except Exception:  # not a public interface: do without
        return ""
    return next((note for note in notes if f"mindspore_{name.lower()}" in note), "")[:200]


@contextmanager
def quiet():
    """Keep MindSpore from logging lines of its own before it raises: the exception says enough."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
