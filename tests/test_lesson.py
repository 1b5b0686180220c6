"""What every lesson asks for at its top."""

from __future__ import annotations

import mindspore as ms
import pytest

from step_llm import course
from step_llm.runtime import device


@pytest.mark.parametrize(("name", "expected"), [("CPU", ["at once", "a sum"]), ("GPU", ["a sum"])])
def test_the_cpu_runs_operators_at_once_from_the_first_on(name, expected, monkeypatch, capsys):
    """MindSpore takes no notice of it later: the sum that tries the device is an operator too."""
    events = []
    monkeypatch.setattr(ms.runtime, "launch_blocking", lambda: events.append("at once"))
    monkeypatch.setattr(device, "_try", lambda: events.append("a sum"))
    monkeypatch.setattr(device, "_start", lambda name: None)
    monkeypatch.setattr("step_llm.course.lesson.current_device", lambda: name)
    course.about()
    assert events == expected
    assert "device: CPU" in capsys.readouterr().out
