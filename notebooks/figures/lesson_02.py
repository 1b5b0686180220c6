"""The diagrams of lesson 02: attention."""

from __future__ import annotations

import math

from canvas import COLOURS, FAINT, INK, Canvas

WORDS = ["the", "dog", "chased", "its", "ball"]
KEYS = [(0, 0, 0, 1), (2, 0, 0, 0), (0, 0, 2, 0), (0, 0, 0, 2), (0, 2, 0, 0)]
VALUES = [(0, 0), (4, 0), (2, 4), (0, 2), (4, 3)]
ITS = (3, 1, 0, 0)


def soft_lookup() -> Canvas:
    """The query of one word meets five keys, and five values are mixed."""
    canvas = Canvas(
        784,
        400,
        "Attention as a soft lookup",
        "The query of the word 'its' is compared with the keys of all five words. Each comparison "
        "gives a score, the softmax turns the five scores into weights, and the output is the sum "
        "of the five values, each times its weight. The word 'dog' gets most of the weight.",
    )
    scores = [sum(a * b for a, b in zip(ITS, key)) / 2 for key in KEYS]
    total = sum(math.exp(score) for score in scores)
    weights = [math.exp(score) / total for score in scores]
    output = [sum(w * v[i] for w, v in zip(weights, VALUES)) for i in range(2)]

    for x, head, below in [
        (88, "query", "what 'its' looks for"),
        (296, "key", "what a word offers"),
        (412, "score", "q · k ÷ √Dk"),
        (508, "weight", "softmax"),
        (606, "value", "what it gives"),
    ]:
        canvas.text(x, 34, head, 15, bold=True)
        canvas.text(x, 52, below, 12, colour="#546e7a")
    canvas.box(28, 184, 120, 52, "its\n" + _vector(ITS), "feed_forward", 14)
    for row, word in enumerate(WORDS):
        y = 78 + row * 58
        middle = y + 20
        canvas.arrow((148, 210), (232, middle), colour=FAINT)
        canvas.box(232, y, 128, 40, f"{word}  {_vector(KEYS[row])}", "position", 13)
        canvas.arrow((360, middle), (392, middle), colour=FAINT)
        canvas.text(412, middle + 5, f"{scores[row]:g}", 14)
        canvas.arrow((432, middle), (464, middle), colour=FAINT)
        _bar(canvas, 466, middle, 84, weights[row])
        canvas.box(566, y, 80, 40, _vector(VALUES[row]), "output", 13)
        canvas.line((646, middle), (676, middle), colour=FAINT, width=1 + 4 * weights[row])
    canvas.line((676, 98), (676, 330), colour=FAINT)
    canvas.arrow((676, 214), (696, 214))
    canvas.text(724, 168, "output", 15, bold=True)
    canvas.box(696, 188, 60, 52, f"{output[0]:.2f}\n{output[1]:.2f}", "attention", 14)
    canvas.text(
        392,
        382,
        "Every value takes part; its weight says how much. The weights are positive, and sum to 1.",
        13,
    )
    return canvas


def two_scores() -> Canvas:
    """How the dot product and the additive form score one query against one key."""
    canvas = Canvas(
        740,
        352,
        "Two ways to score a query against a key",
        "Left: query and key of the same width meet in a dot product, which is divided by the "
        "square root of Dk; nothing is learned. Right: query and key, which may differ in width, "
        "each pass a learned matrix; the results are added, go through tanh, and a learned vector "
        "v turns them into one number.",
    )
    canvas.text(180, 34, "scaled dot product", 15, bold=True)
    canvas.text(550, 34, "additive", 15, bold=True)
    canvas.line((366, 24), (366, 330), colour="#cfd8dc")

    canvas.box(60, 292, 90, 38, "query", "feed_forward")
    canvas.box(210, 292, 90, 38, "key", "position")
    canvas.box(110, 196, 140, 38, "q · k", "attention")
    canvas.arrow((105, 292), (105, 264), (145, 264), (145, 235))
    canvas.arrow((255, 292), (255, 264), (215, 264), (215, 235))
    canvas.box(110, 112, 140, 38, "÷ √Dk", "norm")
    canvas.arrow((180, 196), (180, 151))
    canvas.arrow((180, 112), (180, 74))
    canvas.text(180, 66, "score", 14)

    canvas.box(430, 292, 90, 38, "query", "feed_forward")
    canvas.box(580, 292, 90, 38, "key", "position")
    canvas.box(430, 232, 90, 36, "Wq", "norm")
    canvas.box(580, 232, 90, 36, "Wk", "norm")
    canvas.arrow((475, 292), (475, 269))
    canvas.arrow((625, 292), (625, 269))
    canvas.circle(550, 204, 14, "+", size=18)
    canvas.arrow((475, 232), (475, 204), (535, 204))
    canvas.arrow((625, 232), (625, 204), (565, 204))
    canvas.box(480, 142, 140, 36, "tanh", "attention")
    canvas.arrow((550, 190), (550, 179))
    canvas.box(480, 92, 140, 34, "v · (…)", "norm")
    canvas.arrow((550, 142), (550, 127))
    canvas.arrow((550, 92), (550, 74))
    canvas.text(550, 66, "score", 14)
    canvas.text(680, 255, "learned", 12, "start", colour="#776d14")
    canvas.text(630, 113, "learned", 12, "start", colour="#776d14")
    return canvas


