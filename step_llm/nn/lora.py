"""LoRA: a trained model learns something new through a few weights beside those that it has.

What is added to a weight while a model is fine-tuned can be a product of two thin matrices: of
D × D numbers, 2 · D · rank are trained. Afterwards the product is added to the weight, and the
model is as fast as it was.
"""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn

from step_llm.nn._places import find_linears, replace_cells
from step_llm.nn.forms import device_form
from step_llm.nn.initial import InitialWeights, XavierWeights, constant
from step_llm.nn.linear import Linear, linear

__all__ = ["LoRA", "add_lora", "merge_lora"]


class LoRA(nn.Cell):
    r"""A ``Linear`` that stays as it is, and beside it a product of two thin matrices that learns.

    Formula: y = x Wᵀ + b + α / r · (x Aᵀ) Bᵀ, with A (r, inputs) and B (outputs, r). B begins at 0,
    so that the model begins as it was; α / r keeps the size of a step when r is changed.

    Args:
        base: the layer with W and b. It becomes a part of this one.
        rank: r.
        alpha: α.
        initial: where A begins.

    Shapes: (…, inputs) to (…, outputs).

    Raises:
        ValueError: a rank that is no whole number from 1 to the smaller side of W, or an alpha that
            is not above 0.

    Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1.
    """

    def __init__(
        self, base: Linear, rank: int, alpha: float, initial: InitialWeights | None = None
    ):
        super().__init__()
        outputs, inputs = base.weight.shape
        most = min(outputs, inputs)
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= most:
            raise ValueError(f"rank is {rank!r}; expected a whole number from 1 to {most}")
        if not 0.0 < alpha < float("inf"):
            raise ValueError(f"alpha is {alpha}; expected more than 0")
        self.scale = alpha / rank
        self.base = base
        self.a = (initial or XavierWeights()).matrix(rank, inputs, name="a")
        self.b = constant(0.0, outputs, rank, name="b")
        self.linear = device_form(linear)

    def construct(self, x):
        learned = self.linear(self.linear(x, self.a), self.b)
        return self.base(x) + learned * self.scale

    def merged(self) -> Linear:
        """The layer with what was learned in its weight: W + α / r · B A."""
        # In float64, so that the sum is rounded once.
        weight, a, b = (p.asnumpy().astype(np.float64) for p in (self.base.weight, self.a, self.b))
        weight += self.scale * (b @ a)
        self.base.weight.set_data(Tensor(weight.astype(np.float32)))
        return self.base


def add_lora(
    model: nn.Cell, pattern: str, rank: int = 8, alpha: float = 16.0, seed: int = 0
) -> list[str]:
    """Put a ``LoRA`` around layers of a model, and let nothing else learn.

    Args:
        model: it is changed. Make what compiles it (a step, a ``CachedGPT``) afterwards, and merge
            before it is saved: a checkpoint holds the layers that its configuration names.
        pattern: a regular expression; every ``Linear`` is taken in whose path it is found, for
            example "(query|value)_projection$".
        rank, alpha: see ``LoRA``.
        seed: of the initial weights.

    Returns:
        the paths of these layers.

    Raises:
        ValueError: no layer, a model that has a ``LoRA`` already, or as ``LoRA``.
    """
    cells = dict(model.cells_and_names())
    if any(isinstance(cell, LoRA) for cell in cells.values()):
        raise ValueError("the model has a LoRA already; merge it first, with merge_lora")
    paths = find_linears(cells, pattern)
    initial = XavierWeights(seed)
    wrapped = {path: LoRA(cells[path], rank, alpha, initial) for path in paths}
    for parameter in model.get_parameters():
        parameter.requires_grad = False
    replace_cells(model, cells, wrapped)
    return paths


def merge_lora(model: nn.Cell) -> list[str]:
    """Add what each ``LoRA`` of a model has learned to its weight; all weights may learn again.

    Args:
        model: it is changed, and has the layers that it had before ``add_lora``.

    Returns:
        the paths of these layers.

    Raises:
        ValueError: a model without any.
    """
    cells = dict(model.cells_and_names())
    found = {path: cell for path, cell in cells.items() if isinstance(cell, LoRA)}
    if not found:
        raise ValueError("the model has no LoRA; expected one that add_lora has changed")
    replace_cells(model, cells, {path: cell.merged() for path, cell in found.items()})
    for parameter in model.get_parameters():
        parameter.requires_grad = True
    return list(found)
