"""The training step against NumPy, and the loop: schedule, log, patience, checkpoints, resuming.

Where a test is about the loop alone, the step is replaced by one that computes nothing, so that
nothing is compiled. Training on the command line, and killing it: test_cli.py.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from safetensors.numpy import load_file, save_file

import step_llm.training.run_folder as run_folder
import step_llm.training.trainer as training_loop
from step_llm.data.batches import Batches, encode_pairs
from step_llm.data.corpus import ParallelText
from step_llm.data.vocabulary import train_tokenizers
from step_llm.decoding.translator import Translator
from step_llm.models.config import TransformerConfig
from step_llm.models.transformer import Transformer
from step_llm.models.weights import CheckpointError
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training.checkpoint import load_model, read_state
from step_llm.training.config import TrainingConfig
from step_llm.training.loss import label_smoothed_cross_entropy
from step_llm.training.measures import Measure
from step_llm.training.run_folder import find_checkpoint, read_run, write_run
from step_llm.training.schedule import paper_peak, warmup_learning_rate
from step_llm.training.step import EvaluationStep, StepResult
from step_llm.training.trainer import Trainer, TrainingDiverged
from step_llm.training.translation import translation_trainer

NOUNS = {
    "hund": "dog",
    "mann": "man",
    "junge": "boy",
    "könig": "king",
    "vogel": "bird",
    "bär": "bear",
}
VERBS = {"läuft": "runs", "sitzt": "sits", "singt": "sings", "schläft": "sleeps"}
PAIRS = [(f"ein {n} {v} .", f"a {NOUNS[n]} {VERBS[v]} .") for n in NOUNS for v in VERBS]
CONFIG = {
    "epochs": 3,
    "batch_tokens": 64,  # 8 rows of 8: three batches an epoch
    "buckets": (8,),
    "warmup_steps": 4,
    "peak_learning_rate": 5e-3,
    "average": 2,
    "save_every": 2,
}


def trainer_for(folder, pairs=PAIRS, seed=3, measure=None, **changes):
    """A translator's trainer; or with a measure, one that compiles nothing to validate."""
    text = ParallelText(*zip(*pairs))
    tokenizers = train_tokenizers(text.source, text.target, kind="word", min_freq=1)
    size = len(tokenizers.source)
    model = Transformer(
        TransformerConfig(
            size, size, d_model=16, num_heads=2, d_ff=32, num_encoder_layers=1,
            num_decoder_layers=1, dropout=0.0, tied_embeddings="all",
        ),
        seed=seed,
    )  # fmt: skip
    config = TrainingConfig(**{**CONFIG, **changes})
    encoded = encode_pairs(text, tokenizers, config.buckets[-1])
    if measure is not None:
        batches = Batches(encoded, config.buckets, config.batch_tokens, seed=config.seed)
        trainer = Trainer(
            model, tokenizers, batches, batches, config, folder,
            measure=measure, notes={"corpus": "x"}, progress=False,
        )  # fmt: skip
        trainer.evaluation_step = SimpleNamespace(mean=lambda batches: 1.0)
        return trainer
    short = ParallelText(text.source[:8], text.target[:8])
    validation = encode_pairs(short, tokenizers, config.buckets[-1])
    return translation_trainer(
        model, tokenizers, encoded, validation, short, config, folder,
        notes={"corpus": "x"}, progress=False,
    )  # fmt: skip


def scripted(*values):
    """A measure that finds these values, one after another, and then 1."""
    values = iter(values)
    return Measure("bleu", "BLEU {:.1f}", 1, lambda loss: next(values, 1.0))


class Instead:
    """A training step of which a call is another function's: it is given the step first."""

    def __init__(self, step, call):
        self.step, self.call = step, call

    def __call__(self, *inputs):
        return self.call(self.step, *inputs)

    def __getattr__(self, name):
        return getattr(self.step, name)


