"""Diagrams of lesson 05b: the parts that are taken out, and what a seed keeps the same."""

from __future__ import annotations

from canvas import FAINT, Canvas

CUT = "#bf4b4b"


def parts():
    """One layer of the baseline, from embedding to loss, with the places of the cuts."""
    c = Canvas(
        800, 640, "The parts that this lesson takes out",
        "From bottom to top: embedding, positions, then N times LayerNorm, attention, dropout and "
        "sum, LayerNorm, feed-forward, dropout and sum; then LayerNorm, output projection, softmax "
        "and loss. Numbers mark what is taken out or changed: residual connections, LayerNorm, "
        "feed-forward, the scale of attention, positions, warm-up, label smoothing, dropout, tied "
        "embeddings, the number of heads, and the place of LayerNorm.",
    )  # fmt: skip
    middle, width = 190, 170
    left = middle - width / 2
    c.box(70, 208, 260, 300, kind="plain", radius=12)
    c.text(50, 362, "N ×", 16, bold=True)
    # From the source upwards.
    c.text(middle, 626, "tokens", 13)
    c.arrow((middle, 612), (middle, 598))
    c.box(left, 566, width, 32, "embedding", "embedding", 13)
    c.line((middle, 566), (middle, 545))
    c.circle(middle, 534, 11, "+", "plain", 16)
    c.box(18, 518, 88, 32, "positions", "position", 13)
    c.arrow((106, 534), (middle - 12, 534))
    c.arrow((middle, 523), (middle, 491))
    for top, label, kind in (
        (366, "attention", "attention"),
        (222, "feed-forward", "feed_forward"),
    ):
        bottom = top + 128
        c.box(left, bottom - 32, width, 28, "LayerNorm", "norm", 13)
        c.arrow((middle, bottom - 32), (middle, bottom - 46))
        c.box(left, bottom - 80, width, 34, label, kind, 13)
        c.arrow((middle, bottom - 80), (middle, bottom - 92))
        c.circle(middle, top + 24, 11, "+", "plain", 16)
        c.line(
            (middle, bottom + 6), (left + width + 28, bottom + 6), (left + width + 28, top + 24),
            colour="#4d9a55", width=2,
        )  # fmt: skip
        c.arrow((left + width + 28, top + 24), (middle + 12, top + 24), colour="#4d9a55", width=2)
        c.line((middle, top + 13), (middle, top - 4))
    c.arrow((middle, 362), (middle, 347))
    c.arrow((middle, 218), (middle, 186))
    c.box(left, 156, width, 30, "LayerNorm", "norm", 13)
    c.arrow((middle, 156), (middle, 138))
    c.box(left, 104, width, 34, "output projection", "output", 13)
    c.arrow((middle, 104), (middle, 86))
    c.box(left, 52, width, 34, "softmax, loss", "output", 13)
    c.text(middle, 34, "then the gradient, clipping, Adam", 13)
    # The green line is the residual connection; numbers say where each cut is made.
    cuts = (
        (1, left + width + 28, 430, "residual connections", "x + f(x) becomes f(x)"),
        (2, left - 18, 476, "LayerNorm", "all of them become the identity"),
        (3, left - 18, 287, "feed-forward", "adds nothing to x"),
        (4, left - 18, 431, "scale", "scores are not divided by √Dk"),
        (5, 24, 506, "positions", "none, learned, or rotary"),
        (6, middle + 128, 30, "warm-up", "the peak rate from the first update"),
        (7, left + width + 16, 69, "label smoothing", "ε = 0 in place of 0.1"),
        (8, middle - 22, 402, "dropout", "0 in place of 0.1"),
        (9, left + width + 16, 121, "tied embeddings", "three matrices in place of one"),
        (10, left + width - 14, 431, "heads", "1, 2 or 8 in place of 4"),
        (11, left - 18, 332, "place of LayerNorm", "post-norm in place of pre-norm"),
    )
    for number, x, y, name, text in cuts:
        c.circle(x, y, 11, str(number), "bad", 12)
        row = 66 + (number - 1) * 51
        c.circle(400, row, 13, str(number), "bad", 13)
        c.text(424, row - 2, name, 14, anchor="start", bold=True)
        c.text(424, row + 17, text, 13, anchor="start", colour=FAINT)
    return c


def pairs():
    """Three seeds: what the two models of a seed share, and the difference that is left."""
    c = Canvas(
        780, 330, "A fair comparison is made seed by seed",
        "Three rows, one for each seed. In each row the seed decides first weights and batches, "
        "which both baseline and variant get; both are trained, and the difference of their BLEU "
        "is taken within the row. Mean and spread are those of the three differences.",
    )  # fmt: skip
    for x, label in ((110, "the seed decides"), (356, "trained"), (570, "difference")):
        c.text(x, 34, label, 14, bold=True)
    for row in range(3):
        y = 52 + row * 84
        c.box(22, y + 10, 176, 50, f"seed {row + 1}:\nfirst weights, batches", "data", 13)
        c.arrow((198, y + 28), (268, y + 16))
        c.arrow((198, y + 42), (268, y + 54))
        c.box(270, y, 172, 32, "baseline", "good", 13)
        c.box(270, y + 38, 172, 32, "without one part", "bad", 13)
        c.arrow((442, y + 16), (512, y + 30))
        c.arrow((442, y + 54), (512, y + 40))
        c.box(514, y + 18, 112, 34, f"d{'₁₂₃'[row]}", "output", 14)
        c.line((626, y + 35), (656, y + 35), (656, 171))
    c.arrow((656, 171), (680, 171))
    c.text(688, 166, "mean and", 13, anchor="start")
    c.text(688, 184, "spread", 13, anchor="start")
    lucky = "What a seed does to both models of its row alike is gone from the difference."
    c.text(22, 318, lucky, 13, anchor="start", colour=FAINT)
    return c


FIGURES = {"05b-parts": parts, "05b-pairs": pairs}
