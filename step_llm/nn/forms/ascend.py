"""Forms for an Ascend NPU: the operators of ``mindspore.mint``, which reach its aclnn kernels.

The older operators go through kernels that are being retired (aclop). These forms follow the
operators' documentation; they have been compiled for the device, not timed on one.
"""

from __future__ import annotations

from mindspore import mint

__all__ = ["FORMS"]


def linear(x, weight, bias=None):
    """aclnnAddmm in place of MatMul and BiasAdd."""
    return mint.nn.functional.linear(x, weight, bias)


def layer_norm(x, gamma, beta, epsilon=1e-5):
    """One kernel each way, in float32 (a product would be rounded to float16 on a 910A)."""
    return mint.nn.functional.layer_norm(x, (x.shape[-1],), gamma, beta, epsilon)


FORMS = {"linear": linear, "layer_norm": layer_norm}