def log_of(trainer, event="step"):
    lines = (trainer.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


def weights_in(folder):
    return load_file(str(Path(folder) / "model.safetensors"))


# ---------------------------------------------------------------------------- the compiled step


@pytest.mark.parametrize("clip_norm", [0.05, 100.0], ids=["clipped", "not clipped"])
def test_updates_are_those_of_adam_with_clipping(tmp_path, clip_norm):
    """Gradients from PyNative mode, then clipping and Adam in NumPy's float64."""
    trainer = trainer_for(tmp_path, clip_norm=clip_norm)
    model, parameters = trainer.model, trainer.optimizer.parameters
    (batch, *_) = trainer.batches.epoch()
    batch = [np.concatenate([array, np.zeros_like(array[:2])]) for array in batch]  # PAD rows

    def forward(source, decoder_input, labels):
        total, tokens = label_smoothed_cross_entropy(
            model(source, decoder_input), labels, 0.1, model.pad_id
        )
        return total / tokens

    gradient_of = ms.value_and_grad(forward, None, parameters)
    model.set_train(True)
    expected = [p.asnumpy().astype(np.float64) for p in parameters]
    first = [np.zeros_like(value) for value in expected]
    second = [np.zeros_like(value) for value in expected]
    sure = [np.ones(value.shape, bool) for value in expected]
    rates = [warmup_learning_rate(step, 3, 1e-2) for step in range(1, 6)]
    for step, rate in enumerate(rates, start=1):
        # The rows of padding have no part in it: PyNative mode does not even get them.
        reference, gradients = gradient_of(*(Tensor(array[:-2]) for array in batch))
        gradients = [gradient.asnumpy().astype(np.float64) for gradient in gradients]
        norm = math.sqrt(sum((gradient**2).sum() for gradient in gradients))
        assert (norm > clip_norm) == (clip_norm == 0.05)
        scale = min(1.0, clip_norm / norm)
        correction = math.sqrt(1 - 0.98**step) / (1 - 0.9**step)
        for i, gradient in enumerate(gradients):
            # Adam turns a gradient that is 0 but for rounding into a full step of either sign.
            sure[i] &= (gradient == 0) | (abs(gradient) > 1e-5)
            gradient = scale * gradient
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.98 * second[i] + 0.02 * gradient**2
            expected[i] -= rate * correction * first[i] / (np.sqrt(second[i]) + 1e-9)

        loss, tokens, is_made = trainer.train_step(rate, batch)
        assert is_made
        assert float(loss.asnumpy()) == pytest.approx(float(reference.asnumpy()), rel=1e-5)
        assert int(tokens.asnumpy()) == (batch[2] != model.pad_id).sum()
        assert trainer.optimizer.learning_rate.asnumpy() == np.float32(rate)
    for parameter, value, mask in zip(parameters, expected, sure):
        found = parameter.asnumpy()
        np.testing.assert_allclose(found[mask], value[mask], atol=2e-5, err_msg=parameter.name)
    share = sum(mask.sum() for mask in sure) / sum(mask.size for mask in sure)
    assert share > 0.8


def test_it_learns_eight_pairs_by_heart(tmp_path):
    trainer = trainer_for(tmp_path, PAIRS[:8], label_smoothing=0.0)
    (batch,) = trainer.batches.epoch()
    losses = []
    sources, targets = zip(*PAIRS[:8])
    with graph_mode():
        for step in range(1, 121):
            rate = warmup_learning_rate(step, 20, 1e-2)
            losses.append(float(trainer.train_step(rate, batch).loss.asnumpy()))
        assert losses[0] > 2.0
        assert losses[-1] < 0.05
        assert trainer.evaluation_step.mean(trainer.validation_batches) < 0.05
        assert trainer.measure.value(0.0) == pytest.approx(100.0)
        translator = Translator(trainer.model, trainer.tokenizers)
        assert translator.translate(sources) == list(targets)


def test_padding_counts_for_nothing_in_validation(tmp_path):
    trainer = trainer_for(tmp_path)
    arrays = [
        np.concatenate([a, np.zeros_like(a[:3])]) for a in next(iter(trainer.batches.epoch()))
    ]
    trainer.model.set_train(False)
    total, tokens = trainer.evaluation_step(arrays)
    source, decoder_input, labels = (Tensor(array[:-3]) for array in arrays)
    expected, count = label_smoothed_cross_entropy(
        trainer.model(source, decoder_input), labels, 0.0, trainer.model.pad_id
    )
    assert float(total.asnumpy()) == pytest.approx(float(expected.asnumpy()), rel=1e-5)
    assert float(tokens.asnumpy()) == float(count.asnumpy()) == (arrays[2] != 0).sum()


# ------------------------------------------------------------------------------ one whole run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three epochs of three batches, and the learning rates that its steps used."""
    trainer = trainer_for(tmp_path_factory.mktemp("run"))
    used = []

    def recorded(step, *inputs):
        result = step(*inputs)
        used.append(trainer.optimizer.learning_rate.asnumpy().item())
        return result

    trainer.train_step = Instead(trainer.train_step, recorded)
    trainer.fit()
    return trainer, used


def test_the_log_has_a_line_for_each_step_with_the_rate_it_used(run):
    trainer, used = run
    log = log_of(trainer)
    assert [entry["step"] for entry in log] == list(range(1, 10))
    assert [entry["epoch"] for entry in log] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    scheduled = [5e-3 * min(step / 4, (4 / step) ** 0.5) for step in range(1, 10)]
    assert [entry["learning_rate"] for entry in log] == pytest.approx(scheduled, rel=1e-12)
    assert used == pytest.approx(scheduled, rel=1e-6)
    assert all(entry["tokens"] == 8 * 5 for entry in log)
    assert all(entry["tokens_per_second"] > 0 for entry in log)
    assert log[-1]["loss"] < log[0]["loss"]


def test_each_epoch_is_validated(run):
    trainer, _ = run
    history = trainer.state["history"]
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert [entry["step"] for entry in history] == [3, 6, 9]
    assert [{"event": "epoch", **entry} for entry in history] == log_of(trainer, "epoch")
    assert len(log_of(trainer, "average")) == 1
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]
    assert all(0.0 <= entry["validation_bleu"] <= 100.0 for entry in history)
    for entry in history:
        losses = [line["loss"] for line in log_of(trainer) if line["epoch"] == entry["epoch"]]
        assert entry["train_loss"] == pytest.approx(np.mean(losses), abs=1e-4)
    assert (trainer.folder / "history.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_average_is_the_mean_of_the_last_epochs(run):
    trainer, _ = run
    folder = trainer.folder / "checkpoints"
    mean = weights_in(folder / "average-0000009")
    sets = [weights_in(folder / f"step-000000{step}") for step in (6, 9)]
    assert set(mean) == {name for name, _ in trainer.model.parameters_and_names()}
    for name, value in mean.items():
        expected = np.mean([weights[name].astype(np.float64) for weights in sets], axis=0)
        np.testing.assert_allclose(value, expected, atol=1e-7)
    # Its validation loss in the log is that of these weights; the trained ones are back in place.
    for name, parameter in trainer.model.parameters_and_names():
        np.testing.assert_array_equal(parameter.asnumpy(), sets[1][name])


def test_the_run_folder_is_complete(run):
    trainer, _ = run
    names = {path.name for path in trainer.folder.iterdir()}
    assert names == {"checkpoints", "run.json", "log.jsonl", "history.png"}
    for which in ("best", "last"):
        model, _ = load_model(find_checkpoint(trainer.folder, which))
        assert all(np.isfinite(p.asnumpy()).all() for p in model.get_parameters())
    state = read_state(find_checkpoint(trainer.folder, "last"))
    assert state["training"]["step"] == 9
    assert state["notes"] == {"corpus": "x"}
    assert state["config"]["warmup_steps"] == 4
    assert state["versions"]["mindspore"] == ms.__version__


class Killed(BaseException):
    """Like a kill, nothing in the library catches it, so nothing is tidied up."""


def dies_at(trainer, step):
    """From now on the trainer dies after it made the update ``step``, before it tells of it."""

    def dying(train_step, *inputs):
        result = train_step(*inputs)
        if trainer.state["step"] + 1 == step:
            raise Killed
        return result

    trainer.train_step = Instead(trainer.train_step, dying)


def test_a_resumed_run_gives_the_same_weights(run, tmp_path):
    """Without dropout, that is: it goes on with another stream of random numbers."""
    uninterrupted, _ = run
    trainer = trainer_for(tmp_path, measure=scripted())
    dies_at(trainer, 6)
    with pytest.raises(Killed):
        trainer.fit()
    assert [entry["step"] for entry in log_of(trainer)] == [1, 2, 3, 4, 5]

    # Another seed: what the weights were before must not matter.
    resumed = trainer_for(tmp_path, seed=99, measure=scripted())
    assert resumed.resume()
    assert resumed.state["step"] == 4
    assert resumed.state["batch"] == 1
    resumed.fit()
    for a, b in zip(log_of(resumed), log_of(uninterrupted)):
        assert a["step"] == b["step"]
        assert a["learning_rate"] == b["learning_rate"]
        assert a["loss"] == pytest.approx(b["loss"], abs=2e-5)
    assert len(log_of(resumed)) == 9
    expected = weights_in(uninterrupted.folder / "checkpoints" / "step-0000009")
    for name, value in weights_in(tmp_path / "checkpoints" / "step-0000009").items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6)
    for name in ("moment1", "moment2"):
        pairs = zip(getattr(resumed.optimizer, name), getattr(uninterrupted.optimizer, name))
        for a, b in pairs:
            np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), atol=1e-6)


