"""From GPT-2's decoder to today's: one change at a time, at equal parameters, on a novel.

    python benchmarks/decoder.py --seeds 1 2 3
    python benchmarks/decoder.py --seeds 1 --variants gpt2 today
    python benchmarks/decoder.py --try 20        # 20 updates of each; nothing is written
    python benchmarks/decoder.py --seeds 1 --variants gpt2 --rate 1e-3   # neither here

The baseline is GPT-2's layer: LayerNorm, learned positions, GELU, as many heads of keys and values
as of queries, biases. A variant changes one of these; "today" changes all of them, and then is the
library's ``DecoderLM``. The inner width of the feed-forward network is chosen so that every variant
has the baseline's number of parameters, to 0.1 %. All variants of a seed see the same batches in
the same order. The learning rate was chosen for the baseline, with seed 1, on the validation
chapters: peaks of 1e-3, 2e-3 and 5e-3 gave losses of 4.28, 4.11 and 4.43.

Each training has a process of its own, and stands in benchmarks/results/decoder.json as soon as it
is done; one that stands there is not repeated. Losses are nats per token, of the epoch with the
best validation loss; tokens are byte pairs, the same for all.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import time
from datetime import date

os.environ.setdefault("GLOG_v", "3")  # MindSpore: errors only, no notes

import mindspore as ms
from common import RESULTS, machine, write_results
from mindspore import nn

from step_llm.data.arrays import ArrayBatches, stream_arrays
from step_llm.data.novels import read_novel
from step_llm.data.vocabulary import EOS_ID, PAD_ID, Tokenizer
from step_llm.nn.attention import MultiHeadAttention
from step_llm.nn.embedding import Embedding, OutputProjection
from step_llm.nn.feed_forward import FeedForward
from step_llm.nn.initial import NormalWeights
from step_llm.nn.layer_norm import LayerNorm
from step_llm.nn.masks import causal_mask
from step_llm.nn.positions import LearnedPositions
from step_llm.nn.rms_norm import RMSNorm
from step_llm.nn.rotary import rotary_tables
from step_llm.nn.swiglu import SwiGLU
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training.schedule import warmup_learning_rate
from step_llm.training.step import EvaluationStep, TrainStep

SETTINGS = {
    "novel": "pride_and_prejudice", "bpe_vocab_size": 1000, "length": 64, "rows": 24,
    "d_model": 128, "num_heads": 4, "num_layers": 3, "dropout": 0.1,
    "epochs": 4, "warmup_steps": 60, "peak_learning_rate": 2e-3,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Variant:
    """The five choices of a decoder, and the inner width that makes the parameters equal."""

    norm: str = "layer"  # or "rms"
    positions: str = "learned"  # or "rotary"
    feed_forward: str = "gelu"  # or "swiglu"
    num_kv_heads: int = 4
    biases: bool = True
    d_ff: int = 512


VARIANTS = {
    "gpt2": Variant(),
    "rms_norm": Variant(norm="rms", d_ff=513),
    "rotary": Variant(positions="rotary", d_ff=522),
    "swiglu": Variant(feed_forward="swiglu", d_ff=343),
    "2_kv_heads": Variant(num_kv_heads=2, d_ff=576),
    "1_kv_head": Variant(num_kv_heads=1, d_ff=608),
    "no_biases": Variant(biases=False, d_ff=516),
    "today": Variant("rms", "rotary", "swiglu", 2, False, d_ff=395),
}


class Decoder(nn.Cell):
    """Token ids (B, T) to logits (B, T, V): causal layers, pre-norm, with a variant's parts."""

    def __init__(self, variant: Variant, settings: dict, vocab_size: int, seed: int):
        super().__init__()
        d_model, layers = settings["d_model"], settings["num_layers"]
        initial = NormalWeights(seed, branches=2 * layers)
        self.pad_id = PAD_ID
        self.embedding = Embedding(vocab_size, d_model, False, initial)
        self.positions = None
        if variant.positions == "learned":
            self.positions = LearnedPositions(settings["length"], d_model, initial)
        self.d_head = d_model // settings["num_heads"]
        norm = LayerNorm if variant.norm == "layer" else RMSNorm
        self.layers = nn.CellList([Layer(variant, settings, norm, initial) for _ in range(layers)])
        self.final_norm = norm(d_model)
        self.dropout = nn.Dropout(p=settings["dropout"])
        self.output_projection = OutputProjection()

    def construct(self, ids):
        x, rotation = self.embedding(ids), None
        if self.positions is not None:
            x = self.positions(x)
        else:
            rotation = rotary_tables(ids.shape[1], self.d_head)
        x, mask = self.dropout(x), causal_mask(ids.shape[1])
        for layer in self.layers:
            x = layer(x, mask, rotation)
        return self.output_projection(self.final_norm(x), self.embedding.weight)


