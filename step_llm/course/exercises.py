"""Checks for the exercises of the lessons.

A lesson's cell ends in ``exercises.check("2.1", answer)`` and prints one of three lines:

    2.1 not yet: …     the answer is still empty (None, … or NotImplementedError)
    2.1 passed: …
    2.1 wrong: …       with what is wrong about this answer

An answer is a value, a Tensor or a function, as the exercise says. Functions are called with
values of the check's own choice, and compared with the library or with NumPy.
"""

from __future__ import annotations

import numpy as np
from mindspore import Tensor

__all__ = ["check", "numbers", "result"]

_CHECKS = {}


class _NotYet(Exception):
    """The answer is still empty."""


class _Wrong(Exception):
    """What is wrong with the answer."""


def check(number: str, *answer) -> None:
    """Say in one line how an exercise stands.

    Args:
        number: of the exercise, as in "2.1".
        answer: what the exercise asks for.

    Raises:
        ValueError: there is no such exercise.
    """
    status, message = result(number, *answer)
    print(f"{number} {status}: {message}")


def result(number: str, *answer) -> tuple[str, str]:
    """What ``check`` prints: "not yet", "passed" or "wrong", and the message."""
    if number not in _CHECKS:
        raise ValueError(f"there is no exercise {number!r}; there are {', '.join(numbers())}")
    try:
        return "passed", _CHECKS[number](*(_given(value) for value in answer))
    except _NotYet:
        return "not yet", "write your answer above, then run the cell again"
    except _Wrong as error:
        return "wrong", str(error)


def numbers() -> list[str]:
    """The numbers of all exercises, in the order of the lessons."""
    return sorted(_CHECKS, key=lambda number: [int(part) for part in number.split(".")])


def _exercise(number):
    """Register a check: it returns what "passed" says, or raises _NotYet or _Wrong."""

    def register(function):
        _CHECKS[number] = function
        return function

    return register


def _given(value):
    if value is None or value is ...:
        raise _NotYet
    return value


def _call(function, *arguments, **options):
    """Call the reader's function; its exceptions become words about the answer."""
    if not callable(function):
        raise _Wrong(f"expected a function, got {type(function).__name__}")
    try:
        value = function(*arguments, **options)
        _wait_for(value)
    except NotImplementedError:
        raise _NotYet from None
    except Exception as error:
        # The lines after the first are MindSpore's own call stack.
        message = str(error).strip().split("\n")[0]
        raise _Wrong(f"your code raised {type(error).__name__}: {message}") from None
    return _given(value)


def _wait_for(value):
    """MindSpore computes later and raises later: wait here, where the error is the answer's."""
    if isinstance(value, Tensor):
        value.asnumpy()
    elif isinstance(value, (tuple, list)):
        for part in value:
            _wait_for(part)
    elif isinstance(value, dict):
        _wait_for(list(value.values()))


def _array(value, name="the answer"):
    """A Tensor, a number or nested lists as a NumPy array."""
    array = value.asnumpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype == object or array.dtype.kind not in "biuf":
        raise _Wrong(f"{name} is {type(value).__name__}; expected numbers or a Tensor")
    return array


def _expect_shape(value, shape, name="the answer"):
    array = _array(value, name)
    if array.shape != tuple(shape):
        raise _Wrong(f"{name} has shape {array.shape}; expected {tuple(shape)}")
    return array


def _expect_close(value, expected, hint, name="the answer", tolerance=1e-4):
    """Compare shape and values; the hint says what to look at."""
    expected = _array(expected)
    array = _expect_shape(value, expected.shape, name)
    if not np.isfinite(array).all():
        raise _Wrong(f"{name} holds values that are not finite. {hint}")
    if not np.allclose(array, expected, rtol=tolerance, atol=tolerance):
        raise _Wrong(f"{name} is off by up to {np.abs(array - expected).max():.3g}. {hint}")
    return array


# ---------------------------------------------------------------- 00 Start here


@_exercise("0.1")
def _centre(centre):
    """Each vector without its mean."""
    x = np.random.default_rng(0).normal(2.0, 3.0, (4, 4, 4)).astype(np.float32)
    got = _expect_shape(_call(centre, Tensor(x)), x.shape)
    mean = x.mean(-1, keepdims=True)
    if np.allclose(got, np.broadcast_to(mean, x.shape), atol=1e-4):
        raise _Wrong("these are the means; subtract them from x")
    if np.allclose(got, x - x.mean(-1), atol=1e-4):
        raise _Wrong("the mean has lost its axis, and was broadcast along another; keep the axis")
    if np.allclose(got, x - x.mean(), atol=1e-4):
        raise _Wrong("this is one mean for all; each vector has its own, over the last axis")
    _expect_close(got, x - mean, "Take the mean over the last axis, and keep the axis.")
    return "a mean that keeps its axis fits what it was taken from"


@_exercise("0.2")
def _slope(slope):
    """The derivative of x³ − 2x."""
    x = np.array([-1.5, 0.0, 0.5, 2.0], np.float32)
    got = _expect_shape(_call(slope, Tensor(x)), x.shape)
    if np.allclose(got, x**3 - 2 * x, atol=1e-4):
        raise _Wrong("this is f itself; expected its derivative")
    hint = "By hand it is 3x² − 2; ms.grad(f)(x) computes it."
    _expect_close(got, 3 * x**2 - 2, hint)
    return "no formula of the derivative was needed"


@_exercise("0.3")
def _update(update):
    """One step of gradient descent for a straight line."""
    rng = np.random.default_rng(1)
    x = rng.normal(1.0, 1.0, 20).astype(np.float32)
    y = (3 * x + 1 + rng.normal(0.0, 0.1, 20)).astype(np.float32)
    w, b, rate = 0.5, -0.5, 0.05
    got = _call(update, *(Tensor(np.float32(v)) for v in (w, b)), Tensor(x), Tensor(y), rate)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise _Wrong("expected two values, the new w and the new b")
    got = [float(_expect_shape(value, (), name)) for value, name in zip(got, ("w", "b"))]
    error = w * x + b - y
    dw, db = float((2 * error * x).mean()), float((2 * error).mean())
    hints = {
        (w + rate * dw, b + rate * db): "this goes uphill; subtract rate times the gradient",
        (w - 20 * rate * dw, b - 20 * rate * db): "the loss is the mean of the squares, not the "
        "sum; yours is 20 times too steep for 20 points",
    }
    for values, hint in hints.items():
        if np.allclose(got, values, rtol=1e-3):
            raise _Wrong(hint)
    if np.isclose(got[0], w - rate * dw, rtol=1e-4) and not np.isclose(got[1], b - rate * db, 1e-4):
        raise _Wrong("w is right, b is not; take both derivatives at the old w and b")
    hint = "New value = old value − rate · derivative of the mean squared error."
    _expect_close(got, [w - rate * dw, b - rate * db], hint, "(w, b)", tolerance=1e-3)
    return "again and again, this is all of gradient descent"


# ---------------------------------------------------------------- 01 From language models


@_exercise("1.1")
def _perplexity_of_sentences(perplexity):
    """Perplexity from the probabilities of the tokens of several sentences."""
    for probabilities in ([[0.5, 0.25], [0.1]], [[0.2] * 3, [0.9] * 9, [0.01]], [[1.0, 1.0]]):
        given = [list(sentence) for sentence in probabilities]
        got = float(_expect_shape(_call(perplexity, given), (), "your number"))
        logs = [np.log(sentence) for sentence in probabilities]
        every = np.concatenate(logs)
        expected = np.exp(-every.mean())
        if np.isclose(got, expected):
            continue
        for guess, hint in (
            (-every.mean(), "this is the mean of −log p; perplexity is exp of it"),
            (np.exp(every.mean()), "the sign is missing: perplexity is at least 1"),
            (np.exp(-every.sum()), "this is 1 / p of the text; take the mean over the tokens"),
            (2 ** -every.mean(), "2 to the power of natural logarithms; take exp"),
            (1 / np.exp(every).mean(), "this is 1 over the mean probability; average logarithms"),
            (
                np.exp(-np.mean([log.mean() for log in logs])),
                "each sentence counts alike here; all tokens should, so long ones count more",
            ),
            (np.exp(-every.sum() / len(logs)), "divide by the number of tokens, not of sentences"),
        ):
            if np.isclose(got, guess):
                raise _Wrong(hint)
        raise _Wrong(f"for {probabilities} you return {got:.4f}; expected {expected:.4f}")
    return "one very improbable token costs more than many good guesses bring in"


