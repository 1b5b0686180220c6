"""The training loss: cross-entropy against smoothed labels."""

from __future__ import annotations

from mindspore import Tensor, mint, ops
from mindspore import dtype as mstype

from step_llm.nn._checks import check_rank

__all__ = ["label_log_probs", "label_smoothed_cross_entropy", "smoothed_loss"]


def label_smoothed_cross_entropy(
    logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, pad_id: int = 0
) -> tuple[Tensor, Tensor]:
    r"""Cross-entropy of real tokens against a target that leaves some probability to all words.

    Formula: −(1 − ε) log p(y) − ε/V · Σ_v log p(v), summed over the tokens that are not padding.

    Args:
        logits: (B, T, V); of half precision, they are converted to float32 first.
        labels: (B, T) integer ids.
        label_smoothing: ε in [0, 1); 0 gives plain cross-entropy.
        pad_id: labels with this id do not count; it may be one that no token has, such as −1.

    Returns:
        the sum of the loss in nats, and the number of real tokens, both float32 scalars.

    Raises:
        ValueError: logits that are not (B, T, V), or labels that are not (B, T).

    Source: Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4.
    """
    return smoothed_loss(*label_log_probs(logits, labels, pad_id), label_smoothing)


def smoothed_loss(log_p: Tensor, found: Tensor, real: Tensor, label_smoothing: float) -> tuple:
    """``label_smoothed_cross_entropy`` from what ``label_log_probs`` gives."""
    loss = -found
    if label_smoothing > 0.0:
        # The mean, but not mint.mean: on the CPU that and its gradient take four times log_p.
        mean = mint.sum(log_p, -1) / log_p.shape[-1]
        loss = (1.0 - label_smoothing) * loss - label_smoothing * mean
    return mint.sum(loss * real), mint.sum(real)


def label_log_probs(logits: Tensor, labels: Tensor, pad_id: int = 0) -> tuple:
    """Log-probabilities of all tokens (B·T, V), of each label (B·T,), and which labels count: 1.0,
    or 0.0 for padding (B·T,), where what stands for the label's means nothing.

    Args, Raises: as ``label_smoothed_cross_entropy``.
    """
    check_rank("logits", logits.shape, 3, "(B, T, V)")
    check_rank("labels", labels.shape, 2, "(B, T)")
    if logits.dtype == mstype.float16 or logits.dtype == mstype.bfloat16:
        logits = ops.cast(logits, mstype.float32)
    rows = labels.size
    # log_softmax and gather, not ops.cross_entropy: a tenth of its time on the CPU.
    log_p = ops.log_softmax(logits.reshape((rows, logits.shape[-1])), -1)
    labels = labels.reshape((rows, 1))
    is_real = ops.not_equal(labels, pad_id)
    # pad_id need not be a place in log_p; the caller multiplies what is found at 0 instead by 0.
    places = ops.where(is_real, labels, ops.zeros_like(labels))
    found = ops.gather_elements(log_p, 1, places).reshape((rows,))
    return log_p, found, ops.cast(is_real.reshape((rows,)), logits.dtype)
