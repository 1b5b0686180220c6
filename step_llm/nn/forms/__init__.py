"""Device forms: what is written differently for one device's speed, a module a device.

A component takes the textbook's function through ``device_form``; where the device has a form of
its own, its module holds a function of the same name and arguments, and the component gets that
one. The tests hold each form against the textbook's, forward and gradient.
"""

from __future__ import annotations

from collections.abc import Callable

from step_llm.nn.forms import ascend, cpu, gpu
from step_llm.runtime.device import current_device

__all__ = ["FORMS", "device_form"]

FORMS = {"Ascend": ascend.FORMS, "GPU": gpu.FORMS, "CPU": cpu.FORMS}


def device_form(textbook: Callable) -> Callable:
    """The form of a component's function for the device that MindSpore uses now.

    Args:
        textbook: the plain function, which every device can run.

    Returns:
        the device's own form, or the textbook's where it has none.
    """
    return FORMS[current_device()].get(textbook.__name__, textbook)
