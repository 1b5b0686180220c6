"""Train the translator without one of its parts at a time, and write what is left as JSON.

    python benchmarks/ablation.py mini --seeds 1 2 3
    python benchmarks/ablation.py mini --seeds 1 --variants baseline no_positions
    python benchmarks/ablation.py multi30k --seeds 1
    python benchmarks/ablation.py multi30k --try 20     # 20 updates of each; nothing is written

A variant is the baseline with one change: a field of the configuration, a setting of the training,
or a part that is replaced in the finished model. All variants of a seed see the same batches in the
same order, and begin with the same weights where they have the same ones. The recipe is tuned for
the baseline, and for no other variant.

Each training has a process of its own, and stands in benchmarks/results/ablation.json as soon as it
is done; one that stands there is not repeated. A loss that is not finite ends a training: that is a
result, its BLEU is 0. "bleu" is greedy, of the test sentences; "bleu_shuffled" of the same
sentences with their source words in random order; "validation_loss" without label smoothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable
from datetime import date

os.environ.setdefault("GLOG_v", "3")  # MindSpore: errors only, no notes

import mindspore as ms
import numpy as np
from common import RESULTS, machine, write_results
from mindspore import nn, ops

from step_llm.data.batches import Batches, encode_pairs
from step_llm.data.corpus import ParallelText, corpus_folder, read_parallel
from step_llm.data.vocabulary import train_tokenizers
from step_llm.decoding.translator import Translator
from step_llm.evaluation.metrics import score
from step_llm.models.config import TransformerConfig
from step_llm.models.transformer import NoPositions, Transformer
from step_llm.models.weights import set_weights, weights_of
from step_llm.nn.attention import MultiHeadAttention, scaled_dot_product_attention
from step_llm.nn.feed_forward import FeedForward
from step_llm.nn.forms import device_form
from step_llm.nn.layer_norm import LayerNorm
from step_llm.nn.residual import Residual
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training.recipes import RECIPES
from step_llm.training.schedule import warmup_learning_rate
from step_llm.training.step import EvaluationStep, TrainStep

# What the baseline is, and how it is trained. On the embedded corpus the model is small enough for
# a minute on one core; its sentences of more than 20 tokens (4 of 100) are left out, so that there
# is one shape to compile.
SETTINGS = {
    "mini": {
        "model": {
            "d_model": 64, "num_heads": 4, "num_encoder_layers": 2, "num_decoder_layers": 2,
            "d_ff": 128,
        },
        "buckets": (20,), "batch_tokens": 800, "epochs": 2,
        "warmup_steps": 80, "peak_learning_rate": 6e-3,
    },
    "multi30k": {
        "model": {
            "d_model": 128, "num_heads": 4, "num_encoder_layers": 4, "num_decoder_layers": 4,
            "d_ff": 256,
        },
        "buckets": (14, 18, 25, 40), "batch_tokens": 2400, "epochs": 4,
        "warmup_steps": 400, "peak_learning_rate": 3e-3,
    },
}  # fmt: skip
COMMON = {
    "model": {"dropout": 0.1, "norm": "pre", "positions": "sinusoidal", "tied_embeddings": "all"},
    "label_smoothing": 0.1,
    "has_warmup": True,
}


# The parts that are put in the place of others.


class NoSum(nn.Cell):
    """A ``Residual`` without the residual connection: what the sub-layer gives, and no x."""

    def __init__(self, residual: Residual):
        super().__init__()
        self.is_pre, self.norm, self.dropout = residual.is_pre, residual.norm, residual.dropout

    def before(self, x):
        return self.norm(x) if self.is_pre else x

    def after(self, x, output):
        output = self.dropout(output)
        return output if self.is_pre else self.norm(output)


class Zeros(nn.Cell):
    """A sub-layer that adds nothing."""

    def construct(self, x):
        return ops.zeros_like(x)


attention = device_form(scaled_dot_product_attention)


def unscaled_attention(query, key, value, mask=None):
    """softmax(query · keyᵀ) · value: the factor takes the 1/√Dk out again."""
    return attention(query * math.sqrt(query.shape[-1]), key, value, mask)


def replace(model, kind, part: Callable) -> None:
    """Put ``part(old)`` in the place of every part of one kind."""
    for _, owner in list(model.cells_and_names()):
        for name, old in owner.name_cells().items():
            if isinstance(old, kind):
                setattr(owner, name, part(old))


def without_residual(model):
    replace(model, Residual, NoSum)


def without_layer_norm(model):
    replace(model, LayerNorm, lambda old: nn.Identity())


def without_feed_forward(model):
    replace(model, FeedForward, lambda old: Zeros())


def without_positions(model):
    model.source_positions, model.target_positions = NoPositions(), NoPositions()


def without_scale(model):
    for _, cell in model.cells_and_names():
        if isinstance(cell, MultiHeadAttention):
            cell.attention = unscaled_attention


@dataclasses.dataclass(frozen=True)
class Variant:
    """One change of the baseline.

    Args:
        model: fields of ``TransformerConfig``.
        training: settings beside the model, as in COMMON.
        parts: changes the finished model.
    """

    model: dict = dataclasses.field(default_factory=dict)
    training: dict = dataclasses.field(default_factory=dict)
    parts: Callable = lambda model: None


VARIANTS = {
    "baseline": Variant(),
    "nothing_changed": Variant(training={"other_dropout": True}),  # how far luck goes
    "no_residual": Variant(parts=without_residual),
    "no_layer_norm": Variant(parts=without_layer_norm),
    "no_feed_forward": Variant(parts=without_feed_forward),
    "no_scale": Variant(parts=without_scale),
    "no_positions": Variant(parts=without_positions),
    "no_warmup": Variant(training={"has_warmup": False}),
    "no_label_smoothing": Variant(training={"label_smoothing": 0.0}),
    "no_dropout": Variant(model={"dropout": 0.0}),
    "untied_embeddings": Variant(model={"tied_embeddings": "none"}),
    "1_head": Variant(model={"num_heads": 1}),
    "2_heads": Variant(model={"num_heads": 2}),
    "8_heads": Variant(model={"num_heads": 8}),
    "post_norm": Variant(model={"norm": "post"}),
    "post_norm_no_warmup": Variant(model={"norm": "post"}, training={"has_warmup": False}),
    "learned_positions": Variant(model={"positions": "learned"}),
    "rotary_positions": Variant(model={"positions": "rotary"}),
}


def build(variant: Variant, sizes: dict, vocab_size: int, seed: int) -> Transformer:
    """The variant's model. What it has in common with the baseline begins with the same weights."""
    fields = {**COMMON["model"], **sizes}
    baseline = Transformer(TransformerConfig(vocab_size, vocab_size, **fields), seed)
    model = Transformer(
        TransformerConfig(vocab_size, vocab_size, **{**fields, **variant.model}), seed
    )
    set_weights(model, {**weights_of(model), **weights_of(baseline)})
    variant.parts(model)
    for name, weight in model.parameters_and_names():
        weight.name = name  # a part that was put in later has none of its place yet
    return model


