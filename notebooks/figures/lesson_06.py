"""The diagrams of lesson 06: decoding and evaluation."""

from __future__ import annotations

from canvas import FAINT, INK, Canvas

GREY = "#546e7a"
# Word, probability of the prefix that ends in it, column, row, what became of it.
NODES = {
    "": ("<s>", "1", 0, 2.5, "plain"),
    "it": ("it", ".640", 1, 1.5, "attention"),
    "rain": ("rain", ".360", 1, 4.0, "attention"),
    "it is": ("is", ".640", 2, 1.5, "attention"),
    "rain .": (".", ".306", 2, 4.0, "attention"),
    "rain falls": ("falls", ".054", 2, 5.0, "data"),
    "it is raining": ("raining", ".512", 3, 1.5, "attention"),
    "it is wet": ("wet", ".128", 3, 2.75, "data"),
    "rain . </s>": ("</s>", ".306", 3, 4.0, "good"),
    "it is raining .": (".", ".266", 4, 1.0, "attention"),
    "it is raining hard": ("hard", ".195", 4, 2.0, "attention"),
    "it is raining now": ("now", ".051", 4, 3.0, "data"),
    "it is raining . </s>": ("</s>", ".266", 5, 1.0, "output"),
}


def _corner(prefix):
    _, _, column, row, _ = NODES[prefix]
    return 24 + column * 127, 40 + row * 54


def beam_tree() -> Canvas:
    """Beam search with two hypotheses on the toy table, and the one path that greedy takes."""
    canvas = Canvas(
        784,
        424,
        "Beam search with beam size 2",
        "A tree of prefixes, one column for each step. From the beginning of the sentence two "
        "words are kept: it (0.640) and rain (0.360). Greedy search follows only the upper path: "
        "it is raining full stop, with probability 0.266. Beam search also follows the lower path, "
        "rain full stop, which ends with probability 0.306, the better one. It stops after step 4, "
        "where no open prefix is above 0.306. The continuations wet, falls and now are dropped.",
    )
    for step in range(1, 6):
        x = 24 + step * 127 + 46
        canvas.text(x, 34, f"step {step}", 13, colour=GREY)
    for prefix, (_, _, _, _, kind) in NODES.items():
        if not prefix:
            continue
        parent = " ".join(prefix.split()[:-1])
        (x0, y0), (x1, y1) = _corner(parent), _corner(prefix)
        is_greedy = "it is raining . </s>".startswith(prefix)
        canvas.arrow(
            (x0 + 92, y0 + 20), (x1, y1 + 20), colour=FAINT if kind == "data" else INK,
            width=3 if is_greedy else 1.5, dashed=kind == "data",
        )  # fmt: skip
    for prefix, (word, probability, _, _, kind) in NODES.items():
        x, y = _corner(prefix)
        canvas.box(x, y, 92, 40, "", kind)
        if prefix:
            canvas.text(x + 46, y + 17, word, 14, bold=kind != "data")
            canvas.text(x + 46, y + 33, probability, 12)
        else:
            canvas.text(x + 46, y + 25, word, 14, bold=True)
    canvas.text(632, 278, "beam search stops after step 4:", 13)
    canvas.text(632, 296, "no open prefix is above .306", 13)
    y = 392
    for x, kind, label in [
        (24, "attention", "kept"),
        (96, "data", "dropped"),
        (186, "good", "found by beam search"),
        (366, "output", "found by greedy search"),
    ]:
        canvas.box(x, y - 12, 22, 16, "", kind, radius=3)
        canvas.text(x + 29, y + 1, label, 12, anchor="start")
    canvas.line((560, y - 4), (594, y - 4), width=3)
    canvas.text(602, y + 1, "path of greedy search", 12, anchor="start")
    return canvas


def _panel(canvas, left, title, has_cache):
    """One decoder step at position 5: the token column, keys and values, scores."""
    size, cell = 5, 34
    top = 118
    words = ["<s>", "a", "dog", "is", "running"]
    canvas.text(left + 170, 34, title, 16, bold=True)
    canvas.text(left + 33, 84, "input", 13, bold=True)
    canvas.text(left + 115, 84, "key, value", 13, bold=True)
    canvas.text(left + 250, 84, "scores: query × key", 13, bold=True)
    for row, word in enumerate(words):
        y = top + row * cell
        is_new = row == size - 1
        computed = is_new or not has_cache
        kind = "attention" if computed else "data"
        if computed:
            canvas.box(left, y + 3, 66, cell - 6, word, "plain", 13, radius=4)
            canvas.arrow((left + 66, y + cell / 2), (left + 84, y + cell / 2), colour=FAINT)
        else:
            canvas.text(left + 33, y + cell / 2 + 5, word, 13, colour=FAINT)
        canvas.box(left + 84, y + 3, 30, cell - 6, "k", kind, 13, radius=4)
        canvas.box(left + 118, y + 3, 30, cell - 6, "v", kind, 13, radius=4)
        for column in range(row + 1):
            x = left + 166 + column * cell
            if computed:
                canvas.box(x + 1, y + 1, cell - 2, cell - 2, "", "attention", radius=3)
    y = top + size * cell + 14
    canvas.arrow((left + 250, y), (left + 250, y + 24))
    canvas.box(left + 172, y + 26, 156, 32, "next word: in", "output", 14)


def cache() -> Canvas:
    """What a decoder layer computes at step 5, without and with a cache."""
    canvas = Canvas(
        784,
        424,
        "One decoding step without and with a cache",
        "Two panels show the fifth decoding step. Without a cache the decoder reads all five "
        "tokens again: it computes five keys, five values and the whole triangle of fifteen "
        "scores. With a cache it reads the last token only: one new key and value, one row of five "
        "scores; the four earlier keys and values come from the cache.",
    )
    _panel(canvas, 30, "without a cache", False)
    canvas.line((392, 56), (392, 352), colour=FAINT, dashed=True)
    _panel(canvas, 424, "with a cache", True)
    canvas.text(200, 58, "5 positions, 15 scores", 13, colour=GREY)
    canvas.text(594, 58, "1 position, 5 scores", 13, colour=GREY)
    y = 392
    canvas.box(196, y - 12, 24, 16, "", "attention", radius=3)
    canvas.text(228, y + 1, "computed in this step", 13, anchor="start")
    canvas.box(404, y - 12, 24, 16, "", "data", radius=3)
    canvas.text(436, y + 1, "kept from earlier steps", 13, anchor="start")
    return canvas


FIGURES = {"06-beam-tree": beam_tree, "06-cache": cache}
