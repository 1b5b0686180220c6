"""The diagrams of lesson 10: scaling up."""

from __future__ import annotations

from canvas import FAINT, Canvas

GREY = "#546e7a"
BITS = {
    "float32": (8, 23),
    "bfloat16": (8, 7),
    "float16": (5, 10),
}


def formats() -> Canvas:
    """The bits of the three formats."""
    canvas = Canvas(
        784,
        264,
        "How three formats spend their bits",
        "Three rows of bits, aligned at the left. float32 has 1 sign bit, 8 exponent bits and 23 "
        "fraction bits. bfloat16 has 1 sign bit, 8 exponent bits and 7 fraction bits: the left "
        "half of float32. float16 has 1 sign bit, 5 exponent bits and 10 fraction bits.",
    )
    left, cell = 124, 20
    for row, (name, (exponent, fraction)) in enumerate(BITS.items()):
        y = 34 + row * 60
        canvas.text(left - 16, y + 22, name, 15, anchor="end", bold=True)
        for bit in range(1 + exponent + fraction):
            kind = "data" if bit == 0 else "attention" if bit <= exponent else "feed_forward"
            canvas.box(left + bit * cell, y, cell - 2, 32, "", kind, radius=3)
        for first, count in ((1, exponent), (1 + exponent, fraction)):
            middle = left + (first + count / 2) * cell
            canvas.text(middle, y + 47, str(count), 13, colour=GREY)
    y = 238
    for x, kind, label in (
        (124, "data", "sign"),
        (214, "attention", "exponent: range"),
        (384, "feed_forward", "fraction: digits"),
    ):
        canvas.box(x, y - 13, 18, 18, "", kind, radius=3)
        canvas.text(x + 26, y + 1, label, 14, anchor="start")
    return canvas


def data_parallel() -> Canvas:
    """Two workers, their rows, their gradients, and the sum that both get."""
    canvas = Canvas(
        784,
        436,
        "Data parallel training with two workers",
        "At the top the eight rows of a batch. Rows 0, 2, 4 and 6 go to worker 0 on the left, rows "
        "1, 3, 5 and 7 to worker 1 on the right. Each worker has the whole model with the same "
        "weights and computes the gradient of its own rows. Both gradients go into the all-reduce "
        "in the middle, which adds them and gives the sum back to both. Each worker makes the same "
        "update with it.",
    )
    kinds = ("attention", "feed_forward")
    canvas.text(392, 30, "a batch: 8 rows", 14, bold=True)
    for row in range(8):
        canvas.box(264 + row * 32, 42, 28, 28, str(row), kinds[row % 2], 13, radius=4)
    for rank, middle in ((0, 160), (1, 624)):
        kind, name = kinds[rank], f"worker {rank}"
        canvas.arrow((392 + (-90 if rank == 0 else 90), 74), (middle, 116), colour=FAINT)
        canvas.box(middle - 120, 118, 240, 302, "", "plain", radius=10)
        canvas.text(middle, 142, name, 15, bold=True)
        for place in range(4):
            row = 2 * place + rank
            canvas.box(middle - 64 + place * 32, 154, 28, 28, str(row), kind, 13, radius=4)
        canvas.arrow((middle, 184), (middle, 208))
        canvas.box(middle - 92, 210, 184, 44, "the whole model\nthe same weights", "data", 14)
        canvas.arrow((middle, 254), (middle, 280))
        canvas.box(middle - 92, 282, 184, 34, f"gradient of its rows: g{'₀₁'[rank]}", kind, 14)
        canvas.box(middle - 92, 372, 184, 34, "the same update", "good", 14)
    canvas.box(308, 276, 168, 128, "", "output", radius=10)
    canvas.text(392, 318, "all-reduce", 16, bold=True)
    canvas.text(392, 344, "g₀ + g₁", 17)
    canvas.text(392, 370, "for both", 14, colour=GREY)
    canvas.arrow((252, 299), (306, 299))
    canvas.arrow((532, 299), (478, 299))
    canvas.arrow((308, 389), (254, 389))
    canvas.arrow((476, 389), (530, 389))
    return canvas


