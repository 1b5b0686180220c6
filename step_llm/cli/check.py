"""``python -m step_llm check``: whether everything works on the device that is there, in a report.

Most who maintain the course have no Ascend and no GPU. Whoever has one runs this, and pastes the
report into an issue.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn

import step_llm
from step_llm.cli import golden
from step_llm.data.batches import Batches, encode_pairs
from step_llm.data.corpus import ParallelText, corpus_folder, read_parallel
from step_llm.data.vocabulary import BOS_ID, EOS_ID, train_tokenizers
from step_llm.decoding.decoders import PlainDecoder
from step_llm.decoding.translator import Translator
from step_llm.models.config import TransformerConfig
from step_llm.models.transformer import Transformer
from step_llm.runtime.device import DeviceChoice, use_device
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training.precision import PRECISIONS, refused_operators
from step_llm.training.recipes import recipe_for
from step_llm.training.schedule import warmup_learning_rate
from step_llm.training.step import TrainStep

__all__ = ["Outcome", "Report", "check_device", "run"]

# Matrix units of an NPU or a GPU round more than a CPU does; golden.TOLERANCE is the CPU's.
_ACCELERATOR_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Outcome:
    """One line of the report: what was checked, whether it passed, and the figures."""

    name: str
    passed: bool
    figures: str


@dataclass
class Report:
    """What a check found, as text that can be pasted into an issue.

    Args:
        facts: versions and the device.
        outcomes: one for each part.
    """

    facts: dict[str, str]
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return bool(self.outcomes) and all(outcome.passed for outcome in self.outcomes)

    def __str__(self) -> str:
        lines = [f"### step_llm check: {'pass' if self.passed else 'FAIL'}", ""]
        lines += ["| | |", "|---|---|"]
        lines += [f"| {name} | {_cell(value)} |" for name, value in self.facts.items()]
        lines += ["", "| check | result | figures |", "|---|---|---|"]
        lines += [
            f"| {o.name} | {'pass' if o.passed else 'FAIL'} | {_cell(o.figures)} |"
            for o in self.outcomes
        ]
        return "\n".join(lines) + "\n"


def run(options):
    if options.steps < 2:
        raise ValueError(f"--steps is {options.steps}; expected at least 2")
    device = use_device(options.device)
    print(device, flush=True)
    report = check_device(device, options.steps, say=lambda line: print(line, flush=True))
    path = Path(options.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(report), encoding="utf-8")
    if options.task:
        options.task.upload()
    print(f"\n{report}\nThe report is in {path}; paste it into an issue.")
    return 0 if report.passed else 1


def check_device(device: DeviceChoice, steps: int = 50, say=print) -> Report:
    """Run every part on the device that MindSpore uses now; none keeps the next from running.

    Args:
        device: what ``use_device`` returned.
        steps: updates of the training part.
        say: called with a line before each part, and with the part's outcome.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    report = Report(
        {
            "step_llm": step_llm.__version__,
            "MindSpore": ms.__version__,
            "Python, NumPy": f"{platform.python_version()}, {np.__version__}",
            "machine": f"{platform.system()} {platform.machine()}, {cores} CPU cores",
            "device": f"{device.name} ({device.reason})",
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        }
    )
    tolerance = golden.TOLERANCE if device.name == "CPU" else _ACCELERATOR_TOLERANCE
    trained = []
    parts = {
        "as PyTorch (golden files)": lambda: _compare_with_golden_files(tolerance),
        f"training, {steps} steps": lambda: _train(steps, trained),
        "decoding": lambda: _decode(*trained[0], tolerance),
        "precisions": _try_precisions,
    }
    for name, part in parts.items():
        say(f"{name} …")
        try:
            outcome = Outcome(name, *part())
        except Exception as error:  # Whatever a device does, the other parts are worth knowing.
            cause = f"{type(error).__name__}: {error}" if trained or name != "decoding" else "-"
            outcome = Outcome(name, False, cause)
        say(f"  {'pass' if outcome.passed else 'FAIL'}: {_cell(outcome.figures)}")
        report.outcomes.append(outcome)
    return report


def _compare_with_golden_files(tolerance):
    worst = {
        f"{case}, {mode}": max(golden.measure(case, kind).values(), key=_nan_last)
        for case in golden.CASES
        for mode, kind in golden.MODES.items()
    }
    case = max(worst, key=lambda name: _nan_last(worst[name]))
    wrong = [name for name, distance in worst.items() if not distance <= tolerance]
    figures = (
        f"{len(worst)} comparisons of outputs and gradients; largest difference {worst[case]:.1e} "
        f"of a tensor's maximum ({case}), allowed {tolerance:.0e}"
    )
    return not wrong, figures + (f"; beyond it: {'; '.join(wrong)}" if wrong else "")


def _train(steps, trained):
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
    optimizer = nn.Adam(model.trainable_params(), 1e-3, beta1=0.9, beta2=0.98, eps=1e-9)
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


def _decode(model, tokenizers, text: ParallelText, tolerance):
    """The cached decoder against the plain one, and the speed of greedy search."""
    translator = Translator(model, tokenizers)
    sentences, rows, length = list(text.source[:64]), 4, 6
    ids = [[*tokenizers.source.encode(sentence), EOS_ID] for sentence in sentences]
    width = 16
    while width < max(map(len, ids)):  # as the translator pads: what it compiles serves both parts
        width *= 2
    source = np.array([row + [0] * (width - len(row)) for row in ids], np.int32)
    forced = [tokenizers.target.encode(s) + [EOS_ID] * length for s in text.target[: len(ids)]]
    forced = np.array([row[:length] for row in forced], np.int32)
    tokens = np.concatenate([np.full((len(ids), 1), BOS_ID, np.int32), forced], axis=1)
    found = []
    for decoder, used in ((translator.decoder, len(ids)), (PlainDecoder(model), rows)):
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


def _try_precisions():
    """Which precisions can be trained in. That a half precision cannot, is told, not failed."""
    told = []
    for precision in PRECISIONS:
        refused = refused_operators(precision)
        told.append(f"{precision}: {'no ' + ', '.join(refused) if refused else 'yes'}")
    return not refused_operators("float32"), "; ".join(told)


def _endless(batches):
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1


def _nan_last(value):
    return float("inf") if np.isnan(value) else value


def _cell(text):
    """On one line and without what would end a table's cell."""
    return " ".join(str(text).replace("|", "/").split())[:600]
