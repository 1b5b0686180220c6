"""The course's models side by side on the same tokens; write the results as JSON.

    python benchmarks/family.py language
    python benchmarks/family.py translation --corpus mini
    python benchmarks/family.py translation --corpus multi30k --epochs 3
    python benchmarks/family.py bottleneck --seed 1
    python benchmarks/family.py bottleneck --models lstm --width 256 --epochs 8

language: n-grams, the neural language model and GPT learn the English captions of the embedded
corpus, in the joint byte pairs of its recipe. The perplexity of the test captions is per token of
that vocabulary, the end of each caption counting as one. Which n, k, discount and learning rate,
the validation captions decide; all that was tried stands in the results.

translation: the recurrent translators and the Transformer, each trained by `step_llm train` and
scored by `step_llm evaluate`, as in translation.py. All have the corpus's recipe. Its learning rate
suits the recurrent ones too: after two epochs of the embedded corpus, an LSTM with attention had
nearly three times the validation BLEU of one with a third of that rate.

bottleneck: the LSTM of lesson 01 with and without attention, on the embedded corpus in whole words,
for many more epochs than the lesson has time for. After some of them: the BLEU of all test captions
and of those of each range of lengths, by greedy search. The lesson plots it.

Each model is written to benchmarks/results/family.json as soon as it is done. A run that was
stopped is gone on with; a model that the file already holds is left alone (--again measures it
anew). `python benchmarks/readme.py` puts the results into the README. "minutes" is time spent in
training and validation, compiling included; "parameters" of an n-gram model are the counts that it
needs.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import date
from pathlib import Path

os.environ.setdefault("GLOG_v", "3")  # MindSpore: errors only, no notes

import mindspore as ms
import numpy as np
from common import RESULTS, ROOT, machine, write_results
from mindspore import nn
from translation import result, step_llm

from step_llm.data.batches import Batches, encode_pairs, encode_texts
from step_llm.data.corpus import corpus_folder, read_parallel
from step_llm.data.vocabulary import train_tokenizers
from step_llm.decoding.translator import Translator
from step_llm.evaluation.metrics import perplexity, score
from step_llm.models.gpt import GPT, GPTConfig
from step_llm.models.neural_lm import NeuralLM, NeuralLMConfig
from step_llm.models.ngram import AddK, KneserNey
from step_llm.models.recurrent import RecurrentConfig, RecurrentTranslator
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training.checkpoint import load_model
from step_llm.training.config import TrainingConfig
from step_llm.training.recipes import RECIPES
from step_llm.training.schedule import warmup_learning_rate
from step_llm.training.step import EvaluationStep, TrainStep
from step_llm.training.trainer import Trainer

LANGUAGE_MODELS = ("add_k", "kneser_ney", "neural_lm", "gpt")
TRANSLATORS = (
    "rnn", "rnn-attention", "lstm", "lstm-attention", "gru", "gru-attention", "transformer",
)  # fmt: skip

ORDERS = (1, 2, 3, 4, 5, 6)
# What is tried with each order: k of add-k, the discount of Kneser-Ney.
SMOOTHING = {
    "add_k": (0.1, 0.01, 0.003, 0.001, 0.0003, 0.0001),
    "kneser_ney": (0.6, 0.75, 0.85, 0.9, 0.95),
}
PEAK_LEARNING_RATES = {"neural_lm": (2e-3, 5e-3), "gpt": (1e-3, 3e-3)}
LANGUAGE_EPOCHS = {"neural_lm": 16, "gpt": 6}  # an epoch of GPT takes several times as long
TEXT_BUCKETS = (14, 28)  # no caption is longer

BOTTLENECK = ("lstm", "lstm-attention")
BOTTLENECK_EPOCHS = (1, 2, 4, 8, 16, 24)  # after which BLEU is measured
# The least and the most words of a German caption; about a quarter of the test captions each.
LENGTHS = ((3, 7), (8, 9), (10, 11), (12, 16))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    tasks = parser.add_subparsers(dest="task", required=True)
    language = tasks.add_parser("language")
    language.add_argument("--models", nargs="+", choices=LANGUAGE_MODELS, default=LANGUAGE_MODELS)
    translation = tasks.add_parser("translation")
    translation.add_argument("--corpus", choices=("mini", "multi30k"), default="mini")
    translation.add_argument("--models", nargs="+", choices=TRANSLATORS, default=TRANSLATORS)
    translation.add_argument("--epochs", type=int, help="instead of the recipe's")
    by_length = tasks.add_parser("bottleneck")
    by_length.add_argument("--models", nargs="+", choices=BOTTLENECK, default=BOTTLENECK)
    by_length.add_argument("--width", type=int, default=128, help="d_model")
    by_length.add_argument("--epochs", type=int, default=BOTTLENECK_EPOCHS[-1])
    for task in (language, translation, by_length):
        task.add_argument("--seed", type=int, default=1)
        task.add_argument("--again", action="store_true", help="also what the results already hold")
        task.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmark" / "family")
        task.add_argument("--remark", help="what a reader of the README should know")
    options = parser.parse_args()
    part = options.corpus if options.task == "translation" else options.task
    captions = Captions() if part == "language" else None
    for name in options.models:
        key = name
        if part == "bottleneck":
            key += f"-width{options.width}-seed{options.seed}"
        if not options.again and key in stored().get(part, {}):
            print(f"{part}: {key} is there already", flush=True)
            continue
        if name in SMOOTHING:
            run = counted(name, captions)
        elif part == "language":
            run = trained(name, captions, options)
        elif part == "bottleneck":
            run = scored_by_length(name, options)
        else:
            run = translator(name, options)
        print(f"{part}: {key}: {run}", flush=True)
        run = {"name": name, "seed": options.seed, **run}
        run |= {"date": date.today().isoformat(), "machine": machine()}
        if options.remark:
            run["remark"] = options.remark
        # Read anew: another process may have written the file meanwhile.
        content = stored()
        content.setdefault(part, {})[key] = run
        write_results("family", content)


def stored() -> dict:
    """The results so far: for each part, runs by name."""
    path = RESULTS / "family.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


# Language models


class Captions:
    """The English side of the embedded corpus, in the vocabulary that its translators use."""

    def __init__(self):
        recipe = RECIPES["mini"]
        texts = {s: read_parallel(corpus_folder("mini"), s) for s in ("train", "val", "test")}
        self.tokenizer = train_tokenizers(
            texts["train"].source, texts["train"].target, recipe.tokens, recipe.vocab_size
        ).target
        self.encoded = {
            split: encode_texts(text.target, self.tokenizer, TEXT_BUCKETS[-1], text.name)
            for split, text in texts.items()
        }
        self.ids, self.tokens = {}, {}
        for split, encoded in self.encoded.items():
            if encoded.empty_lines or encoded.long_lines:
                raise ValueError(f"expected all captions to be of use, but {encoded.report}")
            # n-gram models put begin and end around a text themselves.
            self.ids[split] = [ids[1:-1].tolist() for ids in encoded.target]
            self.tokens[split] = sum(len(ids) + 1 for ids in self.ids[split])

    def held_out(self, split):
        """Batches to measure on."""
        longest = TEXT_BUCKETS[-1]
        return Batches(self.encoded[split], (longest,), 100 * longest, shuffle=False)

    def facts(self) -> dict:
        """What all language models have in common."""
        return {"vocab_size": RECIPES["mini"].vocab_size, "test_tokens": self.tokens["test"]}


def counted(name, captions):
    """An n-gram model of the order and the smoothing with the lowest validation perplexity."""
    tried, best = [], None
    for order in ORDERS:
        started = time.perf_counter()
        kind = AddK if name == "add_k" else KneserNey
        model = kind(captions.ids["train"], order, len(captions.tokenizer))
        minutes = (time.perf_counter() - started) / 60
        for value in SMOOTHING[name]:
            setting = {"order": order, **smooth(model, value)}
            validation = model.perplexity(captions.ids["val"])
            tried.append({**setting, "validation_perplexity": round(validation, 3)})
            if best is None or validation < best[0]:
                best = validation, model, value, setting, minutes
    validation, model, value, setting, minutes = best
    smooth(model, value)
    return {
        "test_perplexity": round(model.perplexity(captions.ids["test"]), 3),
        "validation_perplexity": round(validation, 3),
        "parameters": needed_counts(name, model),
        "minutes": round(minutes, 4),
        **captions.facts(),
        "chosen": setting,
        "tried": tried,
    }


def smooth(model, value) -> dict:
    """Give a model its k or its discount; the counts stay. Returns the setting by name."""
    if isinstance(model, AddK):
        model.k = value
        return {"k": value}
    model.discount = model.unigram_discount = value
    return {"discount": value}


def needed_counts(name, model):
    """How many counts the formula reads: add-k's n-grams; Kneser-Ney's, and all shorter ones."""
    orders = model.counts if name == "kneser_ney" else model.counts[-1:]
    return sum(len(tokens) for contexts in orders for tokens in contexts.values())


def trained(name, captions, options):
    """A neural model with the learning rate that has the lowest validation perplexity."""
    tried, best = [], None
    for peak in PEAK_LEARNING_RATES[name]:
        out = options.runs / f"{name}-{peak:g}-seed{options.seed}"
        config = TrainingConfig(
            epochs=LANGUAGE_EPOCHS[name], warmup_steps=150, peak_learning_rate=peak,
            label_smoothing=0.0, average=3, seed=options.seed,
        )  # fmt: skip
        training = Batches(captions.encoded["train"], TEXT_BUCKETS, 1200, seed=options.seed)
        model = new_language_model(name, len(captions.tokenizer), options.seed)
        trainer = Trainer(
            model, captions.tokenizer, training, captions.held_out("val"), config, out,
            progress=False,
        )  # fmt: skip
        trainer.resume()
        trainer.fit()
        model, _ = load_model(out)
        validation = measured(model, captions, "val")
        tried.append({"peak_learning_rate": peak, "validation_perplexity": round(validation, 3)})
        if best is None or validation < best[0]:
            best = validation, model, trainer
    validation, model, trainer = best
    return {
        "test_perplexity": round(measured(model, captions, "test"), 3),
        "validation_perplexity": round(validation, 3),
        "parameters": parameters(model),
        "minutes": round(trainer.state["seconds"] / 60, 2),
        "epochs": trainer.state["epoch"],
        "updates": trainer.state["step"],
        **captions.facts(),
        "chosen": {"peak_learning_rate": trainer.config.peak_learning_rate},
        "tried": tried,
        "model": vars(model.config),
    }


def new_language_model(name, vocab_size, seed):
    if name == "neural_lm":
        config = NeuralLMConfig(vocab_size, order=5, d_model=64, hidden_size=128, dropout=0.1)
        return NeuralLM(config, seed)
    return GPT(GPTConfig(vocab_size, num_layers=4, d_ff=256, max_length=32), seed)


def measured(model, captions, split):
    """The perplexity of a split, over the same tokens as that of the n-gram models."""
    step = EvaluationStep(model)
    with graph_mode():
        sums = [
            [float(value.asnumpy()) for value in step(arrays)]
            for arrays in captions.held_out(split).epoch()
        ]
    loss, tokens = np.sum(sums, axis=0)
    if tokens != captions.tokens[split]:
        raise ValueError(f"{tokens:.0f} tokens measured; expected {captions.tokens[split]}")
    return perplexity(loss / tokens)


def parameters(model):
    return sum(parameter.size for parameter in model.get_parameters())


# Translators


def translator(name, options):
    """A translator trained and scored by the command line."""
    corpus, seed = options.corpus, options.seed
    cell, _, attention = name.partition("-")
    arguments = ["--corpus", corpus, "--arch", cell, "--seed", seed]
    if cell != "transformer":
        arguments += ["--attention" if attention else "--no-attention"]
    if options.epochs:
        arguments += ["--epochs", options.epochs]
    out = options.runs / f"{corpus}-{name}-seed{seed}"
    step_llm("train", *arguments, "--out", out, "--resume")
    scores = json.loads(step_llm("evaluate", out, "--json", capture=True))
    model, _ = load_model(out)
    return {"parameters": parameters(model), **result(out, seed, scores)}


# The bottleneck


def scored_by_length(name, options):
    """Train lesson 01's translator; BLEU by length of the source after several epochs."""
    seed = options.seed
    texts = {split: read_parallel(corpus_folder("mini"), split) for split in ("train", "test")}
    tokenizers = train_tokenizers(
        texts["train"].source, texts["train"].target, kind="word", min_freq=1, shared=False
    )
    batches = Batches(encode_pairs(texts["train"], tokenizers, 26), (14, 26), 1200, seed=seed)
    ms.set_seed(seed)  # of dropout
    config = RecurrentConfig(
        len(tokenizers.source), len(tokenizers.target), cell="lstm", d_model=options.width,
        has_attention=name.endswith("attention"), tied_embeddings="output", dropout=0.1,
    )  # fmt: skip
    model = RecurrentTranslator(config, seed)
    training = {"warmup_steps": 100, "peak_learning_rate": 3e-3, "clip_norm": 1.0}
    optimizer = nn.Adam(model.trainable_params(), beta2=0.98, eps=1e-9)
    step = TrainStep(model, optimizer, clip_norm=training["clip_norm"])
    by_epoch, seconds, updates = [], 0.0, 0
    for epoch in range(options.epochs):
        started, losses = time.perf_counter(), []
        model.set_train(True)
        with graph_mode():
            for arrays in batches.epoch(epoch):
                updates += 1
                rate = warmup_learning_rate(
                    updates, training["warmup_steps"], training["peak_learning_rate"]
                )
                losses.append(float(step(rate, arrays).loss.asnumpy()))
        seconds += time.perf_counter() - started
        model.set_train(False)
        if epoch + 1 in (*BOTTLENECK_EPOCHS, options.epochs):
            found = Translator(model, tokenizers).translate(texts["test"].source)
            by_epoch.append(
                {
                    "epoch": epoch + 1,
                    "loss": round(float(np.mean(losses)), 4),
                    "bleu": round(score(found, texts["test"].target).bleu, 2),
                    "bleu_by_length": [
                        round(score(*pairs_of_length(texts["test"], found, *limits)).bleu, 2)
                        for limits in LENGTHS
                    ],
                }
            )
            print(f"bottleneck: {name}, seed {seed}: {by_epoch[-1]}", flush=True)
    return {
        "parameters": parameters(model),
        "minutes": round(seconds / 60, 2),
        "updates": updates,
        "lengths": LENGTHS,
        "by_epoch": by_epoch,
        "training": training,
        "model": vars(config),
    }


def pairs_of_length(text, found, shortest, longest):
    """Translations and references of the sources with so many words."""
    here = [n for n, source in enumerate(text.source) if shortest <= len(source.split()) <= longest]
    return [found[n] for n in here], [text.target[n] for n in here]


if __name__ == "__main__":
    main()