# ------------------------------------------------------------------------------- the loop alone


@pytest.fixture
def loop(tmp_path, monkeypatch):
    """Trainers whose step adds 1 to a weight and compiles nothing; BLEU is as the test says."""
    monkeypatch.setattr(
        training_loop, "plot_history", lambda history, path: path.write_text(str(len(history)))
    )

    def make(bleus=(), losses=None, folder=tmp_path / "run", **changes):
        trainer = trainer_for(folder, measure=scripted(*bleus), **changes)
        weight = trainer.optimizer.parameters[-1]

        def add_one(_, rate, *batches):
            weight.set_data(weight + 1)
            loss = (losses or {}).get(trainer.state["step"] + 1, 2.0)
            return StepResult(Tensor(loss, ms.float32), Tensor(40.0, ms.float32), True)

        trainer.train_step = Instead(trainer.train_step, add_one)
        trainer.counter = lambda: float(weight.asnumpy().ravel()[0])
        return trainer

    return make


@pytest.mark.parametrize(("patience", "epochs"), [(0, 6), (1, 3), (2, 4), (3, 6), (5, 6)])
def test_patience(loop, patience, epochs):
    bleus = [10.0, 20.0, 19.0, 15.0, 20.0, 21.0]
    if patience == 3:  # A score that is only as good is no better.
        bleus = [10.0, 20.0, 10.0, 20.0, 21.0, 1.0]
    trainer = loop(bleus, epochs=6, patience=patience)
    assert len(trainer.fit()) == epochs
    assert trainer.state["step"] == 3 * epochs
    # A resumed run remembers that its patience has ended.
    again = loop([99.0] * 9, epochs=6, patience=patience)
    assert again.resume()
    assert len(again.fit()) == epochs


