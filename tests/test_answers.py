"""Instruction tuning: of a prompt and its answer, the answer alone counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor

from step_llm.data.answers import answer_arrays
from step_llm.models.decoder_lm import DecoderLM, DecoderLMConfig
from step_llm.training.objectives import token_objective


def test_by_hand():
    inputs, labels = answer_arrays([[5, 6, 7], [8]], [[9, 2], [4, 3, 2]], 5)
    assert inputs.tolist() == [[5, 6, 7, 9, 0], [8, 4, 3, 0, 0]]
    assert labels.tolist() == [[0, 0, 9, 2, 0], [4, 3, 2, 0, 0]]
    assert inputs.dtype == labels.dtype == np.int32


IDS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@settings(max_examples=50, deadline=None)
@given(pairs=st.lists(st.tuples(IDS, IDS), max_size=4), pad_id=st.sampled_from([-1, 0, 10]))
def test_each_token_of_an_answer_is_once_a_label(pairs, pad_id):
    prompts, answers = [p for p, _ in pairs], [a for _, a in pairs]
    inputs, labels = answer_arrays(prompts, answers, 9, pad_id)
    assert inputs.shape == labels.shape == (len(pairs), 9)
    for row, (prompt, answer) in enumerate(pairs):
        counts = labels[row] != pad_id
        assert labels[row][counts].tolist() == answer
        # What the model has read at the first of these places, and what it reads after.
        first = int(counts.argmax())
        assert inputs[row, : first + 1].tolist() == prompt
        assert inputs[row, first + 1 : first + len(answer)].tolist() == answer[:-1]
    assert (inputs >= 0).all()


def test_the_loss_is_that_of_the_answer_given_the_prompt():
    config = DecoderLMConfig(11, d_model=8, num_heads=1, num_kv_heads=1, d_head=8, d_ff=8)
    model = DecoderLM(config, seed=1, pad_id=-1).set_train(False)
    prompts, answers = [[5, 0, 7], [8]], [[9, 0], [4, 3, 2]]
    arrays = answer_arrays(prompts, answers, 6, model.pad_id)
    total, count = token_objective(model, tuple(map(Tensor, arrays)))
    expected = 0.0
    for prompt, answer in zip(prompts, answers):
        logits = model(Tensor(np.array([[*prompt, *answer]], np.int32))).asnumpy()[0]
        log_p = logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))
        expected -= sum(log_p[len(prompt) - 1 + n, token] for n, token in enumerate(answer))
    assert float(count.asnumpy()) == 5
    assert float(total.asnumpy()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("prompts", "answers", "words"),
    [
        ([[1]], [], "1 prompts and 0 answers; expected pairs"),
        ([[1], []], [[2], [3]], "the prompt or the answer of text 1 is empty"),
        ([[1]], [[]], "the prompt or the answer of text 0 is empty"),
        ([[1, 2, 3]], [[4, 5]], "text 0 has 5 tokens; expected at most 4"),
        ([[1]], [[4, 0]], "answer 0 holds the id 0, which is padding for this model"),
    ],
)
def test_texts_that_are_refused(prompts, answers, words):
    with pytest.raises(ValueError, match=words):
        answer_arrays(prompts, answers, 3)
