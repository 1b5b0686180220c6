"""Training: one compiled step, a loop over epochs, validation, checkpoints that survive a kill."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from step_llm.training.objectives import token_objective

__all__ = ["EvaluationStep", "TrainStep"]


class TrainStep(nn.Cell):
    """One update in one compiled graph: forward, loss, gradient, clipping, Adam.

    Args:
        model: any model that the objective can call, in training mode.
        optimizer: over the model's weights; its learning rate is set at each call.
        label_smoothing: ε of the loss.
        clip_norm: gradients with a greater global norm are scaled down to it.
        objective: what is lowered, see ``objectives``; by default the loss of each token.

    Shapes: the batch's tensors as the objective takes them (of a translator source, decoder_input
    and labels, (B, L) int32), then learning_rate, a float32 scalar. Returns the loss per real token
    (nats) and the number of real target tokens.

    Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks"
    (clipping).
    """

    def __init__(
        self, model, optimizer, label_smoothing: float, clip_norm: float, objective=token_objective
    ):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.clip_norm = clip_norm

        def forward(*tensors):
            total, tokens = objective(model, tensors, label_smoothing)
            # A masked language model may find nothing to predict in a small batch.
            return total / ops.maximum(tokens, 1.0), tokens

        self.value_and_grad = ms.value_and_grad(forward, None, optimizer.parameters, has_aux=True)

    @ms.jit
    def construct(self, *tensors):
        (loss, tokens), gradients = self.value_and_grad(*tensors[:-1])
        gradients = ops.clip_by_global_norm(gradients, self.clip_norm)
        ops.assign(self.optimizer.learning_rate, tensors[-1])
        loss = ops.depend(loss, self.optimizer(gradients))
        return loss, tokens


class EvaluationStep(nn.Cell):
    """A batch's plain cross-entropy in one compiled graph: its sum in nats, and real tokens."""

    def __init__(self, model, objective=token_objective):
        super().__init__(auto_prefix=False)
        self.model = model
        self.objective = objective

    @ms.jit
    def construct(self, *tensors):
        return self.objective(self.model, tensors, 0.0)
