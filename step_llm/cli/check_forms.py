"""Each form of the device that MindSpore uses now, held against the textbook's function on it.

``tests/test_forms.py`` takes the same inputs for what has kernels on a CPU.
"""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, amp, nn, ops, value_and_grad
from mindspore import dtype as mstype

from step_llm.nn.activations import tanh
from step_llm.nn.attention import merge_heads, scaled_dot_product_attention, split_heads
from step_llm.nn.cache import take, write
from step_llm.nn.embedding import look_up
from step_llm.nn.forms import device_form, device_forms
from step_llm.nn.layer_norm import layer_norm
from step_llm.nn.linear import linear
from step_llm.nn.recurrent import lstm
from step_llm.nn.rms_norm import rms_norm
from step_llm.nn.rotary import apply_rotary, rotary_tables
from step_llm.runtime.graph_mode import compiled, graph_mode
from step_llm.training.distributed import cut
from step_llm.training.precision import refused_operators

__all__ = ["TEXTBOOK", "Compiled", "checks", "compare", "inputs_of", "of_tensors", "random",
           "value_and_gradients"]  # fmt: skip

_ALL = (
    linear, layer_norm, scaled_dot_product_attention, split_heads, merge_heads, tanh, write,
    lstm, look_up, take, ops.split, cut, ops.narrow, rms_norm, apply_rotary,
    ops.clip_by_global_norm, amp.all_finite, ops.assign, ops.assign_add, nn.Adam, nn.Dropout,
)  # fmt: skip
TEXTBOOK = {function.__name__: function for function in _ALL}

_SIZES = (3, 2, 5, 4, 16)  # batch, heads, length, sources, width; flash attention takes width 16
_ROOM = 3.0  # both the form and the textbook's function may round
_HALF = 1e-2  # in float16, whose significand has 11 bits
# The framework's own tanh is off by 1e-4 on a CPU; the form is exact, as tests/test_forms.py shows.
_OWN_ROOM = {"tanh": 2e-4}
_WITHOUT_GRADIENT = ("clip_by_global_norm", "all_finite", "assign", "assign_add")
_UPDATES, _RATE = 4, 1e-2
_DROPPED = 0.1


def checks(tolerance: float) -> dict:
    """For each form of this device a name, and a function that compares it.

    Args:
        tolerance: how far an output of this device may be off, as a share of its largest value.

    Returns:
        functions without arguments that return whether the form agrees (None: it cannot be tried
        here) and the figures.
    """
    parts = {}
    for name, form in device_forms().items():
        parts[f"form {name}"] = lambda n=name, f=form: compare(n, f, tolerance)
        if name == "scaled_dot_product_attention":
            parts[f"form {name}, float16"] = lambda n=name, f=form: _compare_half(n, f)
    return parts


def compare(name: str, form, tolerance: float) -> tuple[bool, str]:
    """One form against the textbook's function: whether they agree, and by how much they differ."""
    if name == "Dropout":
        return _compare_dropout(form)
    allowed = _OWN_ROOM.get(name, _ROOM * tolerance)
    if name == "Adam":
        found, expected = (_weights_after_updates(kind) for kind in (form, TEXTBOOK[name]))
        return _judged({f"{_UPDATES} updates": _furthest(found, expected)}, allowed)
    tensors, rest = inputs_of(name, _SIZES, 1)
    both = [of_tensors(function) for function in (form, TEXTBOOK[name])]
    if name in ("assign", "assign_add"):
        both = [_Assigned(function) for function in both]
    return _compared(both, tensors, rest, name not in _WITHOUT_GRADIENT, allowed)


def _compare_half(name, form):
    refused = refused_operators("float16")
    if refused:
        return None, f"no {', '.join(refused)} of float16 on this device"
    tensors, rest = inputs_of(name, _SIZES, 1)
    tensors = [tensor.astype(np.float16) for tensor in tensors]
    return _compared([form, TEXTBOOK[name]], tensors, rest, True, _HALF)