@pytest.mark.parametrize(
    ("average_bleu", "best"),
    [(29.9, "step-0000006"), (30.0, "average-0000012"), (31.0, "average-0000012")],
)
def test_the_best_is_the_epoch_or_the_average_with_the_best_bleu(loop, average_bleu, best):
    trainer = loop([10.0, 30.0, 20.0, 5.0, average_bleu], epochs=4, average=2)
    trainer.fit()
    found = find_checkpoint(trainer.folder)
    assert found.name == best
    assert find_checkpoint(trainer.folder, "last").name == "step-0000012"
    run = read_run(trainer.folder)
    assert run["average"] == "checkpoints/average-0000012"
    assert run["best_value"] == max(30.0, average_bleu)
    load_model(found)
    # The best epoch is kept although newer ones exist, until the average is better.
    names = {path.name for path in (trainer.folder / "checkpoints").iterdir()}
    assert names >= {"step-0000009", "step-0000012", "average-0000012"}
    assert names - {"step-0000009", "step-0000012", "average-0000012"} <= {"step-0000006"}
    assert ("step-0000006" in names) == (best == "step-0000006")
    (entry,) = log_of(trainer, "average")
    assert entry["validation_bleu"] == average_bleu


def test_one_epoch_has_no_average(loop):
    trainer = loop([3.0], epochs=1)
    trainer.fit()
    assert set(read_run(trainer.folder)) == {"run", "last", "best", "best_value"}


@pytest.mark.parametrize("step", range(1, 10))
def test_killed_at_any_step_it_goes_on_at_the_right_one(loop, step):
    """Steps 3, 6 and 9 end an epoch; there is a checkpoint after these, and after 2, 4 and 8."""
    trainer = loop()
    started = trainer.counter()
    dies_at(trainer, step)
    with pytest.raises(Killed):
        trainer.fit()
    trainer = loop()
    saved = max(k for k in (0, 2, 3, 4, 6, 8, 9) if k < step)
    assert trainer.resume() == (saved > 0)
    assert trainer.state["step"] == saved
    assert trainer.counter() == started + saved
    trainer.fit()
    assert trainer.counter() == started + 9
    assert [entry["step"] for entry in log_of(trainer)] == list(range(1, 10))
    assert [entry["epoch"] for entry in log_of(trainer, "epoch")] == [1, 2, 3]
    for entry in log_of(trainer):
        assert entry["learning_rate"] == warmup_learning_rate(entry["step"], 4, 5e-3)


