"""Forms for an Ascend NPU: the operators that reach its newer kernels (aclnn), and flash attention.

The older operators go through kernels that are being retired (aclop). These forms follow the
operators' documentation; nobody has timed them on a device.
"""

from __future__ import annotations

import math

from mindspore import amp, mint, nn, ops
from mindspore import dtype as mstype
from mindspore.ops import auto_generate, constexpr
from mindspore.ops.operations._sequence_ops import TensorToScalar

from step_llm.nn import attention
from step_llm.nn.rms_norm import rms_norm as plain_rms_norm
from step_llm.runtime.device import EARLY_CHIPS, chip

__all__ = ["FORMS"]

_FLASH_WIDTH = 16  # the head widths that flash attention takes are multiples of it


def linear(x, weight, bias=None):
    """aclnnAddmm in place of MatMul and BiasAdd."""
    return mint.nn.functional.linear(x, weight, bias)


def layer_norm(x, gamma, beta, epsilon=1e-5):
    """One kernel each way, in float32 (a product would be rounded to float16 on a 910A)."""
    return mint.nn.functional.layer_norm(x, (x.shape[-1],), gamma, beta, epsilon)


@constexpr(check=False)
def is_early():
    """Whether the chip is one of ``EARLY_CHIPS``; asked once, while a graph is compiled."""
    return chip() in EARLY_CHIPS


def rms_norm(x, gamma, epsilon=1e-6):
    """One kernel each way in place of five and eleven. A 910A has none."""
    if is_early():
        return plain_rms_norm(x, gamma, epsilon)
    return auto_generate.RmsNorm(epsilon)(x, gamma)[0]


def scaled_dot_product_attention(query, key, value, mask=None):
    """Flash attention, which takes half precision and keeps no (T, S) weights.

    The weights are the textbook's; a compiled graph that does not use them does not compute them.
    """
    output, weights = attention.scaled_dot_product_attention(query, key, value, mask)
    is_half = query.dtype == mstype.float16 or query.dtype == mstype.bfloat16
    if not is_half or len(query.shape) != 4 or query.shape[-1] % _FLASH_WIDTH:
        return output, weights
    if is_early():
        return output, weights
    batch, num_heads, targets, d_head = query.shape
    hidden = None
    if mask is not None:
        shape = (batch, num_heads, targets, key.shape[2])
        hidden = ops.broadcast_to(ops.logical_not(mask), shape)  # there True means "discard"
    output = ops.flash_attention_score(
        query, key, value, num_heads, attn_mask=hidden, scalar_value=1.0 / math.sqrt(d_head),
        input_layout="BNSD",
    )  # fmt: skip
    if mask is not None:
        sees_any = ops.logical_not(ops.all(hidden, -1, True))
        output = output * ops.cast(sees_any, output.dtype)  # 0 where a row is forbidden whole
    return output, weights


def look_up(weight, ids):
    """aclnnEmbedding and its gradient, in place of GatherV2 and UnsortedSegmentSum."""
    return mint.nn.functional.embedding(ids, weight)


def take(x, places, axis=0):
    """aclnnIndexSelect in place of GatherV2, and of any type."""
    return mint.index_select(x, axis, places)


def split(tensor, split_size_or_sections, axis=0):
    """aclnnSplitWithSize in place of Split, or of a StridedSlice for each part.

    Not mint.split, whose parts are views: a compiled step copies weights to guard them.
    """
    sizes = split_size_or_sections
    if isinstance(sizes, int):
        length, size = tensor.shape[axis], sizes
        sizes = (size,) * (length // size)
        if length % size:
            sizes = (*sizes, length % size)
    return auto_generate.SplitWithSize()(tensor, sizes, axis)


def cut(vector, sizes):
    """By ``split``."""
    return split(vector, sizes)


def narrow(input, axis, start, length):
    """aclnnSlice, and aclnnCat for its gradient, in place of StridedSlice and StridedSliceGrad."""
    return auto_generate.narrow(input, axis, start, length)


def apply_rotary(x, rotation):
    """The halves by ``split``. Of half precision, the product that follows would round to it; so
    it is done here, and flash attention, which takes one type, is given half precision."""
    cosine, sine = rotation
    first, second = split(x, x.shape[-1] // 2, -1)
    turned = ops.concat((-second, first), -1)
    return ops.cast(x * cosine + turned * sine, x.dtype)


def clip_by_global_norm(x, clip_norm=1.0, use_norm=None):
    """Of all gradients as one vector: six kernels in all, not four for each gradient."""
    flat = ops.cat([part.reshape((-1,)) for part in x])
    norm = ops.sqrt(mint.sum(flat * flat))
    flat = flat * (clip_norm / ops.maximum(norm, clip_norm))
    parts = split(flat, [part.size for part in x])
    return tuple([piece.reshape(part.shape) for piece, part in zip(parts, x)])


def all_finite(inputs):
    """Of all gradients as one vector. A 910A has no infinite numbers; it keeps a flag, which
    MindSpore's own function reads."""
    if is_early():
        return amp.all_finite(inputs)
    return mint.all(mint.isfinite(ops.cat([part.reshape((-1,)) for part in inputs])))


def assign(variable, value):
    """aclnnInplaceCopy in place of Assign."""
    return auto_generate.InplaceCopy()(variable, value)


def assign_add(variable, value):
    """aclnnInplaceAdd in place of AssignAdd."""
    return auto_generate.InplaceAddExt()(variable, value, 1)


class Adam(nn.Adam):
    """aclnnApplyAdamWV2 in place of ApplyAdamD, with the same parameters in a checkpoint.

    There ε is added to √(v / (1 − β₂ᵗ)), here to √v: after a few steps the same ε, and at first one
    that is up to 1 / √(1 − β₂) times as large. Beside gradients above 1e-8 neither is seen.
    """

    def __init__(self, params, learning_rate=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        super().__init__(params, learning_rate, beta1, beta2, eps)
        self.betas = (beta1, beta2)
        self.epsilon = eps
        self.update = auto_generate.AdamW()
        self.to_scalar = TensorToScalar()
        self.each = ops.HyperMap()

    def construct(self, gradients):
        step = ops.cast(self.global_step, mstype.float32)  # the operator counts from 0
        rate = self.to_scalar(self.get_lr())
        update = ops.partial(_update, self.update, step, rate, self.betas, self.epsilon)
        done = self.each(update, self._parameters, self.moment1, self.moment2, gradients)
        assign(self.beta1_power, self.beta1_power * self.beta1)
        assign(self.beta2_power, self.beta2_power * self.beta2)
        return ops.depend(done, assign_add(self.global_step, self.global_step_increase_tensor))


def _update(update, step, rate, betas, epsilon, weight, moment1, moment2, gradient):
    beta1, beta2 = betas
    update(weight, moment1, moment2, moment2, gradient, step, rate, beta1, beta2, 0.0, epsilon)
    return True


_ALL = (
    linear, layer_norm, scaled_dot_product_attention, look_up, take, split, cut,
    narrow, rms_norm, apply_rotary, clip_by_global_norm, all_finite, assign, assign_add, Adam,
)  # fmt: skip
FORMS = {form.__name__: form for form in _ALL}
FORMS["Dropout"] = mint.nn.Dropout  # aclnnDropoutGenMaskV2 and aclnnDropoutDoMask
