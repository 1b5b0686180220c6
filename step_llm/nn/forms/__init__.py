"""Device forms: what is written differently for one device's speed, a module a device.

A component takes the textbook's function through ``device_form``. Where the device has a form of
its own, its module's ``FORMS`` holds it, a function of the same name and arguments, and the
component gets that one. The tests hold each form against the textbook's, forward and gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from step_llm.runtime.device import current_device

__all__ = ["device_form", "device_forms"]


def device_forms() -> dict[str, Callable]:
    """The forms of the device that MindSpore uses now, by the name of the textbook's function."""
    # Imported here, since a form may call the textbook's function.
    return import_module(f"step_llm.nn.forms.{current_device().lower()}").FORMS


def device_form(textbook: Callable) -> Callable:
    """The form of a component's function for the device that MindSpore uses now.

    Args:
        textbook: the plain function, which every device can run.

    Returns:
        the device's own form, or the textbook's where it has none.
    """
    return device_forms().get(textbook.__name__, textbook)