@_exercise("1.2")
def _add_k_table(add_k):
    """Add-k smoothing of a whole table of bigram counts."""
    counts = np.array([[3, 1, 0, 0], [0, 0, 0, 0], [0, 2, 2, 4], [1, 0, 0, 0]])
    for k in (1.0, 0.25):
        given = counts.copy()
        got = _expect_shape(_call(add_k, given, k), counts.shape, "the table")
        if (given != counts).any():
            raise _Wrong("the counts that you were given have changed; make a new table")
        expected = (counts + k) / (counts.sum(axis=1, keepdims=True) + k * 4)
        if np.allclose(got, expected):
            continue
        if not np.isfinite(got).all():
            raise _Wrong("some values are not finite: a row without counts is divided by 0")
        if np.allclose(got, (counts + k) / (counts.sum(axis=0) + k * 4)):
            raise _Wrong("divided by the sums of the columns; the word before stands in the row")
        if np.allclose(got, (counts + k) / (counts.sum() + k * 16)):
            raise _Wrong("this is the probability of the pair; divide by the count of its row")
        sums = got.sum(axis=1)
        if not np.allclose(sums, 1):
            raise _Wrong(
                f"with k = {k} the rows sum to {sums.round(3).tolist()}; expected 1 each: below "
                "the line stands k for every column"
            )
        raise _Wrong(f"with k = {k} the first row is {got[0].round(3)}; expected {expected[0]}")
    return "a row without counts becomes level: where nothing was seen, nothing is preferred"


@_exercise("1.3")
def _continuation(kinds):
    """The share of each word among the kinds of pairs."""
    counts = np.array([[0, 5, 1, 0], [0, 0, 7, 0], [0, 1, 0, 90], [0, 2, 1, 0]])
    got = _expect_shape(_call(kinds, counts.copy()), (4,), "the shares")
    seen = counts > 0
    expected = seen.sum(axis=0) / seen.sum()
    if np.allclose(got, expected):
        return "the last word is by far the most frequent, and yet the least likely elsewhere"
    for guess, hint in (
        (counts.sum(axis=0) / counts.sum(), "these are shares of the counts; a kind counts once"),
        (seen.sum(axis=1) / seen.sum(), "these are the kinds after each word; wanted: before it"),
        (seen.sum(axis=0), "the numbers of kinds; divide by their sum"),
        (seen.mean(axis=0), "divide by the number of all kinds of pairs, so that the sum is 1"),
    ):
        if np.allclose(got, guess):
            raise _Wrong(hint)
    raise _Wrong(f"you return {got.round(3).tolist()}; expected {expected.round(3).tolist()}")


@_exercise("1.4")
def _gru_step(step):
    """One step of a GRU without biases."""
    rng = np.random.default_rng(14)
    x, h = rng.normal(size=(2, 4))
    matrices = [rng.normal(size=(4, 4)) for _ in range(6)]
    got = _expect_shape(_call(step, x.copy(), h.copy(), *(m.copy() for m in matrices)), (4,))
    w_r, u_r, w_z, u_z, w_n, u_n = matrices

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    r, z = sigmoid(w_r @ x + u_r @ h), sigmoid(w_z @ x + u_z @ h)
    n = np.tanh(w_n @ x + r * (u_n @ h))
    for guess, hint in (
        (z * n + (1 - z) * h, "z and 1 − z have changed places: z keeps the old state"),
        (n, "this is the new content n alone; mix it with the old state by z"),
        (
            (1 - z) * np.tanh(w_n @ x + u_n @ (r * h)) + z * h,
            "r multiplies U h here, not h before the product",
        ),
        ((1 - z) * np.tanh(w_n @ x + u_n @ h) + z * h, "the gate r is missing in n"),
    ):
        if np.allclose(got, guess):
            raise _Wrong(hint)
    expected = (1 - z) * n + z * h
    _expect_close(got, expected, "Look at the formula gate by gate: r, z, n, then the mix.")
    return "where z is near 1 the state passes unchanged: that is how a GRU remembers for long"


# ---------------------------------------------------------------- 02 Attention


_FIVE_KEYS = np.array(
    [[0, 0, 0, 1], [2, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 2], [0, 2, 0, 0]], np.float64
)


def _softmax(scores):
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


@_exercise("2.1")
def _weights_by_hand(weights):
    """The five weights of the query (0, 1, 2, 0)."""
    got = _expect_shape(weights, (5,), "your list")
    scores = _FIVE_KEYS @ np.array([0, 1, 2, 0])
    expected = _softmax(scores / 2)
    if np.allclose(got, expected, atol=0.006):
        return "two steps of score between two keys are a factor of e² between their weights"
    for guess, hint in (
        (_softmax(scores), "these weights lack the scale: divide each score by √Dk = 2 first"),
        (scores / 2, "these are the scaled scores; now take exp of each, and divide by the sum"),
        (scores, "these are the dot products; divide them by √Dk = 2, then take the softmax"),
        (np.exp(scores / 2), "these are the exponentials; divide each by the sum of all five"),
        (scores / scores.sum(), "divide exponentials, exp(score), by their sum, not the scores"),
    ):
        if np.allclose(got, guess, atol=0.02):
            raise _Wrong(hint)
    if abs(got.sum() - 1) > 0.03:
        raise _Wrong(f"your weights add up to {got.sum():.2f}; weights of a softmax add up to 1")
    place = int(np.abs(got - expected).argmax())
    raise _Wrong(f"look again at weight number {place + 1}, counted from 1; keys in their order")


@_exercise("2.2")
def _temperature(attention):
    """Attention with a temperature."""
    rng = np.random.default_rng(22)
    query, key, value = (rng.normal(size=(2, n, d)) for n, d in ((3, 4), (5, 4), (5, 6)))
    given = [Tensor(array.astype(np.float32)) for array in (query, key, value)]
    scores = query @ key.transpose(0, 2, 1) / 2
    for temperature in (1.0, 0.25, 4.0):
        answer = _call(attention, *given, temperature)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise _Wrong("return two things: the output (B, T, Dv) and the weights (B, T, S)")
        got = _expect_shape(_given(answer[1]), (2, 3, 5), "the weights")
        expected = _softmax(scores / temperature)
        if temperature != 1 and np.allclose(got, _softmax(scores * temperature), atol=1e-4):
            raise _Wrong("you multiply by the temperature; a high one must make weights more even")
        if np.allclose(got, _softmax(scores * 2 / temperature), atol=1e-4):
            raise _Wrong("the factor 1/√Dk is missing: the scores are divided by √Dk · temperature")
        hint = f"At temperature {temperature} it is softmax(q·k / (√Dk · {temperature}))."
        _expect_close(got, expected, hint, "the matrix of weights")
        hint = "The output is the weights times the value."
        _expect_close(_given(answer[0]), expected @ value, hint, "the output")
    return "√Dk is a temperature too: the one that keeps the variance of the scores at 1"


@_exercise("2.3")
def _local_mask(mask):
    """A causal mask with a sliding window."""
    for length, window in ((6, 3), (5, 1), (4, 10)):
        answer = _call(mask, length, window)
        got = _expect_shape(answer, (1, 1, length, length), "the mask")
        if got.dtype != bool:
            raise _Wrong(f"the mask holds {got.dtype}; expected Boolean, made by a comparison")
        t, s = np.arange(length)[:, None], np.arange(length)[None, :]
        expected = (s <= t) & (s > t - window)
        wrong = np.argwhere(got[0, 0] != expected)
        if not len(wrong):
            continue
        case = f"length {length}, window {window}"
        if (got[0, 0] == ~expected).all():
            raise _Wrong("it is the opposite of what is asked for: True means may attend")
        if not got[0, 0].diagonal().all():
            raise _Wrong(f"{case}: a position may always attend to itself")
        if got[0, 0][s > t].any():
            raise _Wrong(f"{case}: a position attends to a later one; the mask must be causal too")
        t, s = wrong[0]
        raise _Wrong(
            f"{case}: query {t} and key {s} should be {bool(expected[t, s])}. A window of "
            f"{window} counts the position itself"
        )
    return "code that skips the forbidden places costs T · window instead of T² products"


