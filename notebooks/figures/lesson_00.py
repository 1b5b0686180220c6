"""The diagrams of lesson 00: the map of the course, and MindSpore's two ways to run."""

from __future__ import annotations

from canvas import FAINT, Canvas

# number, title, what it is about, kind of box
_LESSONS = (
    ("00", "start here", "MindSpore, in short", "data"),
    ("01", "language models", "the way to attention", "norm"),
    ("02", "attention", "query, key, value", "attention"),
    ("03", "positional encoding", "the order of words", "position"),
    ("04", "the Transformer", "all parts together", "feed_forward"),
    ("05", "Multi30k translation", "data, training, BLEU", "embedding"),
    ("5b", "each part's worth", "leave one out, measure", "norm"),
    ("06", "decoding, evaluation", "search, cache, errors", "output"),
    ("07", "GPT", "the decoder alone", "good"),
    ("08", "BERT", "the encoder alone", "good"),
    ("09", "vision Transformer", "pictures as tokens", "good"),
    ("10", "scaling up", "larger, on more devices", "good"),
    ("11", "a decoder of today", "Llama, Qwen", "attention"),
    ("12", "base to assistant", "LoRA, DPO, int8", "output"),
)


def course_map():
    """The lessons in their order, in four rows."""
    canvas = Canvas(
        760,
        526,
        "Map of the course",
        "Four rows of boxes joined by arrows. First row, the parts: 00 start here, 01 language "
        "models, 02 attention, 03 positional encoding. Second row, the translator: 04 the "
        "Transformer, 05 Multi30k translation, 5b each part's worth, 06 decoding and evaluation. "
        "Third row, what grew of it: 07 GPT, 08 BERT, 09 vision Transformer, 10 scaling up. Fourth "
        "row, today: 11 a decoder of today, 12 from base model to assistant.",
    )
    width, height, gap = 170, 66, 14
    rows = (
        (0, 4, 60, "the parts"), (4, 8, 186, "the translator"), (8, 12, 312, "what grew of it"),
        (12, 14, 438, "today"),
    )  # fmt: skip
    for first, last, y, name in rows:
        canvas.text(20, y - 12, name, 15, anchor="start", bold=True)
        for column, (number, title, about, kind) in enumerate(_LESSONS[first:last]):
            x = 20 + column * (width + gap)
            canvas.box(x, y, width, height, kind=kind)
            middle = x + width / 2
            canvas.text(middle, y + 28, f"{number}  {title}", 12, bold=True)
            canvas.text(middle, y + 49, about, 12)
            if first + column + 1 < last:
                canvas.arrow((x + width, y + height / 2), (x + width + gap - 2, y + height / 2))
    for y in (60, 186, 312):
        end = 20 + 3.5 * width + 3 * gap
        canvas.line((end, y + height), (end, y + height + 26), (160, y + height + 26))
        canvas.arrow((160, y + height + 26), (160, y + height + 59))
    return canvas


def two_modes():
    """PyNative sends one operator after the other; a compiled function is one graph."""
    canvas = Canvas(
        740,
        300,
        "PyNative and compiled",
        "Upper row, PyNative: Python sends multiply, add and tanh to the device one at a time; "
        "after each, Python goes on. Lower row, compiled with ms.jit: at the first call Python's "
        "code becomes one graph with the three operators; after that, Python sends the whole graph "
        "at once.",
    )
    operators = ("multiply", "add", "tanh")
    canvas.text(24, 36, "PyNative (dynamic graph)", 16, anchor="start", bold=True)
    for column, name in enumerate(operators):
        x = 150 + column * 190
        canvas.box(x - 96, 60, 76, 40, "Python", "data", 13)
        canvas.arrow((x - 20, 80), (x - 2, 80))
        canvas.box(x, 60, 72, 40, name, "feed_forward", 13)
        if column < 2:
            canvas.arrow((x + 72, 80), (x + 92, 80))
    canvas.text(24, 128, "every call goes this way; you can print and debug between", 13,
                anchor="start", colour=FAINT)  # fmt: skip
    canvas.text(24, 178, "compiled with ms.jit (static graph)", 16, anchor="start", bold=True)
    canvas.box(44, 206, 86, 46, "Python", "data", 13)
    canvas.arrow((130, 229), (168, 229))
    canvas.box(170, 206, 116, 46, "compile, once\nper shape", "norm", 13)
    canvas.arrow((286, 229), (322, 229))
    canvas.box(324, 196, 324, 66, kind="plain", radius=10)
    for column, name in enumerate(operators):
        x = 340 + column * 106
        canvas.box(x, 209, 80, 40, name, "feed_forward", 13)
        if column < 2:
            canvas.arrow((x + 80, 229), (x + 104, 229))
    canvas.text(24, 284, "later calls skip the compiling: Python starts the graph and waits", 13,
                anchor="start", colour=FAINT)  # fmt: skip
    return canvas


FIGURES = {"00-course-map": course_map, "00-two-modes": two_modes}
