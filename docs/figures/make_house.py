"""Draw docs/figures/house.svg: the rooms of step_llm, and which may import which.

python docs/figures/make_house.py            write it
python docs/figures/make_house.py --check    exit status 1 if the file differs
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "notebooks" / "figures"))

from canvas import FAINT, Canvas  # noqa: E402 (the path is set above)

# room: (x, y, width, kind, what it holds)
ROOMS = {
    "cli": (30, 20, 300, "plain", "commands: fetch, train, resume, …"),
    "course": (350, 20, 300, "plain", "exercise checks, lesson helpers"),
    "training": (30, 110, 620, "norm", "loss · step · trainer · checkpoints · run folder"),
    "decoding": (30, 200, 300, "output", "decoders · search · sampling"),
    "evaluation": (350, 200, 300, "output", "BLEU, chrF, perplexity · plots"),
    "models": (30, 290, 300, "attention", "Transformer · recurrent · GPT · BERT · ViT"),
    "data": (350, 290, 300, "data", "vocabulary · corpus · batches"),
    "nn": (30, 380, 300, "embedding", "the paper's boxes · forms: cpu, gpu, ascend"),
    "runtime": (350, 380, 300, "feed_forward", "device · graph mode · OpenI"),
}
HEIGHT = 64


def house() -> Canvas:
    picture = Canvas(
        680, 470, "The rooms of step_llm",
        "Nine boxes in five rows, from cli and course at the top, over training, decoding and "
        "evaluation, models and data, to nn and runtime at the bottom; imports point downward.",
    )  # fmt: skip
    for name, (x, y, width, kind, holds) in ROOMS.items():
        picture.box(x, y, width, HEIGHT, kind=kind)
        picture.text(x + width / 2, y + 27, name, size=16, bold=True)
        picture.text(x + width / 2, y + 48, holds, size=12)
    for y in (84, 174, 264, 354):
        for x in (180, 500):
            picture.arrow((x, y + 2), (x, y + 24), colour=FAINT)
    return picture


if __name__ == "__main__":
    path, drawn = HERE / "house.svg", house().svg()
    if "--check" in sys.argv:
        sys.exit(path.read_text(encoding="utf-8") != drawn)
    path.write_text(drawn, encoding="utf-8")
