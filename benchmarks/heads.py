"""What the heads of a trained translator know, and what it loses without them; results as JSON.

    python benchmarks/heads.py mini
    python benchmarks/heads.py multi30k

Takes the run that `python benchmarks/translation.py CORPUS --seeds 1` has made, or the one that
--run names. Alignment: the links that each head of the cross-attention gives for the sentences of
notebooks/data/gold_alignment.txt, against those made by hand. Pruning: validation loss without one
head, without all heads of a layer but one, and loss and BLEU without ever more heads, in the order
of what each costs alone. A head is taken out by setting its columns of the output projection to 0.
The results go to benchmarks/results/heads.json, a part for each corpus; lesson 05 shows them.
"""

from __future__ import annotations

import argparse
import json
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np
from common import RESULTS, ROOT, machine, write_results
from mindspore import Tensor

import step_llm
from step_llm.evaluation.alignment import (
    alignment_error_rate,
    diagonal_links,
    read_gold_alignment,
    strongest_links,
    word_places,
)
from step_llm.training.step import EvaluationStep

GOLD = ROOT / "notebooks" / "data" / "gold_alignment.txt"
STEPS = 8  # heads that are taken out between two measurements


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", choices=("mini", "multi30k"))
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    run = options.run or ROOT / "runs" / "benchmark" / f"{options.corpus}-seed1"
    model, tokenizers = step_llm.load_model(run)
    translator = step_llm.Translator(model, tokenizers)
    content = {"machine": machine(), "date": date.today().isoformat()}
    content["alignment"] = alignment(translator)
    content["pruning"] = pruning(translator, options.corpus)
    path = RESULTS / "heads.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    write_results("heads", {**old, options.corpus: content})


def alignment(translator):
    """The error rate of each head, of each layer's mean, and of the diagonal."""
    gold = read_gold_alignment(GOLD)
    links = {"writing": [], "reading": []}  # a list for each sentence, (L, H + 1) sets in it
    for entry in gold:
        source, target = sentence(entry.source), sentence(entry.target)
        cross = translator.attention_maps(source, target)[0]
        weights = np.concatenate([cross.weights, cross.weights.mean(axis=1, keepdims=True)], axis=1)
        sources = word_places(cross.keys[:-1], entry.source)
        targets = word_places(cross.queries[:-1], entry.target)
        later = [[place + 1 for place in places] for places in targets]
        for when, rows in (("writing", targets), ("reading", later)):
            links[when].append([[strongest_links(w, rows, sources) for w in h] for h in weights])
    diagonal = [diagonal_links(len(e.target), len(e.source)) for e in gold]
    found = {"sentences": len(gold), "diagonal": round(alignment_error_rate(diagonal, gold), 4)}
    for when, sets in links.items():
        layers, heads = len(sets[0]), len(sets[0][0])
        found[when] = [
            [
                round(alignment_error_rate([s[layer][head] for s in sets], gold), 4)
                for head in range(heads)
            ]
            for layer in range(layers)
        ]
    return found


def sentence(words):
    """The words as text, without a space before a punctuation mark."""
    return " ".join(words).replace(" .", ".").replace(" ,", ",")


@contextmanager
def without_heads(model, heads):
    """The model without some heads, each (kind, layer, head), inside; then as it was."""
    kept = []
    for kind, layer, head in heads:
        cell = attention_of(model, kind, layer)
        weight = cell.output_projection.weight
        value = weight.asnumpy().copy()
        kept.append((weight, value.copy()))
        value[:, head * cell.d_head : (head + 1) * cell.d_head] = 0.0
        weight.set_data(Tensor(value))
    try:
        yield
    finally:
        for weight, value in reversed(kept):
            weight.set_data(Tensor(value))


def attention_of(model, kind, layer):
    """The multi-head attention of a kind, "self", "causal" or "cross", in a layer from 0."""
    if kind == "self":
        return model.encoder.layers[layer].self_attention
    layers = model.decoder.layers[layer]
    return layers.self_attention if kind == "causal" else layers.cross_attention


def pruning(translator, corpus):
    """Loss, and partly BLEU, without some of the heads."""
    model, config = translator.model, translator.model.config
    text = step_llm.read_parallel(step_llm.corpus_folder(corpus), "val")
    encoded = step_llm.encode_pairs(text, translator.tokenizers)
    longest = int(encoded.lengths.max())
    middle = int(np.median(encoded.lengths)) + 2
    batches = step_llm.Batches(encoded, sorted({middle, longest}), 2400, shuffle=False)
    evaluation = EvaluationStep(model)

    def loss(heads=()):
        with without_heads(model, heads):
            return round(evaluation.mean(batches), 4)

    def bleu(heads=()):
        with without_heads(model, heads):
            return round(step_llm.score(translator.translate(text.source), text.target).bleu, 2)

    places = range(config.num_heads)
    layers = {
        "self": config.num_encoder_layers,
        "causal": config.num_decoder_layers,
        "cross": config.num_decoder_layers,
    }
    found = {"sentences": len(text), "loss": loss(), "bleu": bleu(), "without": {}, "only": {}}
    costs = []
    for kind, number in layers.items():
        found["without"][kind], found["only"][kind] = [], []
        for layer in range(number):
            one = [loss([(kind, layer, head)]) for head in places]
            costs += [(value, (kind, layer, head)) for head, value in enumerate(one)]
            found["without"][kind].append(one)
            found["only"][kind].append(
                [loss([(kind, layer, other) for other in places if other != h]) for h in places]
            )
            print(kind, layer + 1, "without", one, "only", found["only"][kind][-1], flush=True)
    order = [head for _, head in sorted(costs)]
    found["removed"] = []
    for count in range(0, len(order) + 1, STEPS):
        heads = order[:count]
        found["removed"].append({"heads": count, "loss": loss(heads), "bleu": bleu(heads)})
        print(found["removed"][-1], flush=True)
    return found


if __name__ == "__main__":
    main()
