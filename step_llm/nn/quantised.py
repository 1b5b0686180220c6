"""Quantised weights: whole numbers of 8 or 4 bits and a few scales in place of float32.

A trained model is stored, and read from memory, in a quarter or a seventh of its bytes. The
products are still computed in float32: what is saved is memory, and what is read of it.

Letters: O outputs, I inputs of a layer, G numbers of a group.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from step_llm.nn._places import find_linears, replace_cells
from step_llm.nn.forms import device_form
from step_llm.nn.linear import Linear, linear

__all__ = [
    "BITS",
    "QuantisedLinear",
    "pack",
    "quantise",
    "round_to_scale",
    "unpack",
    "weight_bytes",
]

BITS = (8, 4)


def round_to_scale(weight: np.ndarray, bits: int, group: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Weights to whole numbers and the scale of each group of them.

    Formula: of a group w, s = max |w| / m with m = 2^(bits − 1) − 1 (127 or 7), and
    q = round(w / s); so |w − s q| ≤ s / 2. The scale of a group of zeros is 1.

    Args:
        weight: (O, I).
        bits: 8 or 4.
        group: G, how many numbers of a row share a scale; divides I. I itself is one scale for each
            output channel.

    Returns:
        the numbers (O, I) int8, and the scales (O, I / G) float32.

    Raises:
        ValueError: other bits, a group that does not divide I, or weights that are not finite.

    Source: Dettmers et al. 2022, "LLM.int8(): 8-bit Matrix Multiplication for Transformers at
    Scale", section 2 (absmax); Yao et al. 2022, "ZeroQuant", section 4.1 (groups).
    """
    if isinstance(bits, bool) or bits not in BITS:
        raise ValueError(f"bits is {bits!r}; expected one of {', '.join(map(str, BITS))}")
    outputs, inputs = weight.shape
    if isinstance(group, bool) or not isinstance(group, int) or group < 1 or inputs % group:
        raise ValueError(f"group is {group!r}; expected a divisor of the {inputs} inputs")
    groups = np.asarray(weight, np.float32).reshape(outputs, inputs // group, group)
    largest = np.abs(groups).max(axis=-1)
    if not np.isfinite(largest).all():
        raise ValueError("the weights hold a number that is not finite; nothing can be its scale")
    most = 2 ** (bits - 1) - 1
    scales = largest / np.float32(most)
    # 0 where all are 0, and where the largest is so small that its scale is no number of float32.
    scales = np.where(scales > 0, scales, 1).astype(np.float32)
    numbers = np.clip(np.rint(groups / scales[..., None]), -most, most)
    return numbers.reshape(outputs, inputs).astype(np.int8), scales


def pack(numbers: np.ndarray) -> np.ndarray:
    """Numbers (O, I) from −8 to 7 to bytes (O, I / 2) uint8: the first of two is the high half.

    Raises:
        ValueError: an odd I, or a number that has no place in 4 bits.
    """
    numbers = np.asarray(numbers)
    if numbers.shape[-1] % 2:
        raise ValueError(f"{numbers.shape[-1]} numbers in a row; expected an even number of them")
    if numbers.size and not -8 <= numbers.min() <= numbers.max() <= 7:
        raise ValueError("a number has no place in 4 bits; expected −8 … 7")
    halves = (numbers + 8).astype(np.uint8)
    return halves[..., ::2] * np.uint8(16) + halves[..., 1::2]


def unpack(packed: Tensor) -> Tensor:
    """What was packed: (O, I / 2) uint8 to (O, I) float32."""
    packed = ops.cast(packed, ms.float32)
    high = ops.floor(packed / 16.0)  # not a shift of bits, which some devices lack for bytes
    halves = ops.stack((high, packed - 16.0 * high), -1)  # (O, I / 2, 2)
    return halves.reshape((packed.shape[0], -1)) - 8.0


class QuantisedLinear(nn.Cell):
    r"""A ``Linear`` that holds whole numbers and scales, and makes its weight of them when called.

    Formula: y = x Wᵀ + b with W = s q, the scale of each group times its numbers.

    Args:
        base: the layer whose weight is rounded. Its bias is taken as it is.
        bits: 8, or 4: then two numbers stand in each byte.
        group: G, as in ``round_to_scale``; None is one scale for each output channel.

    Shapes: (…, I) to (…, O).

    Raises:
        ValueError: as ``round_to_scale``, or 4 bits with an odd I.

    Source: see ``round_to_scale``.
    """

    def __init__(self, base: Linear, bits: int = 8, group: int | None = None):
        super().__init__()
        weight = base.weight.asnumpy()
        group = weight.shape[1] if group is None else group
        numbers, scales = round_to_scale(weight, bits, group)
        self.bits, self.group = bits, group
        numbers = pack(numbers) if bits == 4 else numbers
        self.numbers = Parameter(Tensor(numbers), name="numbers", requires_grad=False)
        self.scales = Parameter(Tensor(scales), name="scales", requires_grad=False)
        self.bias = base.bias
        self.linear = device_form(linear)

    def construct(self, x):
        return self.linear(x, self.weight(), self.bias)

    def weight(self):
        """W (O, I) float32, as near to what it was as the bits allow."""
        numbers = self.numbers
        numbers = unpack(numbers) if self.bits == 4 else ops.cast(numbers, ms.float32)
        outputs, inputs = numbers.shape
        groups = numbers.reshape((outputs, inputs // self.group, self.group))
        return (groups * self.scales.reshape((outputs, -1, 1))).reshape((outputs, inputs))


def quantise(
    model: nn.Cell, bits: int = 8, group: int | None = None, pattern: str = ""
) -> list[str]:
    """Round the weights of a trained model's layers; it computes with the rounded ones from now on.

    The embedding, an output projection and the norms stay in float32: they are no ``Linear``.

    Args:
        model: it is changed. Make what compiles it (a ``CachedGPT``) afterwards. It can learn no
            more in these layers, and no checkpoint holds it: save the model before.
        bits, group: as for ``QuantisedLinear``; usual are 8 bits with a scale for each channel,
            and 4 bits in groups of 32 to 128.
        pattern: a regular expression; every ``Linear`` is taken in whose path it is found.

    Returns:
        the paths of these layers.

    Raises:
        ValueError: no layer, or as ``QuantisedLinear``; the model is then as it was.
    """
    cells = dict(model.cells_and_names())
    paths = find_linears(cells, pattern)
    replace_cells(model, cells, {path: QuantisedLinear(cells[path], bits, group) for path in paths})
    return paths


def weight_bytes(model: nn.Cell) -> int:
    """The bytes that a model's parameters take; one that has two places counts once."""
    return sum(parameter.nbytes for parameter in model.get_parameters())
