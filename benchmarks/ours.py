"""This side of the comparison, one measurement a process; benchmarks/speed.py calls it.

    echo '{"option": value, …}' | python benchmarks/ours.py TASK

The last line that it prints is the result as JSON. theirs.py does the same tasks with PyTorch and
Hugging Face.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import mindspore as ms
import numpy as np
from common import peak_memory_mib, timed
from mindspore import Parameter, Tensor, nn, ops

from step_llm import (
    Batches,
    FeedForward,
    Transformer,
    TransformerConfig,
    scaled_dot_product_attention,
)
from step_llm.data.batches import EncodedText
from step_llm.data.vocabulary import EOS_ID
from step_llm.decoding.decoders import CachedDecoder, PlainDecoder
from step_llm.decoding.search import beam_search, greedy_search
from step_llm.nn.layer_norm import LayerNorm
from step_llm.nn.linear import Linear
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training.step import TrainStep


def model_of(options, **changes):
    vocab = options["vocab"]
    return Transformer(TransformerConfig.preset(options["preset"], vocab, vocab, **changes), seed=0)


def train_step_of(model, group=None):
    model.set_train(True)
    adam = nn.Adam(model.trainable_params(), learning_rate=1e-4, beta1=0.9, beta2=0.98, eps=1e-9)
    return TrainStep(model, adam, label_smoothing=0.0, clip_norm=1.0, group=group)


RATE = 1e-4


def step(options):
    """Median seconds of a training step: plain cross-entropy, dropout 0.1, clipping, Adam."""
    sizes = options.get("sizes", {})
    train_step = train_step_of(model_of(options, **sizes))
    rng = np.random.default_rng(0)
    shape = options["rows"], options["length"]
    arrays = [Tensor(rng.integers(4, options["vocab"], shape).astype(np.int32)) for _ in range(3)]

    def one():
        train_step(RATE, arrays).loss.asnumpy()

    found = timed(one, options["warmup"], options["steps"])
    return {**found, "peak_memory_mib": peak_memory_mib()}


def epoch(options):
    """Seconds of a whole epoch of real pairs, after every shape has been compiled and warmed up."""
    stored = np.load(options["pairs"])
    sides = [
        tuple(np.split(stored[f"{side}_ids"], np.cumsum(stored[f"{side}_lengths"])[:-1]))
        for side in ("source", "target")
    ]
    pairs = EncodedText(*sides, options["vocab"], options["vocab"])
    train_step = train_step_of(model_of(options, tied_embeddings="all"))
    started = time.perf_counter()
    batches = Batches(pairs, batch_tokens=options["batch_tokens"])
    warmed = {}
    compiled = None
    for arrays in batches.epoch(0):
        shape = arrays[0].shape
        if warmed.get(shape, 0) < 8:
            train_step(RATE, arrays).loss.asnumpy()
            warmed[shape] = warmed.get(shape, 0) + 1
        if compiled is None and len(warmed) == len(batches.shapes):
            compiled = time.perf_counter() - started
    started = time.perf_counter()
    tokens = 0
    for arrays in batches.epoch(1):
        tokens += float(train_step(RATE, arrays).tokens.asnumpy())
    return {
        "seconds": time.perf_counter() - started,
        "tokens": tokens,
        "all_shapes_compiled_seconds": compiled,
        "peak_memory_mib": peak_memory_mib(),
    }


class _NeverEnds:
    """A decoder that is never given the end of a sentence, so that both sides write as much."""

    def __init__(self, decoder):
        self.decoder = decoder
        self.running, self.start = decoder.running, decoder.start
        self.max_length = decoder.max_length

    def step(self, *arguments):
        log_probs, state = self.decoder.step(*arguments)
        log_probs[:, EOS_ID] = -np.inf
        return log_probs, state


def _padded(sources):
    """One array; the length is 16, 32, 64 …, as the translator pads."""
    width = 16
    while width < max(map(len, sources)):
        width *= 2
    ids = np.zeros((len(sources), width), np.int32)
    for row, source in enumerate(sources):
        ids[row, : len(source)] = source
    return ids


def _search(decoder, source, length, beam):
    if beam == 1:
        return greedy_search(decoder, source, length)
    return beam_search(decoder, source, beam, length, length_penalty=0.6)


def decode(options):
    """Seconds for all batches of sources, each to a given output length; twice, the first warms."""
    decoder = _NeverEnds(CachedDecoder(model_of(options, tied_embeddings="all")))
    for _ in range(2):
        started = time.perf_counter()
        for sources, length in options["batches"]:
            source = _padded(sources)
            if len(source) < options["rows"]:
                source = np.pad(source, ((0, options["rows"] - len(source)), (0, 0)))
            _search(decoder, source, length, options["beam"])
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "sentences": sum(len(batch[0]) for batch in options["batches"])}


def one(options):
    """Seconds for each sentence alone, after a first pass over all."""
    decoder = _NeverEnds(CachedDecoder(model_of(options, tied_embeddings="all")))
    for _ in range(2):
        seconds = []
        for sources, length in options["batches"]:
            started = time.perf_counter()
            _search(decoder, _padded(sources), length, options["beam"])
            seconds.append(time.perf_counter() - started)
    return {"median": statistics.median(seconds), "p95": float(np.percentile(seconds, 95))}


def lengths(options):
    """Seconds to write so many tokens for one batch, with and without the cache."""
    model = model_of(options, tied_embeddings="all")
    source = np.random.default_rng(0).integers(4, options["vocab"], (options["rows"], 16))
    source = source.astype(np.int32)
    found = []
    for name, decoder in (("cached", CachedDecoder(model)), ("plain", PlainDecoder(model))):
        for length in options["lengths"]:
            for _ in range(3):
                started = time.perf_counter()
                greedy_search(_NeverEnds(decoder), source, length)
                seconds = time.perf_counter() - started
            found.append({"decoder": name, "length": length, "seconds": seconds})
    return {"points": found}


class _Attend(nn.Cell):
    """Attention of one position to the keys and values of 32."""

    def __init__(self, rows, heads, d_head):
        super().__init__()
        kept = np.random.default_rng(0).normal(size=(rows, heads, 32, d_head)).astype(np.float32)
        self.heads = Parameter(Tensor(kept), name="heads")

    def construct(self, query):
        return scaled_dot_product_attention(query, self.heads, self.heads)[0]


class _Chain(nn.Cell):
    """Cells one after another in one graph."""

    def __init__(self, cells):
        super().__init__()
        self.cells_in_order = nn.CellList(cells)

    @ms.jit
    def construct(self, x):
        for cell in self.cells_in_order:
            x = cell(x)
        return x


class _Words(nn.Cell):
    """The projection to the vocabulary, and the log-probabilities."""

    def __init__(self, d_model, vocab):
        super().__init__()
        self.projection = Linear(d_model, vocab, has_bias=False)

    def construct(self, x):
        return ops.log_softmax(self.projection(x), -1)


def operations(options):
    """Seconds of each operation of a decoding step, alone, and of the whole step, all for so many
    rows. Of each operation a chain is timed, as one graph, less the time of an empty graph."""
    rows, vocab, chain = options["rows"], options["vocab"], options["chain"]
    config = TransformerConfig.preset(options["preset"], vocab, vocab)
    d_model, heads, d_head = config.d_model, config.num_heads, config.d_model // config.num_heads
    vectors, query = (rows, d_model), (rows, heads, 1, d_head)
    cases = {
        "empty": (vectors, []),
        "projection": (vectors, [Linear(d_model, d_model) for _ in range(chain)]),
        "feed-forward": (
            (rows, 1, d_model), [FeedForward(d_model, config.d_ff) for _ in range(chain)],
        ),
        "attention": (query, [_Attend(rows, heads, d_head) for _ in range(chain)]),
        "LayerNorm": (vectors, [LayerNorm(d_model) for _ in range(chain)]),
        "vocabulary": (vectors, [_Words(d_model, vocab)]),
    }  # fmt: skip
    seconds = {}
    for name, (shape, cells) in cases.items():
        x = Tensor(np.random.default_rng(1).normal(size=shape).astype(np.float32))
        graph = _Chain(cells).set_train(False)
        found = timed(lambda x=x, graph=graph: graph(x).asnumpy(), 60, 60)["seconds"]
        seconds[name] = (found - seconds["empty"]) / len(cells) if cells else found
    decoder = CachedDecoder(model_of(options, tied_embeddings="all"))
    source = np.random.default_rng(0).integers(4, vocab, (rows, 16)).astype(np.int32)
    tokens = np.full(rows, 5, np.int32)
    state, steps = None, 0

    def one_step():
        nonlocal state, steps
        if steps % 30 == 0:  # before the cache needs more room
            state, _ = decoder.start(source, 1)
        _, state = decoder.step(state, tokens)
        steps += 1

    with decoder.running():
        seconds["step"] = timed(one_step, 60, 60)["seconds"]
    return seconds


def product(options):
    """Greatest rate of a matrix product, in GFLOP/s."""

    class Product(nn.Cell):
        @ms.jit
        def construct(self, a, b):
            return ms.ops.matmul(a, b)

    n, rate, product = options["size"], 0.0, Product()
    a = Tensor(np.random.default_rng(0).normal(size=(n, n)).astype(np.float32))
    for _ in range(60):
        started = time.perf_counter()
        product(a, a).asnumpy()
        rate = max(rate, 2 * n**3 / (time.perf_counter() - started) / 1e9)
    return {"gflops": rate}


TASKS = {f.__name__: f for f in (step, epoch, decode, one, lengths, operations, product)}


if __name__ == "__main__":
    with graph_mode():
        print(json.dumps(TASKS[sys.argv[1]](json.load(sys.stdin))))
