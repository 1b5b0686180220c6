"""Golden values of the recurrent translator: what PyTorch's own recurrent layers compute.

    python tests/golden/make_recurrent.py            write the .npz files under recurrent/
    python tests/golden/make_recurrent.py --check    compute them again and compare

Made with torch==2.13.0 on the CPU, in float32; `tests/test_recurrent.py` compares the library with
the files. The encoder here is PyTorch's bidirectional layer over packed sequences: no padding ever
reaches it.

Every file holds source, target, output.logits, a cotangent, and for each weight, under our name,
weight.<name> and gradient.<name>, the gradient of sum(logits × cotangent).
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import command
import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

FOLDER = Path(__file__).resolve().parent / "recurrent"
TOLERANCE = 3e-6  # as in make_golden.py
WIDTH, LAYERS, SOURCES, TARGETS = 12, 2, 7, 5
SOURCE_VOCABULARY, TARGET_VOCABULARY = 17, 13
LENGTHS = (4, 7, 1)
CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
# name: (seed, cell, attention, standard deviation of its weights, and of all others).
# In a recurrence, larger weights magnify every difference in rounding. In the attention, smaller
# ones make the query's gradient a difference of nearly equal numbers. An LSTM's states are small.
CASES = {
    "rnn": (1, "rnn", True, 0.5, 0.5),
    "lstm": (2, "lstm", True, 0.7, 0.7),
    "gru": (3, "gru", True, 0.5, 0.5),
    "lstm_one_vector": (4, "lstm", False, None, 0.7),
}


class Translator(nn.Module):
    """The formula of ``step_llm.recurrent.RecurrentTranslator``, in PyTorch."""

    def __init__(self, cell, has_attention):
        super().__init__()
        self.source_embedding = nn.Embedding(SOURCE_VOCABULARY, WIDTH)
        self.target_embedding = nn.Embedding(TARGET_VOCABULARY, WIDTH)
        kind = CELLS[cell]
        self.is_lstm = cell == "lstm"
        self.encoder_layers = nn.ModuleList(
            kind(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True) for _ in range(LAYERS)
        )
        self.bridges = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))
        self.decoder_layers = nn.ModuleList(
            kind(WIDTH, WIDTH, batch_first=True) for _ in range(LAYERS)
        )
        self.attention = None
        if has_attention:
            self.attention = nn.ModuleDict(
                {
                    "query_projection": nn.Linear(WIDTH, WIDTH, bias=False),
                    "key_projection": nn.Linear(WIDTH, WIDTH, bias=False),
                    "score": nn.Linear(WIDTH, 1, bias=False),
                }
            )
        self.combine = nn.Linear(2 * WIDTH, WIDTH)
        self.output_weight = nn.Parameter(torch.zeros(TARGET_VOCABULARY, WIDTH))

    def forward(self, source, target):
        lengths = torch.tensor(LENGTHS)
        x = self.source_embedding(source) * math.sqrt(WIDTH)
        first = []
        for layer, bridge in zip(self.encoder_layers, self.bridges):
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            packed, last = layer(packed)
            x, _ = pad_packed_sequence(packed, batch_first=True, total_length=SOURCES)
            last = last[0] if self.is_lstm else last
            sentence = torch.cat([last[0], last[1]], -1)
            first.append(torch.tanh(bridge(sentence)))
        y = self.target_embedding(target) * math.sqrt(WIDTH)
        for layer, state in zip(self.decoder_layers, first):
            state = state[None]
            y, _ = layer(y, (state, torch.zeros_like(state)) if self.is_lstm else state)
        if self.attention is None:
            context = sentence[:, None].expand(-1, TARGETS, -1)
        else:
            query = self.attention["query_projection"](y)[:, :, None]
            key = self.attention["key_projection"](x)[:, None]
            scores = self.attention["score"](torch.tanh(query + key))[..., 0]
            is_padding = torch.arange(SOURCES)[None] >= lengths[:, None]
            scores = scores.masked_fill(is_padding[:, None], -math.inf)
            context = scores.softmax(-1) @ x
        return torch.tanh(self.combine(torch.cat([y, context], -1))) @ self.output_weight.T


def our_name(name):
    """PyTorch has both directions in one layer, the library has a layer for each."""
    if name.endswith("_reverse"):
        return re.sub("^encoder", "backward", name).removesuffix("_reverse")
    return re.sub("^encoder", "forward", name)


def make(name):
    seed, cell, has_attention, attention, others = CASES[name]
    rng = np.random.default_rng(seed)
    # In float64, so that the values are the formula's, and the same on every processor.
    model = Translator(cell, has_attention).double()
    with torch.no_grad():
        for part, weight in model.named_parameters():
            scale = attention if part.startswith("attention.") else others
            values = rng.normal(0.0, scale, tuple(weight.shape)).astype(np.float32)
            weight.copy_(torch.from_numpy(values))
    source = rng.integers(1, SOURCE_VOCABULARY, (len(LENGTHS), SOURCES))
    source[np.arange(SOURCES) >= np.array(LENGTHS)[:, None]] = 0
    target = rng.integers(1, TARGET_VOCABULARY, (len(LENGTHS), TARGETS))
    logits = model(torch.from_numpy(source), torch.from_numpy(target))
    cotangent = rng.normal(size=tuple(logits.shape)).astype(np.float32)
    weights = dict(model.named_parameters())
    gradients = torch.autograd.grad(
        (logits * torch.from_numpy(cotangent).double()).sum(), list(weights.values())
    )
    arrays = {
        "source": source, "target": target, "cotangent": cotangent,
        "output.logits": logits.detach().float().numpy(),
    }  # fmt: skip
    for (theirs, weight), gradient in zip(weights.items(), gradients):
        arrays[f"weight.{our_name(theirs)}"] = weight.detach().float().numpy()
        arrays[f"gradient.{our_name(theirs)}"] = gradient.float().numpy()
    return arrays


def difference(made, stored):
    """What differs first between two files' arrays, as a sentence; None if they agree."""
    if sorted(made) != sorted(stored):
        return f"holds other arrays: {sorted(set(made) ^ set(stored))}"
    for name, new in made.items():
        old = stored[name]
        if new.shape != old.shape or new.dtype != old.dtype:
            return f"{name} has another shape or type than made again"
        if name.startswith(("output.", "gradient.")):
            off = np.abs(new - old).max() / np.abs(old).max()
            if not off <= TOLERANCE:  # not «>»: NaN must fail
                return f"{name} is off by {off:.1e}, more than {TOLERANCE:.0e}"
        elif not np.array_equal(new, old):
            return f"{name} is not the same as made again"
    return None


def check(folder):
    """Compute every file again; returns the exit status, 1 at the first difference."""
    if {path.stem for path in folder.glob("*.npz")} != set(CASES):
        print(f"{folder} does not hold the files {', '.join(CASES)}")
        return 1
    for name in CASES:
        with np.load(folder / f"{name}.npz") as file:
            wrong = difference(make(name), dict(file))
        if wrong:
            print(f"{name}: {wrong}")
            return 1
    print(f"{len(CASES)} golden recurrent models agree with PyTorch {torch.__version__}")
    return 0


def write(folder):
    folder.mkdir(exist_ok=True)
    for name in CASES:
        np.savez_compressed(folder / f"{name}.npz", **make(name))
        print(f"{name}: {(folder / f'{name}.npz').stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(command.run("recurrent models", FOLDER, check, write))
