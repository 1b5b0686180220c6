"""Training in half precision, and over several batches or several processes an update.

A weight is kept in float32; matrix products take copies of it in float16 or bfloat16 (mixed
precision, 混合精度). What needs the range or the digits stays in float32: softmax, LayerNorm, the
residual sums, the loss, the gradient's sum and Adam.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, amp, nn, ops

from step_llm.nn.layer_norm import LayerNorm
from step_llm.runtime.device import current_device, quiet
from step_llm.training.distributed import GradientSum, Group
from step_llm.training.loss import label_smoothed_cross_entropy

__all__ = [
    "PRECISIONS",
    "AccumulatedStep",
    "GradientStep",
    "PrecisionError",
    "UpdateStep",
    "check_precision",
    "refused_operators",
]

PRECISIONS = ("float32", "float16", "bfloat16")
_HALF = {"float16": ms.float16, "bfloat16": ms.bfloat16}
# What the compiled step computes in half precision.
_IN_HALF = ("MatMul", "BatchMatMul", "Transpose")
# The loss is multiplied by a power of 2, so that small gradients are not lost in float16, whose
# smallest step is 6e-8. An overflow halves it; so many updates without one double it.
_FIRST_SCALE = 2.0**16
_SCALE_FACTOR = 2
_SCALE_WINDOW = 1000


class PrecisionError(ValueError):
    """A precision that this device or this MindSpore cannot compute in; says which can be taken."""


def refused_operators(precision: str) -> list[str]:
    """The operators that this device does not have in a precision; each is tried on 16 numbers.

    Args:
        precision: one of ``PRECISIONS``.

    Raises:
        PrecisionError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise PrecisionError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")
    dtype = _HALF.get(precision, ms.float32)
    refused = []
    with quiet():
        for name in _IN_HALF:
            try:
                _Probe(name, dtype)(Tensor(np.ones((4, 4), np.float32))).asnumpy()
            except Exception:  # MindSpore raises several types for a kernel that is not there.
                refused.append(name)
    return refused


class _Probe(nn.Cell):
    """One operator in one precision, compiled as training is: a kernel that is not there is an
    error then. Outside of graphs MindSpore computes later, and the error may come in what follows.
    """

    def __init__(self, name, dtype):
        super().__init__()
        self.name = name
        self.dtype = dtype

    @ms.jit
    def construct(self, x):
        x = ops.cast(x, self.dtype)
        if self.name == "MatMul":
            x = ops.MatMul()(x, x)
        elif self.name == "BatchMatMul":
            x = ops.BatchMatMul()(x.reshape((1, 4, 4)), x.reshape((1, 4, 4)))
        else:
            x = ops.transpose(x, (1, 0))
        return ops.cast(x, ms.float32)


def check_precision(precision: str) -> None:
    """Refuse a precision in which this device cannot train.

    Raises:
        PrecisionError: names the operators that are missing, and the precisions that can be taken.
    """
    refused = refused_operators(precision)
    if refused:
        others = [name for name in PRECISIONS if not refused_operators(name)]
        raise PrecisionError(
            f"precision is {precision}, but MindSpore {ms.__version__} has no "
            f"{', '.join(refused)} of that type on device {current_device()}; choose "
            f"{' or '.join(others)}"
        )


class GradientStep(nn.Cell):
    r"""One batch's part of the gradient, added to what other batches left: one compiled graph.

    Formula: G ← G + ∇(factor · Σ loss), Σ over the batch's real tokens. With
    factor = scale / N, N the tokens of all batches of an update, G ends as scale times the
    gradient of one large batch.

    Args:
        model: a ``Transformer``, in training mode.
        gradients: G, one parameter for each weight, zeros at first.
        weights: what is differentiated.
        label_smoothing: ε of the loss.
        precision: of the matrix products, one of ``PRECISIONS``.

    Shapes: source, decoder_input and labels (B, L) int32; factor a float32 scalar. Returns the sum
    of the loss in nats (without the factor), the number of real target tokens, and whether the
    gradient is finite.

    Source: Micikevicius et al. 2018, "Mixed Precision Training".
    """

    def __init__(self, model, gradients, weights, label_smoothing: float, precision: str):
        super().__init__(auto_prefix=False)
        self.gradients = gradients

        def forward(source, decoder_input, labels, factor):
            logits = model(source, decoder_input)
            total, tokens = label_smoothed_cross_entropy(
                logits, labels, label_smoothing, model.pad_id
            )
            return total * factor, total, tokens

        if precision != "float32":
            for _, cell in model.cells_and_names():
                if isinstance(cell, LayerNorm):
                    cell.to_float(ms.float32)  # its means are matrix products too
            # Matrix products in half precision; softmax, logarithms and roots in float32.
            forward = amp.auto_mixed_precision(forward, "auto", _HALF[precision])
        self.value_and_grad = ms.value_and_grad(forward, None, weights, has_aux=True)

    @ms.jit
    def construct(self, source, decoder_input, labels, factor):
        (_, total, tokens), gradients = self.value_and_grad(source, decoder_input, labels, factor)
        is_finite = amp.all_finite(gradients)
        for place in range(len(gradients)):
            total = ops.depend(total, ops.assign_add(self.gradients[place], gradients[place]))
        return total, tokens, is_finite


