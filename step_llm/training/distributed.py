"""Several processes, on one machine or on several: data parallel training (数据并行).

Every process (a worker) holds the whole model. Each takes its share of the rows of every batch,
and the gradients are summed over all workers, so that all make the same update: that of one process
with the whole batch. The batches do not depend on the number of workers, so a run can go on with
another.

MindSpore's ``msrun`` starts the processes and tells each its place in environment variables.
"""

from __future__ import annotations

import itertools
import os
import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from mindspore import Tensor, nn, ops

from step_llm.nn.forms import device_form
from step_llm.runtime.device import current_device
from step_llm.runtime.graph_mode import compiled

__all__ = ["GradientSum", "Group", "GroupError", "fingerprint", "join_group"]

# A worker that is silent for so many seconds counts as dead, and the job ends. Accelerators take
# their time to meet first.
_NODE_TIMEOUT = {"CPU": "30", "GPU": "60", "Ascend": "120"}


class GroupError(RuntimeError):
    """The workers do not fit together; says in what."""


@dataclass(frozen=True)
class Group:
    """The workers of a job, as one of them sees it. ``Group()`` is a process on its own.

    Args:
        rank: of this worker, 0 … size − 1.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @cached_property
    def _sum(self):
        return GradientSum(())

    @property
    def is_first(self) -> bool:
        """Whether this worker is the one that writes and prints."""
        return self.rank == 0

    def own_seed(self, seed: int) -> int:
        """The seed of this worker's dropout: the same masks on other rows would be less random."""
        return seed + 1_000_003 * self.rank

    def share(self, value, pad_id: int = 0):
        """This worker's part of what all workers have.

        Args:
            value: an array or a Tensor (B, …), of which each worker takes some rows; or a number,
                which each takes whole.
            pad_id: what fills rows that are added where B is not a multiple of the size.

        Returns:
            (⌈B / size⌉, …), so every worker's share has the same shape. A group of one gets
            ``value`` itself.
        """
        if self.size == 1 or np.ndim(value) == 0:
            return value
        if isinstance(value, Tensor):
            return Tensor(self.share(value.asnumpy(), pad_id))
        added = ((0, -len(value) % self.size), *[(0, 0)] * (value.ndim - 1))
        rows = np.pad(value, added, constant_values=pad_id)
        return rows[self.rank :: self.size]

    def sum(self, numbers: np.ndarray) -> np.ndarray:
        """The sum over all workers of as many numbers, (n,); of several workers, in float32.

        All have to ask for it, and none waits longer than MS_NODE_TIMEOUT says (30 s on a CPU).
        """
        if self.size == 1:
            return np.asarray(numbers)
        return self._sum(Tensor(np.asarray(numbers, np.float32))).asnumpy()

    def from_first(self, numbers: np.ndarray) -> np.ndarray:
        """The first worker's numbers, (n,); those of the others only say how many there are."""
        return self.sum(numbers if self.is_first else np.zeros_like(numbers))

    def weights_from_first(self, weights: dict) -> dict:
        """The first worker's weights by name, in all workers; the shapes are the same in all."""
        if self.size == 1:
            return weights
        names = sorted(weights)  # a checkpoint's order is not the model's
        flat = self.from_first(np.concatenate([weights[name].ravel() for name in names]))
        parts = np.split(flat, np.cumsum([weights[name].size for name in names])[:-1])
        return {name: part.reshape(weights[name].shape) for name, part in zip(names, parts)}

    def check_job(self, batches, model, options: str) -> None:
        """Make sure that all workers train the same model on the same data in the same way.

        Args:
            batches: what they train on; the first epoch is compared.
            model: its weights are compared.
            options: the rest, as text.

        Raises:
            GroupError: in the workers that have something else than the first.
        """
        if self.size == 1:
            return
        weights = [parameter.asnumpy() for parameter in model.get_parameters()]
        data = itertools.chain.from_iterable(batches.epoch())
        for what, arrays in (
            ("training data", data),
            ("weights", weights),
            ("options or a checkpoint", [np.frombuffer(options.encode(), np.uint8)]),
        ):
            self.check_same(what, fingerprint(*arrays))

    def check_same(self, what: str, number: int) -> None:
        """Make sure that all workers have the same non-negative number below 2³².

        Raises:
            GroupError: in the workers that have another one than the first.
        """
        # In halves: float32, which all devices can sum, holds whole numbers up to 2²⁴.
        own = np.array([number >> 16, number & 0xFFFF])
        if (self.from_first(own) != own).any():
            raise GroupError(
                f"worker {self.rank} of {self.size} has {what} that worker 0 has not; all need the "
                "same data, options and run folder, and the same version of step_llm"
            )


def join_group() -> Group:
    """Meet the other workers, if ``msrun`` has started this process; else a group of one.

    Call it before anything is computed; called again, it returns the same group. In the scheduler,
    the process that ``msrun`` adds to keep the workers' addresses, it ends the program when the job
    is over.

    Raises:
        GroupError: the workers cannot meet.
    """
    if "MS_ROLE" not in os.environ:
        return Group()
    from mindspore.communication import GlobalComm, get_group_size, get_rank, init

    os.environ.setdefault("MS_NODE_TIMEOUT", _NODE_TIMEOUT[current_device()])
    try:
        if not GlobalComm.INITED:
            init()
        return Group(get_rank(), get_group_size())
    except (RuntimeError, ValueError) as error:
        cause = " ".join(str(error).split())[:300]
        raise GroupError(f"the workers cannot meet: {cause}") from error


def fingerprint(*arrays: np.ndarray) -> int:
    """A number below 2³² (CRC-32) that differs, but for rare chance, where one value differs."""
    number = 0
    for array in arrays:
        number = zlib.crc32(np.ascontiguousarray(array).view(np.uint8), number)
    return number


def cut(vector: Tensor, sizes: list) -> tuple:
    """Consecutive parts of a vector (n,), of sizes whose sum is n."""
    # ops.split with a list of a hundred sizes goes deeper, compiled, than MindSpore allows.
    parts, place = (), 0
    for size in sizes:
        parts = (*parts, vector[place : place + size])
        place += size
    return parts


class GradientSum(nn.Cell):
    """Replaces each gradient by its sum over all workers, in one compiled graph.

    Args:
        gradients: parameters, the same in all workers; there may be none.

    Shapes: numbers (n,) float32, any that are to be summed too; returns their sum over all
    workers, (n,).

    Source: Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel
    Training" (few large messages in place of many small ones).
    """

    def __init__(self, gradients):
        super().__init__(auto_prefix=False)
        self.gradients = gradients
        self.all_reduce = ops.AllReduce()
        self.cut = device_form(cut)
        self.assign = device_form(ops.assign)

    @compiled
    def construct(self, numbers):
        parts = [gradient.reshape((-1,)) for gradient in self.gradients]
        # One message: every one costs the same time again before its first byte, and two at once
        # could meet in different orders.
        total = self.all_reduce(ops.concat((numbers, *parts)))
        sums = self.cut(total, [part.size for part in (numbers, *parts)])
        done = sums[0]
        for place in range(len(self.gradients)):
            value = sums[place + 1].reshape(self.gradients[place].shape)
            done = ops.depend(done, self.assign(self.gradients[place], value))
        return done
