"""Recurrent layers (循环层): a state that each vector of a sequence renews, one after another.

Letters: B batch, T length, H size of the state. A state is a tuple: (h,), and an LSTM's is (h, c);
each of them (B, H). The gates of a cell stand one after another on the last axis.
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from step_llm.nn._checks import check_last_axis
from step_llm.nn.activations import tanh
from step_llm.nn.forms import device_form
from step_llm.nn.initial import InitialWeights
from step_llm.nn.linear import linear

__all__ = ["RECURRENT_CELLS", "Recurrent", "gru", "lstm", "rnn"]


def rnn(x: Tensor, state, input_weight, state_weight, input_bias, state_bias, linear, split, tanh):
    r"""The plain recurrent layer.

    Formula: h_t = tanh(W x_t + b + U h_{t−1} + d).

    Args:
        x: (B, T, inputs).
        state: (h,), the state before the first vector.
        input_weight, input_bias: W (H, inputs) and b (H,).
        state_weight, state_bias: U (H, H) and d (H,).
        linear, split, tanh: ``linear``, ``ops.split`` and ``tanh`` in the forms of the device.

    Returns:
        h_t for all t (B, T, H), and the last state.

    Source: Elman 1990, "Finding Structure in Time".
    """
    (h,) = state
    outputs = []
    for of_input in split(linear(x, input_weight, input_bias), 1, 1):  # each (B, 1, H)
        h = tanh(of_input.squeeze(1) + linear(h, state_weight, state_bias))  # (B, H)
        outputs.append(h.expand_dims(1))
    return ops.concat(outputs, 1), (h,)


def lstm(x: Tensor, state, input_weight, state_weight, input_bias, state_bias, linear, split, tanh):
    r"""Long short-term memory (长短期记忆): gates say what a memory c keeps, takes and shows.

    Formula, with (i, f, g, o) the quarters of W x_t + b + U h_{t−1} + d:
    c_t = σ(f) · c_{t−1} + σ(i) · tanh(g); h_t = σ(o) · tanh(c_t).

    Args:
        x: (B, T, inputs).
        state: (h, c), the state before the first vector.
        input_weight, input_bias: W (4H, inputs) and b (4H,).
        state_weight, state_bias: U (4H, H) and d (4H,).
        linear, split, tanh: as in ``rnn``.

    Returns:
        h_t for all t (B, T, H), and the last state.

    Source: Hochreiter and Schmidhuber 1997, "Long Short-Term Memory", with the forget gate of Gers
    et al. 2000.
    """
    h, c = state
    outputs = []
    for of_input in split(linear(x, input_weight, input_bias), 1, 1):  # each (B, 1, 4H)
        gates = of_input.squeeze(1) + linear(h, state_weight, state_bias)
        i, f, g, o = split(gates, h.shape[-1], -1)  # each (B, H)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * tanh(g)
        h = ops.sigmoid(o) * tanh(c)
        outputs.append(h.expand_dims(1))
    return ops.concat(outputs, 1), (h, c)


def gru(x: Tensor, state, input_weight, state_weight, input_bias, state_bias, linear, split, tanh):
    r"""The gated recurrent unit (门控循环单元): one gate z mixes the old state and a new one.

    Formula, with (r, z, n) the thirds of W x_t + b, and (r', z', n') those of U h_{t−1} + d:
    ñ = tanh(n + σ(r + r') · n'); h_t = σ(z + z') · h_{t−1} + (1 − σ(z + z')) · ñ.

    Args:
        x: (B, T, inputs).
        state: (h,), the state before the first vector.
        input_weight, input_bias: W (3H, inputs) and b (3H,).
        state_weight, state_bias: U (3H, H) and d (3H,).
        linear, split, tanh: as in ``rnn``.

    Returns:
        h_t for all t (B, T, H), and the last state.

    Source: Cho et al. 2014; the reset gate r after the product, as in cuDNN, PyTorch and
    MindSpore, where the paper has it before.
    """
    (h,) = state
    outputs = []
    for of_input in split(linear(x, input_weight, input_bias), 1, 1):  # each (B, 1, 3H)
        reset, update, new = split(of_input.squeeze(1), h.shape[-1], -1)  # each (B, H)
        of_state = linear(h, state_weight, state_bias)
        reset_state, update_state, new_state = split(of_state, h.shape[-1], -1)
        new = tanh(new + ops.sigmoid(reset + reset_state) * new_state)
        update = ops.sigmoid(update + update_state)
        h = update * h + (1.0 - update) * new
        outputs.append(h.expand_dims(1))
    return ops.concat(outputs, 1), (h,)


# name: (function, gates, tensors in a state)
RECURRENT_CELLS = {"rnn": (rnn, 1, 1), "lstm": (lstm, 4, 2), "gru": (gru, 3, 1)}


class Recurrent(nn.Cell):
    """``rnn``, ``lstm`` or ``gru`` with its weights, which have the names of PyTorch's layers.

    Args:
        cell: a name in ``RECURRENT_CELLS``.
        inputs: size of the vectors.
        size: H, of the state.
        initial: where the weights begin.

    Shapes: x (B, T, inputs), and a state or None for zeros, to (B, T, H) and the last state.

    Raises:
        ValueError: x whose last axis is not ``inputs``.
    """

    def __init__(self, cell: str, inputs: int, size: int, initial: InitialWeights):
        super().__init__()
        function, gates, self.state_tensors = RECURRENT_CELLS[cell]
        self.inputs = inputs
        self.size = size
        self.weight_ih_l0 = initial.matrix(gates * size, inputs, name="weight_ih_l0")
        self.weight_hh_l0 = initial.matrix(gates * size, size, name="weight_hh_l0")
        self.bias_ih_l0 = initial.vector(gates * size, name="bias_ih_l0")
        self.bias_hh_l0 = initial.vector(gates * size, name="bias_hh_l0")
        self.function = device_form(function)
        self.linear = device_form(linear)
        self.split = device_form(ops.split)
        self.tanh = device_form(tanh)

    def construct(self, x, state=None):
        check_last_axis("x", x.shape, self.inputs, "(B, T, inputs)")
        if state is None:
            state = (ops.zeros((x.shape[0], self.size), x.dtype),) * self.state_tensors
        return self.function(
            x, state, self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0,
            self.linear, self.split, self.tanh,
        )  # fmt: skip