def masks() -> Canvas:
    """The padding mask, the causal mask, and both together."""
    canvas = Canvas(
        760,
        330,
        "Padding mask, causal mask, and both",
        "Three grids of five queries (rows) by five keys (columns) for the sentence the dog "
        "chased pad pad. Padding mask: the first three columns are allowed in every row. Causal "
        "mask: each row allows its own column and those before it. Both: only places that both "
        "masks allow.",
    )
    tokens = ["the", "dog", "chased", "pad", "pad"]
    rules = [
        ("padding mask", "no query looks at padding", lambda t, s: s < 3),
        ("causal mask", "no query looks ahead", lambda t, s: s <= t),
        ("both, joined by and", "what a decoder uses", lambda t, s: s < 3 and s <= t),
    ]
    size = 32
    for number, (title, below, allowed) in enumerate(rules):
        left, top = 84 + number * 232, 116
        canvas.text(left + 80, 34, title, 15, bold=True)
        canvas.text(left + 80, 53, below, 12, colour="#546e7a")
        for i, token in enumerate(tokens):
            canvas.text(left + (i + 0.5) * size + 4, top - 8, token, 12, "start", rotate=-50)
            if number == 0:
                canvas.text(left - 8, top + (i + 0.5) * size + 4, token, 12, "end")
        for t in range(5):
            for s in range(5):
                x, y = left + s * size, top + t * size
                kind = "good" if allowed(t, s) else "data"
                canvas.box(x, y, size, size, "✓" if allowed(t, s) else "", kind, radius=0)
    canvas.text(26, 196, "queries", 13, rotate=-90, italic=True)
    canvas.text(400, 304, "columns: keys.   ✓ True, may attend.   Empty: False, must not.", 13)
    return canvas


def three_uses() -> Canvas:
    """Who may look at whom in self-, causal and cross-attention."""
    canvas = Canvas(
        820,
        300,
        "Self-attention, causal self-attention, cross-attention",
        "Three pictures of arrows into the output of one word, 'its'. Self-attention: arrows from "
        "all five English words. Causal: arrows from the four words up to and including 'its'; the "
        "later word 'ball' sends none. Cross-attention: arrows from all six German words.",
    )
    german = ["heute", "jagte", "der", "Hund", "seinen", "Ball"]
    panels = [
        (18, 236, "self-attention", "keys: the same sentence", WORDS, 5),
        (270, 236, "causal self-attention", "keys: the words so far", WORDS, 4),
        (522, 280, "cross-attention", "keys: the other sentence", german, 6),
    ]
    for left, width, title, below, source, seen in panels:
        middle = left + width / 2
        canvas.text(middle, 34, title, 15, bold=True)
        canvas.text(middle, 53, below, 12, colour="#546e7a")
        canvas.box(middle - 32, 84, 64, 32, "output", "attention", 13)
        canvas.text(middle - 44, 105, "its", 14, "end", italic=True)
        step = width / len(source)
        for i, word in enumerate(source):
            x = left + (i + 0.5) * step
            kind = "position" if i < seen else "plain"
            canvas.box(x - step / 2 + 1.5, 230, step - 3, 32, word, kind, 12, radius=4)
            if i < seen:
                canvas.arrow((x, 230), (middle + (x - middle) * 0.2, 117), colour=FAINT)
            else:
                canvas.text(x, 216, "✗", 14, colour=COLOURS["bad"][1])
    for x in (262, 514):
        canvas.line((x, 24), (x, 276), colour="#cfd8dc")
    return canvas


