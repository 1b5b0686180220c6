"""Forms for an Ascend NPU: the operators that reach its newer kernels (aclnn), and flash attention.

The older operators go through kernels that are being retired (aclop). These forms follow the
operators' documentation; nobody has timed them on a device.
"""

from __future__ import annotations

import math

from mindspore import dtype as mstype
from mindspore import mint, ops

from step_llm.nn import attention

__all__ = ["FORMS"]

_FLASH_WIDTH = 16  # the head widths that flash attention takes are multiples of it


def linear(x, weight, bias=None):
    """aclnnAddmm in place of MatMul and BiasAdd."""
    return mint.nn.functional.linear(x, weight, bias)


def layer_norm(x, gamma, beta, epsilon=1e-5):
    """One kernel each way, in float32 (a product would be rounded to float16 on a 910A)."""
    return mint.nn.functional.layer_norm(x, (x.shape[-1],), gamma, beta, epsilon)


def scaled_dot_product_attention(query, key, value, mask=None):
    """Flash attention, which takes half precision and keeps no (T, S) weights.

    The weights are the textbook's; a compiled graph that does not use them does not compute them.
    """
    output, weights = attention.scaled_dot_product_attention(query, key, value, mask)
    is_half = query.dtype == mstype.float16 or query.dtype == mstype.bfloat16
    if not is_half or len(query.shape) != 4 or query.shape[-1] % _FLASH_WIDTH:
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


FORMS = {form.__name__: form for form in (linear, layer_norm, scaled_dot_product_attention)}
