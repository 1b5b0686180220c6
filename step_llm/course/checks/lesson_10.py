"""Checks of lesson 10, Scaling up."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from step_llm.course.checks.judge import (
    NotYet,
    Wrong,
    as_array,
    call,
    call_class,
    described,
    expect_number,
    expect_parts,
    expect_shape,
    float_tensor,
    is_unwritten,
    recognise,
)


def exercise_1(rule):
    """One update of a dynamic loss scale."""
    for scale, count, is_finite, window in (
        (1024.0, 3, True, 10), (1024.0, 9, True, 10), (1024.0, 9, False, 10),
        (1024.0, 0, True, 1), (1.0, 5, False, 10), (1.5, 0, False, 4),
    ):  # fmt: skip
        case = f"scale {scale:g}, count {count}, finite {is_finite}, window {window}: "
        answer = call(rule, scale, count, is_finite, window)
        words = case + "return two values, the new scale and the new count"
        got = tuple(expect_number(part, "a value") for part in expect_parts(answer, 2, words))
        if is_finite:
            is_full = count + 1 == window
            expected = (2 * scale, 0) if is_full else (scale, count + 1)
        else:
            expected = (max(1.0, scale / 2), 0)
        if got == expected:
            continue
        told = f"{case}you return {got[0]:g} and {got[1]:g}; "
        if not is_finite and got[0] < 1:
            raise Wrong(told + "a scale below 1 would lose more than no scale at all")
        if got[0] == expected[0]:
            raise Wrong(told + "the scale is right, the count is not")
        if is_finite and got == (scale, window):
            raise Wrong(told + "the update that fills the window doubles the scale")
        raise Wrong(told + f"expected {expected[0]:g} and {expected[1]:g}")
    return "so the scale stays as large as the gradients allow, whatever they are"


def exercise_2(combine):
    """The loss per token of parts with different numbers of tokens."""
    for means, counts in (
        ([2.0, 4.0], [30, 10]),
        ([1.5, 0.5, 3.0], [7, 1, 12]),
        ([2.0, np.nan, 4.0], [5, 0, 15]),
    ):
        means, counts = np.array(means), np.array(counts)
        real = counts > 0
        expected = (means[real] * counts[real]).sum() / counts.sum()
        got = expect_number(call(combine, means.copy(), counts.copy()), "your loss")
        if np.isclose(got, expected):
            continue
        case = f"means {means.tolist()}, counts {counts.tolist()}: "
        if np.isnan(got):
            raise Wrong(case + "a part without tokens must not count, but NaN · 0 is NaN")
        if np.isclose(got, means[real].mean()):
            raise Wrong(case + "a part with more tokens has to count for more")
        if np.isclose(got, (means[real] * counts[real]).sum()):
            raise Wrong(case + "the sum is right; divide it by the tokens of all parts")
        raise Wrong(case + f"you return {got:.4g}; expected {expected:.4g}")
    return "mean times tokens gives the sum back, and sums can be added"


def exercise_3(make):
    """Gradients that add up over the parts of a batch, in compiled functions."""
    rng = np.random.default_rng(103)
    line = _Line(rng)
    start = [weight.asnumpy().copy() for weight in line.trainable_params()]
    cell = call_class(make, line.loss, ms.ParameterTuple(line.trainable_params()))
    for name in ("construct", "update"):
        method = getattr(type(cell), name, None)
        if method is None:
            raise Wrong(f"the Cell has no {name}")
        if not hasattr(method, "__wrapped__"):
            raise Wrong(f"{name} is not compiled: write @compiled above it")
    if is_unwritten(type(cell).construct.__wrapped__):
        raise NotYet
    expected = start
    for round_, counts in enumerate(((4, 1, 2), (1, 3)), start=1):
        parts = [_part(rng, count) for count in counts]
        found = [_line_gradient(expected, *part) for part in parts]
        for number, (part, count) in enumerate(zip(parts, counts), start=1):
            told = expect_number(call(cell, *map(float_tensor, part)), "what construct returns")
            if told != count:
                raise Wrong(f"part {number} has {count} labels; construct returns {told:g}")
        rate, total = 0.25, sum(counts)
        arguments = float_tensor(rate), float_tensor(total)
        try:
            cell.update(*arguments)
        except Exception as error:
            raise Wrong(f"update raised {described(error)}") from None
        got = [weight.asnumpy() for weight in line.trainable_params()]
        got = np.concatenate([(old - new).ravel() / rate for old, new in zip(expected, got)])
        sums = np.sum(found, axis=0)
        case = f"update {round_}, from parts of {', '.join(map(str, counts))} labels: "
        if not np.allclose(got, sums / total, atol=1e-4):
            means = np.mean([part / count for part, count in zip(found, counts)], axis=0)
            recognise(
                got,
                (0 * got, "the weights have not moved"),
                (-sums / total, "the step goes uphill: subtract it"),
                (sums, "divide the sum by the number of labels"),
                (means, "this is the mean of the parts' means: add up sums, divide once"),
                (found[-1] / total, "only the last part counts: add its gradient to the others"),
                (found[-1] / counts[-1], "only the last part counts: add its gradient"),
                case=case,
                atol=1e-4,
            )
            if round_ > 1:
                raise Wrong(case + "the first update was right: are the sums 0 again after it?")
            raise Wrong(case + "the weights are not those of one step from the large batch")
        expected = [weight.asnumpy().copy() for weight in line.trainable_params()]
    return "one update from several parts, and never more than one part's activations in memory"


class _Line(nn.Cell):
    """A linear model with two weights, and its loss: the sum over the labels that count."""

    def __init__(self, rng):
        super().__init__()
        self.matrix = ms.Parameter(float_tensor(rng.normal(size=(3, 2))), name="matrix")
        self.bias = ms.Parameter(float_tensor(rng.normal(size=2)), name="bias")

    def construct(self, x):
        return ops.matmul(x, self.matrix) + self.bias

    def loss(self, x, y, is_real):
        error = self.construct(x) - y
        return ((error * error).sum(-1) * is_real).sum(), is_real.sum()


def _part(rng, count, rows=5):
    """Inputs, labels, and 1 for each of the rows that count."""
    return rng.normal(size=(rows, 3)), rng.normal(size=(rows, 2)), np.arange(rows) < count


def _line_gradient(weights, x, y, is_real):
    """The gradient of ``_Line.loss``, as one long vector."""
    error = 2 * (x @ weights[0] + weights[1] - y) * is_real[:, None]
    return np.concatenate([(x.T @ error).ravel(), error.sum(axis=0)])


def exercise_4(share):
    """A worker's rows, filled up to the same number for all."""
    for rows, size in ((6, 2), (5, 2), (5, 4), (2, 3), (3, 1)):
        batch = np.arange(1, 3 * rows + 1).reshape(rows, 3)
        filled = np.concatenate([batch, np.zeros((-rows % size, 3), batch.dtype)])
        for rank in range(size):
            case = f"{rows} rows, worker {rank} of {size}: "
            got = as_array(call(share, batch.copy(), rank, size))
            expected = filled[rank::size]
            if got.shape == expected.shape and (got == expected).all():
                continue
            if got.shape == batch[rank::size].shape and (got == batch[rank::size]).all():
                raise Wrong(
                    case + f"you return {len(got)} rows; add rows of 0 to the batch first, so "
                    f"that each worker gets {len(expected)}"
                )
            block = filled[rank * len(expected) : (rank + 1) * len(expected)]
            if got.shape == block.shape and (got == block).all():
                raise Wrong(case + "take every size-th row, beginning with row rank")
            expect_shape(got, expected.shape, "your share")
            raise Wrong(case + f"you return {got.tolist()}; expected {expected.tolist()}")
    return "all shares have one shape, so one compiled graph serves all workers"


