"""What ``check`` does with models in its own process: PyTorch's figures, training, decoding, each
precision."""

from __future__ import annotations

import time

import mindspore as ms
import numpy as np
from mindspore import nn

from step_llm.cli import golden
from step_llm.data.batches import Batches, encode_pairs
from step_llm.data.corpus import ParallelText, corpus_folder, read_parallel
from step_llm.data.vocabulary import BOS_ID, EOS_ID, train_tokenizers
from step_llm.decoding.decoders import PlainDecoder
from step_llm.decoding.translator import Translator
from step_llm.models.config import TransformerConfig
from step_llm.models.transformer import Transformer
from step_llm.nn.forms import device_form
from step_llm.runtime.device import current_device
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training.distributed import Group
from step_llm.training.precision import refused_operators
from step_llm.training.recipes import recipe_for
from step_llm.training.schedule import warmup_learning_rate
from step_llm.training.step import TrainStep

__all__ = [
    "compare_with_golden_files",
    "decode",
    "nan_last",
    "small_batch",
    "small_step",
    "train",
    "train_in",
]

_CLOSE = 0.02  # how far the first loss of a half precision may be from float32's, as a share of it
_UPDATES = 10
_MOST_CALLS = 40  # of float16 some are skipped at first, until its loss scale is small enough


def compare_with_golden_files(tolerance: float, say) -> tuple[bool, str]:
    """Every golden case in both modes."""
    worst = {}
    for case in golden.CASES:
        for mode, kind in golden.MODES.items():
            worst[f"{case}, {mode}"] = max(golden.measure(case, kind).values(), key=nan_last)
        say(f"{len(worst)} of {len(golden.CASES) * len(golden.MODES)} comparisons")
    case = max(worst, key=lambda name: nan_last(worst[name]))
    wrong = [name for name, distance in worst.items() if not distance <= tolerance]
    figures = (
        f"{len(worst)} comparisons of outputs and gradients; largest difference {worst[case]:.1e} "
        f"of a tensor's maximum ({case}), allowed {tolerance:.0e}"
    )
    return not wrong, figures + (f"; beyond it: {'; '.join(wrong)}" if wrong else "")