# The saves: of step 2; of steps 3, 6 and 9, which end an epoch; of 4 and 8; and of the average.
@pytest.mark.parametrize(
    ("moment", "call", "done"),
    [
        ("save_checkpoint", 1, False),  # there is no checkpoint yet
        ("save_checkpoint", 1, True),  # run.json does not name it
        ("save_checkpoint", 2, True),  # of an epoch: the log tells of it, run.json does not
        ("save_checkpoint", 7, False),  # of the average: the log tells of it
        ("save_checkpoint", 7, True),
        ("write_run", 1, False),  # the run has no name yet
        ("write_run", 1, True),
        ("write_run", 3, True),  # named, but what it replaces is still there
        ("write_run", 8, True),  # the run is complete
        ("plot_history", 1, False),
        ("plot_history", 2, True),
    ],
)
def test_killed_around_a_save_nothing_is_lost_or_doubled(loop, monkeypatch, moment, call, done):
    where = run_folder if moment == "write_run" else training_loop
    real, calls = getattr(where, moment), []

    def dying(*args, **kwargs):
        calls.append(args)
        if len(calls) == call and not done:
            raise Killed
        result = real(*args, **kwargs)
        if len(calls) == call:
            raise Killed
        return result

    bleus = [1.0, 3.0, 2.0, 2.5]
    with monkeypatch.context() as patch:
        patch.setattr(where, moment, dying)
        trainer = loop(bleus, epochs=3)
        with pytest.raises(Killed):
            trainer.fit()
    # Validated again is what no checkpoint has.
    run = read_run(trainer.folder)
    state = read_state(find_checkpoint(trainer.folder, "last")) if "last" in run else None
    validated = len(state["training"]["history"]) if state else 0
    trainer = loop(bleus[validated:], epochs=3)
    trainer.resume()
    trainer.fit()
    assert [entry["step"] for entry in log_of(trainer)] == list(range(1, 10))
    assert [entry["epoch"] for entry in log_of(trainer, "epoch")] == [1, 2, 3]
    assert len(log_of(trainer, "average")) == 1
    assert (trainer.folder / "history.png").read_text(encoding="utf-8") == "3"
    run = read_run(trainer.folder)
    assert (run["best"], run["best_value"]) == ("checkpoints/step-0000006", 3.0)
    assert run["average"] == "checkpoints/average-0000009"
    names = {path.name for path in (trainer.folder / "checkpoints").iterdir()}
    assert names == {"step-0000006", "step-0000009", "average-0000009"}
    assert not list(trainer.folder.rglob(".*"))


def test_a_second_training_in_the_same_folder_is_refused(tmp_path):
    """While one runs; it loses no line of its log."""
    first, second = (trainer_for(tmp_path / "run", measure=scripted()) for _ in range(2))
    refused = []

    def step(real, *inputs):
        if len(refused) < 3:
            with pytest.raises(CheckpointError, match="another training is writing to"):
                second.fit()
            refused.append(len(log_of(first)) if (first.folder / "log.jsonl").exists() else 0)
        return real(*inputs)

    first.train_step = Instead(first.train_step, step)
    first.fit()
    assert refused == [0, 1, 2]
    steps = [entry["step"] for entry in log_of(first)]
    assert steps == list(range(1, len(steps) + 1))
    with first.run_folder.lock():  # free again
        pass


def test_the_bar_says_when_a_shape_is_compiled(tmp_path, capsys):
    """Each once, and in no later epoch."""
    trainer = trainer_for(tmp_path, measure=scripted())
    trainer.progress = True
    trainer.fit()
    shown = re.findall(r"compiling shape (\d) of (\d)", capsys.readouterr().err)
    shapes = len(trainer.batches.shapes)
    # A bar is drawn again when it ends, so what it says may stand there twice in a row.
    numbers = [int(number) for number, _ in shown]
    assert [n for n, _ in itertools.groupby(numbers)] == list(range(1, shapes + 1))
    assert {int(every) for _, every in shown} == {shapes}


def test_what_a_kill_left_behind_is_cleared(loop):
    trainer = loop()
    left = (".run.json.partial-7", ".log.partial-7", ".history.partial-7.png", ".probe-7")
    for name in left:
        (trainer.folder / name).write_text("", encoding="utf-8")
    write_run(trainer.folder, {"run": "killed before its first checkpoint"})
    (trainer.folder / "checkpoints" / ".step-0000001.partial-7").mkdir(parents=True)
    (trainer.folder / "checkpoints" / ".step-0000001.partial-7" / "x").touch()
    log = '{"event": "step", "step": 1}\nnull\n[1]\n{"step": "2"}\n{"eve'
    (trainer.folder / "log.jsonl").write_text(log, "utf-8")
    trainer.fit()
    assert [p for p in trainer.folder.rglob("*") if p.name.startswith(".")] == []
    assert [entry["step"] for entry in log_of(trainer)] == list(range(1, 10))


