"""Diagrams of lesson 05: from text to batches, and what the decoder reads and learns."""

from __future__ import annotations

from canvas import FAINT, Canvas


def pipeline():
    """From two sentences to a batch of ids."""
    c = Canvas(
        780, 300, "From text to batches",
        "A German and an English sentence are cut into byte pairs, the byte pairs become ids, "
        "pairs of similar length go into the same bucket, and each bucket is padded to one length.",
    )  # fmt: skip
    for x, title in ((110, "sentence pair"), (300, "tokens"), (470, "ids"), (660, "batch (B, L)")):
        c.text(x, 34, title, 14, bold=True)
    rows = (
        ("ein hund rennt .", "ein · hund · rennt · .", "7 · 41 · 88 · 4 · eos"),
        ("a dog runs .", "a · dog · runs · .", "bos · 5 · 39 · 90 · 4 · eos"),
    )
    for number, (sentence, tokens, ids) in enumerate(rows):
        y = 60 + 54 * number
        c.box(22, y, 172, 38, sentence, "data", 13)
        c.arrow((196, y + 19), (212, y + 19))
        c.box(214, y, 172, 38, tokens, "embedding", 13)
        c.arrow((388, y + 19), (398, y + 19))
        c.box(400, y, 160, 38, ids, "embedding", 12)
    c.arrow((562, 106), (580, 106))
    c.box(582, 50, 176, 226, "", "plain")
    buckets = (("L = 12", 4, 0.95), ("L = 16", 3, 0.9), ("L = 25", 2, 0.85))
    y = 66
    cell = 6
    for name, height, filled in buckets:
        width = {"L = 12": 12, "L = 16": 16, "L = 25": 25}[name] * cell
        c.text(594, y + 10, name, 12, anchor="start")
        for row in range(height):
            top = y + 18 + row * 11
            real = width * (filled - 0.06 * ((row * 2 + height) % 3))
            c.box(594, top, width, 9, "", "plain", radius=1)
            c.box(594, top, real, 9, "", "attention", radius=1)
        y += 18 + height * 11 + 14
    c.box(214, 204, 14, 14, "", "attention", radius=1)
    c.text(236, 216, "real tokens", 13, anchor="start")
    c.box(334, 204, 14, 14, "", "plain", radius=1)
    c.text(356, 216, "padding", 13, anchor="start")
    c.text(214, 252, "Each length L is one shape: it is compiled once.", 13, anchor="start",
           colour=FAINT)  # fmt: skip
    return c


def shifted_target():
    """What the decoder reads and what it has to say, one position apart."""
    c = Canvas(
        720, 250, "What the decoder reads, and what it learns to say",
        "The target sentence a dog runs. The decoder reads bos, a, dog, runs, full stop. At the "
        "same positions it has to say a, dog, runs, full stop, eos.",
    )  # fmt: skip
    read = ("bos", "a", "dog", "runs", ".")
    say = ("a", "dog", "runs", ".", "eos")
    c.text(24, 66, "labels", 14, anchor="start", bold=True)
    c.text(24, 196, "decoder input", 14, anchor="start", bold=True)
    c.box(150, 108, 530, 40, "decoder, with a causal mask", "attention", 14)
    for number, (below, above) in enumerate(zip(read, say)):
        x = 160 + number * 106
        c.box(x, 40, 86, 38, above, "output", 14)
        c.box(x, 172, 86, 38, below, "embedding", 14)
        c.arrow((x + 43, 172), (x + 43, 150))
        c.arrow((x + 43, 108), (x + 43, 80))
    c.text(150, 236, "position t reads the words before word t, and learns to say word t", 13,
           anchor="start", colour=FAINT)  # fmt: skip
    return c


FIGURES = {"05-pipeline": pipeline, "05-shifted-target": shifted_target}
