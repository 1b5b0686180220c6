"""The diagrams of lesson 04: the Transformer, its norms, and the data's way through it."""

from __future__ import annotations

from canvas import FAINT, Canvas


def transformer():
    """Encoder and decoder side by side, as the paper connects them."""
    canvas = Canvas(
        760,
        790,
        "The Transformer",
        "Left, the encoder: source embedding, positions, then N layers of self-attention and "
        "feed-forward, each followed by add and norm. Right, the decoder: target embedding, "
        "positions, then N layers of causal self-attention, cross-attention and feed-forward, each "
        "followed by add and norm; then the unembedding and softmax. An arrow leads from the "
        "encoder's top to every cross-attention, as its keys and values.",
    )
    left, right, width = 112, 452, 176
    for x, top in ((left, 322), (right, 182)):
        canvas.box(x - 46, top, width + 92, 622 - top, kind="plain", radius=12)
    canvas.text(40, 476, "N ×", 18, bold=True)
    canvas.text(722, 406, "N ×", 18, bold=True)
    canvas.text(left + width / 2, 310, "encoder", 16, bold=True)
    canvas.text(right - 36, 172, "decoder", 16, bold=True, anchor="start")

    canvas.text(left + width / 2, 770, "source tokens, (B, S)", 14)
    canvas.text(right + width / 2, 770, "<BOS>, then the target so far, (B, T)", 14)
    for x, name in ((left, "source embedding"), (right, "target embedding")):
        middle = x + width / 2
        canvas.arrow((middle, 754), (middle, 734))
        canvas.box(x, 694, width, 38, name, "embedding")
        canvas.arrow((middle, 694), (middle, 669))
        canvas.circle(middle, 655, 13, "+", "plain", 18)
    canvas.box(18, 640, 90, 30, "positions", "position", 13)
    canvas.arrow((108, 655), (left + width / 2 - 14, 655))
    canvas.box(652, 640, 90, 30, "positions", "position", 13)
    canvas.arrow((652, 655), (right + width / 2 + 14, 655))

    _sublayer(canvas, left, 548, "self-attention", "attention", 642, -1)
    _sublayer(canvas, left, 408, "feed-forward", "feed_forward", 488, -1, inputs=1)
    _sublayer(canvas, right, 548, "causal\nself-attention", "attention", 642, 1)
    _sublayer(canvas, right, 408, "cross-attention", "attention", 488, 1, inputs=0)
    _sublayer(canvas, right, 268, "feed-forward", "feed_forward", 348, 1, inputs=1)
    # Cross-attention: the query comes from below, keys and values from the encoder.
    canvas.arrow((right + 130, 488), (right + 130, 452))
    canvas.line((left + width / 2, 348), (left + width / 2, 336), (372, 336), (372, 474))
    canvas.line((372, 474), (right + 74, 474))
    canvas.arrow((right + 34, 474), (right + 34, 452))
    canvas.arrow((right + 74, 474), (right + 74, 452))
    canvas.text(right + 22, 468, "K", 12)
    canvas.text(right + 62, 468, "V", 12)
    canvas.text(right + 142, 468, "Q", 12)
    canvas.text(362, 420, "memory, (B, S, D)", 13, rotate=-90)

    middle = right + width / 2
    canvas.arrow((middle, 208), (middle, 144))
    canvas.box(right, 106, width, 36, "unembedding", "output")
    canvas.arrow((middle, 106), (middle, 88))
    canvas.box(right, 52, width, 34, "softmax", "output")
    canvas.arrow((middle, 52), (middle, 36))
    canvas.text(middle, 26, "probabilities of the next token, (B, T, V)", 14)
    return canvas


