"""One update of a model's weights, for every objective, precision and number of workers."""

from __future__ import annotations

from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, amp, nn, ops

from step_llm.nn.forms import device_form
from step_llm.runtime.graph_mode import compiled, graph_mode
from step_llm.training.distributed import GradientSum, Group
from step_llm.training.gradient import GradientStep, UpdateStep
from step_llm.training.objectives import ignored_label, token_objective
from step_llm.training.precision import check_precision

__all__ = ["EvaluationStep", "StepResult", "TrainStep"]

# The loss is multiplied by a power of 2, so that small gradients are not lost in float16, whose
# smallest step is 6e-8. An overflow halves it; so many updates without one double it.
_FIRST_SCALE = 2.0**16
_SCALE_FACTOR = 2
_SCALE_WINDOW = 1000


class StepResult(NamedTuple):
    """What one update says of its batches.

    Args:
        loss: the objective per label in nats, a float32 scalar.
        tokens: how many labels that is the mean of, a float32 scalar.
        is_made: False where a half precision overflowed and the update was skipped.
    """

    loss: Tensor
    tokens: Tensor
    is_made: bool


class TrainStep:
    """One update: forward, loss, gradient, clipping, optimizer.

    In float32, from one batch and in one process, it is one compiled graph. Otherwise every batch's
    gradient is added up first, of several workers each computes its share of the rows, and a last
    graph makes the update. It is that of one batch that holds all the rows, if the objective is a
    sum over labels; of ``pretraining_objective`` each batch's second task then counts by its number
    of hidden tokens.

    Args:
        model: any model that the objective can call, in training mode.
        optimizer: over the model's weights; its learning rate is set at each call.
        objective: what is lowered, see ``objectives``; by default the loss of each token.
        label_smoothing: ε of the loss.
        clip_norm: gradients with a greater global norm are scaled down to it.
        precision: of the matrix products, one of ``PRECISIONS``. In half precision the loss is
            scaled; an overflow (a gradient that is not finite) is skipped: weights and optimizer
            stay as they were, and the scale is halved.
        accumulate: the most batches to an update.
        group: the workers, if this process is one of several.

    Called with the learning rate and a batch, or up to ``accumulate`` of them; a batch is a tuple
    of arrays or Tensors as the objective takes them (of a translator source, decoder_input and
    labels, (B, L) int32). Returns a ``StepResult``.

    Raises:
        PrecisionError: a half precision in which this device cannot compute.
        ValueError: (of a call) no batch, or more than ``accumulate``.

    Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks"
    (clipping); Micikevicius et al. 2018, "Mixed Precision Training" (loss scaling).
    """

    def __init__(
        self,
        model,
        optimizer,
        objective=token_objective,
        *,
        label_smoothing: float = 0.0,
        clip_norm: float = 1.0,
        precision: str = "float32",
        accumulate: int = 1,
        group: Group | None = None,
    ):
        self.accumulate = accumulate
        self.group = group or Group()
        self.is_hopeless = False  # an overflow at loss scale 1: no smaller one can help
        self._scaler = None
        self._fill = getattr(model, "pad_id", 0), ignored_label(objective, model)
        if precision == "float32" and accumulate == 1 and self.group.size == 1:
            self._whole = _WholeUpdate(model, optimizer, objective, label_smoothing, clip_norm)
            return
        self._whole = None
        if precision != "float32":
            check_precision(precision)
            self._scaler = amp.DynamicLossScaler(_FIRST_SCALE, _SCALE_FACTOR, _SCALE_WINDOW)
        weights = optimizer.parameters
        self.gradients = weights.clone(prefix="gradient", init="zeros")
        self.gradient_step = GradientStep(
            model, self.gradients, weights, objective, label_smoothing, precision
        )
        self.gradient_sum = GradientSum(self.gradients) if self.group.size > 1 else None
        self.update_step = UpdateStep(optimizer, self.gradients, clip_norm)

    @property
    def loss_scale(self) -> tuple[float, int]:
        """The loss scale, and the updates since it was last changed; (1, 0) in float32."""
        if self._scaler is None:
            return 1.0, 0
        return float(self._scaler.scale_value.asnumpy()), int(self._scaler.counter.asnumpy())

    @loss_scale.setter
    def loss_scale(self, value):
        scale, counter = value
        self._scaler.scale_value.set_data(Tensor(scale, ms.float32))
        self._scaler.counter.set_data(Tensor(counter, ms.int32))

    def __call__(self, learning_rate: float, *batches) -> StepResult:
        if not 1 <= len(batches) <= self.accumulate:
            raise ValueError(f"{len(batches)} batches to an update; expected 1 … {self.accumulate}")
        rate = Tensor(learning_rate, ms.float32)
        if self._whole is not None:
            return StepResult(*self._whole(*_share(self.group, batches[0], self._fill), rate), True)
        scale, _ = self.loss_scale
        # How many labels count is known only afterwards; that there are about as many as places
        # keeps the numbers in float16's range.
        factor = scale / sum(np.size(batch[-1]) for batch in batches)
        results = [
            self.gradient_step(*_share(self.group, batch, self._fill), Tensor(factor, ms.float32))
            for batch in batches
        ]
        total, tokens, overflows = np.sum(
            [[float(part.asnumpy()) for part in result] for result in results], axis=0
        )
        if self.gradient_sum is not None:
            numbers = Tensor([total, tokens, overflows], ms.float32)
            total, tokens, overflows = self.gradient_sum(numbers).asnumpy()
        tokens = max(tokens, 1.0)
        is_made = not overflows
        if is_made:
            self.update_step(rate, Tensor(factor * tokens, ms.float32)).asnumpy()
        else:
            self.is_hopeless = scale == 1.0
            for gradient in self.gradients:
                gradient.set_data(Tensor(np.zeros(gradient.shape, np.float32)))
        if self._scaler is not None:
            self._scaler.adjust(Tensor(is_made))
        return StepResult(Tensor(total / tokens, ms.float32), Tensor(tokens, ms.float32), is_made)