def test_a_finished_run_can_go_on_for_more_epochs(loop):
    loop([1.0, 2.0, 3.0, 1.0]).fit()
    trainer = loop([5.0, 4.0, 4.5], epochs=5)
    assert trainer.resume()
    history = trainer.fit()
    assert [entry["validation_bleu"] for entry in history] == [1.0, 2.0, 3.0, 5.0, 4.0]
    assert find_checkpoint(trainer.folder).name == "step-0000012"
    assert [entry["step"] for entry in log_of(trainer)] == list(range(1, 16))


@pytest.mark.parametrize(("accumulate", "updates"), [(1, 9), (2, 6)])
def test_in_the_runs_last_part_the_rate_falls_to_nearly_nothing(loop, accumulate, updates):
    """Three epochs of three batches; of two to an update the second update of an epoch has one."""
    trainer = loop(cooldown=0.5, accumulate=accumulate)
    trainer.fit()
    rates = [entry["learning_rate"] for entry in log_of(trainer)]
    assert len(rates) == updates
    for step, rate in enumerate(rates, start=1):
        share = min(1.0, (updates + 1 - step) / (0.5 * updates))
        assert rate == pytest.approx(warmup_learning_rate(step, 4, 5e-3) * share)
    assert rates[-1] < max(rates) / 3


def test_an_average_that_was_the_best_stays_so_when_training_goes_on(loop):
    """The new average is another checkpoint, and the old one's score is compared with."""
    trainer = loop([30.0, 20.0, 10.0, 35.0])
    trainer.fit()
    best = find_checkpoint(trainer.folder)
    assert best.name == "average-0000009"
    before = weights_in(best)
    again = loop([29.0, 25.0], epochs=4)
    assert again.resume()
    again.fit()
    assert find_checkpoint(again.folder) == best
    run = read_run(again.folder)
    assert (run["best_value"], run["average"]) == (35.0, "checkpoints/average-0000012")
    for name, value in weights_in(best).items():
        np.testing.assert_array_equal(value, before[name])
    # A better epoch takes its place, and then nobody needs it.
    third = loop([36.0, 35.5], epochs=5)
    assert third.resume()
    third.fit()
    assert find_checkpoint(third.folder).name == "step-0000015"
    assert not best.exists()


def test_the_best_of_an_older_versions_run_is_not_forgotten(loop):
    """Its run.json has no values and no name."""
    trainer = loop([30.0], epochs=1)
    trainer.fit()
    run = read_run(trainer.folder)
    write_run(trainer.folder, {role: run[role] for role in ("last", "best")})
    again = loop([29.0, 1.0], epochs=2)
    assert again.resume()
    again.fit()
    assert find_checkpoint(again.folder).name == "step-0000003"


def test_a_run_in_half_precision_is_not_resumed_in_float32(loop):
    trainer = loop(epochs=1)
    trainer.fit()
    path = find_checkpoint(trainer.folder, "last") / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    state["training"]["loss_scale"] = [1024.0, 3]
    path.write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"loss_scale in state\.json is of a run in half"):
        loop().resume()


def test_a_run_with_another_measure_is_not_resumed(loop):
    trainer = loop(epochs=1)
    trainer.fit()
    path = find_checkpoint(trainer.folder, "last") / "state.json"
    text = path.read_text(encoding="utf-8").replace("validation_bleu", "validation_perplexity")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"no validation_bleu in state\.json"):
        loop().resume()


@pytest.mark.parametrize("damage", ["truncated", "another shape", "not finite", "gone"])
def test_a_damaged_older_checkpoint_is_left_out_of_the_average(loop, damage, capsys):
    """And it is said, but the run ends as it should."""
    loop([1.0, 2.0, 3.0], epochs=3, average=3).fit()
    trainer = loop([4.0, 5.0], epochs=4, average=3)
    assert trainer.resume()
    path = trainer.folder / "checkpoints" / "step-0000006" / "model.safetensors"
    weights = load_file(str(path))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "gone":
        path.unlink()
    else:
        name = sorted(weights)[0]
        weights[name] = np.full(2 if damage == "another shape" else weights[name].shape, np.nan)
        save_file({n: v.astype(np.float32) for n, v in weights.items()}, str(path))
    capsys.readouterr()
    trainer.fit()
    printed = capsys.readouterr().out
    assert f"left out of the average: {path}" in printed.replace("there is no ", "")
    (_, entry) = log_of(trainer, "average")
    assert (entry["step"], entry["epochs"]) == (12, 2)
    average = weights_in(find_checkpoint(trainer.folder, "average"))
    sets = [weights_in(trainer.folder / "checkpoints" / f"step-00000{n}") for n in ("09", "12")]
    for name, value in average.items():
        np.testing.assert_allclose(value, (sets[0][name] + sets[1][name]) / 2, atol=1e-6)


