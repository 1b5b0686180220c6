"""Forms for a GPU: the fused LayerNorm, an operator that MindSpore documents for this device.

Nobody has timed it.
"""

from __future__ import annotations

from mindspore import ops

__all__ = ["FORMS"]


def layer_norm(x, gamma, beta, epsilon=1e-5):
    """The fused operator: one kernel each way."""
    axis = len(x.shape) - 1
    return ops.LayerNorm(axis, axis, epsilon)(x, gamma, beta)[0]


FORMS = {"layer_norm": layer_norm}
