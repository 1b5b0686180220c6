"""Tensor parallel (张量并行): the processes share each layer, and all see the whole batch.

Attention and the feed-forward network are two products each, one after the other. The first is cut
by its outputs: each process has some of the heads, or some of the inner units, and needs no others.
The second is cut by its inputs: each process has a part of every output, and the parts are summed.
So a layer costs two sums forward and as many backward, in place of one message for each product.

MindSpore cuts layers itself where ``AutoParallel`` runs; in 2.10 it refuses the CPU. This is
written with its collective ``ops.AllReduce``, which runs on all devices.

Source: Shoeybi et al. 2019, "Megatron-LM: Training Multi-Billion Parameter Language Models Using
Model Parallelism", section 3.
"""

from __future__ import annotations

from mindspore import Parameter, Tensor, nn, ops

from step_llm.nn.attention import MultiHeadAttention
from step_llm.nn.feed_forward import FeedForward
from step_llm.nn.linear import Linear, linear
from step_llm.training.distributed import Group

__all__ = ["CopyToAll", "InputShare", "OutputShare", "SumOfAll", "cut_layers"]


class CopyToAll(nn.Cell):
    """Where all processes begin to differ: x itself, and backward the sum of all gradients.

    Each process has a part in what x leads to, so x's gradient is the sum of the parts. (The
    paper's f.)
    """

    def __init__(self):
        super().__init__()
        self.all_reduce = ops.AllReduce()

    def construct(self, x):
        return x

    def bprop(self, x, output, gradient):
        return (self.all_reduce(gradient),)


class SumOfAll(nn.Cell):
    """Where all processes have the same again: the sum of all x, and backward the gradient itself.

    ``ops.AllReduce`` would sum the gradient too, as for processes that each have a loss of their
    own; here all have the same one. (The paper's g.)
    """

    def __init__(self):
        super().__init__()
        self.all_reduce = ops.AllReduce()

    def construct(self, x):
        return self.all_reduce(x)

    def bprop(self, x, output, gradient):
        return (gradient,)


class OutputShare(nn.Cell):
    """This process's outputs of a ``Linear``: rows of W and of b.

    Args:
        whole: the layer.
        group: its number of processes must divide the outputs.

    Shapes: (…, inputs) to (…, outputs / size).
    """

    def __init__(self, whole: Linear, group: Group):
        super().__init__()
        self.copy = CopyToAll()
        self.weight = _share(whole.weight, 0, group)
        self.bias = None if whole.bias is None else _share(whole.bias, 0, group)

    def construct(self, x):
        return linear(self.copy(x), self.weight, self.bias)


class InputShare(nn.Cell):
    """A ``Linear`` of which this process has some inputs, columns of W; b is added once.

    Args:
        whole: the layer.
        group: its number of processes must divide the inputs.

    Shapes: (…, inputs / size) to (…, outputs), the same in all processes.
    """

    def __init__(self, whole: Linear, group: Group):
        super().__init__()
        self.sum = SumOfAll()
        self.weight = _share(whole.weight, 1, group)
        self.bias = None if whole.bias is None else Parameter(whole.bias.asnumpy(), "bias")

    def construct(self, x):
        y = self.sum(linear(x, self.weight))
        return y if self.bias is None else y + self.bias


def cut_layers(model: nn.Cell, group: Group) -> None:
    """Leave this process its share of every attention and feed-forward network of a model.

    The other layers stay whole, and are the same in all processes. So are their gradients, as long
    as all have the same batch and the same dropout masks. A norm over all gradients has to be
    summed over the processes, with each whole layer once; ``TrainStep`` does not do that.

    Args:
        model: begins with the same weights in all processes.
        group: the processes. Its size must divide the heads and the inner width.

    Raises:
        ValueError: heads or an inner width that cannot be shared evenly. Nothing has been changed.
    """
    cells = [cell for _, cell in model.cells_and_names()]
    attentions = [cell for cell in cells if isinstance(cell, MultiHeadAttention)]
    networks = [cell for cell in cells if isinstance(cell, FeedForward)]
    for what, sizes in (
        ("heads", [n for cell in attentions for n in (cell.num_heads, cell.num_kv_heads)]),
        ("inner units", [cell.outer.inputs for cell in networks]),
    ):
        wrong = [size for size in sizes if size % group.size]
        if wrong:
            raise ValueError(
                f"{wrong[0]} {what} for {group.size} processes; expected a multiple of it"
            )
    for cell in attentions:
        cell.num_heads //= group.size
        cell.num_kv_heads //= group.size
        for name in ("query_projection", "key_projection", "value_projection"):
            setattr(cell, name, OutputShare(getattr(cell, name), group))
        cell.output_projection = InputShare(cell.output_projection, group)
    for cell in networks:
        cell.inner = OutputShare(cell.inner, group)
        cell.outer = InputShare(cell.outer, group)
    for path, weight in model.parameters_and_names():
        weight.name = path  # a part that was put in later has none of its place yet


def _share(weight: Parameter, axis: int, group: Group) -> Parameter:
    parts = weight.asnumpy()
    size = parts.shape[axis] // group.size
    start = group.rank * size
    own = parts[start : start + size] if axis == 0 else parts[:, start : start + size]
    return Parameter(Tensor(own.copy()), weight.name.rpartition(".")[2])