def _compared(both, tensors, rest, has_gradient, allowed):
    differences = {}
    found, expected = (_first(function(*map(Tensor, tensors), *rest)) for function in both)
    differences["PyNative"] = _furthest([found], [expected])
    found, expected = (Compiled(function)(*map(Tensor, tensors), *rest) for function in both)
    differences["compiled"] = _furthest([_first(found)], [_first(expected)])
    if has_gradient:
        # Compiled, since outside of graphs MindSpore 2.10 has wrong gradients of some operators.
        found, expected = (value_and_gradients(f, tensors, rest, True)[1:] for f in both)
        differences["gradient"] = _furthest(found, expected)
    return _judged(differences, allowed)


def _judged(differences, allowed):
    worst = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
    passed = all(value <= allowed for value in differences.values())  # NaN fails
    return passed, f"{worst}; allowed {allowed:.0e} of the largest value"


def _first(output):
    return (output[0] if isinstance(output, tuple) else output).asnumpy()


def _furthest(found, expected):
    """The largest difference of arrays in pairs, as a share of the largest value of its pair."""
    worst = 0.0
    for one, other in zip(found, expected):
        one, other = one.astype(np.float64), other.astype(np.float64)
        if one.shape != other.shape:
            raise ValueError(f"shape {one.shape}; expected {other.shape}, the textbook's")
        difference = np.abs(one - other).max() / max(np.abs(other).max(), 1e-30)
        worst = max(worst, difference) if difference == difference else float("nan")
        if worst != worst:
            break
    return float(worst)


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def inputs_of(name: str, sizes: tuple, seed: int) -> tuple[list, list]:
    """Arrays to differentiate by, and what follows them, for one function of the table.

    Args:
        name: of the textbook's function.
        sizes: batch, heads, length, sources, width.
        seed: of the numbers, and of the kind of mask or position.
    """
    batch, heads, length, sources, width = sizes
    x = random(seed, batch, length, width)
    if name == "linear":
        return [x, random(1, heads, width), random(2, heads)], []
    if name == "layer_norm":
        # Of a vector whose numbers are nearly all the same the gradient is mostly rounding.
        x = x + 3 * np.arange(width, dtype=np.float32)
        return [x, random(1, width), random(2, width)], [1e-5]
    if name == "split_heads":
        return [random(seed, batch, length, heads * width)], [heads]
    if name == "merge_heads":
        return [random(seed, batch, heads, length, width)], []
    if name == "write":
        cached, new = random(seed, batch, heads, sources, width), random(1, batch, heads, 1, width)
        places = np.random.default_rng(seed).integers(0, sources, [(1,), (batch,)][seed % 2])
        return [cached, new], [Tensor(places.astype(np.int32))]
    if name == "tanh":
        return [x * 2], []
    if name == "lstm":
        state = [random(n, batch, heads) for n in (1, 2)]
        weights = [random(3, 4 * heads, width), random(4, 4 * heads, heads)]
        return [x, *state, *weights, random(5, 4 * heads), random(6, 4 * heads)], []
    rows = np.random.default_rng(seed).integers(0, batch, 2 * batch).astype(np.int32)
    if name == "look_up":
        return [random(seed, batch, width)], [Tensor(rows.reshape((batch, 2)))]
    if name == "take":
        return [x], [Tensor(rows), 0]
    if name in ("split", "cut"):
        return [random(seed, 10)], []
    if name == "narrow":
        return [x], [1, 1, length - 1]
    if name == "rms_norm":
        return [x, random(1, width)], [1e-6]
    if name == "apply_rotary":
        return [random(seed, batch, heads, length, width)], [rotary_tables(length, width)]
    if name in ("assign", "assign_add"):
        return [x], []
    if name in ("clip_by_global_norm", "all_finite"):
        return [x, random(1, length), random(2, 1)], []
    query = random(seed, batch, heads, length, width)
    key, value = random(1, batch, heads, sources, width), random(2, batch, heads, sources, width)
    # All kinds of masks, rows that may attend to nothing among them.
    shape = [(1, 1, 1, sources), (batch, 1, 1, sources), (batch, heads, length, sources)][seed % 3]
    mask = np.random.default_rng(seed).random(shape) < 0.6
    return [query, key, value], [None if seed % 4 == 3 else Tensor(mask)]