def _sublayer(canvas, x, y, label, kind, start, side, inputs=3, width=176):
    """A sub-layer, add & norm above it, and the residual connection on one side."""
    middle = x + width / 2
    canvas.box(x, y, width, 44, label, kind)
    canvas.arrow((middle, y), (middle, y - 31))
    canvas.box(x, y - 60, width, 28, "dropout, add & norm", "norm", 13)
    fork = y + 56
    if inputs:
        canvas.line((middle, start), (middle, fork))
    if inputs == 1:
        canvas.arrow((middle, fork), (middle, y + 45))
    if inputs == 3:
        for shift in (-44, 0, 44):
            canvas.arrow((middle, fork), (middle + shift, fork), (middle + shift, y + 45))
    # The residual leaves below the sub-layer and joins it again at add & norm.
    leaves = (x + 130, y + 70) if not inputs else (middle, y + 66)
    edge = x + width if side > 0 else x
    canvas.arrow(
        leaves, (edge + side * 26, leaves[1]), (edge + side * 26, y - 46), (edge + side, y - 46),
        colour="#4d9a55", width=2,
    )  # fmt: skip


def norm_order():
    """Post-norm and pre-norm around one sub-layer."""
    canvas = Canvas(
        740,
        330,
        "Post-norm and pre-norm",
        "Two rows, each from left to right. Post-norm: the sub-layer's output is added to x, and "
        "LayerNorm acts on the sum, so it lies on the residual line. Pre-norm: LayerNorm acts on "
        "the sub-layer's input only; the residual line runs from input to output untouched.",
    )
    for y, name, source, pre in (
        (95, "post-norm", "Vaswani et al. 2017", False),
        (255, "pre-norm", "Xiong et al. 2020", True),
    ):
        canvas.text(24, y - 48, name, 16, anchor="start", bold=True)
        canvas.text(132, y - 48, source, 13, anchor="start", colour=FAINT)
        canvas.text(34, y + 5, "x", 16, italic=True)
        green = {"colour": "#4d9a55", "width": 2.2}
        grey = {"colour": FAINT, "width": 2.2}
        if pre:
            canvas.line((48, y), (565, y), **green)
            canvas.arrow((591, y), (700, y), **green)
            canvas.arrow((110, y), (110, y + 42), (160, y + 42))
            canvas.box(162, y + 22, 116, 40, "LayerNorm", "norm")
            canvas.arrow((278, y + 42), (330, y + 42))
            canvas.box(332, y + 22, 170, 40, "sub-layer  f", "attention")
            canvas.arrow((502, y + 42), (578, y + 42), (578, y + 14))
            canvas.circle(578, y, 13, "+", size=18)
        else:
            canvas.line((48, y), (405, y), **grey)
            canvas.arrow((431, y), (488, y), **grey)
            canvas.arrow((110, y), (110, y + 42), (180, y + 42))
            canvas.box(182, y + 22, 170, 40, "sub-layer  f", "attention")
            canvas.arrow((352, y + 42), (418, y + 42), (418, y + 14))
            canvas.circle(418, y, 13, "+", size=18)
            canvas.box(490, y - 20, 116, 40, "LayerNorm", "norm")
            canvas.arrow((606, y), (700, y), **grey)
    canvas.text(548, 132, "on the residual line", 13, colour=FAINT)
    canvas.text(300, 243, "nothing stands on the residual line", 13, colour=FAINT)
    return canvas


def norm_axes():
    """Which numbers share a mean: a column for BatchNorm, a row for LayerNorm."""
    canvas = Canvas(
        740,
        372,
        "BatchNorm and LayerNorm take their mean over different numbers",
        "Two equal grids: rows are the tokens of two sentences, the second filled up with two "
        "padding rows; columns are features. BatchNorm: one column is marked, through all tokens "
        "of all sentences and through the padding. LayerNorm: one row is marked, one token alone.",
    )
    rows = ["zwei", "hunde", "spielen", ".", "sie", "lacht", "PAD", "PAD"]
    for left, name, marked in ((120, "BatchNorm", "column"), (478, "LayerNorm", "row")):
        canvas.text(left + 90, 34, name, 17, bold=True)
        values = [
            [
                0.9 if (marked == "column" and c == 2) or (marked == "row" and r == 2) else 0.04
                for c in range(6)
            ]
            for r in range(8)
        ]
        canvas.grid(left, 74, 30, values, "norm")
        canvas.text(left + 90, 64, "D features →", 13, colour=FAINT)
        for r, word in enumerate(rows):
            colour = FAINT if word == "PAD" else "#263238"
            canvas.text(left - 10, 74 + 30 * r + 20, word, 13, anchor="end", colour=colour)
        canvas.line((left - 74, 194), (left + 192, 194), colour=FAINT, dashed=True)
    canvas.text(40, 138, "sentence 1", 12, rotate=-90, colour=FAINT)
    canvas.text(40, 254, "sentence 2", 12, rotate=-90, colour=FAINT)
    canvas.text(210, 338, "one mean for each feature,", 13)
    canvas.text(210, 356, "over all sentences and the padding", 13)
    canvas.text(568, 338, "one mean for each token,", 13)
    canvas.text(568, 356, "over nothing but the token itself", 13)
    return canvas


