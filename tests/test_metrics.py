"""The scores are sacrebleu's own, and say what they rest on."""

from __future__ import annotations

import pytest
import sacrebleu

from step_llm.evaluation.metrics import bleu_counts, bleu_of_counts, score

HYPOTHESES = ["A dog runs on the grass .", "two men sit on a bench", "a girl in red"]
REFERENCES = ["a dog runs over the grass .", "Two men are sitting on a bench .", "a girl in red ."]


def test_the_scores_are_those_of_sacrebleu():
    scores = score(HYPOTHESES, REFERENCES)
    bleu = sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES], lowercase=True)
    lower = [[line.lower() for line in lines] for lines in (HYPOTHESES, REFERENCES)]
    chrf = sacrebleu.corpus_chrf(lower[0], [lower[1]])
    assert scores.bleu == pytest.approx(bleu.score, abs=1e-9)
    assert scores.chrf == pytest.approx(chrf.score, abs=1e-9)
    assert 0 < scores.bleu < 100
    assert 0 < scores.chrf < 100


def test_bleu_of_parts_is_bleu_of_the_whole():
    """What several workers do: one has a single sentence, one none."""
    parts = [bleu_counts(HYPOTHESES[place], REFERENCES[place])
             for place in (slice(0, 2), slice(2, 3), slice(3, 3))]  # fmt: skip
    whole = bleu_of_counts([float(sum(column)) for column in zip(*parts)])
    assert whole == score(HYPOTHESES, REFERENCES).bleu
    assert 0 < whole < 100
    assert whole != pytest.approx(bleu_of_counts(parts[0]))


def test_case_counts_only_when_asked():
    assert score(HYPOTHESES, REFERENCES).bleu > score(HYPOTHESES, REFERENCES, lowercase=False).bleu


def test_identical_sentences_score_100():
    scores = score(REFERENCES, REFERENCES)
    assert scores.bleu == pytest.approx(100)
    assert scores.chrf == pytest.approx(100)


def test_the_printed_form_names_the_sentences_and_the_signatures():
    scores = score(HYPOTHESES, REFERENCES)
    assert "case:lc" in scores.signature
    assert "tok:13a" in scores.signature
    assert sacrebleu.__version__ in scores.signature
    printed = str(scores)
    assert f"BLEU {scores.bleu:.2f} on 3 sentences" in printed
    assert f"chrF {scores.chrf:.2f} on 3 sentences" in printed
    assert scores.signature in printed
    assert scores.chrf_signature in printed


def test_an_empty_hypothesis_is_scored():
    assert score(["", *HYPOTHESES[1:]], REFERENCES).bleu < score(HYPOTHESES, REFERENCES).bleu


@pytest.mark.parametrize(("hypotheses", "references"), [(["a"], ["a", "b"]), ([], [])])
def test_counts_that_do_not_match_are_refused(hypotheses, references):
    message = f"{len(hypotheses)} hypotheses and {len(references)} references"
    with pytest.raises(ValueError, match=message):
        score(hypotheses, references)
