"""The diagrams of lesson 07: GPT."""

from __future__ import annotations

from canvas import FAINT, Canvas

GREY = "#546e7a"
RED = "#bf4b4b"


def _stack(canvas, x, width, boxes, top_label):
    """Boxes (y, height, label, kind) from the top down, joined by arrows that point upwards."""
    for y, height, label, kind in boxes:
        canvas.box(x, y, width, height, label, kind, 14)
    for (upper, height, _, _), (lower, _, _, _) in zip(boxes, boxes[1:]):
        canvas.arrow((x + width / 2, lower), (x + width / 2, upper + height))
    if top_label is not None:
        canvas.arrow((x + width / 2, boxes[0][0]), (x + width / 2, boxes[0][0] - 20))
        canvas.text(x + width / 2, boxes[0][0] - 26, top_label, 13)


def _cross_out(canvas, x, y, width, height):
    canvas.line((x, y), (x + width, y + height), colour=RED, width=3)
    canvas.line((x, y + height), (x + width, y), colour=RED, width=3)


def crossed_out() -> Canvas:
    """The Transformer with encoder and cross-attention crossed out, and the GPT that remains."""
    canvas = Canvas(
        784,
        500,
        "From the Transformer to GPT",
        "Left, the Transformer: an encoder with self-attention and feed-forward, and a decoder "
        "with masked self-attention, cross-attention to the encoder's output, and feed-forward. "
        "The encoder and the cross-attention are crossed out. Right, the GPT that remains: token "
        "embedding plus positions, layers of masked self-attention and feed-forward, a last "
        "LayerNorm, and the projection to the vocabulary, which shares its table with the "
        "embedding.",
    )
    canvas.text(222, 36, "Transformer", 16, bold=True)
    canvas.text(108, 62, "encoder", 14, bold=True)
    canvas.text(340, 62, "decoder", 14, bold=True)
    canvas.box(24, 204, 168, 152, "", "plain", radius=10)
    canvas.box(256, 130, 168, 226, "", "plain", radius=10)
    canvas.text(34, 348, "× layers", 12, anchor="start", colour=GREY)
    canvas.text(266, 348, "× layers", 12, anchor="start", colour=GREY)
    _stack(
        canvas, 40, 136,
        [
            (216, 40, "feed-forward", "feed_forward"),
            (290, 40, "self-attention", "attention"),
            (390, 44, "embedding\n+ positions", "embedding"),
        ],
        None,
    )  # fmt: skip
    _stack(
        canvas, 272, 136,
        [
            (86, 28, "to vocabulary", "output"),
            (142, 40, "feed-forward", "feed_forward"),
            (216, 40, "cross-attention", "attention"),
            (290, 40, "masked\nself-attention", "attention"),
            (390, 44, "embedding\n+ positions", "embedding"),
        ],
        "",
    )  # fmt: skip
    canvas.arrow((108, 216), (108, 170), (226, 170), (226, 236), (270, 236))
    canvas.text(108, 470, "German", 13, colour=GREY)
    canvas.text(340, 470, "English so far", 13, colour=GREY)
    canvas.arrow((108, 456), (108, 436))
    canvas.arrow((340, 456), (340, 436))
    _cross_out(canvas, 20, 160, 176, 282)
    _cross_out(canvas, 268, 212, 144, 48)

    canvas.line((470, 60), (470, 470), colour=FAINT, dashed=True)
    canvas.text(626, 36, "GPT", 16, bold=True)
    canvas.box(530, 178, 192, 178, "", "plain", radius=10)
    canvas.text(540, 348, "× layers", 12, anchor="start", colour=GREY)
    _stack(
        canvas, 546, 160,
        [
            (86, 28, "to vocabulary", "output"),
            (132, 28, "LayerNorm", "norm"),
            (194, 40, "feed-forward", "feed_forward"),
            (276, 44, "masked\nself-attention", "attention"),
            (390, 44, "embedding\n+ positions", "embedding"),
        ],
        "the next token, at each place",
    )  # fmt: skip
    canvas.line((706, 100), (752, 100), (752, 412), (706, 412), colour=FAINT, dashed=True)
    canvas.text(768, 256, "one table", 12, colour=GREY, rotate=-90)
    canvas.text(626, 470, "the text so far", 13, colour=GREY)
    canvas.arrow((626, 456), (626, 436))
    return canvas


FIGURES = {"07-crossed-out": crossed_out}
