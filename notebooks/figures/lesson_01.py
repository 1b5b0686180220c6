"""The diagrams of lesson 01: language models, and the way to attention."""

from __future__ import annotations

from canvas import FAINT, Canvas

GREY = "#546e7a"


def neural_lm() -> Canvas:
    """Bengio's model: three words, their vectors, a hidden layer, the next word."""
    canvas = Canvas(
        760,
        400,
        "A neural language model",
        "Three words, a, boy, is, stand at the bottom. Each picks its row of one table C of word "
        "vectors. The three vectors are put side by side and read by a hidden layer with tanh. An "
        "output layer gives each word of the vocabulary a probability: playing has the highest.",
    )
    for place, word in enumerate(("a", "boy", "is")):
        x = 60 + place * 130
        canvas.box(x, 340, 110, 34, word, "data", 14)
        canvas.arrow((x + 55, 338), (x + 55, 308))
        canvas.box(x, 270, 110, 36, f"C[{word}]", "embedding", 14)
        canvas.arrow((x + 55, 268), (x + 55, 224))
    canvas.text(470, 362, "the last n − 1 = 3 words", 13, anchor="start", colour=GREY)
    canvas.text(470, 285, "one table C for all places,", 13, anchor="start", colour=GREY)
    canvas.text(470, 302, "one vector per word", 13, anchor="start", colour=GREY)
    canvas.box(60, 180, 370, 42, "hidden layer: tanh(d + H x)", "feed_forward", 15)
    canvas.text(470, 206, "x: the three vectors side by side", 13, anchor="start", colour=GREY)
    canvas.arrow((245, 178), (245, 146))
    canvas.box(60, 102, 370, 42, "output: softmax(b + U h)", "output", 15)
    canvas.text(470, 128, "a probability for every word", 13, anchor="start", colour=GREY)
    for place, (word, height) in enumerate(
        (("playing", 46), ("eating", 30), ("tired", 14), ("violin", 4), ("the", 2))
    ):
        x = 66 + place * 74
        canvas.box(x + 16, 70 - height, 30, height, "", "good", radius=1)
        canvas.text(x + 31, 90, word, 12)
    return canvas


def encoder_decoder() -> Canvas:
    """The recurrent encoder and decoder, with one vector and with attention."""
    canvas = Canvas(
        780,
        520,
        "One vector, and attention",
        "Above: an encoder reads ein Junge spielt Geige in both directions. The ends of both "
        "readings, one box in the middle, are all that the decoder gets, at its beginning and for "
        "every word. The decoder writes a boy plays violin. Below: the same with attention. The "
        "states of all four source words stay. The decoder's third state asks; c3 is the weighted "
        "mean of the source states, with the greatest weight on spielt; the third state and c3 "
        "together give the word plays.",
    )
    source, target = ("ein", "Junge", "spielt", "Geige"), ("a", "boy", "plays", "violin")
    for top, has_attention in ((30, False), (276, True)):
        title = "with attention: all states stay" if has_attention else "without: one vector"
        canvas.text(24, top + 8, title, 15, anchor="start", bold=True)
        y = top + 110
        for place in range(4):
            x = 24 + place * 82
            canvas.box(x, y + 66, 66, 30, source[place], "data", 13)
            canvas.arrow((x + 33, y + 64), (x + 33, y + 38))
            canvas.box(x, y, 66, 36, f"h{'₁₂₃₄'[place]}", "feed_forward", 14)
            if place:
                canvas.arrow((x - 15, y + 12), (x - 1, y + 12))
                canvas.arrow((x - 1, y + 25), (x - 15, y + 25))
            x = 444 + place * 82
            canvas.box(x, y, 66, 36, f"s{'₁₂₃₄'[place]}", "output", 14)
            canvas.arrow((x + 33, y - 2), (x + 33, y - 22))
            canvas.box(x, y - 54, 66, 30, target[place], "good" if place == 2 else "data", 13)
            if place:
                canvas.arrow((x - 15, y + 18), (x - 1, y + 18))
        if has_attention:
            canvas.arrow((338, y + 18), (442, y + 18))
            for place, width in enumerate((0.8, 1.0, 3.6, 1.2)):
                x = 57 + place * 82
                canvas.line((x, y - 2), (372, y - 42 + 2 * place), colour="#d5802b", width=width)
            # The third state asks, and what comes back goes to the word, not into the state.
            canvas.line((641, y + 37), (641, y + 56), (392, y + 56), colour="#7863b0", dashed=True)
            canvas.arrow((392, y + 56), (392, y - 19), colour="#7863b0", dashed=True)
            canvas.line((392, y - 60), (392, y - 76), (641, y - 76), colour="#d5802b", width=2)
            canvas.arrow((641, y - 76), (641, y - 56), colour="#d5802b", width=2)
            canvas.circle(392, y - 40, 20, "c₃", "attention", 14)
            canvas.text(412, y + 76, "s₃ asks (dashed)", 13, anchor="start", colour=GREY)
            canvas.text(412, y + 94, "thick: a large weight", 13, anchor="start", colour=GREY)
            canvas.text(574, y + 76, "s₃ and c₃ give “plays”", 13, anchor="start", colour=GREY)
        else:
            canvas.line((57, y - 2), (57, y - 24), (376, y - 24), colour="#bf4b4b")
            canvas.arrow((376, y - 24), (376, y - 8), colour="#bf4b4b")
            canvas.arrow((338, y + 18), (356, y + 18), colour="#bf4b4b")
            canvas.text(60, y - 32, "the ends of both readings", 13, anchor="start", colour=GREY)
            canvas.box(358, y - 6, 66, 48, "one\nvector", "bad", 13, bold=True)
            canvas.arrow((426, y + 18), (442, y + 18))
            # Into the words, as c does below, and not into the states.
            canvas.line((412, y - 8), (412, y - 74), (723, y - 74), colour="#bf4b4b")
            for place in range(4):
                x = 477 + place * 82
                canvas.arrow((x, y - 74), (x, y - 56), colour="#bf4b4b")
            canvas.text(444, y - 84, "the bottleneck: the same vector for every word", 13,
                        anchor="start", colour=GREY)  # fmt: skip
    canvas.line((24, 252), (756, 252), colour=FAINT, dashed=True)
    return canvas


