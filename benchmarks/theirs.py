"""The peers' side of the comparison: PyTorch's nn.Transformer, Hugging Face's MarianMTModel.

    echo '{"option": value, …}' | .venv-golden/bin/python benchmarks/theirs.py TASK

The same tasks, options and results as ours.py.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import sys
import time

import numpy as np
import torch
from common import cores, peak_memory_mib, timed
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

PRESETS = {
    "tiny": (128, 4, 4, 256, 4),
    "small": (256, 3, 3, 512, 8),
    "base": (512, 6, 6, 2048, 8),
}
PAD, BOS, EOS = 0, 1, 2


class Model(nn.Module):
    """nn.Transformer with embeddings, sinusoidal positions and the projection to the words."""

    def __init__(self, preset, vocab, tied=False, norm_first=False):
        super().__init__()
        d_model, encoder_layers, decoder_layers, d_ff, heads = PRESETS[preset]
        self.scale = math.sqrt(d_model)
        self.target = nn.Embedding(vocab, d_model)
        self.source = self.target if tied else nn.Embedding(vocab, d_model)
        self.dropout = nn.Dropout(0.1)
        self.transformer = nn.Transformer(
            d_model, heads, encoder_layers, decoder_layers, d_ff, 0.1, batch_first=True,
            norm_first=norm_first,
        )  # fmt: skip
        self.output = nn.Linear(d_model, vocab, bias=False)
        if tied:
            self.output.weight = self.target.weight
        angle = torch.arange(512)[:, None] / 10000 ** (torch.arange(0, d_model, 2) / d_model)
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(512, d_model)
        self.register_buffer("positions", table)

    def forward(self, source, target):
        is_padding = source == PAD
        return self.decode(target, self.encode(source, is_padding), is_padding)

    def encode(self, source, is_padding):
        return self.transformer.encoder(
            self._embed(self.source, source), src_key_padding_mask=is_padding
        )

    def decode(self, target, memory, is_padding):
        length = target.shape[1]
        hidden = self.transformer.decoder(
            self._embed(self.target, target),
            memory,
            tgt_mask=torch.ones(length, length, dtype=torch.bool).triu(1),
            tgt_is_causal=True,
            tgt_key_padding_mask=target == PAD,
            memory_key_padding_mask=is_padding,
        )
        return self.output(hidden)

    def _embed(self, embedding, ids):
        return self.dropout(embedding(ids) * self.scale + self.positions[: ids.shape[1]])


def trainer(model, label_smoothing=0.0):
    adam = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9)
    loss_function = nn.CrossEntropyLoss(ignore_index=PAD, label_smoothing=label_smoothing)

    def train_step(source, target, labels, learning_rate=1e-4):
        adam.param_groups[0]["lr"] = learning_rate
        adam.zero_grad()
        logits = model(source, target)
        loss = loss_function(logits.flatten(0, 1), labels.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        return loss.item()

    return train_step


def step(options):
    train_step = trainer(Model(options["preset"], options["vocab"]).train())
    rng = np.random.default_rng(0)
    shape = options["rows"], options["length"]
    arrays = [torch.from_numpy(rng.integers(4, options["vocab"], shape)) for _ in range(3)]

    found = timed(lambda: train_step(*arrays), min(options["warmup"], 5), options["steps"])
    return {**found, "peak_memory_mib": peak_memory_mib()}


def epoch(options):
    loader = _loader(options)
    train_step = trainer(Model(options["preset"], options["vocab"], tied=True).train())
    for _, arrays in zip(range(16), loader):
        train_step(*arrays)
    started = time.perf_counter()
    tokens = 0
    for arrays in loader:
        train_step(*arrays)
        tokens += int((arrays[2] != PAD).sum())
    return {
        "seconds": time.perf_counter() - started,
        "tokens": tokens,
        "peak_memory_mib": peak_memory_mib(),
    }


def target(options):
    """Minutes of training until greedy BLEU on the validation set is what is asked for."""
    from sacrebleu.metrics import BLEU

    torch.manual_seed(options["seed"])
    started = time.perf_counter()
    model = Model(options["preset"], options["vocab"], tied=True, norm_first=True)
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and "transformer" in name:
            nn.init.xavier_uniform_(weight)
    nn.init.normal_(model.target.weight, std=model.scale**-1)
    train_step = trainer(model, label_smoothing=0.1)
    bleu, epochs, updates = BLEU(lowercase=True), 0, 0
    best = 0.0
    while best < options["target"] and epochs < options["most_epochs"]:
        model.train()
        for arrays in _loader(options, seed=epochs):
            updates += 1
            warmup = options["warmup"]
            rate = options["peak"] * min(updates / warmup, (warmup / updates) ** 0.5)
            train_step(*arrays, rate)
        epochs += 1
        model.eval()
        found = _greedy(model, options["validation"], options["pieces"])
        best = max(best, bleu.corpus_score(found, [options["references"]]).score)
    return {
        "minutes": (time.perf_counter() - started) / 60,
        "epochs": epochs,
        "validation_bleu": best,
    }


def _greedy(model, sources, pieces, rows=128, longest=64):
    """Translations, as nn.Transformer's users write the loop: it has no cache."""
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    texts = [""] * len(sources)
    with torch.inference_mode():
        for begin in range(0, len(order), rows):
            places = order[begin : begin + rows]
            source = pad_sequence(
                [torch.tensor(sources[i]) for i in places], batch_first=True, padding_value=PAD
            )
            memory_mask = source == PAD
            memory = model.encode(source, memory_mask)
            ids = torch.full((len(places), 1), BOS)
            is_ended = torch.zeros(len(places), dtype=torch.bool)
            while not is_ended.all() and ids.shape[1] <= longest:
                logits = model.decode(ids, memory, memory_mask)[:, -1]
                chosen = torch.where(is_ended, PAD, logits.argmax(-1))
                ids = torch.cat([ids, chosen[:, None]], dim=1)
                is_ended |= chosen == EOS
            for i, row in zip(places, ids[:, 1:].tolist()):
                row = row[: row.index(EOS)] if EOS in row else row
                texts[i] = "".join(pieces[token] for token in row).strip()
    return texts