def train(steps: int, trained: list, say) -> tuple[bool, str]:
    """The embedded corpus with its recipe; ``trained`` gets model, tokenizers and test text."""
    recipe, folder = recipe_for("mini"), corpus_folder("mini")
    text = read_parallel(folder, "train")
    tokenizers = train_tokenizers(text.source, text.target, recipe.tokens, recipe.vocab_size)
    size = len(tokenizers.source)
    model = Transformer(
        TransformerConfig.preset(recipe.preset, size, size, tied_embeddings="all", **recipe.model)
    )
    settings = recipe.training
    # Two lengths show that shapes can change; compiling a third one would show nothing more.
    buckets = settings["buckets"][-2:]
    pairs = encode_pairs(text, tokenizers, buckets[-1])
    batches = Batches(pairs, buckets, settings["batch_tokens"])
    weights = model.trainable_params()
    optimizer = device_form(nn.Adam)(weights, 1e-3, beta1=0.9, beta2=0.98, eps=1e-9)
    step = TrainStep(model, optimizer, label_smoothing=0.1, clip_norm=1.0)
    model.set_train(True)
    losses, seen = [], set()
    tokens = seconds = compiling = 0.0
    with graph_mode():
        for number, arrays in zip(range(1, steps + 1), _endless(batches)):
            rate = warmup_learning_rate(number, steps, settings["peak_learning_rate"])
            started = time.perf_counter()
            loss, count, _ = step(rate, arrays)
            losses.append(float(loss.asnumpy()))
            elapsed = time.perf_counter() - started
            if arrays[0].shape in seen:
                tokens += float(count.asnumpy())
                seconds += elapsed
            else:
                seen.add(arrays[0].shape)
                compiling += elapsed
            say(f"step {number} of {steps}, loss {losses[-1]:.2f}")
    trained.append((model, tokenizers, read_parallel(folder, "test")))
    ends = max(1, min(10, steps // 2))
    first, last = np.mean(losses[:ends]), np.mean(losses[-ends:])
    speed = f"{tokens / seconds:,.0f} target tokens a second" if seconds else "no speed measured"
    figures = (
        f"loss {first:.2f} (first {ends}) to {last:.2f} (last {ends}), {speed}, "
        f"{len(seen)} shapes compiled in {compiling:.0f} s"
    )
    # Before it has learned anything a model is about log V off; NaN fails too.
    return bool(last < 0.8 * first), figures


def decode(trained: list, tolerance: float) -> tuple[bool, str]:
    """The cached decoder against the plain one, and the speed of greedy search."""
    if not trained:
        return False, "no model was trained"
    model, tokenizers, text = trained[0]
    translator = Translator(model, tokenizers)
    sentences = list(text.source[:64])
    source, tokens = _forced(tokenizers, sentences, text, length=6)
    found, rows = [], 4
    for decoder, used in ((translator.decoder, len(source)), (PlainDecoder(model), rows)):
        with decoder.running():
            (state, _), steps = decoder.start(source[:used]), []
            for position in range(tokens.shape[1]):
                log_probs, state = decoder.step(state, tokens[:used, position])
                steps.append(log_probs[:rows])
            found.append(np.stack(steps))
    distance = golden.distance(*found)

    translator.translate(sentences)  # compiles what is left
    started = time.perf_counter()
    translations = translator.translate(sentences)
    seconds = time.perf_counter() - started
    written = sum(len(tokenizers.target.encode(line)) + 1 for line in translations)
    figures = (
        f"cached decoder and plain one differ by {distance:.1e}, allowed {10 * tolerance:.0e}; "
        f"{len(sentences)} sentences greedily: {len(sentences) / seconds:.0f} sentences and "
        f"{written / seconds:,.0f} tokens a second"
    )
    return bool(distance <= 10 * tolerance), figures


def _forced(tokenizers, sentences, text: ParallelText, length):
    """Ids of the sources, and so many of their references' behind the first token."""
    ids = [[*tokenizers.source.encode(sentence), EOS_ID] for sentence in sentences]
    width = 16
    while width < max(map(len, ids)):  # as the translator pads: what it compiles serves both parts
        width *= 2
    source = np.array([row + [0] * (width - len(row)) for row in ids], np.int32)
    forced = [tokenizers.target.encode(s) + [EOS_ID] * length for s in text.target[: len(ids)]]
    forced = np.array([row[:length] for row in forced], np.int32)
    return source, np.concatenate([np.full((len(ids), 1), BOS_ID, np.int32), forced], axis=1)


def train_in(precision: str, first_losses: dict) -> tuple[bool | None, str]:
    """Some updates of a small translator: their loss falls, and begins where float32's does.

    Args:
        precision: one of ``PRECISIONS``.
        first_losses: of the precisions that were tried before; this one's is added.
    """
    refused = refused_operators(precision)
    if refused:  # of a half precision this is told, not failed
        return (False if precision == "float32" else None), (
            f"MindSpore {ms.__version__} has no {', '.join(refused)} of {precision} on device "
            f"{current_device()}"
        )
    _, step = small_step(precision=precision)
    losses, skipped = [], 0
    with graph_mode():
        while len(losses) < _UPDATES and len(losses) + skipped < _MOST_CALLS:
            result = step(1e-2, small_batch(8))
            if result.is_made:
                losses.append(float(result.loss.asnumpy()))
            skipped += not result.is_made
    if len(losses) < _UPDATES:
        return False, f"{skipped} of {_MOST_CALLS} updates overflowed and were skipped"
    first_losses[precision] = losses[0]
    figures = f"loss {losses[0]:.4f} to {losses[-1]:.4f} in {_UPDATES} updates"
    passed = losses[-1] < losses[0] and bool(np.isfinite(losses).all())
    expected = first_losses.get("float32")
    if precision != "float32" and expected is not None:
        off = abs(losses[0] / expected - 1)
        passed = passed and off <= _CLOSE
        figures += f", the first {off:.1e} from float32's, allowed {_CLOSE:.0e}"
    return bool(passed), figures + (f"; {skipped} skipped" if skipped else "")


def small_step(group: Group | None = None, precision: str = "float32"):
    """A translator of a few thousand weights, always the same, and its ``TrainStep``."""
    sizes = {"num_encoder_layers": 1, "num_decoder_layers": 1, "dropout": 0.0}
    config = TransformerConfig(32, 32, d_model=32, num_heads=2, d_ff=64, **sizes)
    model = Transformer(config, seed=1).set_train(True)
    # With the usual small ε, Adam makes a full step of a gradient that is nothing but rounding.
    optimizer = device_form(nn.Adam)(
        model.trainable_params(), 1e-2, beta1=0.9, beta2=0.98, eps=1e-3
    )
    return model, TrainStep(model, optimizer, precision=precision, group=group)


def small_batch(rows: int) -> list[np.ndarray]:
    """Source, decoder's input and labels for it, (rows, 6) each."""
    ids = np.random.default_rng(1).integers(4, 32, (3, rows, 6)).astype(np.int32)
    return list(ids)


def _endless(batches):
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1


def nan_last(value):
    return float("inf") if np.isnan(value) else value
