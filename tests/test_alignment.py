"""Alignment: the gold file, tokens to words, links from weights, and the error rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from step_llm.evaluation.alignment import (
    GoldAlignment,
    alignment_error_rate,
    diagonal_links,
    read_gold_alignment,
    strongest_links,
    word_places,
)

GOLD = Path(__file__).resolve().parents[1] / "notebooks" / "data" / "gold_alignment.txt"


def test_the_gold_alignment_is_whole():
    gold = read_gold_alignment(GOLD)
    assert 20 <= len(gold) <= 30
    for entry in gold:
        assert entry.sure <= entry.possible
        assert (len(entry.target) - 1, len(entry.source) - 1) in entry.sure, "the full stops"
        assert all(t < len(entry.target) and s < len(entry.source) for t, s in entry.possible)
    first = gold[0]
    assert first.possible - first.sure == {(2, 2)}
    # A word of its own for each mark would make few mistakes, the diagonal many.
    diagonal = [diagonal_links(len(e.target), len(e.source)) for e in gold]
    assert 0.3 < alignment_error_rate(diagonal, gold) < 0.6
    assert alignment_error_rate([e.sure for e in gold], gold) == 0.0


def test_marks_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "gold.txt"
    for marks in ("0 1 2", "0 2"):
        path.write_text(f"# a remark\n\nein hund\na dog\n{marks}\n", encoding="utf-8")
        with pytest.raises(ValueError, match="do not fit 'a dog'"):
            read_gold_alignment(path)
    path.write_text("ein hund\na dog\n0? -\n", encoding="utf-8")
    assert read_gold_alignment(path)[0][2:] == (set(), {(0, 0)})


def test_each_word_has_its_tokens():
    tokens = ["▁ein", "▁hun", "d", "."]
    assert word_places(tokens, ["Ein", "Hund", "."]) == [[0], [1, 2], [3]]
    with pytest.raises(ValueError, match=r"spell 'einhund\.'; expected 'eine'"):
        word_places(tokens, ["Eine"])


def test_a_words_weight_is_the_sum_over_its_tokens():
    weights = np.array([[0.5, 0.3, 0.2], [0.1, 0.4, 0.5], [0.3, 0.1, 0.6]])
    # The second source word has two tokens: 0.5 against 0.3 + 0.3.
    assert strongest_links(weights[:1], [[0]], [[0], [1, 2]]) in ({(0, 0)}, {(0, 1)})
    assert strongest_links(weights[1:], [[0, 1]], [[0], [1, 2]]) == {(0, 1)}
    assert strongest_links(weights, [[0], [1], [2]], [[0], [1], [2]]) == {(0, 0), (1, 2), (2, 2)}


def test_the_diagonal_goes_from_corner_to_corner():
    assert diagonal_links(3, 3) == {(0, 0), (1, 1), (2, 2)}
    assert diagonal_links(4, 2) == {(0, 0), (1, 0), (2, 1), (3, 1)}


def test_possible_links_are_no_mistakes_and_sure_ones_must_be_there():
    gold = [GoldAlignment(["x"] * 3, ["y"] * 3, {(0, 0), (1, 1)}, {(0, 0), (1, 1), (2, 1)})]
    assert alignment_error_rate([{(0, 0), (1, 1)}], gold) == 0.0
    assert alignment_error_rate([{(0, 0), (1, 1), (2, 1)}], gold) == 0.0
    assert alignment_error_rate([{(0, 0)}], gold) == pytest.approx(1 - 2 / 3)
    assert alignment_error_rate([{(0, 0), (1, 2)}], gold) == pytest.approx(1 - 2 / 4)