@_exercise("2.4")
def _three_masks(masks):
    """The masks of the three attentions of a translator."""
    source = np.array([[5, 6, 7, 0], [4, 3, 9, 8], [6, 0, 0, 0]], np.int32)
    target = np.array([[2, 7, 9, 4, 0, 0], [2, 5, 0, 0, 0, 0], [0, 2, 3, 4, 6, 8]], np.int32)
    answer = _call(masks, Tensor(source), Tensor(target))
    if not isinstance(answer, (tuple, list)) or len(answer) != 3:
        raise _Wrong("return three masks: encoder, decoder, cross")
    (batch, s), (_, t) = source.shape, target.shape
    causal = np.tril(np.ones((t, t), bool))
    for name, mask, queries, keys, allowed in (
        ("encoder", answer[0], source, source, np.ones((s, s), bool)),
        ("decoder", answer[1], target, target, causal),
        ("cross", answer[2], target, source, np.ones((t, s), bool)),
    ):
        got = _array(_given(mask), f"the {name} mask")
        if got.dtype != bool:
            raise _Wrong(f"the {name} mask holds {got.dtype}; expected Boolean")
        shape = (batch, 1, queries.shape[1], keys.shape[1])
        if got.ndim != 4 or any(g not in (1, n) for g, n in zip(got.shape, shape)):
            raise _Wrong(
                f"the {name} mask has shape {got.shape}, which does not broadcast to "
                f"(B, 1, queries, keys) = {shape}"
            )
        got = np.broadcast_to(got, shape)[:, 0]
        real_query, real_key = queries[:, :, None] != 0, keys[:, None, :] != 0
        # What a padded query attends to is nobody's business: its output is never used.
        if (got & real_query & ~real_key).any():
            raise _Wrong(f"the {name} mask lets a real token attend to padding")
        if (got & real_query & ~allowed).any():
            raise _Wrong(f"the {name} mask lets a target position attend to a later one")
        if (~got & real_query & real_key & allowed).any():
            raise _Wrong(f"the {name} mask forbids a real token that the query may see")
    return "keys decide about padding; only the decoder's self-attention must not look ahead"


@_exercise("2.5")
def _multi_query(attention):
    """Multi-query attention: H heads of queries, one head of keys and values."""
    rng = np.random.default_rng(25)
    query, key, value = (rng.normal(size=s) for s in ((2, 3, 4, 8), (2, 5, 8), (2, 5, 6)))
    given = [Tensor(array.astype(np.float32)) for array in (query, key, value)]
    got = _expect_shape(_call(attention, *given), (2, 3, 4, 6), "the output")
    scores = np.einsum("bhtd,bsd->bhts", query, key)
    expected = np.einsum("bhts,bse->bhte", _softmax(scores / np.sqrt(8)), value)
    if np.allclose(got, np.einsum("bhts,bse->bhte", _softmax(scores), value), atol=1e-4):
        raise _Wrong("the factor 1/√Dk is missing; Dk is the last axis of the query")
    hint = "Every head of the query uses the same key and value; check the order of the axes."
    _expect_close(got, expected, hint, "the output")
    return "a decoder's cache then holds one head of keys and values instead of H"


# ---------------------------------------------------------------- 03 Positional encoding


@_exercise("3.1")
def _restore(restore):
    """Undo a permutation of rows."""
    rng = np.random.default_rng(31)
    for order in ([2, 0, 3, 1], [4, 2, 0, 5, 1, 3]):
        order = np.array(order)
        original = rng.normal(size=(len(order), 3)).astype(np.float32)
        shuffled = original[order]
        got = _expect_shape(_call(restore, shuffled.copy(), order.copy()), original.shape)
        if np.allclose(got, shuffled[order]):
            raise _Wrong(
                "indexing with order shuffles a second time; you need the inverse permutation: "
                "where in order does word 0 stand, where word 1, …?"
            )
        if np.allclose(got, shuffled):
            raise _Wrong("the rows are still in their shuffled order")
        _expect_close(got, original, "Row i of shuffled must become row order[i].")
    return "attention moves outputs with the words, so undoing the shuffle gives all of them back"


def _sinusoidal(length, width):
    angle = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    return np.stack([np.sin(angle), np.cos(angle)], -1).reshape(length, width)


@_exercise("3.2")
def _position_of(position_of):
    """Positions read from sinusoidal encodings."""
    rng = np.random.default_rng(32)
    for width in (16, 64):
        positions = rng.permutation(100)[:20]
        vectors = _sinusoidal(100, width)[positions].astype(np.float32)
        got = _expect_shape(_call(position_of, vectors.copy()), (20,))
        if np.allclose(got, positions + 1):
            raise _Wrong("every answer is one too large: the first position is 0")
        if np.allclose(np.cos(got - positions), 1, atol=1e-3) and not np.allclose(got, positions):
            raise _Wrong(
                "the fastest hand is right, but after 2π positions it starts again; "
                "use all pairs of coordinates"
            )
        wrong = np.flatnonzero(~np.isclose(got, positions))
        if len(wrong):
            raise _Wrong(
                f"the encoding of position {positions[wrong[0]]} was read as {got[wrong[0]]:g}. "
                "The dot product with the right row of the table is the largest one"
            )
    return (
        "the dot product of two encodings is largest at distance 0, so every position can be read"
    )


@_exercise("3.3")
def _rotate_neighbours(rotate):
    """Rotary positions whose pairs are neighbours."""
    x = np.random.default_rng(33).normal(size=(9, 8))
    place = np.arange(9)[:, None]
    angle = place * 10000.0 ** (-np.arange(0, 8, 2) / 8)  # (T, Dk/2)
    slow = place * 10000.0 ** (-np.arange(4) / 8)
    pairs, halves = x[:, 0::2] + 1j * x[:, 1::2], x[:, :4] + 1j * x[:, 4:]
    turned = pairs * np.exp(1j * angle)

    def side_by_side(numbers):
        return np.stack([numbers.real, numbers.imag], -1).reshape(9, 8)

    def apart(numbers):
        return np.concatenate([numbers.real, numbers.imag], 1)

    got = _expect_shape(_call(rotate, Tensor(x.astype(np.float32))), (9, 8))
    for guess, hint in (
        (
            side_by_side(pairs * np.exp(-1j * angle)),
            "you turn the other way: look at the signs of the sines",
        ),
        (
            apart(halves * np.exp(1j * angle)),
            "these pairs are (i, i + Dk/2), as in the library; here a pair is (2i, 2i + 1)",
        ),
        (
            apart(turned),
            "the pairs turn rightly; now put the two coordinates of a pair side by side again",
        ),
        (
            side_by_side(pairs * np.exp(1j * slow)),
            "pair i turns with speed 10000^(−2i/Dk); the 2 is missing",
        ),
    ):
        if np.allclose(got, guess, atol=1e-4):
            raise _Wrong(hint)
    hint = "Row 0 stays as it is; in row t pair i turns by t·θᵢ."
    _expect_close(got, side_by_side(turned), hint)
    return "which coordinates form a pair does not matter, as long as query and key agree"


@_exercise("3.4")
def _alibi(attention):
    """Attention whose scores fall with the distance."""
    rng = np.random.default_rng(34)
    query, key, value = (rng.normal(size=(6, 4)) for _ in range(3))
    given = [Tensor(array.astype(np.float32)) for array in (query, key, value)]
    distance = np.abs(np.arange(6)[:, None] - np.arange(6))
    product = query @ key.T
    for slope in (0.5, 0.1):
        scores = product / 2 - slope * distance
        got = _expect_shape(_call(attention, *given, slope), (6, 4))
        signed = np.arange(6)[:, None] - np.arange(6)
        for guess, hint in (
            (product / 2 + slope * distance, "far words gain: the penalty is subtracted"),
            (product - slope * distance, "the factor 1/√Dk is missing"),
            (
                (product - slope * distance) / 2,
                "only the dot product is divided by √Dk, not the penalty",
            ),
            (
                product / 2 - slope * signed,
                "the penalty must be |t − s|: without the bars, words to the right gain",
            ),
            (
                product / 2 + slope * signed,
                "the penalty must be |t − s|: without the bars, words to the left gain",
            ),
            (product / 2, "this is plain attention; the distance has no effect"),
        ):
            if np.allclose(got, _softmax(guess) @ value, atol=1e-4):
                raise _Wrong(hint)
        if np.allclose(got, (_softmax(product / 2) - slope * distance) @ value, atol=1e-4):
            raise _Wrong("the penalty belongs to the scores, before the softmax")
        _expect_close(got, _softmax(scores) @ value, "Compute softmax(scores) · value.")
    return "near words weigh more, at any length; left and right are the same to this scheme"


# ---------------------------------------------------------------- 04 Transformer


def _float_tensor(array):
    return Tensor(np.asarray(array, np.float32))


@_exercise("4.1")
def _silent_share(silent_share):
    """The share of hidden units that ReLU sets to zero."""
    rng = np.random.default_rng(4)
    x, weight = rng.normal(size=(2, 3, 8)), rng.normal(size=(16, 8))
    bias = rng.normal(size=16) + 1.5
    before = x @ weight.T + bias
    got = _call(silent_share, _float_tensor(x), _float_tensor(weight), _float_tensor(bias))
    got = _expect_shape(got, (), "the share")
    expected = (before <= 0).mean()
    if abs(got - (1 - expected)) < 1e-6:
        raise _Wrong("this is the share of the units that speak; the silent ones are the rest")
    if abs(got - (x @ weight.T <= 0).mean()) < 1e-6:
        raise _Wrong("the bias is missing: a unit's input is x · weightᵀ + bias")
    hint = "Count where x · weightᵀ + bias is not positive, and divide by the number of all."
    _expect_close(got, expected, hint, "the share")
    return "for each token other units speak: this is what makes the network non-linear"


