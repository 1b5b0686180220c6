"""Optimizer sharding (优化器并行, ZeRO stage 1): each process updates a share of the weights.

All processes hold all weights and have all gradients, summed. But Adam's two moments, twice the
weights' size, are the same everywhere too. Here each process keeps those of its share, updates it,
and hands the new weights out.

MindSpore has this as ``AutoParallel(net).hsdp(…)``; in 2.10 it refuses the CPU. This is written
with its collective ``ops.Broadcast``. (The paper sums each share of the gradients at its process
alone, by ``ops.ReduceScatter``, which the CPU has not: the sum of data parallelism is made before.)

Source: Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter
Models", section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mindspore import Parameter, ParameterTuple, nn, ops

from step_llm.training.distributed import Group

__all__ = ["ShardedOptimizer", "shares_of"]


def shares_of(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Places in ``sizes`` for each of ``count`` processes, so that their sums differ little.

    The largest is given first, each to whoever has least.
    """
    shares, held = [[] for _ in range(count)], [0] * count
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        least = held.index(min(held))
        shares[least].append(place)
        held[least] += sizes[place]
    return [sorted(share) for share in shares]


class ShardedOptimizer(nn.Cell):
    """An optimizer over this process's share, for ``TrainStep`` like the whole one.

    Args:
        make: the optimizer of a list of weights; for example
            ``lambda weights: nn.Adam(weights, 1e-3)``.
        weights: all weights, in the same order in all processes.
        group: the processes.

    Shapes: called with one gradient for each weight, the same in all processes. Afterwards all
    weights are the same in all.

    Raises:
        ValueError: fewer weights than processes.
    """

    def __init__(self, make: Callable, weights: Sequence[Parameter], group: Group):
        super().__init__(auto_prefix=False)
        if len(weights) < group.size:
            raise ValueError(
                f"{len(weights)} weights for {group.size} processes; expected one for each"
            )
        self.parameters = ParameterTuple(weights)
        self.shares = tuple(
            tuple(share) for share in shares_of([weight.size for weight in weights], group.size)
        )
        self.own = self.shares[group.rank]
        self.optimizer = make([weights[place] for place in self.own])
        self.learning_rate = self.optimizer.learning_rate
        self.broadcasts = tuple(ops.Broadcast(rank) for rank in range(group.size))

    def construct(self, gradients):
        done = self.optimizer(tuple([gradients[place] for place in self.own]))
        for rank in range(len(self.shares)):
            # One message for each process, of what it has updated; the others send nothing of it.
            parts = [self.parameters[place].reshape((-1,)) for place in self.shares[rank]]
            flat = ops.depend(ops.concat(parts), done)
            flat = self.broadcasts[rank]((flat,))[0]
            start = 0
            for place in self.shares[rank]:
                weight = self.parameters[place]
                new = flat[start : start + weight.size].reshape(weight.shape)
                done = ops.depend(done, ops.assign(weight, new))
                start += weight.size
        return done
