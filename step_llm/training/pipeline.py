"""Pipeline parallel (流水线并行): one process has the first layers, the other the rest.

The batch is cut into micro-batches. While the second process works on one of them, the first
already works on the next:

    first     F0  F1      B0  F2      B1  F3      B2      B3      F forward, B backward
    second        FB0         FB1         FB2         FB3

What goes between them is what comes out of the first's last layer, and its gradient back. The
update is that of the whole batch.

MindSpore has this as ``AutoParallel(net).pipeline(…)``; in 2.10 it refuses the CPU. This is written
with ``ops.Broadcast`` between two processes: ``ops.Send`` and ``ops.Receive`` do not run there.

Source: Huang et al. 2019, "GPipe: Efficient Training of Giant Neural Networks using Pipeline
Parallelism" (micro-batches; a stage computes its forward pass again for the backward one);
Narayanan et al. 2019, "PipeDream: Generalized Pipeline Parallelism for DNN Training" (one forward,
one backward).
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from step_llm.runtime.graph_mode import compiled
from step_llm.training.distributed import Group

__all__ = ["Pipeline"]


class Pipeline:
    """One of the two stages, and the exchange with the other one.

    Args:
        stage: a cell. The first one's takes the inputs and gives h; the second one's takes h and
            gives what ``loss`` takes.
        loss: of the second stage's output and the labels: the sum over them, a scalar.
        shape: of h, of one micro-batch.
        group: two processes; the first is the first stage.

    Raises:
        ValueError: a group that is not of two processes.
    """

    def __init__(self, stage: nn.Cell, loss, shape: tuple[int, ...], group: Group):
        if group.size != 2:
            raise ValueError(f"a group of {group.size}; expected 2, a process for each stage")
        self.is_first = group.is_first
        self.weights = stage.trainable_params()
        self._stage, self._empty = stage, np.zeros(shape, np.float32)
        self._forth, self._back = _Message(0), _Message(1)
        self._backward = _Backward(stage, None if self.is_first else loss)

    def gradients(self, inputs, labels, micro_batches: int) -> tuple[float, list[np.ndarray]]:
        """The gradient of the loss by this stage's weights, summed over the batch.

        Args:
            inputs, labels: arrays (B, …), the same in both processes; the first stage needs no
                labels, the second no inputs.
            micro_batches: must divide B.

        Returns:
            the loss, as the second stage knows it (the first gives 0), and the gradients.

        Raises:
            ValueError: a batch that cannot be cut evenly.
        """
        if len(inputs) % micro_batches:
            raise ValueError(
                f"{len(inputs)} rows in {micro_batches} micro-batches; expected a multiple of it"
            )
        parts = [np.split(np.asarray(array), micro_batches) for array in (inputs, labels)]
        total, sums = 0.0, [np.zeros(weight.shape, np.float32) for weight in self.weights]
        for loss, found in self._first(parts[0]) if self.is_first else self._second(parts[1]):
            total += loss
            sums = [whole + part.asnumpy() for whole, part in zip(sums, found)]
        return total, sums

    def _first(self, inputs):
        """Sends one micro-batch more than it has got back."""
        inputs = [Tensor(part) for part in inputs]
        self._forth(self._stage(inputs[0]))
        for place, part in enumerate(inputs):
            if place + 1 < len(inputs):
                self._forth(self._stage(inputs[place + 1]))
            gradient = self._back(Tensor(self._empty))
            # What the stage kept of its forward pass is its input alone: it is computed again.
            yield 0.0, self._backward(part, gradient)[1]

    def _second(self, labels):
        h = self._forth(Tensor(self._empty))
        for place, part in enumerate(labels):
            loss, found = self._backward(h, Tensor(part))
            if place + 1 < len(labels):
                h = self._forth(Tensor(self._empty))
            self._back(found[0])
            yield float(loss.asnumpy()), found[1:]


class _Message(nn.Cell):
    """From one process to the other; the receiver's own tensor only says the shape."""

    def __init__(self, sender):
        super().__init__()
        self.broadcast = ops.Broadcast(sender)

    @compiled
    def construct(self, x):
        return self.broadcast((x,))[0]


class _Backward(nn.Cell):
    """The first stage's gradients, from that of h; or the second one's loss, and the gradients of h
    and of its weights."""

    def __init__(self, stage, loss):
        super().__init__()
        weights = stage.trainable_params()
        if loss is None:

            def forward(x, gradient):
                return (stage(x) * gradient).sum()  # its derivative by h is the gradient

            self.value_and_grad = ms.value_and_grad(forward, None, weights)
        else:

            def forward(h, labels):
                return loss(stage(h), labels)

            self.value_and_grad = ms.value_and_grad(forward, 0, weights)
        self.is_first = loss is None

    @compiled
    def construct(self, x, y):
        value, gradients = self.value_and_grad(x, y)
        if self.is_first:
            return value, gradients
        return value, (gradients[0], *gradients[1])