class _WholeUpdate(nn.Cell):
    """The whole update in one compiled graph. Called with a batch's tensors and the learning rate;
    returns the loss per label and the number of labels."""

    def __init__(self, model, optimizer, objective, label_smoothing, clip_norm):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.clip = device_form(ops.clip_by_global_norm)
        self.assign = device_form(ops.assign)

        def forward(*tensors):
            total, tokens = objective(model, tensors, label_smoothing)
            # A masked language model may find nothing to predict in a small batch.
            return total / ops.maximum(tokens, 1.0), tokens

        self.value_and_grad = ms.value_and_grad(forward, None, optimizer.parameters, has_aux=True)

    @compiled
    def construct(self, *tensors):
        (loss, tokens), gradients = self.value_and_grad(*tensors[:-1])
        gradients = self.clip(gradients, self.clip_norm)
        self.assign(self.optimizer.learning_rate, tensors[-1])
        loss = ops.depend(loss, self.optimizer(gradients))
        return loss, tokens


class EvaluationStep:
    """A batch's plain objective, without label smoothing, in one compiled graph.

    Called with a batch as ``TrainStep`` takes it; returns the sum in nats, and of how many labels,
    two float32 scalars; of several workers for this one's share of the rows.

    Args:
        model, objective, group: as for ``TrainStep``.
    """

    def __init__(self, model, objective=token_objective, group: Group | None = None):
        self.model = model
        self.group = group or Group()
        self._fill = getattr(model, "pad_id", 0), ignored_label(objective, model)
        self._sums = _Sums(model, objective)

    def __call__(self, batch) -> tuple[Tensor, Tensor]:
        # In PyNative mode, MindSpore 2.10 gives compiled code the weights of its first call again
        # where they were set from outside in between.
        with graph_mode():
            return self._sums(*_share(self.group, batch, self._fill))

    def mean(self, batches) -> float:
        """The objective per label over ``batches.epoch()`` and all workers, in evaluation mode."""
        self.model.set_train(False)
        sums = [[float(part.asnumpy()) for part in self(batch)] for batch in batches.epoch()]
        total, count = self.group.sum(np.sum(sums, axis=0))
        return float(total / count)


class _Sums(nn.Cell):
    def __init__(self, model, objective):
        super().__init__()
        self.model = model
        self.objective = objective

    @compiled
    def construct(self, *tensors):
        return self.objective(self.model, tensors, 0.0)


def _share(group, batch, fill):
    """This worker's rows of a batch, as Tensors; added rows hold ``fill``'s numbers: of inputs, of
    labels."""
    *inputs, labels = batch
    shares = [*(group.share(part, fill[0]) for part in inputs), group.share(labels, fill[1])]
    return [part if isinstance(part, Tensor) else Tensor(part) for part in shares]