def test_if_all_but_one_are_damaged_there_is_no_average(loop, capsys):
    loop([1.0], epochs=1).fit()
    trainer = loop([2.0], epochs=2)
    assert trainer.resume()
    (trainer.folder / "checkpoints" / "step-0000003" / "model.safetensors").write_bytes(b"")
    trainer.fit()
    assert "left out of the average" in capsys.readouterr().out
    assert "average" not in read_run(trainer.folder)
    assert find_checkpoint(trainer.folder).name == "step-0000006"


def test_a_folder_of_ones_own_beside_the_checkpoints_stays(loop):
    """And so do checkpoints that are named like ours, but are of another run."""
    trainer = loop(epochs=1)
    trainer.fit()
    mine, other = (trainer.folder / "checkpoints" / name for name in ("mine", "step-0000001"))
    mine.mkdir()
    (mine / "thesis.txt").touch()
    other.mkdir()
    (other / "state.json").write_text('{"run": "another"}', encoding="utf-8")
    again = loop(epochs=3)
    assert again.resume()
    again.fit()
    assert (mine / "thesis.txt").exists()
    assert other.exists()
    assert not (trainer.folder / "checkpoints" / "step-0000002").exists()


def test_a_run_whose_run_file_is_lost_is_not_trained_over(loop):
    trainer = loop(epochs=1)
    trainer.fit()
    (trainer.folder / "run.json").unlink()
    with pytest.raises(CheckpointError, match="checkpoints is not empty"):
        loop(epochs=1)
    assert (trainer.folder / "checkpoints" / "step-0000003").exists()


def test_without_resume_a_run_is_not_trained_over(loop):
    loop(epochs=1).fit()
    with pytest.raises(CheckpointError, match="already holds a training run"):
        loop(epochs=1).fit()


# ------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run(loop, loss):
    trainer = loop(losses={5: loss})
    rate = 5e-3 * (4 / 5) ** 0.5
    words = f"the loss is {loss} at step 5 with learning rate {rate:.2e}.*checkpoints/step-0000004"
    with pytest.raises(TrainingDiverged, match=words):
        trainer.fit()
    last = find_checkpoint(trainer.folder, "last")
    assert read_state(last)["training"]["step"] == 4
    model, _ = load_model(last)
    assert all(np.isfinite(p.asnumpy()).all() for p in model.get_parameters())
    assert [entry["step"] for entry in log_of(trainer)] == [1, 2, 3, 4]


def test_so_does_a_validation_loss(loop):
    trainer = loop()
    trainer.evaluation_step = SimpleNamespace(mean=lambda batches: math.nan)
    with pytest.raises(
        TrainingDiverged, match=r"validation loss is nan at step 3 .* rate 3\.75e-03"
    ):
        trainer.fit()
    assert find_checkpoint(trainer.folder, "last").name == "step-0000002"


def test_weights_that_are_not_finite_are_noticed_by_the_next_save(loop):
    trainer = loop()

    def ruins(step, *inputs):
        result = step(*inputs)
        if trainer.state["step"] + 1 == 4:
            parameter = trainer.optimizer.parameters[0]
            parameter.set_data(Tensor(np.full(parameter.shape, np.nan, np.float32)))
        return result

    trainer.train_step = Instead(trainer.train_step, ruins)
    with pytest.raises(CheckpointError, match="step-0000004 is not written"):
        trainer.fit()
    assert find_checkpoint(trainer.folder, "last").name == "step-0000003"


def test_a_ruined_weight_shows_in_the_compiled_loss(tmp_path):
    trainer = trainer_for(tmp_path, measure=scripted())

    def ruins(step, *inputs):
        if trainer.state["step"] + 1 == 3:
            weight = trainer.model.target_embedding.weight
            value = weight.asnumpy().copy()
            value[5] = np.nan
            weight.set_data(Tensor(value))
        return step(*inputs)

    trainer.train_step = Instead(trainer.train_step, ruins)
    with pytest.raises(TrainingDiverged, match="the loss is nan at step 3 with learning rate"):
        trainer.fit()
    model, _ = load_model(find_checkpoint(tmp_path, "last"))
    assert all(np.isfinite(p.asnumpy()).all() for p in model.get_parameters())