def heads() -> Canvas:
    """Multi-head attention: project, split, attend side by side, join, project."""
    canvas = Canvas(
        760,
        470,
        "Multi-head attention",
        "From bottom to top: query, key and value of width D each pass their own matrix. The "
        "results are cut into H slices of width Dk. Slice by slice, scaled dot-product attention "
        "runs in H heads side by side. Their outputs are joined to width D again and pass the "
        "matrix Wo.",
    )
    names = [
        ("query", "Wq", "feed_forward"),
        ("key", "Wk", "position"),
        ("value", "Wv", "output"),
    ]
    tint = ["feed_forward", "position", "output"]
    for i, (name, matrix, kind) in enumerate(names):
        x = 240 + i * 170
        canvas.box(x - 62, 418, 124, 34, f"{name} (…, D)", kind, 13)
        canvas.arrow((x, 418), (x, 396))
        canvas.box(x - 62, 362, 124, 33, matrix, "norm")
        canvas.arrow((x, 362), (x, 343))
        for head in range(3):
            canvas.box(x - 62 + head * 41.4, 312, 41.2, 30, "Dk", kind, 12, radius=2)
    canvas.text(64, 332, "cut into", 13)
    canvas.text(64, 348, "H slices", 13)
    canvas.text(64, 384, "project", 13)
    canvas.text(64, 440, "inputs", 13)
    for head in range(3):
        x = 240 + head * 170
        canvas.box(x - 68, 186, 136, 46, f"attention\nhead {head + 1}", "attention", 13)
        for i in range(3):
            start = 240 + i * 170 - 62 + head * 41.4 + 20.6
            end = x + (i - 1) * 36
            colour = COLOURS[tint[i]][1]
            canvas.line((start, 312), (end, 233), colour=colour, width=1.6)
        canvas.arrow((x, 186), (x + (1 - head) * 110, 153))
    canvas.text(64, 206, "H heads,", 13)
    canvas.text(64, 222, "side by side", 13)
    for head in range(3):
        canvas.box(336 + head * 49.4, 122, 49.2, 30, "Dk", "attention", 12, radius=2)
    canvas.text(64, 142, "join", 13)
    canvas.arrow((410, 122), (410, 105))
    canvas.box(348, 72, 124, 32, "Wo", "norm")
    canvas.text(64, 92, "project", 13)
    canvas.arrow((410, 72), (410, 53))
    canvas.box(336, 20, 148, 32, "output (…, D)", "attention", 13)
    return canvas


def paths() -> Canvas:
    """How what the first of six words says reaches the last output, in three kinds of layers."""
    canvas = Canvas(
        820,
        352,
        "The way from the first word to the last output",
        "Three pictures of six words at the bottom and outputs above. Recurrence: the first word "
        "reaches the last output through a chain of five neighbours. Convolution with windows of "
        "three words: each layer brings it one place further, so five layers are needed. "
        "Self-attention: one arrow leads from the first word to the last output, in one layer.",
    )
    orange = COLOURS["attention"][1]
    bottom, rise, step = 262, 38, 36
    panels = [
        (24, "recurrence", "each state waits for the one before", "5 steps, one after another"),
        (294, "convolution, width 3", "three neighbours per layer", "5 layers"),
        (564, "self-attention", "every word looks at every word", "1 layer"),
    ]
    for number, (left, title, below, result) in enumerate(panels):
        middle = left + 116
        canvas.text(middle, 34, title, 15, bold=True)
        canvas.text(middle, 53, below, 12, colour="#546e7a")
        canvas.text(middle, 334, result, 14, bold=True, colour=orange)
        canvas.text(middle, 310, "words", 12, colour=FAINT)
        xs = [left + 26 + i * step for i in range(6)]
        layers = 5 if number == 1 else 1
        top = bottom - layers * rise if number == 1 else bottom - 100
        for i, x in enumerate(xs):
            canvas.text(x, bottom + 28, str(i), 12, colour=FAINT)
            if number == 0:
                canvas.line((x, bottom - 11), (x, top + 11), colour="#cfd8dc")
            if number == 2:
                canvas.line((x, bottom - 11), (xs[5], top + 11), colour="#cfd8dc")
        if number == 1:
            for layer in range(layers):
                y = bottom - layer * rise
                for i, x in enumerate(xs):
                    for j in (i - 1, i, i + 1):
                        if 0 <= j < 6:
                            canvas.line((x, y - 9), (xs[j], y - rise + 9), colour="#cfd8dc")
            for layer in range(layers):
                y = bottom - layer * rise
                start, end = (xs[layer] + 6, y - 8), (xs[layer + 1] - 5, y - rise + 9)
                canvas.arrow(start, end, colour=orange, width=1.8)
        elif number == 0:
            canvas.arrow((xs[0], bottom - 11), (xs[0], top + 11), colour=orange, width=1.8)
            for i in range(5):
                canvas.arrow((xs[i] + 10, top), (xs[i + 1] - 10, top), colour=orange, width=1.8)
        else:
            canvas.arrow((xs[0] + 8, bottom - 7), (xs[5] - 8, top + 7), colour=orange, width=1.8)
        for x in xs:
            canvas.circle(x, bottom, 9, kind="position")
            for layer in range(1, layers + 1):
                y = bottom - layer * rise if number == 1 else top
                canvas.circle(x, y, 9, kind="attention")
    for x in (280, 550):
        canvas.line((x, 24), (x, 336), colour="#cfd8dc")
    return canvas


def _vector(numbers):
    return "(" + " ".join(str(number) for number in numbers) + ")"


def _bar(canvas, x, middle, length, weight):
    """A bar as long as the weight, and the weight beside it."""
    canvas.box(x, middle - 8, max(2, (length - 34) * weight), 16, "", "attention", radius=1)
    canvas.text(x + length, middle + 5, f"{weight:.2f}", 13, "end", colour=INK)


FIGURES = {
    "02-soft-lookup": soft_lookup,
    "02-two-scores": two_scores,
    "02-masks": masks,
    "02-three-uses": three_uses,
    "02-heads": heads,
    "02-paths": paths,
}