def in_a_row() -> Canvas:
    """What waits for what: a chain of states, and attention in one step."""
    canvas = Canvas(
        780,
        300,
        "A chain, and all at once",
        "Left, an RNN over six words: each state has an arrow to the next one, and the last is "
        "ready after six steps. Right, self-attention over six words: every output has arrows from "
        "all six inputs, and all outputs are ready after step 4.",
    )
    canvas.text(196, 34, "recurrence: each state waits for the last", 15, bold=True)
    canvas.text(584, 34, "self-attention: no word waits for another", 15, bold=True)
    for place in range(6):
        x = 24 + place * 60
        canvas.box(x, 206, 44, 32, f"x{'₁₂₃₄₅₆'[place]}", "data", 14)
        canvas.box(x, 110, 44, 36, f"h{'₁₂₃₄₅₆'[place]}", "feed_forward", 14)
        canvas.arrow((x + 22, 204), (x + 22, 148))
        canvas.text(x + 22, 92, f"step {place + 1}", 12, colour=GREY)
        if place:
            canvas.arrow((x - 15, 128), (x - 1, 128), width=2)
        x = 412 + place * 60
        canvas.box(x, 206, 44, 32, f"x{'₁₂₃₄₅₆'[place]}", "data", 14)
        for other in range(6):
            canvas.line((412 + other * 60 + 22, 204), (x + 22, 148), colour="#d5802b", width=0.9)
        canvas.box(x, 110, 44, 36, f"y{'₁₂₃₄₅₆'[place]}", "attention", 14)
        canvas.text(x + 22, 92, "step 4", 12, colour=GREY)
    canvas.text(196, 274, "six words: six steps in a row", 13, colour=GREY)
    canvas.text(584, 260, "1 query, key, value · 2 score · 3 softmax · 4 mean", 13, colour=GREY)
    canvas.text(584, 280, "six words or six hundred: four steps", 13, colour=GREY)
    canvas.line((392, 60), (392, 250), colour=FAINT, dashed=True)
    return canvas


FIGURES = {
    "01-neural-lm": neural_lm,
    "01-encoder-decoder": encoder_decoder,
    "01-in-a-row": in_a_row,
}