@_exercise("4.2")
def _rms_norm(rms_norm):
    """RMSNorm over the last axis."""
    rng = np.random.default_rng(5)
    x, gamma = rng.normal(1.0, 3.0, (2, 3, 8)), rng.normal(size=8)
    got = _expect_shape(_call(rms_norm, _float_tensor(x), _float_tensor(gamma)), x.shape)

    def expected(x, epsilon=1e-5):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon)

    if np.allclose(got, expected(x), atol=1e-3):
        raise _Wrong("γ is missing: it scales each feature")
    centred = x - x.mean(-1, keepdims=True)
    if np.allclose(got, expected(centred) * gamma, atol=1e-3):
        raise _Wrong("this subtracts the mean, as LayerNorm does; RMSNorm leaves it alone")
    hint = "Divide by the square root of the mean of x², over the last axis; keep that axis."
    _expect_close(got, expected(x) * gamma, hint)
    zero = _call(rms_norm, _float_tensor(np.zeros((1, 1, 8))), _float_tensor(gamma))
    _expect_close(zero, np.zeros((1, 1, 8)), "For a vector of zeros, ε saves the division.")
    return "it saves a mean and a shift; many large language models use it"


@_exercise("4.3")
def _masked_batch_norm(masked_batch_norm):
    """BatchNorm whose statistics leave the padding out."""
    rng = np.random.default_rng(6)
    x = rng.normal(2.0, 3.0, (3, 5, 4))
    mask = np.arange(5) < np.array([5, 3, 2])[:, None]  # (B, T)
    real = x[mask]
    expected = (x - real.mean(0)) / np.sqrt(real.var(0) + 1e-5) * mask[:, :, None]
    got = _call(masked_batch_norm, _float_tensor(x), Tensor(mask))
    got = _expect_shape(got, x.shape)
    plain = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-5)
    if np.allclose(got[mask], plain[mask], atol=1e-3):
        raise _Wrong("the padding is still part of mean and variance")
    if np.allclose(got[mask], expected[mask], atol=1e-3):
        hint = "The real tokens are right; the padding has to be 0 at the end."
    else:
        hint = (
            "For each feature, sum over the real tokens of all sentences and divide by their "
            f"number (here {mask.sum()}, not {mask.size}), for the mean and for the variance."
        )
    _expect_close(got, expected, hint, tolerance=1e-3)
    return "the padding is out of it, but a sentence still depends on those beside it"


@_exercise("4.4")
def _pre_norm_layer(pre_norm_layer):
    """An encoder layer with LayerNorm before each sub-layer."""
    from step_llm.models.config import TransformerConfig
    from step_llm.models.transformer import Transformer

    rng = np.random.default_rng(7)
    model = Transformer(
        TransformerConfig(
            5, 5, d_model=8, num_heads=2, num_encoder_layers=1, num_decoder_layers=1, d_ff=16,
            norm="pre",
        )
    )  # fmt: skip
    layer = model.encoder.layers[0]
    for weight in layer.get_parameters():
        if weight.name.endswith(("gamma", "beta")):
            weight.set_data(_float_tensor(rng.normal(size=weight.shape)))
    x = _float_tensor(rng.normal(1.0, 2.0, (2, 4, 8)))
    mask = Tensor((np.arange(4) < np.array([4, 2])[:, None]).reshape(2, 1, 1, 4))
    got = _expect_shape(_call(pre_norm_layer, layer, x, mask), x.shape)
    h = layer.attention_residual.norm(x + layer.self_attention(x, x, x, mask))
    h = layer.feed_forward_residual.norm(h + layer.feed_forward(h))
    if np.allclose(got, h.asnumpy(), atol=1e-4):
        raise _Wrong("this is post-norm: LayerNorm has to act on the input of each sub-layer")
    unmasked = layer(x)[0].asnumpy()
    if np.allclose(got, unmasked, atol=1e-4):
        raise _Wrong("the mask is missing: give it to layer.self_attention")
    hint = (
        "Twice: normalise x, give that to the sub-layer (as query, key and value), and add the "
        "result to the x from before the norm."
    )
    _expect_close(got, layer(x, mask)[0], hint, tolerance=1e-3)
    return "nothing stands on the line from input to output but two sums"


@_exercise("4.5")
def _gpt_count(gpt_count):
    """The number of weights of a decoder-only model."""
    for vocab_size, d, d_ff, layers, max_length in (
        (1000, 64, 256, 2, 128),
        (50257, 768, 3072, 12, 1024),
    ):
        attention, feed_forward, norm = 4 * (d * d + d), 2 * d * d_ff + d_ff + d, 2 * d
        embeddings = (vocab_size + max_length) * d
        expected = embeddings + layers * (attention + feed_forward + 2 * norm) + norm
        got = _expect_shape(_call(gpt_count, vocab_size, d, d_ff, layers, max_length), ())
        hints = {
            norm: "the LayerNorm at the end is missing",
            -vocab_size * d: "the unembedding is tied: it has no weights of its own",
            max_length * d: "the vectors of the positions are missing",
            layers * (5 * d + d_ff): "the biases are missing: 4 of attention, 2 of feed-forward",
            layers * 2 * norm: "each layer has two LayerNorms",
            -layers * attention: "there is no cross-attention: one attention a layer",
            -layers * (attention + norm): "there is no cross-attention, nor its LayerNorm",
        }
        short = expected - int(got)
        if short:
            hint = hints.get(short, "count embedding, positions, layers, and the last LayerNorm")
            raise _Wrong(
                f"for vocab_size {vocab_size}, d_model {d}, d_ff {d_ff}, layers {layers}, "
                f"max_length {max_length} you return {int(got):,}; {hint}"
            )
    return f"the second test is GPT-2's size: {expected:,} weights"


# ---------------------------------------------------------------- 05 Multi30k translation


@_exercise("5.1")
def _real_token_share(share):
    """The share of a batch that is not padding."""
    for ids in ([[5, 6, 2], [7, 2, 0]], [[4, 2, 0, 0]], [[9, 8, 7, 2]] * 3):
        ids = np.array(ids, np.int32)
        got = _expect_shape(_call(share, ids), (), "the share")
        if abs(got - ids.size) < 1e-6 or got > 1:
            raise _Wrong(f"a share lies between 0 and 1, but yours is {got:.3g} for {ids.tolist()}")
        _expect_close(
            got, (ids != 0).mean(), f"Count the ids that are not 0 in {ids.tolist()}.", "the share"
        )
    return "the rest of the batch is padding, which costs time and teaches nothing"


@_exercise("5.2")
def _smoothed_target(target):
    """The distribution that label smoothing asks for."""
    for y, size, smoothing in ((2, 6, 0.1), (0, 4, 0.0), (9, 10, 0.3)):
        got = _expect_shape(_call(target, y, size, smoothing), (size,), "the target")
        if abs(got.sum() - 1) > 1e-5:
            raise _Wrong(
                f"your probabilities add up to {got.sum():.4f}; expected 1. The right word gets "
                "its own share of the spread part too"
            )
        expected = np.full(size, smoothing / size)
        expected[y] += 1 - smoothing
        hint = "Each of the V words gets ε / V; the right word gets 1 − ε more."
        _expect_close(got, expected, hint, "the target")
    return "no word has probability 0, so no score has to grow without end"


@_exercise("5.3")
def _bucket(bucket):
    """The bucket that holds both sides of a pair."""
    buckets = (12, 16, 25)
    # A pair that fits nowhere has the answer None, so an empty answer shows in the other pairs.
    for source, target, expected in ((5, 9, 12), (12, 12, 12), (13, 4, 16), (3, 20, 25)):
        got = _call(bucket, source, target, buckets)
        if got != expected:
            raise _Wrong(
                f"for lengths {source} and {target} and buckets {buckets} you return {got}; "
                f"expected {expected}, the shortest that holds both"
            )
    try:
        got = bucket(26, 3, buckets)
    except Exception as error:
        raise _Wrong(f"a pair that is too long raised {type(error).__name__}: {error}") from None
    if got is not None:
        raise _Wrong(f"lengths 26 and 3 fit no bucket of {buckets}, but you return {got}")
    return "a few fixed lengths: each is compiled once"