def of_tensors(function):
    """A function of the table as one of tensors alone, to one tensor; most are that already. Of a
    recurrent layer, all states and the last memory."""
    name = function.__name__
    if name == "lstm":
        pieces = tuple(device_form(piece) for piece in (linear, ops.split, tanh))

        def run(x, h, c, *weights):
            outputs, (_, memory) = function(x, (h, c), *weights, *pieces)
            return ops.cat((outputs, memory.expand_dims(1)), 1)

    elif name in ("split", "cut"):

        def run(x):
            return ops.cat([part * 2.0 for part in function(x, [2, 5, 3])[::-1]])

    elif name == "clip_by_global_norm":

        def run(*gradients):
            return ops.cat([part.reshape((-1,)) for part in function(gradients, 0.5)])

    elif name == "all_finite":

        def run(*gradients):
            broken = (gradients[0], gradients[1] / ops.zeros_like(gradients[1]))
            both = [ops.cast(function(some), mstype.float32) for some in (gradients, broken)]
            return ops.stack([one.reshape(()) for one in both])

    else:
        return function
    return run


class Compiled(nn.Cell):
    """A function, compiled."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    @compiled
    def construct(self, *inputs):
        return self.function(*inputs)


def value_and_gradients(function, tensors, rest, is_compiled=False) -> list:
    """A function's output and its gradients by all of ``tensors``, as arrays."""

    def total(*inputs):
        output = function(*inputs, *rest)
        output = output[0] if isinstance(output, tuple) else output
        weights = ops.cos(ops.arange(output.size).reshape(output.shape).astype(mstype.float32))
        return (output * weights).sum(), output

    both = value_and_grad(total, tuple(range(len(tensors))), has_aux=True)
    both = Compiled(both) if is_compiled else both
    (_, output), gradients = both(*map(Tensor, tensors))
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    return [output.asnumpy(), *(gradient.asnumpy() for gradient in gradients)]


class _Assigned(nn.Cell):
    """What stands in a weight after ``function(weight, value)``."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = Parameter(Tensor(random(7, *_SIZES[:1], _SIZES[2], _SIZES[4])), name="weight")

    def construct(self, value):
        return ops.depend(self.weight, self.function(self.weight, value)) + 0.0


class _Updates(nn.Cell):
    def __init__(self, optimizer):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer

    @compiled
    def construct(self, *gradients):
        return self.optimizer(gradients)


def _weights_after_updates(kind):
    """By how much an optimizer moves two weights. Of a gradient near 0, Adam's step is rounding."""
    weights = [Parameter(Tensor(random(n, 3, 4)), name=f"weight{n}") for n in range(2)]
    before = [weight.asnumpy().copy() for weight in weights]
    update = _Updates(kind(weights, _RATE, beta1=0.9, beta2=0.98, eps=1e-9))
    with graph_mode():
        for step in range(_UPDATES):
            numbers = [random(10 * step + n, 3, 4) for n in range(2)]
            update(*(Tensor(number + np.sign(number)) for number in numbers))
    return [weight.asnumpy() - old for weight, old in zip(weights, before)]


def _compare_dropout(kind):
    """It draws its own numbers: the share that is 0, and what the others are multiplied by."""
    dropout = kind(p=_DROPPED).set_train(True)
    ones = np.ones((64, 256), np.float32)
    output, gradient = value_and_gradients(dropout, [ones], [])
    weights = np.cos(np.arange(ones.size, dtype=np.float32)).reshape(ones.shape)
    share = float((output == 0).mean())
    kept = output[output != 0] * (1 - _DROPPED)
    off = max(float(np.abs(kept - 1).max()), float(np.abs(gradient - weights * output).max()))
    passed = abs(share - _DROPPED) < 0.01 and off < 1e-3
    return bool(passed), (
        f"{share:.1%} are 0, expected {_DROPPED:.0%}; the others and the gradient are off by "
        f"{off:.0e}, allowed 1e-03"
    )
