"""What a run folder may meet, and whether a command bears it: as it should, or with one line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
from mindspore import Tensor, nn

from step_llm.cli import commands, evaluate, translate
from step_llm.data.vocabulary import train_tokenizers
from step_llm.models.config import TransformerConfig
from step_llm.models.transformer import Transformer
from step_llm.training.checkpoint import save_checkpoint
from step_llm.training.config import TrainingConfig
from step_llm.training.run_folder import write_run
from step_llm.training.trainer import Trainer

GERMAN = ["ein hund läuft .", "eine frau sitzt .", "ein mann singt ."]
ENGLISH = ["a dog runs .", "a woman sits .", "a man sings ."]
COMMANDS = ("resume", "evaluate", "translate", "info")
SECONDS = 20  # of one command; what takes longer hangs
MEMORY = 2 << 30  # bytes that a command may take beside what the process has
STEP = "checkpoints/step-0000002"

# What may stand in a field of a file that someone else wrote.
HOSTILE = (
    None, True, -1, 0, 0.5, 1e308, 10**30, float("nan"), float("-inf"), "", "1", "\ud800", [], [[]],
    [1], {}, {"0": {}}, {"content": 1},
)  # fmt: skip


def make_run(folder: Path) -> Path:
    """A run folder and its corpus beside it, as training leaves them, of a model of 8 numbers."""
    corpus = folder.with_name(folder.name + "-corpus")
    corpus.mkdir()
    for split in ("train", "val", "test"):
        for language, lines in (("de", GERMAN), ("en", ENGLISH)):
            (corpus / f"{split}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizers = train_tokenizers(GERMAN, ENGLISH, vocab_size=60, min_freq=1)
    size = len(tokenizers.source)
    model = Transformer(TransformerConfig(size, size, 8, 2, 1, 1, 8, tied_embeddings="all"))
    optimizer = nn.Adam(model.trainable_params(), 1e-3, beta1=0.9, beta2=0.98, eps=1e-9)
    for number, moment in enumerate(optimizer.moment1):
        moment.set_data(Tensor(np.full(moment.shape, number + 1, np.float32)))
    epoch = {
        "epoch": 1, "step": 2, "train_loss": 3.0, "validation_loss": 2.5, "validation_bleu": 7.0,
        "seconds": 2.5,
    }  # fmt: skip
    config = TrainingConfig(epochs=3, batch_tokens=128, buckets=(32,))
    training = {
        "step": 2, "epoch": 1, "batch": 0, "seconds": 2.5, "history": [epoch], "skipped": 0,
    }  # fmt: skip
    notes = {
        "corpus": str(corpus), "source": "de", "target": "en", "preset": "tiny", "tokens": "bpe",
        "vocab_size": 60,
    }  # fmt: skip
    state = {"run": "a1", "training": training, "config": vars(config), "notes": notes}
    save_checkpoint(folder / STEP, model, tokenizers, optimizer, state)
    write_run(folder, {"run": "a1", "last": STEP, "best": STEP, "best_value": 7.0})
    (folder / "log.jsonl").write_text('{"event": "step", "step": 1}\n', encoding="utf-8")
    return folder


@contextlib.contextmanager
def without_computing(monkeypatch):
    """Commands do all but train and search: nothing is compiled."""
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", _only_begin)
        for module in (evaluate, translate):
            patch.setattr(module, "translated", lambda _, sentences, __: ["x" for _ in sentences])
        yield


def _only_begin(trainer):
    """What ``fit`` does before the first update."""
    history = trainer.state["history"]
    with trainer.run_folder.lock():
        trainer.run_folder.begin(trainer.state["step"] == 0, trainer.measure.best(history))
        trainer.run_folder.remove_others(trainer._to_average())
        trainer.run_folder.cut_log(trainer.state["step"])
    return history


class Hangs(BaseException):
    """A command that did not end; nothing in the library catches it."""


@contextlib.contextmanager
def within(seconds):
    """Raise ``Hangs`` in a block that takes longer."""

    def stop(*_):
        raise Hangs

    limits = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, limits[1]))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def answer(run: Path, command: str) -> tuple[int, str]:
    """Run a command on a run folder, in this process: its status, and what it says of a mistake."""
    words = [command, str(run), *(["ein hund läuft ."] if command == "translate" else [])]
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            with within(SECONDS):
                status = commands.main(words)
        except Hangs:
            status = f"it did not end within {SECONDS} s"
        except BaseException as error:
            status = f"{type(error).__name__}: {error}"
    return status, errors.getvalue()


def fault(run: Path, command: str) -> str | None:
    """What is wrong with a command's answer; None if it is done, or refused in one good line."""
    status, said = answer(run, command)
    if status == 0:
        return None
    if status != 2:
        return f"{command}: {status}"
    if not said.startswith("step_llm: error: ") or said.count("\n") != 1 or len(said) > 2000:
        return f"{command}: not one line: {said[:300]!r}"
    if not said[:-1].isprintable():
        return f"{command}: it reaches the terminal: {said[:300]!r}"
    if "run" not in said:
        return f"{command}: it names no file: {said}"
    return None


def _become(make):
    def corrupt(path):
        path.unlink()
        make(path)

    return corrupt


def _flip(path):
    """One bit of the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


# The ways in which a file goes bad, by name.
CORRUPTIONS = {
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one byte less": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "twice": lambda path: path.write_bytes(path.read_bytes() * 2),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "noise": lambda path: path.write_bytes(random.Random(7).randbytes(path.stat().st_size)),
    "a bit": _flip,
    "gone": lambda path: path.unlink(),
    "a folder": _become(Path.mkdir),
    "a dangling link": _become(lambda path: path.symlink_to(path.with_name("nowhere"))),
    "a pipe": _become(os.mkfifo),
    "/dev/zero": _become(lambda path: path.symlink_to("/dev/zero")),
    "nested deeply": lambda path: path.write_bytes(b"[" * 100_000),
    "null": lambda path: path.write_bytes(b"null"),
}


def places(content, place=()):
    """The place of every value in JSON: keys and numbers from the outside to it."""
    inner = ()
    if isinstance(content, dict):
        inner = content.items()
    elif isinstance(content, list):
        inner = enumerate(content[:2])
    for key, value in inner:
        yield (*place, key)
        yield from places(value, (*place, key))


def changed(content, place, value):
    """JSON with another value at a place."""
    content = json.loads(json.dumps(content))
    outer = content
    for key in place[:-1]:
        outer = outer[key]
    outer[place[-1]] = value
    return content


def hostile_contents(content):
    """JSON with each hostile value at each place: pairs of what was done, and the text."""
    for place in places(content):
        for value in HOSTILE:
            yield f"{place} = {value!r}"[:200], json.dumps(changed(content, place, value))


def damages(run: Path):
    """Each file of a run with each corruption: pairs of a name, and what to do with a copy."""
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        file = path.relative_to(run)
        for name, corrupt in CORRUPTIONS.items():
            yield f"{file}: {name}", lambda copy, file=file, corrupt=corrupt: corrupt(copy / file)


def wrong_values(run: Path):
    """Each field of a run's JSON with each hostile value: pairs as ``damages``."""
    for file in ("run.json", f"{STEP}/state.json", f"{STEP}/config.json"):
        content = json.loads((run / file).read_text(encoding="utf-8"))
        for name, text in hostile_contents(content):
            yield (
                f"{file}: {name}",
                lambda copy, file=file, text=text: (copy / file).write_text(text),
            )


def copy_of(run: Path, folder: Path) -> Path:
    """A copy to change."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(run, folder))