def _loader(options, seed=0):
    """Multi30k's pairs, sorted by length into batches of so many positions, in random order."""
    stored = np.load(options["pairs"])
    sources, targets = (
        [
            torch.from_numpy(ids.astype(np.int64))
            for ids in np.split(stored[f"{s}_ids"], np.cumsum(stored[f"{s}_lengths"])[:-1])
        ]
        for s in ("source", "target")
    )
    order = sorted(range(len(sources)), key=lambda i: max(len(sources[i]), len(targets[i]) - 1))
    batches, batch = [], []
    for i in order:
        longest = max(len(sources[i]), len(targets[i]) - 1)
        if longest * (len(batch) + 1) > options["batch_tokens"]:
            batches.append(batch)
            batch = []
        batch.append(i)
    batches.append(batch)
    random.Random(seed).shuffle(batches)

    def collate(pairs):
        source, target = zip(*pairs)
        return (
            pad_sequence(source, batch_first=True, padding_value=PAD),
            pad_sequence([ids[:-1] for ids in target], batch_first=True, padding_value=PAD),
            pad_sequence([ids[1:] for ids in target], batch_first=True, padding_value=PAD),
        )

    return DataLoader(list(zip(sources, targets)), batch_sampler=batches, collate_fn=collate)


def _marian(options):
    from transformers import MarianConfig, MarianMTModel

    d_model, encoder_layers, decoder_layers, d_ff, heads = PRESETS[options["preset"]]
    torch.manual_seed(0)
    config = MarianConfig(
        vocab_size=options["vocab"], decoder_vocab_size=options["vocab"], d_model=d_model,
        encoder_layers=encoder_layers, decoder_layers=decoder_layers, encoder_ffn_dim=d_ff,
        decoder_ffn_dim=d_ff, encoder_attention_heads=heads, decoder_attention_heads=heads,
        activation_function="relu", scale_embedding=True, pad_token_id=PAD, bos_token_id=BOS,
        eos_token_id=EOS, decoder_start_token_id=BOS, forced_eos_token_id=None,
        max_position_embeddings=512,
    )  # fmt: skip
    return MarianMTModel(config).eval()


def _generate(model, sources, length, beam):
    ids = pad_sequence([torch.tensor(s) for s in sources], batch_first=True, padding_value=PAD)
    beams = {"length_penalty": 0.6} if beam > 1 else {}
    with torch.inference_mode():
        return model.generate(
            input_ids=ids, attention_mask=(ids != PAD).long(), num_beams=beam, do_sample=False,
            min_new_tokens=length, max_new_tokens=length, use_cache=True, **beams,
        )  # fmt: skip


def decode(options):
    model = _marian(options)
    _generate(model, *options["batches"][0], options["beam"])
    started = time.perf_counter()
    for sources, length in options["batches"]:
        out = _generate(model, sources, length, options["beam"])
        assert out.shape[1] == length + 1, (out.shape, length)
    return {
        "seconds": time.perf_counter() - started,
        "sentences": sum(len(batch[0]) for batch in options["batches"]),
    }


def one(options):
    model = _marian(options)
    seconds = []
    for sources, length in options["batches"][:5] + options["batches"]:
        started = time.perf_counter()
        _generate(model, sources, length, options["beam"])
        seconds.append(time.perf_counter() - started)
    seconds = seconds[5:]
    return {"median": statistics.median(seconds), "p95": float(np.percentile(seconds, 95))}


def operations(options):
    """As ours.py's: each operation of a decoding step alone, and a step of Marian's generate."""
    rows, vocab, chain = options["rows"], options["vocab"], options["chain"]
    d_model, _, _, d_ff, heads = PRESETS[options["preset"]]
    kept = torch.randn(rows, heads, 32, d_model // heads)
    vectors, query = (rows, d_model), (rows, heads, 1, d_model // heads)

    def attend(x):
        return nn.functional.scaled_dot_product_attention(x, kept, kept)

    def feed_forward():
        return nn.Sequential(nn.Linear(d_model, d_ff), nn.ReLU(), nn.Linear(d_ff, d_model))

    cases = {
        "projection": (vectors, [nn.Linear(d_model, d_model) for _ in range(chain)]),
        "feed-forward": (vectors, [feed_forward() for _ in range(chain)]),
        "attention": (query, [attend] * chain),
        "LayerNorm": (vectors, [nn.LayerNorm(d_model) for _ in range(chain)]),
        "vocabulary": (
            vectors,
            [nn.Sequential(nn.Linear(d_model, vocab, bias=False), nn.LogSoftmax(-1))],
        ),
    }
    seconds = {}
    with torch.inference_mode():
        for name, (shape, cells) in cases.items():
            x = torch.randn(shape)

            def run(x=x, cells=cells):
                for cell in cells:
                    x = cell(x)

            seconds[name] = timed(run, 60, 60)["seconds"] / len(cells)
    model, sources = _marian(options), np.full((rows, 16), 5).tolist()
    length = 24
    found = timed(lambda: _generate(model, sources, length, 1), 2, 5)["seconds"]
    return {**seconds, "step": found / length}


TASKS = {f.__name__: f for f in (step, epoch, target, decode, one, operations)}


if __name__ == "__main__":
    torch.set_num_threads(cores())
    print(json.dumps(TASKS[sys.argv[1]](json.load(sys.stdin))))
