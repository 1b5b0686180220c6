"""The diagrams of lesson 07: GPT."""

from __future__ import annotations

from canvas import FAINT, Canvas

GREY = "#546e7a"
RED = "#bf4b4b"


def _stack(canvas, x, width, boxes):
    """Boxes (y, height, label, kind) from the top down, joined by arrows that point upwards."""
    for y, height, label, kind in boxes:
        canvas.box(x, y, width, height, label, kind, 13)
    for (upper, height, _, _), (lower, _, _, _) in zip(boxes, boxes[1:]):
        canvas.arrow((x + width / 2, lower), (x + width / 2, upper + height))


def _crossed_out(canvas, x, y, width, height, label, size=13):
    """A part that goes: a red outline, a cross behind its label."""
    canvas.box(x, y, width, height, "", "bad", radius=6)
    canvas.line((x + 3, y + 3), (x + width - 3, y + height - 3), colour=RED, width=2)
    canvas.line((x + 3, y + height - 3), (x + width - 3, y + 3), colour=RED, width=2)
    lines = label.split("\n")
    half, tall = max(map(len, lines)) * size * 0.29 + 6, 6 + 16 * len(lines)
    middle = y + (height - tall) / 2
    canvas.box(x + width / 2 - half, middle, 2 * half, tall, label, "plain", size)


def _around(canvas, bottom, top, x, sum_x):
    """The residual connection: from below a sub-layer's norm, past it, to the sum above it."""
    canvas.arrow((sum_x, bottom), (x, bottom), (x, top), (sum_x - 11, top), colour=FAINT)


def crossed_out() -> Canvas:
    """The Transformer with encoder and cross-attention crossed out, and the GPT that remains."""
    canvas = Canvas(
        784,
        600,
        "From the Transformer to GPT",
        "Left, the Transformer: an encoder with self-attention and feed-forward, and a decoder "
        "with masked self-attention, cross-attention to the encoder's output, and feed-forward; "
        "each is followed by the residual sum and a LayerNorm. The encoder and the "
        "cross-attention with its sum are crossed out. Right, the GPT that remains: token "
        "embedding plus positions, layers of masked self-attention and feed-forward, each with "
        "a LayerNorm before it and a residual sum after it, a last LayerNorm, and the projection "
        "to the vocabulary, which "
        "shares its table with the embedding.",
    )
    canvas.text(220, 34, "Transformer", 16, bold=True)
    # The encoder goes.
    canvas.text(100, 190, "encoder", 14, bold=True, colour=RED)
    canvas.box(20, 204, 160, 226, "", "plain", radius=10)
    canvas.text(28, 424, "× layers", 12, anchor="start", colour=GREY)
    parts = [
        (214, 26, "sum, LayerNorm"),
        (252, 40, "feed-forward"),
        (304, 26, "sum, LayerNorm"),
        (342, 40, "self-attention"),
        (466, 44, "embedding\n+ positions"),
    ]
    for y, height, label in parts:
        _crossed_out(canvas, 34, y, 132, height, label)
    for (upper, height, _), (lower, _, _) in zip(parts, parts[1:]):
        canvas.arrow((100, lower), (100, upper + height), colour=RED)
    canvas.arrow((100, 534), (100, 512), colour=RED)
    canvas.text(100, 550, "German", 13, colour=GREY)
    # The decoder stays, without its middle.
    canvas.text(340, 64, "decoder", 14, bold=True)
    canvas.box(250, 124, 180, 306, "", "plain", radius=10)
    canvas.text(258, 424, "× layers", 12, anchor="start", colour=GREY)
    _stack(
        canvas, 270, 140,
        [
            (80, 30, "to vocabulary", "output"),
            (134, 26, "sum, LayerNorm", "norm"),
            (172, 36, "feed-forward", "feed_forward"),
            (220, 26, "", "norm"),
            (256, 38, "", "attention"),
            (306, 26, "sum, LayerNorm", "norm"),
            (344, 44, "masked\nself-attention", "attention"),
            (466, 44, "embedding\n+ positions", "embedding"),
        ],
    )  # fmt: skip
    _crossed_out(canvas, 270, 220, 140, 26, "sum, LayerNorm")
    _crossed_out(canvas, 270, 256, 140, 38, "cross-attention")
    canvas.arrow((100, 214), (100, 200), (216, 200), (216, 275), (268, 275), colour=RED)
    canvas.arrow((340, 534), (340, 512))
    canvas.text(340, 550, "English so far", 13, colour=GREY)
    canvas.box(24, 572, 20, 14, "", "bad", radius=3)
    canvas.text(52, 584, "crossed out: there is no sentence to read", 13, anchor="start")

    canvas.line((462, 60), (462, 560), colour=FAINT, dashed=True)
    canvas.text(616, 34, "GPT", 16, bold=True)
    canvas.text(616, 64, "the next token, at each place", 13, colour=GREY)
    canvas.box(506, 166, 200, 282, "", "plain", radius=10)
    canvas.text(700, 442, "× layers", 12, anchor="end", colour=GREY)
    x = 616
    canvas.arrow((x, 90), (x, 72))
    canvas.box(546, 90, 140, 28, "to vocabulary", "output", 13)
    canvas.arrow((x, 130), (x, 118))
    canvas.box(546, 130, 140, 24, "LayerNorm", "norm", 13)
    canvas.arrow((x, 176), (x, 154))
    for top, height, label, kind in (
        (176, 34, "feed-forward", "feed_forward"),
        (306, 44, "masked\nself-attention", "attention"),
    ):
        canvas.circle(x, top + 10, 10, "+", "plain", 15)
        canvas.arrow((x, top + 32), (x, top + 20))
        canvas.box(546, top + 32, 140, height, label, kind, 13)
        norm = top + 32 + height + 12
        canvas.arrow((x, norm), (x, norm - 12))
        canvas.box(546, norm, 140, 24, "LayerNorm", "norm", 13)
        end = norm + 24 + 10
        _around(canvas, end, top + 10, 524, x)
        canvas.line((x, end), (x, norm + 24))
    canvas.line((x, 306), (x, 288))
    canvas.arrow((x, 466), (x, 430))
    canvas.box(546, 466, 140, 44, "embedding\n+ positions", "embedding", 13)
    canvas.arrow((x, 534), (x, 512))
    canvas.text(x, 550, "the text so far", 13, colour=GREY)
    canvas.line((686, 104), (736, 104), (736, 488), (686, 488), colour=FAINT, dashed=True)
    canvas.text(754, 296, "one table", 12, colour=GREY, rotate=-90)
    canvas.text(x, 584, "norm before, sum after each part", 13, colour=GREY)
    return canvas


FIGURES = {"07-crossed-out": crossed_out}
