"""What is shown while something takes long."""

from __future__ import annotations

import io

import pytest

from step_llm.runtime.files import runs_folder
from step_llm.training import report


class Clock:
    """The seconds that updates take, one after the other."""

    def __init__(self, *seconds):
        self.times = [0.0]
        for some in seconds:
            self.times.append(self.times[-1] + some)

    def perf_counter(self):
        return self.times.pop(0)


def rates(monkeypatch, *seconds):
    monkeypatch.setattr(report, "time", Clock(*seconds))
    bar = report.progress_bar("epoch 1/1", 100, 0, is_shown=True)
    bar.fp = io.StringIO()
    found = []
    for _ in range(len(seconds) + 1):
        bar.update(1)
        found.append(bar.format_dict["rate"])
    bar.close()
    return found


def test_an_estimate_leaves_out_what_is_compiled(monkeypatch):
    """Eight seconds for a shape's first update, a tenth for its others."""
    found = rates(monkeypatch, 0.1, 0.1, 8.0, 0.1, 0.1, 8.0, 0.1)
    assert found[0] == 0.0  # unknown, and shown as such
    assert found[1:] == pytest.approx([10.0] * 7, rel=1e-6)


def test_an_unknown_estimate_is_a_question_mark(monkeypatch):
    monkeypatch.setattr(report, "time", Clock(0.5))
    bar = report.progress_bar("epoch 1/1", 100, 0, is_shown=True)
    bar.fp = io.StringIO()
    bar.update(1)
    assert "<?" in str(bar)
    bar.update(1)
    assert "<00:49" in str(bar)
    bar.close()


def test_validation_is_announced_and_the_line_goes_away(capsys):
    with report.waiting("validation", is_shown=True):
        assert "validation …" in capsys.readouterr().err
    with report.waiting("validation", is_shown=False):
        pass
    assert "validation" not in capsys.readouterr().err


def test_lessons_can_keep_their_runs_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("STEP_LLM_RUNS", str(tmp_path / "mine"))
    assert runs_folder() == tmp_path / "mine"
    monkeypatch.delenv("STEP_LLM_RUNS")
    assert runs_folder().name == "runs"