@_exercise("5.4")
def _best_pair(best_pair):
    """One round of byte-pair encoding."""
    cases = (
        ({tuple("hund"): 4, tuple("rund"): 2, tuple("hand"): 7}, ("n", "d")),
        ({("a", "b"): 1, ("b", "c", "a", "b"): 1, ("b", "c"): 2}, ("b", "c")),
        ({("un", "d"): 5, ("h", "un", "d"): 3, ("u", "n"): 7}, ("un", "d")),
    )
    for words, expected in cases:
        got = _call(best_pair, dict(words))
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise _Wrong(f"expected a pair of pieces, got {got!r}")
        if tuple(got) != expected:
            raise _Wrong(
                f"for {words} you return {tuple(got)}; expected {expected}. A pair counts as often "
                "as the word that it stands in"
            )
    return "joined again and again, the most frequent neighbours become words"


@_exercise("5.5")
def _average(average):
    """The mean of several checkpoints."""
    rng = np.random.default_rng(0)
    shapes = {"weight": (2, 3), "bias": (3,)}
    sets = [{n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()} for _ in range(3)]
    copies = [{name: value.copy() for name, value in weights.items()} for weights in sets]
    got = _call(average, sets)
    if not isinstance(got, dict) or set(got) != set(shapes):
        raise _Wrong(f"expected a dictionary with the names {sorted(shapes)}")
    if any((a[name] != b[name]).any() for a, b in zip(sets, copies) for name in shapes):
        raise _Wrong("the arrays that you were given have changed; add into a new array")
    for name in shapes:
        expected = np.mean([weights[name] for weights in copies], axis=0)
        _expect_close(got[name], expected, "Add the arrays, divide by their number.", name)
    return "the average is often better than each of its parts"


# ---------------------------------------------------------------- 06 Decoding and evaluation


@_exercise("6.1")
def _log_probability_of_a_sentence(log_prob):
    """The logarithm of a sentence's probability under a table of next-token probabilities."""
    for seed, ids in ((61, (4, 3, 5)), (62, (5,)), (63, (3, 4, 3, 4))):
        table = np.random.default_rng(seed).dirichlet(np.ones(6), 6)
        path = [1, *ids, 2]
        steps = [float(table[a, b]) for a, b in zip(path, path[1:])]
        got = float(_expect_shape(_call(log_prob, table.copy(), list(ids)), (), "your number"))
        expected = float(np.sum(np.log(steps)))
        if np.isclose(got, expected, atol=1e-6):
            continue
        for guess, hint in (
            (np.prod(steps), "this is the probability; the exercise asks for its logarithm"),
            (np.log(steps[:-1]).sum(), "the end token is missing: it is the last factor"),
            (np.log(steps[1:]).sum(), "the first word is missing: it follows the begin token"),
            (np.log(steps[1:-1]).sum(), "the first word and the end token have a factor each, too"),
            (expected / len(steps), "this is the mean over the tokens; the sum is wanted"),
            (-expected, "a probability is below 1, so its logarithm is below 0"),
            (np.log2(steps).sum(), "this is the logarithm to base 2; take the natural one"),
        ):
            if np.isclose(got, guess, atol=1e-6):
                raise _Wrong(hint)
        raise _Wrong(f"for {len(ids)} words you return {got:.4f}; expected {expected:.4f}")
    return "a sum of logarithms, one for each token and one for the end: it can only fall"


@_exercise("6.2")
def _brevity_with_several_references(brevity):
    """The brevity penalty with the closest of several reference lengths."""
    cases = ((9, (12,)), (12, (9,)), (10, (10,)), (10, (20, 11, 5)), (10, (12, 8)), (10, (13, 8)))
    for c, lengths in cases:
        got = float(_expect_shape(_call(brevity, c, list(lengths)), (), "your number"))
        closest = min(lengths, key=lambda length: (abs(length - c), length))
        expected = min(1.0, np.exp(1 - closest / c))
        if np.isclose(got, expected, atol=1e-6):
            continue
        case = f"c = {c}, lengths {list(lengths)}: "
        if got > 1:
            raise _Wrong(case + "you return more than 1; a long translation gets no bonus")
        if np.isclose(got, min(1.0, np.exp(1 - c / closest)), atol=1e-6):
            raise _Wrong(case + "r and c have changed places: the exponent is 1 − r / c")
        if np.isclose(got, min(1.0, closest and c / closest), atol=1e-6):
            raise _Wrong(case + "this is c / r itself; the formula has an exponential")
        ties = [length for length in lengths if abs(length - c) == abs(closest - c)]
        if len(ties) > 1:
            raise _Wrong(case + "two lengths are equally close; the shorter one counts")
        raise _Wrong(case + f"the closest length is {closest}, so expected {expected:.4f}")
    return "too short is punished here; too long lowers the precisions, and so is punished already"


@_exercise("6.3")
def _clipped_matches(matches):
    """Modified n-gram precision with several references."""
    cases = (
        ("the the the the", ("the cat is here",), 1),
        ("a a a dog", ("a cat", "a dog"), 1),
        ("a dog a dog a dog", ("a dog is chasing a ball", "there is a dog and a dog"), 1),
        ("a dog a dog a dog", ("a dog is chasing a ball", "there is a dog and a dog"), 2),
        ("a b c d", ("a b x c d", "b c y"), 2),
        ("one two", ("one two",), 3),
    )
    for hypothesis, references, n in cases:
        words = hypothesis.split()
        answer = _call(matches, list(words), [text.split() for text in references], n)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise _Wrong("return two numbers: the clipped matches, and all n-grams")
        got = tuple(int(_expect_shape(value, (), "each of the two numbers")) for value in answer)
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        others = []
        for text in references:
            other = text.split()
            others.append([tuple(other[i : i + n]) for i in range(len(other) - n + 1)])
        kinds = set(grams)
        clipped = sum(min(grams.count(g), max(o.count(g) for o in others)) for g in kinds)
        if got == (clipped, len(grams)):
            continue
        case = f"{hypothesis!r}, n = {n}: "
        if got[1] != len(grams):
            raise _Wrong(case + f"there are {len(grams)} n-grams, you count {got[1]}")
        if got[0] == sum(any(g in o for o in others) for g in grams):
            raise _Wrong(case + "not clipped: an n-gram counts at most as often as in a reference")
        if got[0] == sum(min(grams.count(g), sum(o.count(g) for o in others)) for g in kinds):
            raise _Wrong(case + "the references' counts are not added; the largest one clips")
        if got[0] == sum(min(grams.count(g), others[0].count(g)) for g in kinds):
            raise _Wrong(case + "only the first reference was used")
        raise _Wrong(case + f"you find {got[0]} matches; expected {clipped}")
    return "a translation may agree with any reference, but repeating a word earns nothing"


@_exercise("6.4")
def _where_two_hypotheses_tie(tie):
    """The length penalty at which a longer hypothesis draws level with a shorter one."""
    for short, long in (((-1.184, 3), (-1.324, 5)), ((-2.0, 4), (-2.6, 9)), ((-0.5, 2), (-0.9, 3))):
        got = float(_expect_shape(_call(tie, *short, *long), (), "your number"))
        ratio = (5 + long[1]) / (5 + short[1])
        expected = np.log(long[0] / short[0]) / np.log(ratio)
        if np.isclose(got, expected, atol=1e-3):
            continue
        if np.isclose(got, -expected, atol=1e-3):
            raise _Wrong("the sign is wrong: α is positive here; look at which ratio you invert")
        if np.isclose(got, np.log(long[0] / short[0]) / np.log(long[1] / short[1]), atol=1e-3):
            raise _Wrong("the penalty of the library is ((5 + length) / 6)^α, not length^α")
        if np.isclose(got, long[0] / short[0] / ratio, atol=1e-3):
            raise _Wrong("α is an exponent: take the logarithm of both sides")
        scores = [p / ((5 + n) / 6) ** got for p, n in (short, long)]
        raise _Wrong(
            f"with your α = {got:.3f} the two scores are {scores[0]:.3f} and {scores[1]:.3f}; "
            "they should be equal"
        )
    return "below this α the shorter one wins, above it the longer one"


