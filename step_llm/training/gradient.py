"""An update in two graphs: gradients that add up over batches and workers, then the optimizer."""

from __future__ import annotations

import mindspore as ms
from mindspore import amp, nn, ops

from step_llm.nn.forms import device_form
from step_llm.runtime.graph_mode import compiled
from step_llm.training.precision import in_precision

__all__ = ["GradientStep", "UpdateStep"]


class GradientStep(nn.Cell):
    r"""One batch's part of the gradient, added to what other batches left: one compiled graph.

    Formula: G ← G + ∇(factor · Σ loss), Σ over the batch's labels.

    Args:
        model: in training mode.
        gradients: G, one parameter for each weight, zeros at first.
        weights: what is differentiated.
        objective, label_smoothing, precision: as for ``TrainStep``.

    Shapes: the batch's tensors, then factor, a float32 scalar. Returns the sum of the loss in nats
    (without the factor), the number of labels, and whether the gradient overflowed (0 or 1; in
    float32 it is not looked for).

    Source: Micikevicius et al. 2018, "Mixed Precision Training".
    """

    def __init__(self, model, gradients, weights, objective, label_smoothing, precision):
        super().__init__(auto_prefix=False)
        self.gradients = gradients
        self.is_half = precision != "float32"
        self.add = device_form(ops.assign_add)
        self.all_finite = device_form(amp.all_finite)

        def forward(*tensors):
            total, tokens = objective(model, tensors[:-1], label_smoothing)
            return total * tensors[-1], total, tokens

        if self.is_half:
            forward = in_precision(forward, model, precision)
        self.value_and_grad = ms.value_and_grad(forward, None, weights, has_aux=True)

    @compiled
    def construct(self, *tensors):
        (_, total, tokens), gradients = self.value_and_grad(*tensors)
        overflows = ops.zeros_like(tokens)
        if self.is_half:
            overflows = 1.0 - ops.cast(self.all_finite(gradients), ms.float32)
        for place in range(len(gradients)):
            total = ops.depend(total, self.add(self.gradients[place], gradients[place]))
        return total, tokens, overflows


class UpdateStep(nn.Cell):
    """Clip the gradient that ``GradientStep`` has gathered, give it to the optimizer, and set it to
    zero.

    Args:
        optimizer: over the model's weights; its learning rate is set at each call.
        gradients: what ``GradientStep`` adds to.
        clip_norm: gradients with a greater global norm are scaled down to it.

    Shapes: learning_rate and divisor float32 scalars; the gradient is divided by divisor first.
    """

    def __init__(self, optimizer, gradients, clip_norm: float):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.gradients = gradients
        self.clip_norm = clip_norm
        self.clip = device_form(ops.clip_by_global_norm)
        self.assign = device_form(ops.assign)

    @compiled
    def construct(self, learning_rate, divisor):
        gradients = tuple([gradient / divisor for gradient in self.gradients])
        gradients = self.clip(gradients, self.clip_norm)
        self.assign(self.optimizer.learning_rate, learning_rate)
        done = ops.depend(learning_rate, self.optimizer(gradients))
        for gradient in self.gradients:
            zeros = ops.zeros_like(ops.depend(gradient, done))  # after the optimizer has read it
            done = ops.depend(done, self.assign(gradient, zeros))
        return done