def data_way():
    """The shapes of the tensors on their way through the model."""
    canvas = Canvas(
        780,
        470,
        "The data's way through the Transformer, with shapes",
        "Upper row, encoder: ids (B, S), embedding (B, S, D), plus positions (B, S, D), attention "
        "with weights (B, H, S, S), feed-forward with inner width (B, S, d_ff), memory (B, S, D). "
        "Lower row, decoder: ids (B, T), embedding, positions, causal attention with weights "
        "(B, H, T, T), cross-attention with weights (B, H, T, S), feed-forward, unembedding to "
        "logits (B, T, V). Inside both rows the width D stays the same.",
    )
    canvas.text(24, 36, "encoder", 16, anchor="start", bold=True)
    canvas.text(24, 266, "decoder", 16, anchor="start", bold=True)
    encoder = [
        ("ids", "data", "(B, S)", ""),
        ("embedding", "embedding", "(B, S, D)", ""),
        ("+ positions", "position", "(B, S, D)", ""),
        ("self-\nattention", "attention", "(B, S, D)", "(B, H, S, S)"),
        ("feed-\nforward", "feed_forward", "(B, S, D)", "(B, S, d_ff)"),
        ("memory", "data", "(B, S, D)", ""),
    ]
    decoder = [
        ("ids", "data", "(B, T)", ""),
        ("embedding", "embedding", "(B, T, D)", ""),
        ("+ positions", "position", "(B, T, D)", ""),
        ("causal self-\nattention", "attention", "(B, T, D)", "(B, H, T, T)"),
        ("cross-\nattention", "attention", "(B, T, D)", "(B, H, T, S)"),
        ("feed-\nforward", "feed_forward", "(B, T, D)", "(B, T, d_ff)"),
        ("un-\nembedding", "output", "(B, T, V)", ""),
    ]
    _row(canvas, encoder, 80, [20, 108, 220, 338, 450, 562])
    _row(canvas, decoder, 310, [20, 108, 220, 338, 450, 562, 674])
    _frame(canvas, 330, 52, 216, 122)
    canvas.text(438, 194, "N layers", 13, colour=FAINT)
    _frame(canvas, 330, 282, 328, 122)
    canvas.text(494, 424, "N layers", 13, colour=FAINT)
    canvas.arrow((606, 158), (606, 228), (534, 228), (534, 307))
    canvas.text(544, 247, "keys and values", 13, anchor="start")
    canvas.text(
        390, 452, "under each box: the shape that leaves it; above: a tensor inside it", 13,
        colour=FAINT,
    )  # fmt: skip
    return canvas


def _row(canvas, steps, y, places):
    for number, (x, (label, kind, shape, inside)) in enumerate(zip(places, steps)):
        width = 62 if number == 0 else 88
        canvas.box(x, y, width, 50, label, kind, 13)
        canvas.text(x + width / 2, y + 70, shape, 13)
        if inside:
            canvas.text(x + width / 2, y - 10, inside, 12, colour=FAINT)
        if number + 1 < len(steps):
            canvas.arrow((x + width, y + 25), (places[number + 1] - 2, y + 25))


def _frame(canvas, x, y, width, height):
    """A dashed frame around what is repeated."""
    right, bottom = x + width, y + height
    canvas.line((x, y), (right, y), (right, bottom), (x, bottom), (x, y), colour=FAINT, dashed=True)


FIGURES = {
    "04-transformer": transformer,
    "04-norm-order": norm_order,
    "04-norm-axes": norm_axes,
    "04-data-way": data_way,
}
