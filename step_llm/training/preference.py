"""Direct preference optimisation: of two answers, one becomes more probable against the other.

Letters: B pairs, N texts, T length, V vocabulary.
"""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, ops

from step_llm.nn._modes import without_dropout
from step_llm.training.loss import label_log_probs

__all__ = ["answer_log_probs", "dpo_loss", "dpo_objective", "sequence_log_probs"]


def sequence_log_probs(logits: Tensor, labels: Tensor, pad_id: int = 0) -> Tensor:
    r"""The log-probability of each answer, given its prompt.

    Formula: log π(y | x) = Σ_t log p(y_t | x, y_<t), over the labels that are not padding.

    Args:
        logits: (B, T, V); of half precision, they are converted to float32 first.
        labels: (B, T) as ``answer_arrays`` makes them: pad_id at the places of the prompt.
        pad_id: labels with this id do not count.

    Returns:
        (B,) float32, in nats.

    Raises:
        ValueError: logits that are not (B, T, V), or labels that are not (B, T).
    """
    _, found, real = label_log_probs(logits, labels, pad_id)
    return (found * real).reshape(labels.shape).sum(-1)


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    chosen_reference: Tensor,
    rejected_reference: Tensor,
    beta: float = 0.1,
) -> Tensor:
    r"""How far a model is from preferring the chosen answers more than the reference does.

    Formula: −log σ(β [(log π(y_w|x) − log π_ref(y_w|x)) − (log π(y_l|x) − log π_ref(y_l|x))]). It
    is log 2 where the model is the reference. The stronger β, the dearer is a step away from it.

    Args:
        chosen, rejected: log π(y_w|x) and log π(y_l|x), (B,) each.
        chosen_reference, rejected_reference: the same of π_ref, the model before this training.
        beta: β, above 0.

    Returns:
        the loss of each pair, (B,).

    Raises:
        ValueError: a β that is not above 0.

    Source: Rafailov et al. 2023, "Direct Preference Optimization: Your Language Model is Secretly a
    Reward Model", equation 7.
    """
    _check_beta(beta)
    margin = (chosen - chosen_reference) - (rejected - rejected_reference)
    return ops.softplus(-beta * margin)  # −log σ(z) = log(1 + e^(−z))


def _check_beta(beta):
    if not 0.0 < beta < float("inf"):
        raise ValueError(f"beta is {beta}; expected more than 0")


def dpo_objective(beta: float = 0.1):
    """The objective of DPO for ``TrainStep`` and ``Trainer``, see ``objectives``.

    A batch is: inputs of the chosen and of the rejected answers (B, T), log-probabilities of both
    under the reference (B,), labels of the chosen and of the rejected (B, T). ``answer_arrays``
    makes inputs and labels, ``answer_log_probs`` the reference's, once before the training. Pairs
    without labels do not count; label smoothing has no part.

    Args:
        beta: as for ``dpo_loss``.

    Returns:
        the objective; it counts pairs, so that ``StepResult.loss`` is the mean over them.

    Raises:
        ValueError: as ``dpo_loss``.
    """
    _check_beta(beta)

    def objective(model, tensors, label_smoothing=0.0):
        chosen, rejected, chosen_reference, rejected_reference, wanted, unwanted = tensors
        # One pass for both: they have one shape.
        logits = model(ops.concat((chosen, rejected), 0))
        labels = ops.concat((wanted, unwanted), 0)
        found = sequence_log_probs(logits, labels, model.pad_id)
        pairs = chosen.shape[0]
        loss = dpo_loss(found[:pairs], found[pairs:], chosen_reference, rejected_reference, beta)
        is_real = ops.cast(ops.not_equal(unwanted, model.pad_id), loss.dtype)
        is_real = ops.ReduceMax()(is_real, 1)  # (B,): 0 for a row that only fills a batch up
        return (loss * is_real).sum(), is_real.sum()

    return objective


def answer_log_probs(model, inputs: np.ndarray, labels: np.ndarray, rows: int = 32) -> np.ndarray:
    """``sequence_log_probs`` of many texts under a model, without dropout.

    Args:
        model: ids (B, T) to logits (B, T, V), with a ``pad_id``.
        inputs, labels: (N, T) as ``answer_arrays`` makes them.
        rows: how many texts are computed at once.

    Returns:
        (N,) float32 NumPy array.
    """
    with without_dropout(model):
        parts = [
            sequence_log_probs(
                model(Tensor(inputs[start : start + rows])),
                Tensor(labels[start : start + rows]),
                model.pad_id,
            ).asnumpy()
            for start in range(0, len(inputs), rows)
        ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
