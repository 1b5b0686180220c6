"""Objectives: what a model's outputs and a batch's labels make to one number to be lowered.

An objective takes the model, a batch's tensors (labels last) and the label smoothing; it returns
the sum of the loss in nats, and how many labels it is the sum of. Labels that say "nothing here"
have no part in either; where they are another number than the model's ``pad_id``, the objective's
attribute ``ignored`` holds it.
"""

from __future__ import annotations

from mindspore import dtype as mstype
from mindspore import ops

from step_llm.training.loss import label_smoothed_cross_entropy

__all__ = [
    "IGNORED",
    "class_objective",
    "ignored_label",
    "pretraining_objective",
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
    if logits.dtype == mstype.float16 or logits.dtype == mstype.bfloat16:
        logits = ops.cast(logits, mstype.float32)
    is_real = ops.not_equal(labels, IGNORED)
    log_p = ops.log_softmax(logits, -1)  # (B, C)
    # gather takes no negative place; what it finds for an ignored label is multiplied by 0.
    places = ops.where(is_real, labels, ops.zeros_like(labels)).reshape((labels.shape[0], 1))
    loss = -ops.gather_elements(log_p, 1, places).reshape(labels.shape)
    if label_smoothing > 0.0:
        loss = (1.0 - label_smoothing) * loss - label_smoothing * ops.mean(log_p, -1)
    real = ops.cast(is_real, logits.dtype)
    return ops.ReduceSum()(loss * real), ops.ReduceSum()(real)
