"""Checks of lesson 09, Vision Transformer."""

from __future__ import annotations

import mindspore as ms
import numpy as np

from step_llm.course.checks.judge import (
    Wrong,
    call,
    call_class,
    expect_number,
    expect_shape,
    float_tensor,
    recognise,
)


def exercise_1(images):
    """The way back from patches to images."""
    for batch, channels, side, patch in ((2, 1, 4, 2), (3, 3, 2, 4), (2, 2, 3, 1)):
        size = side * patch
        expected = np.random.default_rng(91).normal(size=(batch, channels, size, size))
        grid = expected.reshape(batch, channels, side, patch, side, patch)
        given = grid.transpose(0, 2, 4, 1, 3, 5).reshape(batch, side * side, -1)
        case = f"{side} × {side} patches of {patch}, {channels} channels: "
        got = expect_shape(call(images, given.copy(), channels, patch), expected.shape)
        if np.allclose(got, expected):
            continue
        if np.allclose(got, given.reshape(expected.shape)):
            raise Wrong(
                case + "reshape alone keeps the order of the numbers; but the second row of a "
                "patch does not follow its first row in the image"
            )
        if np.allclose(got, expected.swapaxes(2, 3)):
            raise Wrong(case + "rows and columns have changed places")
        last = given.reshape(batch, side, side, patch, patch, channels)
        if np.allclose(got, last.transpose(0, 5, 1, 3, 2, 4).reshape(expected.shape)):
            raise Wrong(case + "in a patch the channels come first, then rows and columns")
        raise Wrong(
            case + "the right numbers in other places; reshape to (B, row, column, C, P, P) "
            "first, then bring the axes into the order (B, C, row, P, column, P)"
        )
    return "cutting an image loses nothing: patches hold the same numbers in another order"


