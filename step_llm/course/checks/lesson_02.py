"""Checks of lesson 02, Attention."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor

from step_llm.course.checks.judge import (
    Wrong,
    as_array,
    call,
    call_class,
    expect_close,
    expect_parts,
    expect_shape,
    float_tensor,
    recognise,
    softmax,
)
from step_llm.nn.attention import MultiHeadAttention
from step_llm.nn.masks import causal_mask

_PROJECTIONS = ("query", "key", "value", "output")


def exercise_1(weights):
    """The five weights of the query (0, 1, 2, 0)."""
    got = expect_shape(weights, (5,), "your list")
    keys = [[0, 0, 0, 1], [2, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 2], [0, 2, 0, 0]]
    scores = np.array(keys, float) @ np.array([0, 1, 2, 0])
    expected = softmax(scores / 2)
    if np.allclose(got, expected, atol=0.006):
        return "two steps of score between two keys are a factor of e² between their weights"
    recognise(
        got,
        (softmax(scores), "these weights lack the scale: divide each score by √Dk = 2 first"),
        (scores / 2, "these are the scaled scores; now take exp of each, and divide by the sum"),
        (scores, "these are the dot products; divide them by √Dk = 2, then take the softmax"),
        (np.exp(scores / 2), "these are the exponentials; divide each by the sum of all five"),
        (scores / scores.sum(), "divide exponentials, exp(score), by their sum, not the scores"),
        atol=0.02,
    )
    if abs(got.sum() - 1) > 0.03:
        raise Wrong(f"your weights add up to {got.sum():.2f}; weights of a softmax add up to 1")
    place = int(np.abs(got - expected).argmax())
    raise Wrong(f"look again at weight number {place + 1}, counted from 1; keys in their order")


def exercise_2(attention):
    """Attention with a temperature."""
    rng = np.random.default_rng(22)
    query, key, value = (rng.normal(size=(2, n, d)) for n, d in ((3, 4), (5, 4), (5, 6)))
    given = [Tensor(array.astype(np.float32)) for array in (query, key, value)]
    scores = query @ key.transpose(0, 2, 1) / 2
    for temperature in (1.0, 0.25, 4.0):
        answer = call(attention, *given, temperature)
        words = "return two things: the output (B, T, Dv) and the weights (B, T, S)"
        output, weights = expect_parts(answer, 2, words)
        got = expect_shape(weights, (2, 3, 5), "the array of weights")
        expected = softmax(scores / temperature)
        if temperature != 1 and np.allclose(got, softmax(scores * temperature), atol=1e-4):
            raise Wrong("you multiply by the temperature; a high one must make weights more even")
        if np.allclose(got, softmax(scores * 2 / temperature), atol=1e-4):
            raise Wrong("the factor 1/√Dk is missing: the scores are divided by √Dk · temperature")
        hint = f"At temperature {temperature} it is softmax(q·k / (√Dk · {temperature}))."
        expect_close(got, expected, hint, "the matrix of weights")
        hint = "The output is the weights times the value."
        expect_close(output, expected @ value, hint, "the output")
    return "√Dk is a temperature too: the one that keeps the variance of the scores at 1"


def exercise_3(mask):
    """A causal mask with a sliding window."""
    for length, window in ((6, 3), (5, 1), (4, 10)):
        answer = call(mask, length, window)
        got = expect_shape(answer, (1, 1, length, length), "the mask")
        if got.dtype != bool:
            raise Wrong(f"the mask holds {got.dtype}; expected Boolean, made by a comparison")
        t, s = np.arange(length)[:, None], np.arange(length)[None, :]
        expected = (s <= t) & (s > t - window)
        wrong = np.argwhere(got[0, 0] != expected)
        if not len(wrong):
            continue
        case = f"length {length}, window {window}"
        if (got[0, 0] == ~expected).all():
            raise Wrong("it is inverted, the opposite of what is asked for: True means may attend")
        if not got[0, 0].diagonal().all():
            raise Wrong(f"{case}: a position may always attend to itself")
        if got[0, 0][s > t].any():
            raise Wrong(f"{case}: a position attends to a later one; the mask must be causal too")
        t, s = wrong[0]
        raise Wrong(
            f"{case}: query {t} and key {s} should be {bool(expected[t, s])}. A window of "
            f"{window} counts the position itself"
        )
    return "code that skips the forbidden places costs T · window instead of T² products"


def exercise_4(masks):
    """The masks of the three attentions of a translator."""
    source = np.array([[5, 6, 7, 0], [4, 3, 9, 8], [6, 0, 0, 0]], np.int32)
    target = np.array([[2, 7, 9, 4, 0, 0], [2, 5, 0, 0, 0, 0], [0, 2, 3, 4, 6, 8]], np.int32)
    answer = call(masks, Tensor(source), Tensor(target))
    words = "return three masks: encoder, decoder, cross"
    encoder, decoder, cross = expect_parts(answer, 3, words)
    (batch, s), (_, t) = source.shape, target.shape
    causal = np.tril(np.ones((t, t), bool))
    for name, mask, queries, keys, allowed in (
        ("encoder", encoder, source, source, np.ones((s, s), bool)),
        ("decoder", decoder, target, target, causal),
        ("cross", cross, target, source, np.ones((t, s), bool)),
    ):
        got = as_array(mask, f"the {name} mask")
        if got.dtype != bool:
            raise Wrong(f"the {name} mask holds {got.dtype}; expected Boolean")
        shape = (batch, 1, queries.shape[1], keys.shape[1])
        if got.ndim != 4 or any(g not in (1, n) for g, n in zip(got.shape, shape)):
            raise Wrong(
                f"the {name} mask has shape {got.shape}, which does not broadcast to "
                f"(B, 1, queries, keys) = {shape}"
            )
        got = np.broadcast_to(got, shape)[:, 0]
        real_query, real_key = queries[:, :, None] != 0, keys[:, None, :] != 0
        # What a padded query attends to is nobody's business: its output is never used.
        wrong = real_query & (got != (real_key & allowed))
        if (wrong | ~real_query).all():
            raise Wrong(
                f"the {name} mask is inverted, the opposite of what is asked for: True means may "
                "attend"
            )
        if (wrong & ~real_key).any():
            raise Wrong(f"the {name} mask lets a real token attend to padding")
        if (wrong & ~allowed).any():
            raise Wrong(f"the {name} mask lets a target position attend to a later one")
        if wrong.any():
            raise Wrong(f"the {name} mask forbids a real token that the query may see")
    return "keys decide about padding; only the decoder's self-attention must not look ahead"


def exercise_5(attention):
    """Multi-query attention: H heads of queries, one head of keys and values."""
    rng = np.random.default_rng(25)
    query, key, value = (rng.normal(size=s) for s in ((2, 3, 4, 8), (2, 5, 8), (2, 5, 6)))
    given = [Tensor(array.astype(np.float32)) for array in (query, key, value)]
    answer = call(attention, *given)
    if isinstance(answer, (tuple, list)):
        raise Wrong(
            f"you return a {type(answer).__name__} of {len(answer)}; expected one Tensor, the "
            "output. The library's function returns the pair of output and weights"
        )
    got = expect_shape(answer, (2, 3, 4, 6), "the output")
    scores = np.einsum("bhtd,bsd->bhts", query, key)
    expected = np.einsum("bhts,bse->bhte", softmax(scores / np.sqrt(8)), value)
    if np.allclose(got, np.einsum("bhts,bse->bhte", softmax(scores), value), atol=1e-4):
        raise Wrong("the factor 1/√Dk is missing; Dk is the last axis of the query")
    hint = "Every head of the query uses the same key and value; check the order of the axes."
    expect_close(got, expected, hint, "the output")
    return "a decoder's cache then holds one head of keys and values instead of H"


def exercise_6(cell_class):
    """Grouped-query attention as a cell."""
    rng = np.random.default_rng(26)
    query, memory = (rng.normal(size=(2, n, 12)) for n in (4, 5))
    given = [float_tensor(array) for array in (query, memory, memory)]
    for num_heads, kv_heads in ((6, 2), (4, 1), (3, 3)):
        case = f"with num_heads {num_heads} and num_kv_heads {kv_heads}: "
        sizes = (12, num_heads, kv_heads)
        library = MultiHeadAttention(*sizes)
        cell = _cell_with_weights(cell_class, library, sizes, given)
        name = case + "the output"
        got = expect_shape(call(cell, *given), (2, 4, 12), name)
        weights = {name: p.asnumpy() for name, p in library.parameters_dict().items()}
        shared, tiled = (
            _grouped(weights, query, memory, num_heads, kv_heads, order)
            for order in (np.repeat, lambda heads, n, axis: np.tile(heads, (1, n, 1, 1)))
        )
        unscaled = _grouped(weights, query, memory, num_heads, kv_heads, np.repeat, scale=1.0)
        mistakes = [(unscaled, "the factor 1/√Dk is missing, with Dk = D / num_heads")]
        if not np.allclose(shared, tiled):  # with one head, or all of them, they are the same
            words = "neighbours form a group (0, 0, …, 1, 1, …); you deal them out (0, 1, …, 0, 1)"
            mistakes.append((tiled, words))
        recognise(got, *mistakes, case=case, atol=1e-4)
        expect_close(got, shared, "Repeat each head of keys and values for its group.", name)
    masked = call(cell, given[0], given[0], given[0], causal_mask(4))
    expected = library(given[0], given[0], given[0], causal_mask(4)).asnumpy()
    expect_close(masked, expected, "Is the mask used?", "the output under a causal mask")
    _same_gradients(cell, library, given)
    return "the cache shrinks by H / num_kv_heads, and every weight gets the library's gradient"


def exercise_7(attention):
    """A function with its mask inverted and its softmax over the heads, mended."""
    rng = np.random.default_rng(27)
    query, key, value = (rng.normal(size=(2, 3, 5, d)) for d in (4, 4, 6))
    given = [float_tensor(array) for array in (query, key, value)]
    mask = np.tril(np.ones((5, 5), bool))[None, None]
    words = "return two things: the output (B, H, T, Dv) and the weights (B, H, T, S)"
    _, weights = expect_parts(call(attention, *given, Tensor(mask)), 2, words)
    got = expect_shape(weights, (2, 3, 5, 5), "the matrix of weights")
    if not np.isfinite(got).all():
        raise Wrong("the weights hold numbers that are not finite; LOWEST makes none, −∞ may")
    sums = got.sum(-1)
    if not np.allclose(sums, 1, atol=1e-4):
        across = next((n for n, axis in (("heads", 1), ("queries", 2), ("sentences", 0))
                       if np.allclose(got.sum(axis), 1, atol=1e-4)), None)  # fmt: skip
        more = f". Added up over the {across} they are 1" if across else ""
        raise Wrong(
            f"the weights that one query gives to all keys add up to {sums.flat[0]:.2f}, not to 1"
            + more
        )
    if got[..., ~mask[0, 0]].max() > 1e-6:
        inverted = np.allclose(got[:, :, 1:4][..., mask[0, 0, 1:4]], 0, atol=1e-6)
        raise Wrong(
            "a query gives weight to a key that the mask forbids"
            + (", and none to those that it allows" if inverted else "")
        )
    scores = np.where(mask, query @ key.swapaxes(-1, -2) / 2, -np.inf)
    if np.allclose(got, softmax(scores * 2), atol=1e-4):
        raise Wrong("the factor 1/√Dk has gone; it was right before")
    expect_close(got, softmax(scores), "The score is q·k / √Dk.", "the matrix of weights")
    output, _ = call(attention, *given, Tensor(mask))
    expect_close(output, softmax(scores) @ value, "It is weights times value.", "the output")
    none = Tensor(np.ones((1, 1, 5, 5), bool))
    everything = expect_parts(call(attention, *given, none), 2, words)[1]
    expected = softmax(query @ key.swapaxes(-1, -2) / 2)
    expect_close(everything, expected, "Here all is allowed.", "the matrix of weights")
    return "shapes cannot tell these faults: sums of weights and forbidden places can"


def exercise_8(cell_class):
    """A multi-head cell that mixes places, and scales by the wrong width, mended."""
    rng = np.random.default_rng(28)
    query = rng.normal(size=(2, 5, 12))
    given = [float_tensor(query)] * 3
    mask = causal_mask(5)
    library = MultiHeadAttention(12, 3)
    cell = _cell_with_weights(cell_class, library, (12, 3), [*given, mask])
    got = expect_shape(call(cell, *given, mask), (2, 5, 12), "the output")
    other = query.copy()
    other[:, 4] += rng.normal(size=12)
    moved = as_array(call(cell, *[float_tensor(other)] * 3, mask)) - got
    places = np.flatnonzero(np.abs(moved).max((0, 2)) > 1e-5)
    if len(places) and places[0] < 4:
        raise Wrong(
            f"word 4 was changed, and the output at place {places[0]} moves, although the mask is "
            "causal: numbers of different places come together where only heads should be cut"
        )
    weights = {name: p.asnumpy() for name, p in library.parameters_dict().items()}
    lower = np.tril(np.ones((5, 5), bool))
    case = "no output looks ahead now; but "
    for scale, words in (
        (12**-0.5, "the weights are too even: the scores are √H times too close together"),
        (1.0, "the weights are too sharp: the scores are √Dk times too far apart"),
    ):
        guess = _grouped(weights, query, query, 3, 3, np.repeat, scale, lower)
        recognise(got, (guess, words), case=case, atol=1e-4)
    expect_close(got, library(*given, mask).asnumpy(), "Compare it with MultiHead.", "the output")
    _same_gradients(cell, library, given)
    return "equal to the library's cell, output and gradient"


def _cell_with_weights(cell_class, library, sizes, inputs):
    """The reader's cell, once its layers hold the weights of the library's cell."""
    cell = call_class(cell_class, *sizes)
    call(cell, *inputs)  # not yet, if it is still empty
    names = cell.parameters_dict()
    rng = np.random.default_rng(29)
    for name, parameter in library.parameters_dict().items():
        mine = names.get(name)
        if mine is None:
            there = ", ".join(names) or "none"
            raise Wrong(f"there is no weight {name}; your cell has {there}")
        if mine.shape != parameter.shape:
            raise Wrong(f"{name} has shape {mine.shape}; expected {parameter.shape}")
        value = float_tensor(rng.normal(size=parameter.shape) / parameter.shape[-1] ** 0.5)
        parameter.set_data(value)
        mine.set_data(value)
    if len(names) > 2 * len(_PROJECTIONS):
        raise Wrong(f"your cell has {len(names)} weights; four layers have {2 * len(_PROJECTIONS)}")
    return cell


def _grouped(weights, query, memory, num_heads, kv_heads, repeat, scale=None, mask=None):
    """Grouped-query attention in NumPy; ``repeat`` says which heads form a group."""

    def project(x, name, heads):
        y = x @ weights[f"{name}_projection.weight"].T + weights[f"{name}_projection.bias"]
        return y.reshape((*y.shape[:2], heads, -1)).transpose(0, 2, 1, 3)  # (B, heads, T, Dk)

    q = project(query, "query", num_heads)
    k, v = (
        repeat(project(memory, name, kv_heads), num_heads // kv_heads, axis=1)
        for name in ("key", "value")
    )
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = q @ k.swapaxes(-1, -2) * scale
    heads = softmax(scores if mask is None else np.where(mask, scores, -np.inf)) @ v
    joined = heads.transpose(0, 2, 1, 3).reshape(query.shape)
    return joined @ weights["output_projection.weight"].T + weights["output_projection.bias"]


def _same_gradients(cell, library, inputs):
    """The gradients of both cells agree, weight by weight."""
    queries = inputs[0].shape[1]
    mask = Tensor(np.ones((1, 1, queries, inputs[1].shape[1]), bool))
    gradients = []
    for each in (cell, library):
        weights = each.parameters_dict()
        wanted = [weights[name] for name in library.parameters_dict()]

        def loss(*arguments, each=each):
            return (each(*arguments) ** 2).sum()

        gradients.append(call(ms.grad(loss, None, wanted), *inputs, mask))
    for name, mine, theirs in zip(library.parameters_dict(), *gradients):
        hint = "Every step from the weights to the output must be an operator of MindSpore."
        expect_close(mine, theirs.asnumpy(), hint, f"the gradient of {name}", tolerance=1e-3)