@_exercise("6.5")
def _nucleus(top_p):
    """Top-p sampling: the smallest set of tokens that holds at least p of the probability."""
    cases = (
        ((0.05, 0.5, 0.15, 0.3), (0.75, 0.4, 0.9)),
        ((0.7, 0.1, 0.2), (0.5, 0.75, 1.0)),
        ((0.1, 0.2, 0.3, 0.4), (0.65,)),
    )
    for probabilities, limits in cases:
        for limit in limits:
            given = np.array(probabilities)
            got = _expect_shape(_call(top_p, given.copy(), limit), given.shape, "the answer")
            order = np.argsort(-given)
            size = int(np.argmax(given[order].cumsum() >= limit - 1e-9)) + 1
            kept = np.zeros(len(given), bool)
            kept[order[:size]] = True
            expected = np.where(kept, given, 0) / given[kept].sum()
            if np.allclose(got, expected, atol=1e-6):
                continue
            case = f"{list(probabilities)}, p = {limit}: "
            if np.allclose(got, np.where(kept, given, 0), atol=1e-6):
                raise _Wrong(case + "the right tokens, but they do not sum to 1 any more")
            if np.array_equal(got > 0, kept):
                raise _Wrong(case + "the right tokens; divide their probabilities by their sum")
            if size > 1 and (got > 0).sum() == size - 1:
                raise _Wrong(case + "the token that crosses p belongs to the set, too")
            if not (got > 0).any() or not np.isfinite(got).all():
                raise _Wrong(case + "nothing is left; the most probable token is always kept")
            if (got > 0).sum() == size:
                raise _Wrong(case + "as many tokens as needed, but not the most probable ones")
            raise _Wrong(case + f"you keep {(got > 0).sum()} tokens; expected {size}")
    return "the set is small where the model is sure and large where it is not, unlike with top-k"


# ---------------------------------------------------------------- 07 GPT


@_exercise("7.1")
def _causal_loss(loss):
    """The mean cross-entropy of the labels that are not padding."""
    rng = np.random.default_rng(71)
    for lengths, size in (((5, 3), 7), ((2, 6, 1), 11)):
        logits = rng.normal(size=(len(lengths), max(lengths), size)) * 3
        labels = rng.integers(1, size, (len(lengths), max(lengths)))
        for row, length in enumerate(lengths):
            labels[row, length:] = 0
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        found = np.take_along_axis(log_p, labels[..., None], -1)[..., 0]
        is_real = labels != 0
        expected = -found[is_real].mean()
        got = float(_expect_shape(_call(loss, logits.copy(), labels.copy()), (), "your number"))
        if np.isclose(got, expected, atol=1e-4):
            continue
        raw = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
        per_text = [-row[real].mean() for row, real in zip(found, is_real)]
        for guess, hint in (
            (-found.mean(), "padding counts in your mean; leave out the places with label 0"),
            (-(found * is_real).mean(), "the sum is right; divide it by the real labels alone"),
            (-found[is_real].sum(), "this is the sum; the mean is wanted"),
            (-expected, "the sign: the loss is the mean of −log p, above 0"),
            (np.exp(expected), "this is the perplexity; the loss is its logarithm"),
            (expected / np.log(2), "this is in bits; take the natural logarithm"),
            (-raw[is_real].mean(), "a logit is no log-probability: take the log-softmax first"),
            (np.mean(per_text), "every token counts alike, not every text"),
        ):
            if np.isclose(got, guess, atol=1e-4):
                raise _Wrong(hint)
        raise _Wrong(f"for labels of shape {labels.shape} you return {got:.4f}, not {expected:.4f}")
    return "exp of this number is the perplexity; TrainStep lowers it"


@_exercise("7.2")
def _min_p(probabilities):
    """Keep the tokens that have at least a share of the largest probability."""
    rng = np.random.default_rng(72)
    cases = [(np.log([0.5, 0.3, 0.04, 0.16]), 0.1), (np.log([0.2, 0.2, 0.3, 0.3]), 0.5)]
    cases += [(rng.normal(size=20) * 2, share) for share in (0.05, 0.3, 1.0)]
    for logits, share in cases:
        p = np.exp(logits - logits.max())
        p /= p.sum()
        kept = p >= share * p.max() * (1 - 1e-9)
        expected = np.where(kept, p, 0) / p[kept].sum()
        got = _expect_shape(_call(probabilities, logits.copy(), share), logits.shape, "the answer")
        if np.allclose(got, expected, atol=1e-6):
            continue
        case = f"min_p = {share}, probabilities {p[:4].round(3).tolist()}: "
        if not np.isfinite(got).all():
            raise _Wrong(case + "your answer holds values that are not finite")
        if np.allclose(got, np.where(kept, p, 0), atol=1e-6):
            raise _Wrong(case + "the right tokens; divide by the sum of what is kept")
        fixed = p >= share
        if fixed.any() and np.allclose(got, np.where(fixed, p, 0) / p[fixed].sum(), atol=1e-6):
            raise _Wrong(case + "min_p is a share of the largest probability, not a probability")
        if np.array_equal(got > 0, kept):
            raise _Wrong(case + "the right tokens, but their probabilities should sum to 1")
        raise _Wrong(case + f"you keep {(got > 0).sum()} tokens; expected {kept.sum()}")
    return "like top-p it keeps few tokens where the model is sure; and it needs no sorting"


@_exercise("7.3")
def _size_of_a_cache(size):
    """The bytes of all keys and values of a GPT."""
    for case in ((1, 1024, 12, 12, 768, 4), (8, 20, 3, 4, 128, 2)):
        batch, length, layers, heads, d_model, each = case
        expected = 2 * batch * length * layers * d_model * each
        got = float(_expect_shape(_call(size, *case), (), "your number"))
        if got == expected:
            continue
        for guess, hint in (
            (expected / 2, "there are keys and values: twice as many numbers"),
            (expected * heads, "d_model is the width of all heads together"),
            (expected / heads, "every head has keys and values of its own; count them all"),
            (expected / layers, "every layer has a cache of its own"),
            (expected / each, "this is how many numbers there are; each takes some bytes"),
            (expected / batch, "every text of the batch has a cache of its own"),
            (expected / 2 * length, "keys and values are kept, not the scores of all pairs"),
            (expected * length, "keys and values are kept, not the scores of all pairs"),
        ):
            if got == guess:
                raise _Wrong(hint)
        raise _Wrong(f"for {batch} texts of {length} tokens you say {got:,.0f}, not {expected:,}")
    return "72 MiB for one text in the smallest GPT-2; how many heads share d_model is no matter"


@_exercise("7.4")
def _fused_projection(split):
    """GPT-2's c_attn, cut into query, key and value."""
    rng = np.random.default_rng(74)
    names = ("query", "key", "value")
    for d in (4, 6):
        weight, bias = rng.normal(size=(d, 3 * d)), rng.normal(size=3 * d)
        answer = _call(split, weight.copy(), bias.copy())
        if not isinstance(answer, (tuple, list)) or len(answer) != 3:
            raise _Wrong("return three pairs (weight, bias): of query, key and value")
        for number, (name, pair) in enumerate(zip(names, answer)):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise _Wrong(f"the part of the {name} should be a pair (weight, bias)")
            columns = slice(number * d, (number + 1) * d)
            got = _expect_shape(pair[0], (d, d), f"the weight of the {name}")
            if not np.allclose(got, weight[:, columns].T):
                if np.allclose(got, weight[:, columns]):
                    raise _Wrong(f"the {name}'s numbers are right; Dense wants them transposed")
                every_third = weight[:, number::3]
                if np.allclose(got, every_third) or np.allclose(got, every_third.T):
                    raise _Wrong(f"the {name}'s columns stand side by side, not every third one")
                raise _Wrong(f"the weight of the {name} is made of other columns")
            got = _expect_shape(pair[1], (d,), f"the bias of the {name}")
            if not np.allclose(got, bias[columns]):
                raise _Wrong(f"the weight of the {name} is right, its bias is not")
    return "that is what from_pretrained does; the other Conv1D weights are only transposed"


# ---------------------------------------------------------------- 08 BERT


@_exercise("8.1")
def _pair_of_sentences(pair):
    """[CLS] A [SEP] B [SEP], and the segments."""
    for first, second in (([11, 12, 13], [21, 22]), ([11], [21, 22, 23])):
        answer = _call(pair, list(first), list(second), 1, 2)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise _Wrong("return two lists: the ids, and the segments")
        ids, segments = (list(map(int, _array(part))) for part in answer)
        whole = [1, *first, 2, *second, 2]
        begin = len(first) + 2
        if ids != whole:
            if ids == whole[:-1]:
                raise _Wrong("the second sentence has a [SEP] at its end, too")
            raise _Wrong(f"A = {first} and B = {second} gave the ids {ids}; expected {whole}")
        expected = [0] * begin + [1] * (len(whole) - begin)
        if segments != expected:
            hint = "[CLS] and the first [SEP] belong to A, the second [SEP] to B"
            raise _Wrong(f"the segments of {ids} are {segments}; expected {expected}: {hint}")
    return "the segments tell the two sentences apart, wherever the first one ends"


