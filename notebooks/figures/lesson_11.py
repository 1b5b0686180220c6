"""The diagrams of lesson 11: a decoder of today."""

from __future__ import annotations

from canvas import FAINT, Canvas

GREY = "#546e7a"


def _layer(canvas, left, title, below, norm, attention, feed_forward, head):
    """One decoder from the bottom up; each part is a label and whether it has changed."""
    x, width = left + 116, 152
    canvas.text(x, 34, title, 16, bold=True)
    canvas.box(left, 122, 226, 312, "", "plain", radius=10)
    canvas.text(left + 218, 428, "× layers", 12, anchor="end", colour=GREY)

    def part(y, height, label, kind):
        text, is_new = label
        canvas.box(x - width / 2, y, width, height, text, kind, 13, bold=is_new)
        if is_new:
            canvas.box(x + width / 2 - 17, y - 8, 34, 16, "", "good", radius=8)
            canvas.text(x + width / 2, y + 4, "new", 11)

    canvas.text(x, 552, "token ids", 13, colour=GREY)
    canvas.arrow((x, 538), (x, 510))
    part(464, 46, below, "embedding")
    canvas.arrow((x, 464), (x, 416))
    for sum_y, height, label, kind in (
        (276, 62, attention, "attention"), (132, 62, feed_forward, "feed_forward")
    ):  # fmt: skip
        top = sum_y + 24
        norm_y = top + height + 12
        part(norm_y, 26, norm, "norm")
        canvas.arrow((x, norm_y), (x, top + height))
        part(top, height, label, kind)
        canvas.circle(x, sum_y, 10, "+", "plain", 15)
        canvas.arrow((x, top), (x, sum_y + 10))
        start = norm_y + 36
        canvas.arrow((x, start), (left + 20, start), (left + 20, sum_y), (x - 11, sum_y),
                     colour=FAINT)  # fmt: skip
        canvas.line((x, start + 6), (x, norm_y + 26))
    canvas.line((x, 276 - 10), (x, 262))
    canvas.arrow((x, 122), (x, 108))
    part(82, 26, norm, "norm")
    canvas.arrow((x, 82), (x, 72))
    part(46, 26, head, "output")


def two_layers() -> Canvas:
    """GPT-2's layer and Llama's, with what is new marked."""
    canvas = Canvas(
        640,
        600,
        "A decoder of 2019 and one of today",
        "Two decoders from the bottom up. Left GPT-2: embedding plus learned positions; in each "
        "layer LayerNorm, multi-head attention, sum, LayerNorm, feed-forward with GELU, sum; a "
        "last LayerNorm; the projection to the vocabulary. Right Llama: the embedding alone; in "
        "each layer RMSNorm, grouped-query attention in which queries and keys are turned, sum, "
        "RMSNorm, SwiGLU, sum; a last RMSNorm; the projection. The parts that are new are marked.",
    )
    old, new = False, True
    _layer(
        canvas, 40, "GPT-2, 2019", ("embedding\n+ learned positions", old), ("LayerNorm", old),
        ("masked attention,\na key for each query\nhead", old),
        ("feed-forward:\n2 matrices, GELU", old), ("to vocabulary", old),
    )  # fmt: skip
    canvas.line((320, 40), (320, 560), colour=FAINT, dashed=True)
    _layer(
        canvas, 366, "Llama, Qwen", ("embedding", new), ("RMSNorm", new),
        ("masked attention,\nturned, a key for\na group of heads", new),
        ("SwiGLU:\n3 matrices, a gate", new), ("to vocabulary", old),
    )  # fmt: skip
    canvas.text(320, 584, "left there are biases everywhere, right nowhere", 13, colour=GREY)
    return canvas


FIGURES = {"11-two-layers": two_layers}
