"""The loop over epochs: updates, validation, checkpoints, and the average at the end."""

from __future__ import annotations

import itertools
import math
import time
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn

from step_llm.data.vocabulary import Tokenizer, TokenizerPair
from step_llm.evaluation.plots import plot_history
from step_llm.models.weights import set_weights, weights_of
from step_llm.nn.forms import device_form
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training import report
from step_llm.training.average import average_weights
from step_llm.training.checkpoint import (
    load_weights,
    read_training,
    save_checkpoint,
    training_state,
)
from step_llm.training.config import TrainingConfig
from step_llm.training.distributed import Group
from step_llm.training.measures import PERPLEXITY, Measure
from step_llm.training.objectives import r_drop_objective, token_objective
from step_llm.training.run_folder import RunFolder, find_checkpoint, read_run
from step_llm.training.schedule import cooldown_factor, paper_peak, warmup_learning_rate
from step_llm.training.step import EvaluationStep, TrainStep

__all__ = ["Trainer", "TrainingDiverged"]


class TrainingDiverged(RuntimeError):
    """The loss is not finite any more; says at which step and learning rate."""


class Trainer:
    """Trains a model, and keeps in its run folder all that is needed to go on or to use it.

    The run folder gets ``checkpoints/``, ``run.json`` (which checkpoint is last and best),
    ``log.jsonl`` (a line for each update and each epoch) and ``history.png`` (the curves).

    Args:
        model: any model that the objective can call.
        tokenizers: saved beside the weights: a translator's pair, a tokenizer, or None.
        training, validation: batches, a ``data.Batches`` or ``data.ArrayBatches``. They
            decide what a batch is; ``batch_tokens`` and ``buckets`` of the configuration do not.
        config: how to train. Without a ``peak_learning_rate`` the model's own configuration has to
            have a ``d_model``.
        folder: the run folder.
        measure: by which epochs are compared. With both tasks of BERT the perplexity is a number to
            compare epochs by, and no more.
        objective: what is lowered, see ``objectives``.
        notes: kept in every checkpoint's state (the corpus's name, for example).
        progress: show progress bars.
        group: the workers, if this process is one of several. All need the same run folder; the
            first of them writes it.

    Raises:
        CheckpointError: the run folder cannot be written, or holds what is not of a run.
        PrecisionError: a half precision in which this device cannot compute.
        ValueError: ``r_drop`` with an objective that is not of tokens.
    """

    def __init__(
        self,
        model,
        tokenizers: TokenizerPair | Tokenizer | None,
        training,
        validation,
        config: TrainingConfig,
        folder: str | Path,
        *,
        measure: Measure = PERPLEXITY,
        objective=token_objective,
        notes: dict | None = None,
        progress: bool = True,
        group: Group | None = None,
    ):
        self.model, self.tokenizers, self.config = model, tokenizers, config
        self.batches, self.validation_batches = training, validation
        self.run_folder, self.notes = RunFolder(folder), notes or {}
        self.folder = self.run_folder.path
        self.measure, self.group = measure, group or Group()
        self.progress = progress and self.group.is_first
        warmup, peak = config.warmup_steps, config.peak_learning_rate
        self.peak = peak or paper_peak(model.config.d_model, warmup)
        weights = model.trainable_params()
        self.optimizer = device_form(nn.Adam)(weights, self.peak, beta1=0.9, beta2=0.98, eps=1e-9)
        options = ("label_smoothing", "clip_norm", "precision", "accumulate")
        options = {name: getattr(config, name) for name in options}
        trained = _with_r_drop(objective, config.r_drop)
        self.train_step = TrainStep(model, self.optimizer, trained, **options, group=self.group)
        self.evaluation_step = EvaluationStep(model, objective, self.group)
        # Where training stands. ``batch`` is the number of batches done in this epoch.
        self.state = {
            "step": 0, "epoch": 0, "batch": 0, "seconds": 0.0, "history": [], "skipped": 0,
        }  # fmt: skip
        self._shapes = set()  # of batches that were seen, and so compiled
        if self.group.is_first:
            self.run_folder.make()

    def resume(self) -> bool:
        """Go back to the last checkpoint of the run folder. False if it has none yet.

        Raises:
            CheckpointError: a damaged checkpoint, or one of another shape, measure or precision.
        """
        if "last" not in read_run(self.folder):
            return False
        checkpoint = find_checkpoint(self.folder, "last")
        measure, precision = self.measure.field, self.config.precision
        state = read_training(checkpoint, measure, precision, len(self.batches))
        load_weights(checkpoint, self.model, self.optimizer)
        self.state = {name: state.get(name, value) for name, value in self.state.items()}
        if "loss_scale" in state:
            self.state["loss_scale"] = self.train_step.loss_scale = state["loss_scale"]
        return True

    def fit(self) -> list[dict]:
        """Train until the last epoch, or until patience ends; returns the history of the epochs.

        Raises:
            TrainingDiverged: a loss that is not finite. The last good checkpoint stands.
            CheckpointError: a checkpoint cannot be written, another training has the run folder, or
                there is a run in it that was not resumed.
            GroupError: a worker has other data, weights or options than the first.
        """
        if not self.group.is_first:
            return self._fit()
        history = self.state["history"]
        with self.run_folder.lock():
            self._run = self.run_folder.begin(self.state["step"] == 0, self.measure.best(history))
            self.run_folder.remove_others(self._to_average())
            # A kill may have left updates that no checkpoint has, or an epoch without its picture.
            self.run_folder.cut_log(self.state["step"])
            if history:
                plot_history(history, self.folder / "history.png")
            return self._fit()

    def _fit(self):
        state, patience = self.state, self.config.patience or math.inf
        # For a dropout that draws from MindSpore's seed as it runs (an NPU's), and goes on with
        # another stream after a resume. Elsewhere its seed is that of when the model was made.
        ms.set_seed(self.group.own_seed(self.config.seed + state["step"]))
        with graph_mode():
            place = (self.config, state["step"], state["epoch"], state["batch"])
            self.group.check_job(self.batches, self.model, repr(place))
            while state["epoch"] < self.config.epochs and (
                self.measure.epochs_since_best(state["history"]) < patience
            ):
                self._finish_epoch(self._train_epoch())
            if state["history"]:
                self._finish_run()
        return state["history"]

    def _train_epoch(self):
        """The epoch's updates; returns the loss. An epoch that goes on after a resume reports the
        loss of its later part."""
        state, every = self.state, len(self.batches)
        self.model.set_train(True)
        batches = self.batches.epoch(state["epoch"], start=state["batch"])
        title = f"epoch {state['epoch'] + 1}/{self.config.epochs}"
        total = counted = 0.0
        with report.progress_bar(title, every, state["batch"], self.progress) as bar:
            while some := list(itertools.islice(batches, self.config.accumulate)):
                report.tell_compiling(bar, some, self._shapes, len(self.batches.shapes))
                loss, tokens, told = self._update(some)
                total, counted = total + loss * tokens, counted + tokens
                bar.set_postfix_str(f"loss {total / max(counted, 1.0):.3f}, {told}", refresh=False)
                bar.update(len(some))
                if state["step"] % self.config.save_every == 0 and state["batch"] < every:
                    self._save()
        return round(total / max(counted, 1.0), 4)

    def _update(self, batches):
        """One update; returns its loss, how many labels have a part in it, and what to show."""
        state, started = self.state, time.perf_counter()
        step = state["step"] + 1
        rate = _learning_rate(self.config, self.peak, len(self.batches), step)
        result = self.train_step(rate, *batches)
        loss, tokens = float(result.loss.asnumpy()), float(result.tokens.asnumpy())
        seconds = time.perf_counter() - started
        if self.config.precision != "float32":
            state["loss_scale"] = self.train_step.loss_scale
        skipped = {}
        if result.is_made and not math.isfinite(loss):
            self._diverge("loss", loss, step)
        if self.train_step.is_hopeless:
            self._diverge("gradient", "not finite with loss scale 1", step)
        if not result.is_made:
            state["skipped"] += 1
            skipped = {"skipped": True, "loss_scale": state["loss_scale"][0]}
        state["step"], state["batch"] = step, state["batch"] + len(batches)
        state["seconds"] += seconds
        if self.group.is_first:
            self.run_folder.log(
                event="step", step=step, epoch=state["epoch"] + 1, loss=round(loss, 5),
                learning_rate=rate, tokens=int(tokens),
                tokens_per_second=round(tokens / seconds), **skipped,
            )  # fmt: skip
        told = f"lr {rate:.1e}, {tokens / seconds:,.0f} tokens/s"
        return (loss, tokens, told) if result.is_made else (0.0, 0.0, told)

    def _finish_epoch(self, train_loss):
        state = self.state
        with report.waiting("validation", self.progress):
            value, found = self._validate()
        state["epoch"], state["batch"] = state["epoch"] + 1, 0
        entry = {"epoch": state["epoch"], "step": state["step"], "train_loss": train_loss, **found}
        state["history"].append(entry)
        if not self.group.is_first:
            return
        # Logged first: if a kill comes in between, the resumed run makes the epoch's end again.
        self.run_folder.log(event="epoch", **entry)
        self._save(value)
        plot_history(state["history"], self.folder / "history.png")
        report.tell_epoch(entry, self.measure.text.format(value), state["skipped"])

    def _finish_run(self):
        """Average the last epochs' weights; the better on validation, best or average, is kept."""
        step = self.state["step"]
        own = weights_of(self.model)
        mean, used = own, 0
        if self.group.is_first and not self.run_folder.is_averaged(step):
            paths = self._to_average()
            mean, left_out = average_weights(paths, own)
            used = len(paths) - len(left_out)
            report.tell_left_out(left_out)
        # The first worker is still writing when the others come here.
        if self.group.from_first(np.array([used]))[0] < 2:
            return
        mean = self.group.weights_from_first(mean)
        set_weights(self.model, mean)
        value, found = self._validate()
        set_weights(self.model, own)
        if not self.group.is_first:
            return
        best = read_run(self.folder)["best_value"]
        entry = {"step": step, "epochs": used, **found}
        self.run_folder.log(event="average", **entry)
        self._save(value, mean)
        report.tell_average(entry, *(self.measure.text.format(number) for number in (value, best)))

    def _validate(self):
        """The measure of the weights that the model has now, and all that is told of them."""
        started = time.perf_counter()
        loss = self.evaluation_step.mean(self.validation_batches)
        # The epoch's last update may have ruined the weights: no training loss has seen them yet.
        if not math.isfinite(loss):
            self._diverge("validation loss", loss, self.state["step"])
        value = self.measure.value(loss)
        self.state["seconds"] += time.perf_counter() - started
        found = {"validation_loss": round(loss, 4), self.measure.field: round(value, 2)}
        return value, {**found, "seconds": round(self.state["seconds"], 1)}

    def _diverge(self, what, value, step):
        rate = _learning_rate(self.config, self.peak, len(self.batches), step)
        raise TrainingDiverged(
            f"the {what} is {value} at step {step} with learning rate {rate:.2e}; try a lower "
            "peak learning rate or a longer warm-up. The last good checkpoint is "
            f"{read_run(self.folder).get('last', 'none')}"
        )

    def _save(self, value=None, weights=None):
        """A checkpoint of the model, or of the average; with a value it may be the best."""
        if not self.group.is_first:
            return
        kind, optimizer = ("average", None) if weights else ("step", self.optimizer)
        path = self.run_folder.checkpoint(kind, self.state["step"])
        state = training_state(self._run, self.state, self.config, self.notes)
        save_checkpoint(path, self.model, self.tokenizers, optimizer, state, weights)
        self.run_folder.record(path, value, self.measure.sign)
        self.run_folder.remove_others(self._to_average())

    def _to_average(self):
        """The last epochs' checkpoints that are still there, oldest first."""
        steps = [entry["step"] for entry in self.state["history"]]
        paths = [self.run_folder.checkpoint("step", step) for step in steps]
        return [path for path in paths if path.is_dir()][-self.config.average :]


def _learning_rate(config, peak, batches, step):
    updates = config.epochs * math.ceil(batches / config.accumulate)
    rate = warmup_learning_rate(step, config.warmup_steps, peak)
    return rate * cooldown_factor(step, updates, config.cooldown)


def _with_r_drop(objective, alpha):
    """What an update lowers; validation keeps the objective itself."""
    if not alpha:
        return objective
    if objective is not token_objective:
        raise ValueError(f"r_drop is {alpha}; expected 0 for an objective that is not of tokens")
    return r_drop_objective(alpha)
