"""The diagram of lesson 12: from base model to assistant."""

from __future__ import annotations

from canvas import FAINT, Canvas

GREY = "#546e7a"

# Title, kind of box, what it learns from, which numbers change.
STEPS = (
    ("base model", "embedding", ("running text:", "each next token", "is a label"),
     ("all weights",)),
    ("instruction\ntuning", "attention", ("question, answer:", "the answer alone", "is a label"),
     ("all weights",)),
    ("LoRA", "feed_forward", ("the same rows", "", ""),
     ("A and B beside", "frozen weights,", "then merged")),
    ("DPO", "output", ("pairs of answers,", "one preferred;", "a frozen reference"),
     ("all weights,", "held near", "the reference")),
    ("quantised", "norm", ("nothing:", "weights are", "rounded"),
     ("4 bytes to", "1, or to a half,", "and scales")),
)  # fmt: skip


def steps() -> Canvas:
    """The five steps of the lesson in a row, with what each learns from and what it changes."""
    width, gap, left = 128, 26, 16
    canvas = Canvas(
        left * 2 + 5 * width + 4 * gap,
        300,
        "From base model to assistant",
        "Five boxes in a row, joined by arrows. The base model learns from a running text, where "
        "each next token is a label, and all weights change. Instruction tuning learns from "
        "questions with answers, where the answer alone is a label; all weights change. LoRA "
        "stands for the same step with frozen weights: two thin matrices A and B beside each of "
        "them change, and are merged. DPO learns from pairs of answers of which one is preferred, "
        "and stays near a frozen reference. Quantised: nothing is learned, the weights are "
        "rounded from four bytes to one or to a half, with scales.",
    )
    for place, (title, kind, source, changed) in enumerate(STEPS):
        x = left + place * (width + gap)
        middle = x + width / 2
        canvas.box(x, 34, width, 60, title, kind, 15, bold=True)
        if place and title != "LoRA":
            canvas.arrow((x - gap, 64), (x, 64))
        canvas.text(middle, 124, "learns from", 12, colour=GREY)
        for number, line in enumerate(source):
            canvas.text(middle, 146 + 18 * number, line, 13)
        canvas.text(middle, 216, "changes", 12, colour=GREY)
        for number, line in enumerate(changed):
            canvas.text(middle, 238 + 18 * number, line, 13)
    between = left + 2 * (width + gap) - gap / 2
    canvas.text(between, 69, "or", 13, colour=GREY)
    for y in (108, 200):
        canvas.line((left, y), (canvas.width - left, y), colour=FAINT, width=1)
    return canvas


FIGURES = {"12-steps": steps}