def learning_rate(step: int, settings: dict) -> float:
    """The paper's schedule; without warm-up, its peak stands at the beginning and falls as late."""
    if not settings["has_warmup"]:
        step = max(step, settings["warmup_steps"])
    return warmup_learning_rate(step, settings["warmup_steps"], settings["peak_learning_rate"])


class Texts:
    """A corpus's three splits, as text and as ids: the pairs that fit into the longest bucket."""

    def __init__(self, corpus: str, longest: int):
        recipe = RECIPES[corpus]
        texts = {s: read_parallel(corpus_folder(corpus), s) for s in ("train", "val", "test")}
        train = texts["train"]
        self.tokenizers = train_tokenizers(
            train.source, train.target, recipe.tokens, recipe.vocab_size
        )
        self.vocab_size = len(self.tokenizers.target)
        self.encoded = {
            split: encode_pairs(text, self.tokenizers, longest) for split, text in texts.items()
        }
        left_out = {*self.encoded["test"].long_lines, *self.encoded["test"].empty_lines}
        pairs = zip(texts["test"].source, texts["test"].target)
        kept = [pair for number, pair in enumerate(pairs, 1) if number not in left_out]
        self.test = ParallelText(*zip(*kept))


def shuffled(sentences, seed: int) -> list[str]:
    """The words of each sentence in a random order."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.permutation(sentence.split())) for sentence in sentences]


def train(corpus: str, name: str, seed: int, updates: int | None = None) -> dict:
    """One training, and what came out; with ``updates``, stopped after so many."""
    started = time.perf_counter()
    variant = VARIANTS[name]
    settings = {**COMMON, **SETTINGS[corpus], **variant.training}
    ms.set_seed(seed + 1000 if settings.get("other_dropout") else seed)  # of dropout's masks
    texts = Texts(corpus, settings["buckets"][-1])
    model = build(variant, SETTINGS[corpus]["model"], texts.vocab_size, seed)
    shapes = settings["buckets"], settings["batch_tokens"]
    batches = Batches(texts.encoded["train"], *shapes, seed=seed)
    validation = Batches(texts.encoded["val"], *shapes, shuffle=False)
    weights = model.trainable_params()
    optimizer = nn.Adam(weights, settings["peak_learning_rate"], beta1=0.9, beta2=0.98, eps=1e-9)
    train_step = TrainStep(model, optimizer, label_smoothing=settings["label_smoothing"])
    evaluation_step = EvaluationStep(model)
    result = {
        "variant": name, "seed": seed, "parameters": sum(weight.size for weight in weights),
        "diverged_at": None, "history": [],
    }  # fmt: skip
    step = 0
    with graph_mode():
        for epoch in range(settings["epochs"]):
            model.set_train(True)
            for batch in batches.epoch(epoch):
                step += 1
                loss = float(train_step(learning_rate(step, settings), batch).loss.asnumpy())
                if not math.isfinite(loss) or step == updates:
                    break
            validation_loss = evaluation_step.mean(validation)
            result["history"].append(
                {"step": step, "loss": loss, "validation_loss": validation_loss}
            )
            if not math.isfinite(loss + validation_loss):
                result["diverged_at"] = step
                result["history"].pop()  # JSON has no NaN
                break
            if step == updates:
                break
    result["bleu"], result["bleu_shuffled"], result["validation_loss"] = 0.0, 0.0, None
    if result["diverged_at"] is None:
        translator = Translator(model, texts.tokenizers)
        sources = texts.test.source
        for field, source in (("bleu", sources), ("bleu_shuffled", shuffled(sources, seed=0))):
            scores = score(translator.translate(source), texts.test.target)
            result[field] = round(scores.bleu, 2)
        result["validation_loss"] = result["history"][-1]["validation_loss"]
        result["sentences"], result["signature"] = scores.sentences, scores.signature
    result["seconds"] = round(time.perf_counter() - started, 1)
    return result


def stored() -> dict:
    """The results so far: for each corpus its settings and a list of runs."""
    path = RESULTS / "ablation.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def settings_of(corpus: str) -> dict:
    """What all runs on a corpus have in common, as it stands in the results."""
    model = {**COMMON["model"], **SETTINGS[corpus]["model"]}
    return json.loads(json.dumps({**COMMON, **SETTINGS[corpus], "model": model}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", choices=tuple(SETTINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=tuple(VARIANTS))
    parser.add_argument("--try", type=int, dest="updates", help="so many updates; writes nothing")
    options = parser.parse_args()
    corpus = options.corpus
    part = stored().get(corpus, {"settings": settings_of(corpus), "runs": []})
    if part["settings"] != settings_of(corpus):
        parser.error(f"the results of {corpus} have other settings; move {RESULTS} aside first")
    # All variants of a seed before the next seed: so what there is can be compared at any time.
    wanted = [(name, seed) for seed in options.seeds for name in options.variants]
    for name, seed in wanted:
        runs = stored().get(corpus, part)["runs"]
        if not options.updates and any((r["variant"], r["seed"]) == (name, seed) for r in runs):
            print(f"{corpus}: {name}, seed {seed} is there already", flush=True)
            continue
        # A process for each: MindSpore keeps what it has compiled.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            result = pool.apply(train, (corpus, name, seed, options.updates))
        print(f"{corpus}: {result}", flush=True)
        if options.updates:
            continue
        result |= {"date": date.today().isoformat(), "machine": machine()}
        content = stored()  # anew: another process may have written the file meanwhile
        content.setdefault(corpus, part)["runs"].append(result)
        write_results("ablation", content)


if __name__ == "__main__":
    main()