class UpdateStep(nn.Cell):
    """Clip the gradient that ``GradientStep`` has gathered, give it to Adam, and set it to zero.

    Args:
        optimizer: over the model's weights; its learning rate is set at each call.
        gradients: what ``GradientStep`` adds to.
        clip_norm: gradients with a greater global norm are scaled down to it.

    Shapes: learning_rate and scale float32 scalars; the gradient is divided by scale first.
    """

    def __init__(self, optimizer, gradients, clip_norm: float):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.gradients = gradients
        self.clip_norm = clip_norm

    @ms.jit
    def construct(self, learning_rate, scale):
        gradients = ()
        for gradient in self.gradients:
            gradients = (*gradients, gradient / scale)
        gradients = ops.clip_by_global_norm(gradients, self.clip_norm)
        ops.assign(self.optimizer.learning_rate, learning_rate)
        done = ops.depend(learning_rate, self.optimizer(gradients))
        for gradient in self.gradients:
            zeros = ops.zeros_like(ops.depend(gradient, done))  # after Adam has read it
            done = ops.depend(done, ops.assign(gradient, zeros))
        return done


class AccumulatedStep:
    """One update from one or more batches, in any precision, with dynamic loss scaling.

    Called as ``TrainStep`` is, with the three tensors of each batch one after another and the
    learning rate last. The update is that of one batch which holds all their rows; of several
    workers each computes its share of them, and all make that update. In half precision an
    overflow (a gradient that is not finite) is skipped: weights and Adam's state stay as they were,
    ``skipped`` counts it, and the loss scale is halved.

    Args:
        model, optimizer, label_smoothing, clip_norm: as for ``TrainStep``.
        precision: one of ``PRECISIONS``.
        group: the workers.

    Returns (of a call): the loss per real token (nats), the number of real target tokens, and
    whether the update was made.

    Raises:
        PrecisionError: a half precision in which this device cannot compute.
    """

    def __init__(
        self, model, optimizer, label_smoothing, clip_norm, precision="float32", group=None
    ):
        check_precision(precision)
        self.group = group or Group()
        self.pad_id = model.pad_id
        self.skipped = 0
        self.is_hopeless = False  # an overflow at loss scale 1: no smaller one can help
        self.scaler = None
        if precision != "float32":
            self.scaler = amp.DynamicLossScaler(_FIRST_SCALE, _SCALE_FACTOR, _SCALE_WINDOW)
        self.gradients = ParameterTuple(
            Parameter(Tensor(np.zeros(weight.shape, np.float32)), name=f"gradient.{weight.name}")
            for weight in optimizer.parameters
        )
        self.gradient_step = GradientStep(
            model, self.gradients, optimizer.parameters, label_smoothing, precision
        )
        self.gradient_sum = GradientSum(self.gradients) if self.group.size > 1 else None
        self.update_step = UpdateStep(optimizer, self.gradients, clip_norm)

    @property
    def loss_scale(self) -> tuple[float, int]:
        """The loss scale, and the updates since it was last changed; (1, 0) in float32."""
        if self.scaler is None:
            return 1.0, 0
        return float(self.scaler.scale_value.asnumpy()), int(self.scaler.counter.asnumpy())

    @loss_scale.setter
    def loss_scale(self, value):
        scale, counter = value
        self.scaler.scale_value.set_data(Tensor(scale, ms.float32))
        self.scaler.counter.set_data(Tensor(counter, ms.int32))

    def __call__(self, *inputs):
        *tensors, learning_rate = inputs
        batches = [tensors[place : place + 3] for place in range(0, len(tensors), 3)]
        tokens = sum(int((labels.asnumpy() != self.pad_id).sum()) for _, _, labels in batches)
        scale, _ = self.loss_scale
        factor = Tensor(scale / max(tokens, 1), ms.float32)
        shares = [[self.group.share(part, self.pad_id) for part in batch] for batch in batches]
        results = [self.gradient_step(*share, factor) for share in shares]
        total = sum(float(part.asnumpy()) for part, _, _ in results)
        overflows = sum(not finite.asnumpy() for _, _, finite in results)
        if self.gradient_sum is not None:
            numbers = Tensor([total, overflows], ms.float32)
            total, overflows = map(float, self.gradient_sum(numbers).asnumpy())
        loss, is_finite = total / max(tokens, 1), overflows == 0
        is_made = is_finite or self.scaler is None
        if is_made:
            self.update_step(learning_rate, Tensor(scale, ms.float32)).asnumpy()
        else:
            self.skipped += 1
            self.is_hopeless = scale == 1.0
            for gradient in self.gradients:
                gradient.set_data(Tensor(np.zeros(gradient.shape, np.float32)))
        if self.scaler is not None:
            self.scaler.adjust(Tensor(is_finite))
        return Tensor(loss, ms.float32), Tensor(tokens, ms.float32), is_made
