"""Language models on a text that is longer than what they read at once.

Letters: N tokens of the text, W window, B windows computed at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mindspore import Tensor, ops

from step_llm.evaluation.metrics import perplexity
from step_llm.nn._modes import without_dropout

__all__ = ["loss_by_position", "text_losses", "text_perplexity"]


def text_losses(
    model, ids: Sequence[int], window: int, stride: int | None = None, rows: int = 8
) -> np.ndarray:
    """The loss of each token of a running text but the first; every token counts once.

    Windows of W inputs begin every ``stride`` tokens. The first predicts W tokens; each later one
    predicts only those that the windows before it did not, so that a token has at least
    W − stride tokens before it in its window. A small stride is nearer to what the model can do,
    and costs W / stride times as much.

    Args:
        model: ids (B, W) to logits (B, W, V).
        ids: the text, N ids.
        window: W; at most what the model can read.
        stride: from 1 to W; None is W: windows that do not overlap.
        rows: B.

    Returns:
        −log p in nats, (N − 1,) float32.

    Raises:
        ValueError: fewer than 2 tokens, a window or rows below 1, or a stride outside 1 … W.

    Source: Hugging Face, "Perplexity of fixed-length models", the documentation of transformers.
    """
    ids = np.asarray(ids, np.int32)
    stride = window if stride is None else stride
    if len(ids) < 2:
        raise ValueError(f"the text has {len(ids)} tokens; expected at least 2")
    if window < 1 or rows < 1 or not 1 <= stride <= window:
        raise ValueError(
            f"window {window}, stride {stride}, rows {rows}; expected a window and rows of at "
            "least 1, and a stride from 1 to the window"
        )
    labels = len(ids) - 1
    begins = [0]
    while begins[-1] + window < labels:
        begins.append(begins[-1] + stride)
    padded = np.zeros(begins[-1] + window + 1, np.int32)  # no token sees what fills the end
    padded[: len(ids)] = ids
    losses, done = np.zeros(labels, np.float32), 0
    for start in range(0, len(begins), rows):
        part = begins[start : start + rows]
        pieces = np.stack([padded[begin : begin + window + 1] for begin in part])
        found = _token_losses(model, pieces[:, :-1], pieces[:, 1:])
        for begin, row in zip(part, found):
            end = min(begin + window, labels)
            losses[done:end] = row[done - begin : end - begin]
            done = end
    return losses


def text_perplexity(
    model, ids: Sequence[int], window: int, stride: int | None = None, rows: int = 8
) -> float:
    """The perplexity of a running text: exp of the mean of ``text_losses``, whose arguments these
    are."""
    return perplexity(float(text_losses(model, ids, window, stride, rows).mean(dtype=np.float64)))


def loss_by_position(model, ids: Sequence[int], window: int, rows: int = 8) -> np.ndarray:
    """The mean loss at each place of a window: at place t the model has read t + 1 tokens.

    Args:
        model, ids, window, rows: as for ``text_losses``. The text is cut into pieces that do not
            overlap; a last piece that is not full is left out.

    Returns:
        (W,) float32, in nats.

    Raises:
        ValueError: as ``text_losses``, or a text of fewer than W + 1 tokens.
    """
    pieces = (len(ids) - 1) // max(window, 1)
    if window > 0 and pieces < 1:
        raise ValueError(f"the text has {len(ids)} tokens; expected at least {window + 1}")
    losses = text_losses(model, ids[: max(pieces * window, 1) + 1], window, None, rows)
    return losses.reshape(pieces, window).mean(axis=0)


def _token_losses(model, inputs, labels):
    """−log p of each label, without dropout: (B, W) NumPy."""
    with without_dropout(model):
        log_p = ops.log_softmax(model(Tensor(inputs)), -1)
        return -ops.gather_elements(log_p, 2, Tensor(labels[..., None])).asnumpy()[..., 0]