def test_a_run_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(CheckpointError, match="cannot write to the run folder"):
            trainer_for(folder)


def test_a_full_disk_stops_the_run_and_the_last_checkpoint_stands(loop):
    resource = pytest.importorskip("resource")
    trainer = loop()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fills_the_disk(step, *inputs):
        if trainer.state["step"] + 1 == 4:  # its save comes next
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
        return step(*inputs)

    trainer.train_step = Instead(trainer.train_step, fills_the_disk)
    try:
        with pytest.raises(
            CheckpointError, match=r"step-0000004.*earlier checkpoints are untouched"
        ):
            trainer.fit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resumed = loop()
    assert resumed.resume()
    assert resumed.state["step"] == 3
    resumed.fit()
    assert [entry["step"] for entry in log_of(resumed)] == list(range(1, 10))


def test_resuming_needs_a_sound_checkpoint_of_the_same_shape(loop):
    trainer = loop()
    assert not trainer.resume()
    trainer.fit()
    last = find_checkpoint(trainer.folder, "last")
    with pytest.raises(CheckpointError, match=r"has shape .* expected"):
        trainer_for(trainer.folder, PAIRS[:8], measure=scripted()).resume()
    state = (last / "state.json").read_text(encoding="utf-8")
    (last / "state.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"state\.json: training is missing"):
        loop().resume()
    (last / "state.json").write_text(state, encoding="utf-8")
    whole = (last / "optimizer.safetensors").read_bytes()
    (last / "optimizer.safetensors").write_bytes(whole[:-10])
    with pytest.raises(CheckpointError, match="damaged or truncated"):
        loop().resume()


def test_without_a_peak_it_is_the_papers(loop):
    trainer = loop(peak_learning_rate=None, epochs=1)
    trainer.fit()
    assert [entry["learning_rate"] for entry in log_of(trainer)] == [
        paper_peak(16, 4) * step / 4 for step in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", "3"),
        ("epochs", True),
        ("epochs", None),
        ("batch_tokens", 0),
        ("batch_tokens", 2.5),
        ("warmup_steps", 0),
        ("average", 0),
        ("save_every", 0),
        ("save_every", []),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("label_smoothing", math.nan),
        ("label_smoothing", "0.1"),
        ("label_smoothing", None),
        ("r_drop", -0.1),
        ("r_drop", math.inf),
        ("r_drop", None),
        ("peak_learning_rate", 0.0),
        ("peak_learning_rate", math.nan),
        ("peak_learning_rate", math.inf),
        ("peak_learning_rate", [1]),
        ("cooldown", -0.1),
        ("cooldown", 1.1),
        ("cooldown", "half"),
        ("clip_norm", -1.0),
        ("clip_norm", None),
        ("clip_norm", True),
        ("patience", -1),
        ("seed", -1),
        ("seed", {}),
        ("buckets", 5),
        ("buckets", ["8"]),
        ("buckets", None),
        ("precision", 5),
        ("precision", []),
    ],
)
def test_values_of_another_type_or_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=re.escape(f"{name} is {value!r}; expected")):
        TrainingConfig(**{name: value})


def test_a_configuration_comes_back_from_a_checkpoints_fields():
    config = TrainingConfig(buckets=(4, 9), seed=3)
    fields = json.loads(json.dumps(dataclasses.asdict(config)))
    assert TrainingConfig.from_dict(fields) == config
    assert TrainingConfig.from_dict({"epochs": 2}) == TrainingConfig(epochs=2)
    with pytest.raises(ValueError, match="rotations is no option of training; was it written by a"):
        TrainingConfig.from_dict({**fields, "rotations": 3})


def test_evaluation_sees_weights_that_were_set_after_its_first_call():
    """In PyNative mode, a compiled function alone would take those of its first call again."""
    sizes = {"d_model": 8, "num_heads": 2, "d_ff": 8}
    layers = {"num_encoder_layers": 1, "num_decoder_layers": 1, "dropout": 0.0}
    model = Transformer(TransformerConfig(9, 9, **sizes, **layers)).set_train(False)
    ids = np.array([[4, 5, 6, 2]], np.int32)
    step = EvaluationStep(model)

    def loss():
        return float(step((ids, ids, ids))[0].asnumpy())

    before = loss()
    weight = model.decoder.layers[0].feed_forward.outer.weight
    kept = weight.asnumpy().copy()
    weight.set_data(Tensor(-3.0 * kept))
    changed = loss()
    weight.set_data(Tensor(kept))
    assert abs(changed - before) > 1e-3
    assert abs(loss() - before) < 1e-5
