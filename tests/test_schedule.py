"""The learning rate against the paper's formula."""

from __future__ import annotations

import pytest

from step_llm.training.schedule import cooldown_factor, paper_peak, warmup_learning_rate


@pytest.mark.parametrize(("d_model", "warmup"), [(512, 4000), (128, 400), (16, 1)])
def test_with_the_papers_peak_it_is_the_papers_formula(d_model, warmup):
    for step in (1, 2, warmup - 1, warmup, warmup + 1, 10 * warmup, 100_000):
        if step < 1:
            continue
        formula = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
        rate = warmup_learning_rate(step, warmup, paper_peak(d_model, warmup))
        assert rate == pytest.approx(formula, rel=1e-12)


def test_it_rises_to_the_peak_and_falls_with_the_square_root():
    rates = [warmup_learning_rate(step, 50, 3e-3) for step in range(1, 201)]
    assert max(rates) == rates[49] == 3e-3
    assert all(a < b for a, b in zip(rates[:50], rates[1:50]))
    assert all(a > b for a, b in zip(rates[49:], rates[50:]))
    assert rates[0] == pytest.approx(3e-3 / 50)
    assert rates[199] == pytest.approx(rates[49] / 2)


def test_the_cooldown_is_a_straight_line_to_nearly_nothing():
    factors = [cooldown_factor(step, 10, 0.4) for step in range(1, 11)]
    assert factors == pytest.approx([*[1.0] * 7, 0.75, 0.5, 0.25])
    assert {cooldown_factor(step, 10, 0.0) for step in range(1, 11)} == {1.0}
    whole = [cooldown_factor(step, 4, 1.0) for step in range(1, 5)]
    assert whole == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert cooldown_factor(1, 2, 0.01) == 1.0


@pytest.mark.parametrize(("step", "warmup"), [(0, 10), (-1, 10), (1, 0)])
def test_steps_count_from_one(step, warmup):
    with pytest.raises(ValueError, match=f"step is {step} and warmup_steps is {warmup}"):
        warmup_learning_rate(step, warmup, 1e-3)