@_exercise("8.2")
def _eighty_ten_ten(blanks):
    """The 80-10-10 rule from given random numbers."""
    rng = np.random.default_rng(82)
    ids, other = rng.integers(4, 50, (6, 12)), rng.integers(4, 50, (6, 12))
    is_chosen, fate = rng.random((6, 12)) < 0.5, rng.random((6, 12))
    given = ids.copy()
    got = _expect_shape(_call(blanks, given, is_chosen.copy(), fate.copy(), other, 50), ids.shape)
    if not np.array_equal(given, ids):
        raise _Wrong("the ids that you were given have changed; make a new array")
    is_mask, is_random = is_chosen & (fate < 0.8), is_chosen & (fate >= 0.8) & (fate < 0.9)
    expected = np.where(is_random, other, np.where(is_mask, 50, ids))
    if np.array_equal(got, expected):
        return "all three kinds are predicted, so the model must have an opinion about every word"
    if (got != ids)[~is_chosen].any():
        raise _Wrong("tokens that were not chosen have changed; they stay as they are")
    for name, part in (
        ("with fate below 0.8 a chosen token becomes the mask", is_mask),
        ("with fate from 0.8 to below 0.9 it becomes the random token", is_random),
        ("with fate from 0.9 on it stays as it is", is_chosen & (fate >= 0.9)),
    ):
        if (got != expected)[part].any():
            raise _Wrong(f"{name}; {(got != expected)[part].sum()} of {part.sum()} do not")
    raise _Wrong("these are not the ids that the rule gives")


@_exercise("8.3")
def _masked_loss(loss):
    """The mean of −log p over the places that are asked."""
    rng = np.random.default_rng(83)
    log_p = np.log(rng.dirichlet(np.ones(7), (3, 5)))
    labels = np.where(rng.random((3, 5)) < 0.4, rng.integers(1, 7, (3, 5)), 0)
    labels[1] = 0  # a row in which nothing is asked
    got = float(_expect_shape(_call(loss, log_p.copy(), labels.copy(), 0), (), "your number"))
    all_places = -np.take_along_axis(log_p, labels[..., None], -1)[..., 0]
    asked = labels != 0
    expected = all_places[asked].mean()
    if np.isclose(got, expected, atol=1e-5):
        return "only about one place in seven teaches anything: BERT needs more passes than GPT"
    for guess, hint in (
        (all_places.mean(), "padding labels count as well here; leave them out"),
        (all_places[asked].sum(), "this is the sum; divide by the number of places asked"),
        (all_places[asked].sum() / labels.size, "divide by the number of places asked, not by all"),
        (-expected, "the sign is wrong: log p is negative, the loss is not"),
    ):
        if np.isclose(got, guess, atol=1e-5):
            raise _Wrong(hint)
    raise _Wrong(f"you return {got:.4f}; expected {expected:.4f}")


@_exercise("8.4")
def _one_blank_each(rows):
    """A row for each ordinary token, with the mask in its place."""
    for ids in ([1, 7, 8, 9, 2], [1, 5, 5, 2, 6, 2]):
        places = [n for n, token in enumerate(ids) if token not in (1, 2)]
        answer = _call(rows, list(ids), 99, (0, 1, 2, 3))
        got = _array(answer)
        if got.shape == (len(ids), len(ids)):
            raise _Wrong("special tokens are not hidden: a row for each other token alone")
        _expect_shape(answer, (len(places), len(ids)))
        if ((got == 99).sum(axis=1) > 1).any():
            raise _Wrong("a row hides more than one token; begin each row with a fresh copy")
        expected = np.array([[*ids[:place], 99, *ids[place + 1 :]] for place in places])
        if not np.array_equal(got, expected):
            raise _Wrong(f"{ids} gave {got.tolist()}; expected {expected.tolist()}")
    return "T tokens cost T passes; GPT needs one for the whole sentence"


@_exercise("8.5")
def _more_than_chance(judge):
    """Whether two shares differ by more than twice the standard error of their difference."""
    for first, second, n, expected in (
        (0.90, 0.80, 90, False),
        (0.90, 0.80, 400, True),
        (0.80, 0.90, 400, True),
        (0.51, 0.50, 1000, False),
        (0.99, 0.95, 300, True),
        (0.75, 0.66, 200, False),
        (1.0, 1.0, 50, False),
    ):
        got = _call(judge, first, second, n)
        if bool(_expect_shape(got, (), "the answer")) == expected:
            continue
        error = np.sqrt((first * (1 - first) + second * (1 - second)) / n)
        raise _Wrong(
            f"for {first} and {second} of {n} captions you say {bool(got)}: their distance is "
            f"{abs(first - second):.3f}, twice the standard error of it {2 * error:.3f}"
        )
    return "a few points on a few hundred captions may be chance; more captions tell"


# ---------------------------------------------------------------- 09 Vision Transformer


@_exercise("9.1")
def _images_from_patches(images):
    """The way back from patches to images."""
    for batch, channels, side, patch in ((2, 1, 4, 2), (3, 3, 2, 4), (2, 2, 3, 1)):
        size = side * patch
        expected = np.random.default_rng(91).normal(size=(batch, channels, size, size))
        grid = expected.reshape(batch, channels, side, patch, side, patch)
        given = grid.transpose(0, 2, 4, 1, 3, 5).reshape(batch, side * side, -1)
        case = f"{side} × {side} patches of {patch}, {channels} channels: "
        got = _expect_shape(
            _call(images, given.copy(), channels, patch), expected.shape, "the answer"
        )
        if np.allclose(got, expected):
            continue
        if np.allclose(got, given.reshape(expected.shape)):
            raise _Wrong(
                case + "reshape alone keeps the order of the numbers; but the second row of a "
                "patch does not follow its first row in the image"
            )
        if np.allclose(got, expected.swapaxes(2, 3)):
            raise _Wrong(case + "rows and columns have changed places")
        last = given.reshape(batch, side, side, patch, patch, channels)
        if np.allclose(got, last.transpose(0, 5, 1, 3, 2, 4).reshape(expected.shape)):
            raise _Wrong(case + "in a patch the channels come first, then rows and columns")
        raise _Wrong(
            case + "the right numbers in other places; reshape to (B, row, column, C, P, P) "
            "first, then bring the axes into the order (B, C, row, P, column, P)"
        )
    return "cutting an image loses nothing: patches hold the same numbers in another order"