def exercise_5(ring):
    """Reduce-scatter: n − 1 rounds of sending a piece to the right and adding it there."""
    rng = np.random.default_rng(104)
    for n, k in ((2, 1), (3, 2), (5, 3)):
        pieces = rng.integers(1, 100, (n, n, k)).astype(float)

        def after(rounds, direction=1, adds=True, pieces=pieces, n=n):
            state = pieces.copy()
            for t in range(rounds):
                for r in range(n):
                    piece = (r - direction * t) % n
                    to = (r + direction) % n
                    state[to, piece] = state[r, piece] + (state[to, piece] if adds else 0)
            return state

        expected = after(n - 1)
        got = expect_shape(call(ring, pieces.copy()), pieces.shape, "your result")
        if np.allclose(got, expected):
            continue
        case = f"{n} workers: "
        recognise(
            got,
            (pieces, "nothing has been sent"),
            (pieces.sum(axis=0), "these are the complete sums everywhere, as after both halves"),
            (after(n), "one round too many: a piece would come back to where it began"),
            (after(n - 1, direction=-1), "the ring turns the other way: from r to r + 1"),
            (after(n - 1, adds=False), "add what arrives to what is there, do not replace it"),
            case=case,
        )
        raise Wrong(case + "some pieces are not what they should be; follow round t = 0 by hand")
    return "worker r now has the complete sum of piece (r + 1) mod n, after sending n − 1 pieces"


def exercise_6(count):
    """Weights, gradients and Adam's state in mixed precision, plain and sharded."""
    for parameters, copies, is_sharded in (
        (1000, 1, False), (1000, 1, True), (7_000_000_000, 8, False), (7_000_000_000, 8, True),
    ):  # fmt: skip
        expected = parameters * (4 + 12 / (copies if is_sharded else 1))
        got = expect_number(call(count, parameters, copies, is_sharded))
        if np.isclose(got, expected, rtol=1e-9):
            continue
        case = f"{parameters:,} weights, {copies} copies, sharded {is_sharded}: "
        whole = parameters * 16
        words = "without sharding every copy holds all of it"
        if is_sharded:
            words = "each copy holds only its share of the 12 bytes"
        recognise(
            got,
            (whole / copies, "only the 12 bytes are shared out, and only where sharded"),
            (whole if is_sharded else parameters * (4 + 12 / copies), words),
            (parameters * (4 / copies + 12), "the 12 bytes are shared out, not the 4"),
            case=case,
        )
        raise Wrong(case + f"you return {got:,.0f}; expected {expected:,.0f}")
    return "with many copies 16 bytes per weight come near to 4, and nothing more is sent"
