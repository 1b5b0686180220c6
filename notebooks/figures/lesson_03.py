"""Diagrams of lesson 03: the order that attention loses, and three ways to give it back."""

from __future__ import annotations

import math

from canvas import COLOURS, FAINT, Canvas

ROSE = COLOURS["embedding"][1]
GOLD = COLOURS["position"][1]
BLUE = COLOURS["feed_forward"][1]


def bag_of_words():
    """Two sentences of opposite meaning fall into the same bag."""
    c = Canvas(
        760,
        314,
        "Two sentences with the same words are the same bag of words",
        "On the left two rows of boxes: Anna sees Ben, and Ben sees Anna. An arrow leads from each "
        "row into the same bag, which holds the three words in no order. From the bag one arrow "
        "leads to one vector: attention cannot tell the two sentences apart.",
    )
    sentences = (("Anna", "sees", "Ben"), ("Ben", "sees", "Anna"))
    kinds = {"Anna": "embedding", "sees": "data", "Ben": "feed_forward"}
    for row, words in enumerate(sentences):
        y = 86 + 124 * row
        c.text(122, y - 14, ("first sentence", "second sentence")[row], 13, colour=FAINT)
        for place, word in enumerate(words):
            c.box(24 + 66 * place, y, 60, 38, word, kinds[word])
            c.text(54 + 66 * place, y + 56, str(place), 12, colour=FAINT)
    c.text(122, 296, "0, 1, 2: the places", 12, colour=FAINT)
    c.arrow((228, 105), (290, 142))
    c.arrow((228, 229), (290, 192))
    c.box(296, 66, 200, 206, "", "plain", radius=34)
    c.text(396, 96, "what attention sees", 14, bold=True)
    c.box(322, 126, 64, 38, "sees", "data")
    c.box(404, 152, 64, 38, "Anna", "embedding")
    c.box(338, 202, 64, 38, "Ben", "feed_forward")
    c.arrow((502, 168), (556, 168))
    c.box(562, 140, 172, 56, "one mean vector\nfor both", "attention")
    c.text(380, 38, "The words are kept, their places are lost", 16, bold=True)
    return c


def clocks():
    """Each pair of coordinates is the hand of a clock; every pair has its own speed."""
    c = Canvas(
        780,
        430,
        "A position is read from several clocks that turn at different speeds",
        "A grid of clock faces. Columns are the positions 0 to 5, rows are three pairs of "
        "coordinates. The hand of the first row turns fast, that of the second slower, that of "
        "the third hardly at all. All start at twelve and run clockwise: the distance of the tip "
        "to the right is the sine, its height the cosine. One column read from top to bottom is "
        "the encoding of that position.",
    )
    speeds = (1.0, 0.32, 0.1)
    names = ("fast pair", "slower pair", "slowest pair")
    c.text(390, 34, "A position = one column of clock hands", 16, bold=True)
    c.box(442, 84, 84, 284, "", "position", radius=12)
    for t in range(6):
        c.text(184 + 100 * t, 72, f"t = {t}", 14)
    for row, (speed, name) in enumerate(zip(speeds, names)):
        y = 130 + 96 * row
        c.text(24, y - 2, name, 14, "start", bold=True)
        c.text(24, y + 18, f"{speed:g} rad per step", 12, "start", colour=FAINT)
        for t in range(6):
            x = 184 + 100 * t
            c.circle(x, y, 34)
            c.line((x - 34, y), (x + 34, y), colour="#cfd8dc", width=1)
            c.line((x, y - 34), (x, y + 34), colour="#cfd8dc", width=1)
            tip = (x + 34 * math.sin(speed * t), y - 34 * math.cos(speed * t))
            c.arrow((x, y), tip, width=2.2)
    c.text(484, 390, "these three hands = six numbers: the encoding of t = 3", 13)
    c.text(
        390,
        414,
        "distance of the tip to the right: sine   ·   its height: cosine   (speeds chosen for the "
        "picture)",
        12,
        colour=FAINT,
    )
    return c


