"""The diagrams of lesson 09: the Vision Transformer."""

from __future__ import annotations

from canvas import FAINT, Canvas

GREY = "#546e7a"
# The fourth of scikit-learn's digits, a 3: ink from 0 to 16.
DIGIT = [
    [0, 0, 7, 15, 13, 1, 0, 0],
    [0, 8, 13, 6, 15, 4, 0, 0],
    [0, 2, 1, 13, 13, 0, 0, 0],
    [0, 0, 2, 15, 11, 1, 0, 0],
    [0, 0, 0, 1, 12, 12, 1, 0],
    [0, 0, 0, 0, 1, 10, 8, 0],
    [0, 0, 8, 4, 5, 14, 9, 0],
    [0, 0, 7, 13, 13, 9, 0, 0],
]
SHOWN = (1, 2, 3, None, 15, 16)  # the patches that the picture shows, counted from 1


def _patch(number):
    row, column = divmod(number - 1, 4)
    return [[DIGIT[2 * row + r][2 * column + c] / 16 for c in (0, 1)] for r in (0, 1)]


def patches() -> Canvas:
    """From an image to a sentence of patches, and through the encoder to a class."""
    canvas = Canvas(
        784,
        500,
        "An image as a sentence of patches",
        "An image of 8 by 8 pixels is cut into 16 patches of 2 by 2 pixels, row by row. The four "
        "numbers of each patch pass one and the same linear map and become a vector. A learned "
        "class token stands before them. Each of the 17 vectors gets the learned vector of its "
        "position. They pass the encoder's layers. Only the first output, that of the class token, "
        "goes to the classifier, which gives ten scores.",
    )
    canvas.text(124, 36, "image: 8 × 8 pixels", 14, bold=True)
    canvas.grid(28, 50, 24, [[value / 16 for value in row] for row in DIGIT], "data")
    for k in range(5):
        canvas.line((28 + 48 * k, 50), (28 + 48 * k, 242), width=2.4)
        canvas.line((28, 50 + 48 * k), (220, 50 + 48 * k), width=2.4)
    for number in (1, 2, 3, 4, 5, 16):
        row, column = divmod(number - 1, 4)
        canvas.text(33 + 48 * column, 63 + 48 * row, str(number), 12, anchor="start", bold=True)
    canvas.text(124, 264, "cut into 16 patches of 2 × 2", 13, colour=GREY)

    left, step = 388, 62
    for place, number in enumerate(SHOWN):
        x = left + place * step
        if number is None:
            for y in (423, 354, 288):
                canvas.text(x + 22, y, "…", 18, colour=GREY)
            continue
        canvas.grid(x, 396, 22, _patch(number), "data")
        canvas.text(x + 22, 458, str(number), 13)
        canvas.arrow((x + 22, 394), (x + 22, 366))
        canvas.box(x, 332, 44, 32, "linear", "feed_forward", 12)
        canvas.arrow((x + 22, 332), (x + 22, 302))
        canvas.box(x, 268, 44, 32, f"+ P{number}", "position", 12)
        canvas.arrow((x + 22, 268), (x + 22, 236))
        canvas.arrow((x + 22, 186), (x + 22, 158), colour=FAINT)
        canvas.line((x + 8, 154), (x + 36, 154), colour=FAINT)
    caption = "a sentence of 16 patches; one linear map for all of them"
    canvas.text(left + 177, 480, caption, 13, colour=GREY)
    canvas.arrow((124, 276), (124, 418), (left - 14, 418))
    canvas.text(246, 408, "one after the other", 13, colour=GREY)

    x = left - step
    canvas.box(x - 9, 332, 62, 38, "class\ntoken", "embedding", 13)
    canvas.arrow((x + 22, 332), (x + 22, 302))
    canvas.box(x, 268, 44, 32, "+ P0", "position", 12)
    canvas.arrow((x + 22, 268), (x + 22, 236))
    caption = "encoder: each token looks at all 17"
    canvas.box(x - 12, 188, 7 * step + 6, 46, caption, "attention", 15)
    canvas.arrow((x + 22, 186), (x + 22, 150))
    canvas.box(x - 24, 114, 92, 34, "classifier", "output", 14)
    canvas.arrow((x + 22, 114), (x + 22, 88))
    canvas.text(x + 22, 78, "10 scores, one for each digit", 13)
    canvas.text(left + 177, 142, "not used for the class", 12, colour=GREY)
    return canvas


FIGURES = {"09-patches": patches}
