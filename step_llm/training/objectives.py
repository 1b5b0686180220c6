"""Objectives: what a model's outputs and a batch's labels make to one number to be lowered.

An objective takes the model, a batch's tensors (labels last) and the label smoothing; it returns
the sum of the loss in nats, and how many labels it is the sum of. Labels that say "nothing here"
have no part in either; where they are another number than the model's ``pad_id``, the objective's
attribute ``ignored`` holds it.
"""

from __future__ import annotations

from mindspore import mint, ops

from step_llm.training.loss import label_log_probs, label_smoothed_cross_entropy, smoothed_loss

__all__ = [
    "IGNORED",
    "class_objective",
    "ignored_label",
    "pretraining_objective",
    "r_drop_objective",
    "token_objective",
]

# The class label of a row that only fills a batch up.
IGNORED = -1


def token_objective(model, tensors, label_smoothing: float = 0.0):
    """A token at each place: translation, causal and masked language models.

    Shapes: the model's inputs, then labels (B, T); the model returns logits (B, T, V). Labels that
    are ``model.pad_id`` do not count.
    """
    logits = model(*tensors[:-1])
    return label_smoothed_cross_entropy(logits, tensors[-1], label_smoothing, model.pad_id)


def r_drop_objective(alpha: float):
    r"""``token_objective`` under two dropout masks, which should give the same probabilities.

    Formula: ½ (L₁ + L₂) + α/4 · [KL(p₁ ‖ p₂) + KL(p₂ ‖ p₁)], summed over the labels; L₁ and L₂ are
    the label-smoothed losses, p₁ and p₂ the probabilities of one batch under two masks. It is half
    the paper's sum, so that α = 0 gives one batch's loss. Both passes are one, of twice the rows.

    Shapes: as for ``token_objective``.

    Args:
        alpha: α ≥ 0, the weight of the agreement.

    Raises:
        ValueError: an α that is negative or not finite.

    Source: Liang et al. 2021, "R-Drop: Regularized Dropout for Neural Networks", equation 4.
    """
    if not 0.0 <= alpha < float("inf"):
        raise ValueError(f"alpha is {alpha}; expected a number of at least 0")

    def objective(model, tensors, label_smoothing=0.0):
        twice = [ops.concat((part, part), 0) for part in tensors]
        log_p, found, is_real = label_log_probs(model(*twice[:-1]), twice[-1], model.pad_id)
        total, tokens = smoothed_loss(log_p, found, is_real, label_smoothing)
        first, second = ops.split(log_p, is_real.shape[0] // 2)  # (B·T, V) each
        # KL(p₁ ‖ p₂) + KL(p₂ ‖ p₁) = Σ_v (p₁ − p₂)(log p₁ − log p₂)
        apart = mint.sum((ops.exp(first) - ops.exp(second)) * (first - second), -1)
        apart = mint.sum(apart * is_real[: is_real.shape[0] // 2])
        return total / 2 + alpha / 4 * apart, tokens / 2

    return objective


def class_objective(model, tensors, label_smoothing: float = 0.0):
    """One class for each text or image.

    Shapes: the model's inputs, then labels (B,); the model returns logits (B, C). Labels that are
    ``IGNORED`` do not count.
    """
    return _class_loss(model(*tensors[:-1]), tensors[-1], label_smoothing)


def pretraining_objective(model, tensors, label_smoothing: float = 0.0):
    r"""Both tasks of BERT's pre-training: the hidden tokens, and whether B follows A.

    Formula: N · (mean over the N hidden tokens + mean over the pairs), and N; so that divided by N
    it is the paper's sum of two means.

    Shapes: ids, segments and labels (B, T), and next-sentence labels (B,), where ``IGNORED`` does
    not count; the model is a ``BertForPreTraining``.

    Source: Devlin et al. 2019, appendix A.2.
    """
    ids, segments, labels, is_random = tensors
    logits, next_logits = model(ids, segments)
    total, tokens = label_smoothed_cross_entropy(logits, labels, label_smoothing, model.pad_id)
    next_total, pairs = _class_loss(next_logits, is_random, label_smoothing)
    tokens = ops.maximum(tokens, 1.0)  # a small batch may hide no token at all
    return total + tokens * next_total / ops.maximum(pairs, 1.0), tokens


class_objective.ignored = pretraining_objective.ignored = IGNORED


def ignored_label(objective, model) -> int:
    """The label that has no part in an objective: what fills up the last array of a batch."""
    return getattr(objective, "ignored", getattr(model, "pad_id", 0))


def _class_loss(logits, labels, label_smoothing):
    """Classes are tokens of a text of one place: logits (B, C), labels (B,)."""
    rows, classes = logits.shape
    logits, labels = logits.reshape((rows, 1, classes)), labels.reshape((rows, 1))
    return label_smoothed_cross_entropy(logits, labels, label_smoothing, IGNORED)
