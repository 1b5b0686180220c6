"""The diagrams of lesson 08: BERT."""

from __future__ import annotations

from canvas import FAINT, Canvas

GREY = "#546e7a"
SENTENCE = ("two", "boys", "play", "the", "violin")


def two_sides() -> Canvas:
    """What each position may see: GPT the triangle, BERT the square."""
    canvas = Canvas(
        760,
        330,
        "What each position may see",
        "Two grids for the sentence: two boys play the violin. A row belongs to the word that "
        "looks (the query), a column to a word that it may look at (a key). In GPT each word sees "
        "itself and the words before it, a lower triangle. In BERT each word sees all words, "
        "before and after it.",
    )
    cell = 40
    for left, name, sees in (
        (120, "GPT: back only", lambda row, column: column <= row),
        (490, "BERT: both sides", lambda row, column: True),
    ):
        values = [[0.7 * sees(row, column) for column in range(5)] for row in range(5)]
        canvas.text(left + 2.5 * cell, 36, name, 16, bold=True)
        canvas.text(left + 2.5 * cell, 58, "keys: the words that it may look at", 12, colour=GREY)
        for place, word in enumerate(SENTENCE):
            canvas.text(left + (place + 0.5) * cell, 80, word, 13)
            canvas.text(left - 10, 90 + (place + 0.5) * cell + 5, word, 13, anchor="end")
        canvas.grid(left, 90, cell, values)
    for middle in (40, 410):
        for line, text in enumerate(("query:", "the word", "that looks")):
            canvas.text(middle, 178 + 16 * line, text, 12, colour=GREY)
    canvas.text(
        380, 314, "Shaded: may attend. In GPT the row of “play” ends at “play”.", 13, colour=GREY
    )
    return canvas


def inputs_and_heads() -> Canvas:
    """The three vectors that make the input, and the two heads on top."""
    canvas = Canvas(
        780,
        430,
        "BERT's input and its two heads",
        "Eight tokens: CLS, two, boys, MASK, SEP, the, violin, SEP. Each has a word vector, a "
        "segment vector (A for the first five, B for the rest) and a position vector; the three "
        "are added and go into the encoder. From the encoder's output at MASK the masked-LM head "
        "predicts play. From its output at CLS the next-sentence head says that B follows A.",
    )
    tokens = ("[CLS]", "two", "boys", "[MASK]", "[SEP]", "the", "violin", "[SEP]")
    left, step, width = 112, 81, 73
    for place, token in enumerate(tokens):
        x = left + place * step
        kind = "bad" if token == "[MASK]" else "data"
        canvas.box(x, 372, width, 32, token, kind, 13, bold=token.startswith("["))
        canvas.box(x, 328, width, 30, f"E {token}", "embedding", 12)
        canvas.box(x, 292, width, 30, "S  A" if place < 5 else "S  B", "plain", 12)
        canvas.box(x, 256, width, 30, f"P  {place}", "position", 12)
        canvas.arrow((x + width / 2, 254), (x + width / 2, 214))
    for y, label in ((393, "tokens"), (348, "word"), (312, "segment"), (276, "position")):
        canvas.text(98, y, label, 13, anchor="end", colour=GREY)
    canvas.text(98, 237, "added", 13, anchor="end", colour=GREY)
    canvas.box(
        left, 170, 7 * step + width, 42, "encoder: self-attention to both sides", "attention", 15
    )
    for place in (0, 3):
        x = left + place * step + width / 2
        canvas.arrow((x, 168), (x, 130))
    canvas.box(left - 52, 84, 190, 44, "next-sentence head", "feed_forward", 14)
    canvas.box(left + 3 * step - 44, 84, 160, 44, "masked-LM head", "feed_forward", 14)
    canvas.arrow((left + width / 2, 82), (left + width / 2, 56))
    canvas.arrow((left + 3 * step + width / 2, 82), (left + 3 * step + width / 2, 56))
    canvas.text(left + width / 2 + 4, 44, "B follows A: yes", 14, bold=True)
    canvas.text(left + 3 * step + width / 2, 44, "play", 14, bold=True)
    canvas.text(
        left + 5 * step + 4, 112, "the other outputs are not asked", 13, anchor="start", colour=GREY
    )
    return canvas


def fine_tuning() -> Canvas:
    """Training from scratch, and fine-tuning a pre-trained body."""
    canvas = Canvas(
        780,
        330,
        "From scratch, and fine-tuned",
        "Two ways to a classifier. From scratch: a body with random weights and a new head are "
        "trained on a few texts with labels. Fine-tuned: the body is first trained on many texts "
        "without labels, with the masked-LM and next-sentence heads; the heads are taken off, a "
        "new head is put on, and body and head are trained on the same few texts with labels.",
    )
    canvas.text(24, 38, "from scratch", 15, anchor="start", bold=True)
    canvas.box(470, 88, 130, 44, "body, random", "plain", 14)
    canvas.box(470, 52, 130, 30, "new head", "good", 13)
    canvas.text(24, 176, "pre-trained, then fine-tuned", 15, anchor="start", bold=True)
    canvas.box(24, 238, 156, 46, "many texts,\nno labels", "data", 13)
    canvas.arrow((182, 261), (202, 261))
    canvas.box(206, 240, 168, 44, "body", "attention", 14)
    canvas.box(206, 192, 80, 42, "masked-LM\nhead", "feed_forward", 12)
    canvas.box(294, 192, 80, 42, "next-sent.\nhead", "feed_forward", 12)
    canvas.text(290, 304, "pre-training", 12, colour=GREY)
    canvas.arrow((378, 262), (464, 262), width=2)
    canvas.text(421, 252, "the body", 12, colour=GREY)
    canvas.text(421, 280, "moves over", 12, colour=GREY)
    canvas.box(470, 240, 130, 44, "body, trained", "attention", 14)
    canvas.box(470, 204, 130, 30, "new head", "good", 13)
    canvas.box(648, 142, 116, 50, "few texts\nwith labels", "data", 13)
    canvas.arrow((690, 140), (690, 110), (606, 110))
    canvas.arrow((690, 194), (690, 262), (606, 262))
    canvas.line((24, 150), (620, 150), colour=FAINT, dashed=True)
    canvas.text(535, 312, "same head, same labels", 13, colour=GREY)
    return canvas


FIGURES = {
    "08-two-sides": two_sides,
    "08-input": inputs_and_heads,
    "08-fine-tuning": fine_tuning,
}