def exercise_2(make):
    """A patch embedding as a Cell, for images of any height and width."""
    patch, channels, d = 2, 3, 5
    cell = call_class(make, patch, channels, d)
    call(cell, float_tensor(np.ones((1, channels, patch, patch))))  # or there is nothing yet
    weights = cell.trainable_params()
    count, expected = sum(weight.size for weight in weights), channels * patch**2 * d + d
    if count != expected:
        raise Wrong(f"the Cell has {count} weights; one linear map of C P² to D has {expected}")
    rng = np.random.default_rng(92)
    for weight in weights:
        weight.set_data(float_tensor(rng.normal(size=weight.shape)))

    def tokens(images, number):
        shape = (len(images), number, d)
        name = f"the answer to images {images.shape}"
        return expect_shape(call(cell, float_tensor(images)), shape, name)

    images = rng.normal(size=(2, channels, 4, 6))  # 2 × 3 patches
    whole = tokens(images, 6)
    for place in range(6):
        top, left = patch * (place // 3), patch * (place % 3)
        for channel, row, column in np.ndindex(channels, patch, patch):
            other = images.copy()
            other[:, channel, top + row, left + column] += 1.0
            moved = np.flatnonzero(np.abs(tokens(other, 6) - whole).max(axis=(0, 2)) > 1e-4)
            case = (
                f"pixel ({top + row}, {left + column}) of a 4 × 6 image moves the tokens "
                f"{moved.tolist()}; it should move token {place} alone"
            )
            if len(moved) != 1:
                raise Wrong(case + (", its own" if len(moved) else "; it is not read at all"))
            if moved[0] != place:
                raise Wrong(
                    case + ": a patch's pixels, of all channels, make one token, and patches stand "
                    "row by row, from left to right"
                )
    tiled = np.tile(images[:, :, :patch, :patch], (1, 1, 2, 3))
    if not np.allclose(tokens(tiled, 6), whole[:, :1], atol=1e-4):
        raise Wrong("the same patch gives another token at another place; one map serves all")
    nothing = tokens(np.zeros_like(images), 6)
    if not np.allclose(tokens(2 * images, 6) - nothing, 2 * (whole - nothing), atol=1e-3):
        raise Wrong("the map from a patch to its token is not linear: no activation here")

    odd = rng.normal(size=(1, channels, 3, 5))
    got = tokens(odd, 6)

    def filled(value, before=0):
        sides = (before, 1 - before)
        return np.pad(odd, ((0, 0), (0, 0), sides, sides), constant_values=value)

    if not np.allclose(got, tokens(filled(-1.0), 6), atol=1e-4):
        recognise(
            got,
            (tokens(filled(0.0), 6), "fill up with −1, no ink; 0 is grey"),
            (tokens(filled(-1.0, before=1), 6), "add the pixels on the right and at the bottom"),
            case="an image of 3 × 5: ",
            atol=1e-4,
        )
        raise Wrong("an image of 3 × 5 is not embedded as one of 4 × 6 with −1 on its margin")
    found = ms.grad(lambda x: (cell(x) ** 2).sum(), None, ms.ParameterTuple(weights))
    for weight, gradient in zip(weights, call(found, float_tensor(images))):
        if not np.abs(gradient.asnumpy()).max() > 0:
            raise Wrong(f"the loss has no gradient for {weight.name}: does it take part?")
    return "any image becomes a sentence; a trained ViT has positions for its own size alone"


def exercise_3(count):
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
        got = int(expect_number(call(count, *case)))
        missing = sum(parts.values()) - got
        if not missing:
            continue
        text = f"image {size}, patch {patch}, d_model {d}, {layers} layers: "
        if missing == 2 * d:
            raise Wrong(
                text + "2 · D are missing: the last LayerNorm, or the class token and its position"
            )
        for part, value in parts.items():
            if missing == value:
                raise Wrong(text + f"the count lacks {value:,} weights: {part}")
        if missing == (channels - 1) * patch**2 * d and channels > 1:
            raise Wrong(text + "a patch holds the pixels of all channels")
        if missing == layers * 4 * d:
            raise Wrong(text + "each layer has two LayerNorms, each with γ and β")
        raise Wrong(text + f"you count {got:,}; expected {sum(parts.values()):,}")
    return "the second case is ViT-Base/16: 86.6 million, most of them in the layers"


def exercise_4(maps):
    """Where the class token looks, for each head."""
    for batch, heads, side in ((2, 3, 2), (1, 4, 4)):
        tokens = side * side + 1
        given = np.random.default_rng(93).dirichlet(np.ones(tokens), (batch, heads, tokens))
        shape = (batch, heads, side, side)
        row = given[:, :, 0, 1:]
        got = expect_shape(call(maps, given.copy()), shape)
        if np.allclose(got, (row / row.sum(-1, keepdims=True)).reshape(shape), atol=1e-6):
            continue
        words = "this is how each patch looks at the class token; take row 0"
        front_words = "key 0 is the class token itself; the patches begin at key 1"
        column, front = given[:, :, 1:, 0], given[:, :, 0, :-1]
        recognise(
            got,
            (row.reshape(shape), "the right weights; divide each map by its sum"),
            (column.reshape(shape), words),
            ((column / column.sum(-1, keepdims=True)).reshape(shape), words),
            (front.reshape(shape), front_words),
            ((front / front.sum(-1, keepdims=True)).reshape(shape), front_words),
            atol=1e-6,
        )
        if not np.allclose(got.sum((2, 3)), 1, atol=1e-6):
            raise Wrong("each map should sum to 1, for every image and every head")
        raise Wrong("each map sums to 1, but the weights are not those of the class token's row")
    return "what the class token gave to itself is left out, so the heads can be compared"


def exercise_5(rollout):
    """The product of all layers' mean attention, each mixed with the identity."""
    rng = np.random.default_rng(94)
    for batch, heads, tokens, layers in ((1, 2, 3, 1), (2, 3, 5, 3)):
        given = [rng.dirichlet(np.ones(tokens), (batch, heads, tokens)) for _ in range(layers)]
        unit = np.eye(tokens)
        means = [weights.mean(axis=1) for weights in given]
        answer = call(rollout, [weights.copy() for weights in given])
        got = expect_shape(answer, (batch, tokens, tokens))

        def product(steps, unit=unit):
            total = unit
            for step in steps:
                total = step @ total
            return total

        mixed = [0.5 * (mean + unit) for mean in means]
        if np.allclose(got, product(mixed), atol=1e-5):
            continue
        recognise(
            got,
            (product(means), "the residual connection is missing: mix each layer with I"),
            (product(mixed[::-1]), "the order is turned round: the last layer stands leftmost"),
            (product([mean + unit for mean in means]), "A + I without the half: rows sum to 2"),
            (sum(mixed) / layers, "the layers follow one another: multiply, do not average"),
            (np.prod(mixed, axis=0), "this multiplies number by number; take the matrix product"),
            atol=1e-5,
        )
        if not np.allclose(got.sum(-1), 1, atol=1e-5):
            raise Wrong("each row of the answer should sum to 1, as each layer's rows do")
        raise Wrong(f"with {layers} layers the result is another; check mean, mixing and order")
    return "each row still sums to 1: it says how an output is put together from the inputs"