def rotating_pair():
    """A query and a key turn by their positions; the angle between them keeps to the distance."""
    c = Canvas(
        760,
        416,
        "Rotary positions: the angle between query and key depends on their distance only",
        "Two circles, each with two arrows. In the left one the query stands at position 1 and the "
        "key at position 4. In the right one both stand six places later. All arrows on the right "
        "are turned further, but the angle between query and key is the same as on the left: the "
        "angle alpha that was between them before they were turned, and three times theta.",
    )
    speed, before = 0.42, 0.35  # before: the angle from query to key, unturned
    c.text(380, 36, "Both turn; the angle between them stays", 16, bold=True)
    for x, first, title in ((200, 1, "positions 1 and 4"), (560, 7, "six places later: 7 and 10")):
        y, radius = 205, 115
        c.circle(x, y, radius)
        c.line((x - radius, y), (x + radius, y), colour="#cfd8dc", width=1)
        c.line((x, y - radius), (x, y + radius), colour="#cfd8dc", width=1)
        angles = (0.2 + speed * first, 0.2 + before + speed * (first + 3))
        wedge = [(x, y)]
        wedge += [
            (x + 44 * math.cos(a), y - 44 * math.sin(a))
            for a in [angles[0] + (angles[1] - angles[0]) * step / 24 for step in range(25)]
        ]
        points = " ".join(f"{px:.1f},{py:.1f}" for px, py in wedge)
        c.parts.append(f'<polygon points="{points}" fill="{COLOURS["position"][0]}"/>')
        c.line(*wedge[1:], colour=GOLD, width=2)
        for angle, colour, name, place in (
            (angles[0], ROSE, "query", first),
            (angles[1], BLUE, "key", first + 3),
        ):
            tip = (x + radius * math.cos(angle), y - radius * math.sin(angle))
            c.arrow((x, y), tip, colour=colour, width=3)
            label = (x + (radius + 14) * math.cos(angle), y - (radius + 16) * math.sin(angle) + 5)
            anchor = "start" if math.cos(angle) > 0.25 else "end"
            c.text(*label, f"{name}, t = {place}", 14, anchor, bold=True, colour=colour)
        middle = (angles[0] + angles[1]) / 2
        c.text(x + 76 * math.cos(middle), y - 68 * math.sin(middle) + 5, "α + 3 θ", 14)
        c.text(x, 368, title, 14)
    c.text(380, 398, "α: the angle between query and key before they are turned", 12, colour=FAINT)
    return c


def where():
    """Added positions enter below the layer, rotary positions inside attention."""
    c = Canvas(
        780,
        460,
        "Where each scheme enters the layer",
        "Two sketches of an attention layer, read from the bottom up. On the left the position "
        "vectors, sinusoidal or learned, are added to the embeddings, and query, key and value are "
        "computed from the sum. On the right embeddings go unchanged into query, key and value; "
        "then query and key, but not value, are turned by an angle that depends on the position.",
    )
    for left, title, often in (
        (20, "sinusoidal, learned: added", "once, before the first layer"),
        (400, "rotary: turned", "in every layer"),
    ):
        added = left == 20
        middle = left + 180
        c.text(middle, 36, title, 16, bold=True)
        c.text(middle, 442, often, 13, colour=FAINT)
        c.box(left + 40, 58, 280, 40, "softmax(query · keyᵀ / √Dk) · value", "attention")
        for number, name in enumerate(("query", "key", "value")):
            x = left + 40 + 100 * number
            c.box(x, 238, 80, 38, name, "attention")
            turned = not added and name != "value"
            if turned:
                c.box(x, 148, 80, 50, "turn by\nt · θ", "position")
                c.arrow((x + 40, 238), (x + 40, 201))
                c.arrow((x + 40, 148), (x + 40, 101))
            else:
                c.arrow((x + 40, 238), (x + 40, 101))
            c.arrow((middle, 298), (x + 40, 298), (x + 40, 279))
        if added:
            c.circle(middle, 332, 14, "+", "plain", 18)
            c.box(left + 40, 376, 120, 40, "embedding", "embedding")
            c.box(left + 200, 376, 120, 40, "position t", "position")
            c.arrow((left + 100, 376), (left + 100, 332), (middle - 17, 332))
            c.arrow((left + 260, 376), (left + 260, 332), (middle + 17, 332))
            c.line((middle, 318), (middle, 298))
        else:
            c.box(left + 120, 376, 120, 40, "embedding", "embedding")
            c.line((middle, 376), (middle, 298))
    c.line((390, 60), (390, 416), colour="#cfd8dc", width=1)
    return c


def task():
    """Name the word three places to the left."""
    c = Canvas(
        740,
        250,
        "The task: at each place, name the word three places to the left",
        "A row of eight words, the numbers of a vocabulary, and below it a row of answers. The "
        "answer at place 3 is the word at place 0, the answer at place 4 the word at place 1, and "
        "so on. The first three places have no answer.",
    )
    words = (7, 19, 4, 11, 19, 2, 15, 8)
    c.text(370, 34, "Name the word three places to the left", 16, bold=True)
    c.text(24, 94, "words", 14, "start", bold=True)
    c.text(24, 204, "answers", 14, "start", bold=True)
    for place, word in enumerate(words):
        x = 110 + 76 * place
        c.box(x, 70, 60, 38, str(word), "data")
        c.text(x + 30, 62, str(place), 12, colour=FAINT)
        if place < 3:
            c.text(x + 30, 204, "–", 14, colour=FAINT)
        else:
            c.box(x, 180, 60, 38, str(words[place - 3]), "output")
            c.arrow((x - 198, 110), (x + 30, 177), colour=FAINT, width=1.2)
    return c


FIGURES = {
    "03-bag-of-words": bag_of_words,
    "03-clocks": clocks,
    "03-rotating-pair": rotating_pair,
    "03-where": where,
    "03-task": task,
}
