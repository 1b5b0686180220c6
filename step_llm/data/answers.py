"""What a language model learns answering from: prompts with answers; only the latter count.

Letters: N texts, T length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["answer_arrays"]


def answer_arrays(
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    length: int,
    pad_id: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels of instruction tuning: the model reads the prompt, and learns the answer.

    Formula: of a text x = prompt + answer, input t is x_t and its label x_{t+1} where this belongs
    to the answer, else pad_id, so that ``token_objective`` leaves it out. So the last token of the
    prompt has the answer's first as its label.

    Args:
        prompts, answers: lists of ids; each has at least one token. An answer's last token should
            be the one that ends it: else the model learns no end.
        length: T, of the rows: a text may have one token more.
        pad_id: the model's.

    Returns:
        inputs and labels, (N, T) int32 each.

    Raises:
        ValueError: as many answers as prompts is not the case, an empty one, a text that does not
            fit, or an answer with the id of padding, which nobody would learn.

    Source: Ouyang et al. 2022, "Training language models to follow instructions with human
    feedback", section 3.5 (supervised fine-tuning).
    """
    if len(prompts) != len(answers):
        raise ValueError(f"{len(prompts)} prompts and {len(answers)} answers; expected pairs")
    # A pad_id of −1 is no token; what stands behind a text is seen by nothing that counts.
    inputs = np.full((len(prompts), length), max(pad_id, 0), np.int32)
    labels = np.full((len(prompts), length), pad_id, np.int32)
    for row, (prompt, answer) in enumerate(zip(prompts, answers)):
        if not len(prompt) or not len(answer):
            raise ValueError(f"the prompt or the answer of text {row} is empty")
        if pad_id in answer:
            raise ValueError(
                f"answer {row} holds the id {pad_id}, which is padding for this model and would "
                "not be learned; give the model another pad_id, such as −1"
            )
        text = [*prompt, *answer]
        if len(text) > length + 1:
            raise ValueError(f"text {row} has {len(text)} tokens; expected at most {length + 1}")
        inputs[row, : len(text) - 1] = text[:-1]
        labels[row, len(prompt) - 1 : len(text) - 1] = answer
    return inputs, labels