class Layer(nn.Cell):
    """x + Attention(Norm(x)), then x + FeedForward(Norm(x)): (B, T, D) to (B, T, D)."""

    def __init__(self, variant, settings, norm, initial):
        super().__init__()
        d_model = settings["d_model"]
        self.attention_norm = norm(d_model)
        self.attention = MultiHeadAttention(
            d_model, settings["num_heads"], variant.num_kv_heads, initial,
            biases="all" if variant.biases else "none",
        )  # fmt: skip
        self.feed_forward_norm = norm(d_model)
        if variant.feed_forward == "swiglu":
            self.feed_forward = SwiGLU(d_model, variant.d_ff, initial)
        else:
            self.feed_forward = FeedForward(d_model, variant.d_ff, "gelu_tanh", initial)
            if not variant.biases:
                for linear in (self.feed_forward.inner, self.feed_forward.outer):
                    del linear.bias  # it is a Parameter, and None is none
                    linear.bias = None
        self.dropout = nn.Dropout(p=settings["dropout"])

    def construct(self, x, mask, rotation):
        h = self.attention_norm(x)
        x = x + self.dropout(self.attention(h, h, h, mask, rotation))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


def arrays(settings: dict) -> tuple[dict, Tokenizer]:
    """Inputs and labels of each split, and the tokenizer, which has seen the training chapters."""
    novel = settings["novel"]
    texts = {split: read_novel(novel, split) for split in ("train", "val", "test")}
    tokenizer = Tokenizer.train(texts["train"], "bpe", settings["bpe_vocab_size"])
    encoded = {split: [tokenizer.encode(text) for text in texts[split]] for split in texts}
    streams = {s: stream_arrays(encoded[s], settings["length"], EOS_ID, PAD_ID) for s in encoded}
    return streams, tokenizer


def train(name: str, seed: int, updates: int | None = None, rate: float | None = None) -> dict:
    """One training, and what came out.

    Args:
        name: of the variant.
        seed: of weights, batches and dropout.
        updates: stop after so many.
        rate: a peak learning rate in place of the settings'.
    """
    started = time.perf_counter()
    settings = {**SETTINGS, "peak_learning_rate": rate or SETTINGS["peak_learning_rate"]}
    ms.set_seed(seed)  # of dropout's masks
    streams, tokenizer = arrays(settings)
    model = Decoder(VARIANTS[name], settings, len(tokenizer), seed)
    rows = settings["rows"]
    batches = {
        split: ArrayBatches(streams[split], rows, PAD_ID, split == "train", seed)
        for split in streams
    }
    weights, peak = model.trainable_params(), settings["peak_learning_rate"]
    optimizer = nn.Adam(weights, peak, beta1=0.9, beta2=0.98, eps=1e-9)
    train_step, evaluation_step = TrainStep(model, optimizer), EvaluationStep(model)
    result = {
        "variant": name, "seed": seed, "parameters": sum(weight.size for weight in weights),
        "history": [],
    }  # fmt: skip
    step, best = 0, float("inf")
    with graph_mode():
        for epoch in range(settings["epochs"]):
            model.set_train(True)
            for batch in batches["train"].epoch(epoch):
                step += 1
                rate = warmup_learning_rate(step, settings["warmup_steps"], peak)
                loss = float(train_step(rate, batch).loss.asnumpy())
                if step == updates:
                    break
            validation_loss = evaluation_step.mean(batches["val"])
            result["history"].append(
                {"step": step, "loss": loss, "validation_loss": validation_loss}
            )
            if validation_loss < best:
                best = validation_loss
                result["validation_loss"] = best
                result["test_loss"] = evaluation_step.mean(batches["test"])
            if step == updates:
                break
    result["seconds"] = round(time.perf_counter() - started, 1)
    return result


def stored() -> dict:
    """The results so far: the settings, and a list of runs."""
    path = RESULTS / "decoder.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    return {"settings": SETTINGS, "runs": []}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=tuple(VARIANTS))
    parser.add_argument("--try", type=int, dest="updates", help="so many updates; writes nothing")
    parser.add_argument("--rate", type=float, help="another peak learning rate; writes nothing")
    options = parser.parse_args()
    is_trial = bool(options.updates or options.rate)
    if stored()["settings"] != SETTINGS:
        parser.error(f"the results have other settings; move {RESULTS}/decoder.json aside first")
    for name, seed in [(name, seed) for seed in options.seeds for name in options.variants]:
        done = any((run["variant"], run["seed"]) == (name, seed) for run in stored()["runs"])
        if done and not is_trial:
            print(f"{name}, seed {seed} is there already", flush=True)
            continue
        # A process for each: MindSpore keeps what it has compiled.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            result = pool.apply(train, (name, seed, options.updates, options.rate))
        print(result, flush=True)
        if not is_trial:
            content = stored()
            result |= {"date": date.today().isoformat(), "machine": machine()}
            content["runs"].append(result)
            write_results("decoder", content)


if __name__ == "__main__":
    main()