@_exercise("9.2")
def _weights_of_a_vit(count):
    """The number of weights of a Vision Transformer."""
    for case in ((8, 2, 1, 10, 64, 128, 3), (224, 16, 3, 1000, 768, 3072, 12)):
        size, patch, channels, classes, d, d_ff, layers = case
        tokens = (size // patch) ** 2 + 1
        layer = 4 * (d * d + d) + 2 * d * d_ff + d_ff + d + 4 * d
        parts = {
            "the patch embedding": channels * patch**2 * d + d,
            "the class token": d,
            "the positions": tokens * d,
            "the layers": layers * layer,
            "the last LayerNorm": 2 * d,
            "the classifier": d * classes + classes,
        }
        got = int(_expect_shape(_call(count, *case), (), "your number"))
        missing = sum(parts.values()) - got
        if not missing:
            continue
        text = f"image {size}, patch {patch}, d_model {d}, {layers} layers: "
        if missing == 2 * d:
            raise _Wrong(
                text + "2 · D are missing: the last LayerNorm, or the class token and its position"
            )
        for part, value in parts.items():
            if missing == value:
                raise _Wrong(text + f"{value:,} weights are missing: {part}")
        if missing == (channels - 1) * patch**2 * d and channels > 1:
            raise _Wrong(text + "a patch holds the pixels of all channels")
        if missing == layers * 4 * d:
            raise _Wrong(text + "each layer has two LayerNorms, each with γ and β")
        raise _Wrong(text + f"you count {got:,}; expected {sum(parts.values()):,}")
    return "the second case is ViT-Base/16: 86.6 million, most of them in the layers"


@_exercise("9.3")
def _maps_of_the_heads(maps):
    """Where the class token looks, for each head."""
    for batch, heads, side in ((2, 3, 2), (1, 4, 4)):
        tokens = side * side + 1
        given = np.random.default_rng(93).dirichlet(np.ones(tokens), (batch, heads, tokens))
        shape = (batch, heads, side, side)
        row = given[:, :, 0, 1:]
        got = _expect_shape(_call(maps, given.copy()), shape, "the answer")
        if np.allclose(got, (row / row.sum(-1, keepdims=True)).reshape(shape), atol=1e-6):
            continue
        if np.allclose(got, row.reshape(shape), atol=1e-6):
            raise _Wrong("the right weights; divide each map by its sum")
        column = given[:, :, 1:, 0]
        for scaled in (column, column / column.sum(-1, keepdims=True)):
            if np.allclose(got, scaled.reshape(shape), atol=1e-6):
                raise _Wrong("this is how each patch looks at the class token; take row 0")
        front = given[:, :, 0, :-1]
        for scaled in (front, front / front.sum(-1, keepdims=True)):
            if np.allclose(got, scaled.reshape(shape), atol=1e-6):
                raise _Wrong("key 0 is the class token itself; the patches begin at key 1")
        if not np.allclose(got.sum((2, 3)), 1, atol=1e-6):
            raise _Wrong("each map should sum to 1, for every image and every head")
        raise _Wrong("each map sums to 1, but the weights are not those of the class token's row")
    return "what the class token gave to itself is left out, so the heads can be compared"


@_exercise("9.4")
def _attention_rollout(rollout):
    """The product of all layers' mean attention, each mixed with the identity."""
    rng = np.random.default_rng(94)
    for batch, heads, tokens, layers in ((1, 2, 3, 1), (2, 3, 5, 3)):
        given = [rng.dirichlet(np.ones(tokens), (batch, heads, tokens)) for _ in range(layers)]
        unit = np.eye(tokens)
        means = [weights.mean(axis=1) for weights in given]
        got = _expect_shape(
            _call(rollout, [weights.copy() for weights in given]),
            (batch, tokens, tokens),
            "the answer",
        )

        def product(steps, unit=unit):
            total = unit
            for step in steps:
                total = step @ total
            return total

        mixed = [0.5 * (mean + unit) for mean in means]
        if np.allclose(got, product(mixed), atol=1e-5):
            continue
        for guess, hint in (
            (product(means), "the residual connection is missing: mix each layer with I"),
            (product(mixed[::-1]), "the order is turned round: the last layer stands leftmost"),
            (product([mean + unit for mean in means]), "A + I without the half: rows sum to 2"),
            (sum(mixed) / layers, "the layers follow one another: multiply, do not average"),
            (np.prod(mixed, axis=0), "this multiplies number by number; take the matrix product"),
        ):
            if np.allclose(got, guess, atol=1e-5):
                raise _Wrong(hint)
        if not np.allclose(got.sum(-1), 1, atol=1e-5):
            raise _Wrong("each row of the answer should sum to 1, as each layer's rows do")
        raise _Wrong(f"with {layers} layers the result is another; check mean, mixing and order")
    return "each row still sums to 1: it says how an output is put together from the inputs"


# ---------------------------------------------------------------- 10 Scaling up


@_exercise("10.1")
def _loss_scale(rule):
    """One update of a dynamic loss scale."""
    for scale, count, is_finite, window in (
        (1024.0, 3, True, 10), (1024.0, 9, True, 10), (1024.0, 9, False, 10),
        (1024.0, 0, True, 1), (1.0, 5, False, 10), (1.5, 0, False, 4),
    ):  # fmt: skip
        got = _call(rule, scale, count, is_finite, window)
        case = f"scale {scale:g}, count {count}, finite {is_finite}, window {window}: "
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise _Wrong(case + "return two values, the new scale and the new count")
        got = tuple(float(_expect_shape(value, (), "a value")) for value in got)
        if is_finite:
            is_full = count + 1 == window
            expected = (2 * scale, 0) if is_full else (scale, count + 1)
        else:
            expected = (max(1.0, scale / 2), 0)
        if got == expected:
            continue
        told = f"{case}you return {got[0]:g} and {got[1]:g}; "
        if not is_finite and got[0] < 1:
            raise _Wrong(told + "a scale below 1 would lose more than no scale at all")
        if got[0] == expected[0]:
            raise _Wrong(told + "the scale is right, the count is not")
        if is_finite and got == (scale, window):
            raise _Wrong(told + "the update that fills the window doubles the scale")
        raise _Wrong(told + f"expected {expected[0]:g} and {expected[1]:g}")
    return "so the scale stays as large as the gradients allow, whatever they are"


@_exercise("10.2")
def _loss_of_the_large_batch(combine):
    """The loss per token of parts with different numbers of tokens."""
    for means, counts in (
        ([2.0, 4.0], [30, 10]),
        ([1.5, 0.5, 3.0], [7, 1, 12]),
        ([2.0, np.nan, 4.0], [5, 0, 15]),
    ):
        means, counts = np.array(means), np.array(counts)
        real = counts > 0
        expected = (means[real] * counts[real]).sum() / counts.sum()
        got = float(_expect_shape(_call(combine, means.copy(), counts.copy()), (), "your loss"))
        if np.isclose(got, expected):
            continue
        case = f"means {means.tolist()}, counts {counts.tolist()}: "
        if np.isnan(got):
            raise _Wrong(case + "a part without tokens must not count, but NaN · 0 is NaN")
        if np.isclose(got, means[real].mean()):
            raise _Wrong(case + "a part with more tokens has to count for more")
        if np.isclose(got, (means[real] * counts[real]).sum()):
            raise _Wrong(case + "the sum is right; divide it by the tokens of all parts")
        raise _Wrong(case + f"you return {got:.4g}; expected {expected:.4g}")
    return "mean times tokens gives the sum back, and sums can be added"


@_exercise("10.3")
def _share_of_the_rows(share):
    """A worker's rows, filled up to the same number for all."""
    for rows, size in ((6, 2), (5, 2), (5, 4), (2, 3), (3, 1)):
        batch = np.arange(1, 3 * rows + 1).reshape(rows, 3)
        filled = np.concatenate([batch, np.zeros((-rows % size, 3), batch.dtype)])
        for rank in range(size):
            case = f"{rows} rows, worker {rank} of {size}: "
            got = _array(_call(share, batch.copy(), rank, size))
            expected = filled[rank::size]
            if got.shape == expected.shape and (got == expected).all():
                continue
            if got.shape == batch[rank::size].shape and (got == batch[rank::size]).all():
                raise _Wrong(
                    case + f"you return {len(got)} rows; add rows of 0 to the batch first, so "
                    f"that each worker gets {len(expected)}"
                )
            block = filled[rank * len(expected) : (rank + 1) * len(expected)]
            if got.shape == block.shape and (got == block).all():
                raise _Wrong(case + "take every size-th row, beginning with row rank")
            _expect_shape(got, expected.shape, "your share")
            raise _Wrong(case + f"you return {got.tolist()}; expected {expected.tolist()}")
    return "all shares have one shape, so one compiled graph serves all workers"


@_exercise("10.4")
def _first_half_of_a_ring(ring):
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
        got = _expect_shape(_call(ring, pieces.copy()), pieces.shape, "your result")
        if np.allclose(got, expected):
            continue
        case = f"{n} workers: "
        if np.allclose(got, pieces):
            raise _Wrong(case + "nothing has been sent")
        if np.allclose(got, np.broadcast_to(pieces.sum(axis=0), pieces.shape)):
            raise _Wrong(case + "these are the complete sums everywhere, as after both halves")
        for guess, hint in (
            (after(n), "one round too many: a piece would come back to where it began"),
            (after(n - 1, direction=-1), "the ring turns the other way: from r to r + 1"),
            (after(n - 1, adds=False), "add what arrives to what is there, do not replace it"),
        ):
            if np.allclose(got, guess):
                raise _Wrong(case + hint)
        raise _Wrong(case + "some pieces are not what they should be; follow round t = 0 by hand")
    return "worker r now has the complete sum of piece (r + 1) mod n, after sending n − 1 pieces"


@_exercise("10.5")
def _bytes_on_a_device(count):
    """Weights, gradients and Adam's state in mixed precision, plain and sharded."""
    for parameters, copies, is_sharded in (
        (1000, 1, False), (1000, 1, True), (7_000_000_000, 8, False), (7_000_000_000, 8, True),
    ):  # fmt: skip
        expected = parameters * (4 + 12 / (copies if is_sharded else 1))
        got = float(_expect_shape(_call(count, parameters, copies, is_sharded), (), "your number"))
        if np.isclose(got, expected, rtol=1e-9):
            continue
        case = f"{parameters:,} weights, {copies} copies, sharded {is_sharded}: "
        if np.isclose(got, parameters * 16 / copies):
            raise _Wrong(case + "only the 12 bytes are shared out, and only where sharded")
        if is_sharded and np.isclose(got, parameters * 16):
            raise _Wrong(case + "each copy holds only its share of the 12 bytes")
        if not is_sharded and np.isclose(got, parameters * (4 + 12 / copies)):
            raise _Wrong(case + "without sharding every copy holds all of it")
        if np.isclose(got, parameters * (4 / copies + 12)):
            raise _Wrong(case + "the 12 bytes are shared out, not the 4")
        raise _Wrong(case + f"you return {got:,.0f}; expected {expected:,.0f}")
    return "with many copies 16 bytes a weight come near to 4, and nothing more is sent"