def _device(canvas, x, y, name):
    canvas.box(x, y, 162, 176, "", "plain", radius=8)
    canvas.text(x + 81, y + 20, name, 13, colour=GREY)


def four_cuts() -> Canvas:
    """What each of two devices holds when the batch, Adam, the matrices or the layers are cut."""
    canvas = Canvas(
        784,
        560,
        "Four ways to cut a model for two devices",
        "Four panels, each with two devices; a device shows its rows of the batch, four layers, "
        "and Adam's state. Data: each device has half the rows, all layers and all of Adam. "
        "Optimizer: the same, but each device has half of Adam's state. Tensor: each device has "
        "all rows, and one half of every layer with its half of Adam. Pipeline: the first device "
        "has layers 1 and 2, the second layers 3 and 4, each with Adam for these. Below each panel "
        "stands what the devices send: gradients; gradients and new weights; parts of every "
        "layer's output; the output of layer 2, and its gradient back.",
    )
    panels = (
        ("data: cut the batch", "sent: gradients", 0, 0),
        ("optimizer: and Adam's state", "sent: gradients, new weights", 1, 0),
        ("tensor: cut every matrix", "sent: parts of every layer's output", 0, 1),
        ("pipeline: cut between layers", "sent: the output of layer 2; its gradient back", 1, 1),
    )
    for number, (title, sent, column, row) in enumerate(panels):
        left, top = 24 + column * 384, 44 + row * 244
        canvas.text(left + 176, top - 12, title, 15, bold=True)
        for rank in (0, 1):
            x = left + rank * 190
            _device(canvas, x, top, f"device {rank}")
            _batch(canvas, x + 12, top + 30, rank, is_cut=number < 2)
            _layers(canvas, x + 44, top + 30, rank, number)
            _adam(canvas, x + 112, top + 30, rank, number)
        canvas.arrow((left + 164, top + 80), (left + 188, top + 80))
        canvas.arrow((left + 188, top + 100), (left + 164, top + 100))
        canvas.text(left + 176, top + 196, sent, 13, colour=GREY)
    y = 536
    for x, kind, label in (
        (24, "embedding", "rows of the batch"),
        (172, "feed_forward", "weights and gradients of a layer"),
        (416, "norm", "Adam's state"),
        (552, "empty", "held by the other device"),
    ):
        if kind == "empty":
            _empty(canvas, x, y - 13, 18, 18)
        else:
            canvas.box(x, y - 13, 18, 18, "", kind, radius=3)
        canvas.text(x + 24, y + 1, label, 12, anchor="start")
    return canvas


def _empty(canvas, x, y, width, height):
    """An outline where the other device holds something."""
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y))
    canvas.line(*corners, colour="#b0bec5", width=1, dashed=True)


def _batch(canvas, x, y, rank, is_cut):
    for row in range(4):
        if is_cut and row % 2 != rank:
            _empty(canvas, x, y + row * 34, 20, 28)
        else:
            canvas.box(x, y + row * 34, 20, 28, "", "embedding", radius=3)


def _layers(canvas, x, y, rank, number):
    for layer in range(4):
        top = y + layer * 34
        if number == 3 and layer // 2 != rank:
            _empty(canvas, x, top, 58, 28)
        elif number == 2:
            canvas.box(x + 30 * rank, top, 28, 28, "", "feed_forward", radius=3)
            _empty(canvas, x + 30 * (1 - rank), top, 28, 28)
        else:
            canvas.box(x, top, 58, 28, "", "feed_forward", radius=3)
            canvas.text(x + 29, top + 18, str(layer + 1), 13)


def _adam(canvas, x, y, rank, number):
    for layer in range(4):
        top = y + layer * 34
        if number == 0:
            canvas.box(x, top, 38, 28, "", "norm", radius=3)
        elif number == 3:
            if layer // 2 == rank:
                canvas.box(x, top, 38, 28, "", "norm", radius=3)
            else:
                _empty(canvas, x, top, 38, 28)
        else:
            canvas.box(x + 20 * rank, top, 18, 28, "", "norm", radius=3)
            _empty(canvas, x + 20 * (1 - rank), top, 18, 28)


FIGURES = {
    "10-formats": formats,
    "10-data-parallel": data_parallel,
    "10-four-cuts": four_cuts,
}
