"""Training: one compiled step, a loop over epochs, validation, checkpoints that survive a kill."""

from __future__ import annotations

import dataclasses
import itertools
import math
import platform
import time
from pathlib import Path
from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from safetensors.numpy import load_file
from tqdm.auto import tqdm

from step_llm.data.batches import Batches, EncodedPairs
from step_llm.data.corpus import ParallelText
from step_llm.data.vocabulary import TokenizerPair
from step_llm.decoding.translator import Translator
from step_llm.evaluation.metrics import bleu_counts, bleu_of_counts
from step_llm.evaluation.plots import plot_history
from step_llm.models.transformer import Transformer
from step_llm.models.weights import CheckpointError
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training.checkpoint import load_weights, read_state, save_checkpoint
from step_llm.training.config import TrainingConfig
from step_llm.training.distributed import Group, fingerprint
from step_llm.training.objectives import token_objective
from step_llm.training.run_folder import RunFolder, find_checkpoint, read_run, write_run
from step_llm.training.schedule import paper_peak, warmup_learning_rate
from step_llm.training.step import EvaluationStep, TrainStep

__all__ = ["Measure", "Trainer", "TrainingDiverged"]


class TrainingDiverged(RuntimeError):
    """The loss is not finite any more; says at which step and learning rate."""


class Measure(NamedTuple):
    """What tells on the validation set which epoch is the best.

    Args:
        name: in the history "validation_" + name.
        text: for people, with a place for the value.
        sign: 1 where more is better, −1 where less is.
    """

    name: str
    text: str
    sign: int


class Trainer:
    """Trains a translator, and keeps in its run folder all that is needed to go on or to use it.

    The run folder gets ``checkpoints/``, ``run.json`` (which checkpoint is last and best),
    ``log.jsonl`` (a line for each update and each epoch) and ``history.png`` (the curves).

    Args:
        model, tokenizers: what is trained.
        training, validation: the encoded pairs.
        validation_text: the same sentences as text, for BLEU.
        config: how to train.
        folder: the run folder.
        notes: kept in every checkpoint's state (the corpus's name, for example).
        progress: show progress bars.
        group: the workers, if this process is one of several. All need the same run folder; the
            first of them writes it.

    Raises:
        CheckpointError: the run folder cannot be written.
        PrecisionError: a half precision in which this device cannot compute.
    """

    measure = Measure("bleu", "BLEU {:.1f} (greedy)", 1)
    objective = staticmethod(token_objective)

    def __init__(
        self,
        model: Transformer,
        tokenizers: TokenizerPair,
        training: EncodedPairs,
        validation: EncodedPairs,
        validation_text: ParallelText,
        config: TrainingConfig,
        folder: str | Path,
        notes: dict | None = None,
        progress: bool = True,
        group: Group | None = None,
    ):
        self.group = group or Group()
        self.model = model
        self.tokenizers = tokenizers
        self.config = config
        self.run_folder = RunFolder(folder)
        self.folder = self.run_folder.path
        self.notes = notes or {}
        self.progress = progress and self.group.is_first
        self.validation_text = validation_text
        self.batches, self.validation_batches = self._make_batches(training, validation)
        self.peak = config.peak_learning_rate or paper_peak(
            model.config.d_model, config.warmup_steps
        )
        self.optimizer = nn.Adam(
            model.trainable_params(), learning_rate=self.peak, beta1=0.9, beta2=0.98, eps=1e-9
        )
        self.train_step = TrainStep(
            model,
            self.optimizer,
            self.objective,
            label_smoothing=config.label_smoothing,
            clip_norm=config.clip_norm,
            precision=config.precision,
            accumulate=config.accumulate,
            group=self.group,
        )
        self.evaluation_step = EvaluationStep(model, self.objective, self.group)
        self.translator = self._make_translator()
        if self.group.size > 1:
            self._fingerprint = fingerprint(*training.source, *training.target)
        # Where training stands. ``batch`` is the number of batches done in this epoch.
        self.state = {
            "step": 0, "epoch": 0, "batch": 0, "seconds": 0.0, "history": [], "skipped": 0,
        }  # fmt: skip
        if self.group.is_first:
            self.run_folder.make()

    def _make_batches(self, training, validation):
        config = self.config
        # Two shapes are enough to validate: a forward pass is cheap, compiling one is not.
        return (
            Batches(training, config.buckets, config.batch_tokens, seed=config.seed),
            Batches(
                validation,
                sorted({config.buckets[len(config.buckets) // 2], config.buckets[-1]}),
                max(config.batch_tokens, 2 * config.buckets[-1]),
                shuffle=False,
            ),
        )

    def _make_translator(self):
        return Translator(self.model, self.tokenizers)

    def resume(self) -> bool:
        """Go back to the last checkpoint of the run folder. False if it has none yet.

        Raises:
            CheckpointError: a damaged checkpoint, or one of another shape.
        """
        if "last" not in read_run(self.folder):
            return False
        checkpoint = find_checkpoint(self.folder, "last")
        load_weights(checkpoint, self.model, self.optimizer)
        state = read_state(checkpoint, "training")["training"]
        value = f"validation_{self.measure.name}"
        if any(value not in entry for entry in state["history"]):
            raise CheckpointError(f"{checkpoint}: an epoch has no {value} in state.json")
        if "loss_scale" in state and self.config.precision == "float32":
            raise CheckpointError(
                f"{checkpoint}: loss_scale in state.json is of a run in half precision, but "
                "precision is float32; go on in the run's own precision"
            )
        self.state = {name: state.get(name, value) for name, value in self.state.items()}
        if "loss_scale" in state:
            self.state["loss_scale"] = self.train_step.loss_scale = state["loss_scale"]
        return True

    def fit(self) -> list[dict]:
        """Train until the last epoch, or until patience ends; returns the history of the epochs.

        Raises:
            TrainingDiverged: a loss that is not finite. The last good checkpoint stands.
            CheckpointError: a checkpoint cannot be written, or another training has the run folder.
            GroupError: a worker has other data, weights or options than the first.
        """
        if not self.group.is_first:
            return self._fit()
        with self.run_folder.lock():
            self._run = self.run_folder.begin(self.state["step"] == 0, self._best_epoch())
            self.run_folder.remove_others(self._needed())
            # A kill may have left updates that no checkpoint has, or an epoch without its picture.
            self.run_folder.cut_log(self.state["step"])
            if self.state["history"]:
                plot_history(self.state["history"], self.folder / "history.png")
            return self._fit()

    def _fit(self):
        # Dropout draws from MindSpore's seed. After a resume it goes on with another stream, and
        # each worker has its own: the same masks on different rows would be less random.
        ms.set_seed(self.config.seed + self.state["step"] + 1_000_003 * self.group.rank)
        with graph_mode():
            self._check_group()
            while self.state["epoch"] < self.config.epochs and not self._out_of_patience():
                self._train_epoch()
                self._finish_epoch()
            if self.state["history"]:
                self._finish_run()
        return self.state["history"]

    def _check_group(self):
        if self.group.size == 1:
            return
        weights = [parameter.asnumpy() for parameter in self.model.get_parameters()]
        options = repr((self.config, self.state["step"], self.state["epoch"], self.state["batch"]))
        for what, number in (
            ("training data", self._fingerprint),
            ("weights", fingerprint(*weights)),
            ("options or a checkpoint", fingerprint(np.frombuffer(options.encode(), np.uint8))),
        ):
            self.group.check_same(what, number)

    def _train_epoch(self):
        config, state = self.config, self.state
        self.model.set_train(True)
        done = state["batch"]
        bar = tqdm(
            total=len(self.batches),
            initial=done,
            desc=f"epoch {state['epoch'] + 1}/{config.epochs}",
            unit="batch",
            disable=not self.progress,
            mininterval=0.5,
        )
        # An epoch that goes on after a resume reports the loss of its later part.
        total_loss = total_tokens = 0.0
        with bar:
            batches = self.batches.epoch(state["epoch"], start=done)
            while group := list(itertools.islice(batches, config.accumulate)):
                started = time.perf_counter()
                rate = warmup_learning_rate(state["step"] + 1, config.warmup_steps, self.peak)
                result = self.train_step(rate, *group)
                loss, tokens = float(result.loss.asnumpy()), float(result.tokens.asnumpy())
                seconds = time.perf_counter() - started
                state["seconds"] += seconds
                skipped = self._count_skipped(result.is_made, state["step"] + 1)
                if not skipped:
                    self._check_finite("loss", loss, state["step"] + 1)
                    total_loss += loss * tokens
                    total_tokens += tokens
                state["step"] += 1
                state["batch"] += len(group)
                self._log(
                    event="step", step=state["step"], epoch=state["epoch"] + 1,
                    loss=round(loss, 5), learning_rate=rate, tokens=int(tokens),
                    tokens_per_second=round(tokens / seconds), **skipped,
                )  # fmt: skip
                bar.set_postfix_str(
                    f"loss {total_loss / max(total_tokens, 1.0):.3f}, lr {rate:.1e}, "
                    f"{tokens / seconds:,.0f} tokens/s",
                    refresh=False,
                )
                bar.update(len(group))
                if state["step"] % config.save_every == 0 and state["batch"] < len(self.batches):
                    self._save()
        self._train_loss = total_loss / max(total_tokens, 1.0)

    def _count_skipped(self, is_made, step):
        """What to log of an update that was not made because its gradient overflowed."""
        if self.train_step.loss_scale is None:
            return {}
        self.state["loss_scale"] = self.train_step.loss_scale
        if is_made:
            return {}
        if self.train_step.is_hopeless:
            raise self._diverged("gradient", "not finite with loss scale 1", step)
        self.state["skipped"] += 1
        return {"skipped": True, "loss_scale": self.state["loss_scale"][0]}

    def _finish_epoch(self):
        state = self.state
        validation_loss, value = self._validate()
        state["epoch"] += 1
        state["batch"] = 0
        entry = {
            "epoch": state["epoch"],
            "step": state["step"],
            "train_loss": round(self._train_loss, 4),
            "validation_loss": round(validation_loss, 4),
            f"validation_{self.measure.name}": round(value, 2),
            "seconds": round(state["seconds"], 1),
        }
        state["history"].append(entry)
        if not self.group.is_first:
            return
        # Logged first: if a kill comes in between, the resumed run makes the epoch's end again.
        self._log(event="epoch", **entry)
        self._save(value)
        plot_history(state["history"], self.folder / "history.png")
        tqdm.write(
            f"epoch {entry['epoch']}: training loss {entry['train_loss']:.3f}, validation loss "
            f"{entry['validation_loss']:.3f}, validation {self.measure.text.format(value)}, "
            f"{entry['seconds'] / 60:.1f} min"
            + (f", {state['skipped']} updates skipped so far" if state["skipped"] else "")
        )

    def _finish_run(self):
        """Average the last epochs' weights; the better on validation, best or average, is kept."""
        state = self.state
        paths = self._needed()
        name = f"checkpoints/average-{state['step']:07d}"
        has_average = len(paths) > 1 and read_run(self.folder).get("average") != name
        # The first worker is still writing when the others come here.
        if not self.group.from_first(np.array([has_average]))[0]:
            return
        own = {n: p.asnumpy().copy() for n, p in self.model.parameters_and_names()}
        sets = [own]
        if self.group.is_first:
            sets = [load_file(str(path / "model.safetensors")) for path in paths]
        mean = {
            name: np.mean([weights[name] for weights in sets], axis=0, dtype=np.float64).astype(
                np.float32
            )
            for name in own
        }
        mean = self._from_first(mean)
        self._set_weights(mean)
        loss, value = self._validate()
        self._set_weights(own)
        if not self.group.is_first:
            return
        save_checkpoint(
            self.folder / name, self.model, self.tokenizers, state=self._full_state(), weights=mean
        )
        self._log(
            event="average", step=state["step"], epochs=len(paths), validation_loss=round(loss, 4),
            **{f"validation_{self.measure.name}": round(value, 2)},
            seconds=round(state["seconds"], 1),
        )  # fmt: skip
        run = read_run(self.folder)
        best = run.get("best_value", value)
        if self._is_best(run, value, or_as_good=True):
            run |= {"best": name, "best_value": value}
        write_run(self.folder, {**run, "average": name})
        self.run_folder.remove_others(self._needed())
        text = self.measure.text
        tqdm.write(
            f"average of the last {len(paths)} epochs: validation loss {loss:.3f}, validation "
            f"{text.format(value)} (best until now: {text.format(best)})"
        )

    def _validate(self):
        """Loss and measure on the validation set, with the weights that the model has now."""
        started = time.perf_counter()
        loss = self.validation_loss()
        # The epoch's last update may have ruined the weights: no training loss has seen them yet.
        self._check_finite("validation loss", loss, self.state["step"])
        value = self._measured(loss)
        self.state["seconds"] += time.perf_counter() - started
        return loss, value

    def _measured(self, loss):
        """Greedy BLEU; each worker translates its share."""
        share = slice(self.group.rank, None, self.group.size)
        sentences, references = (
            list(side[share]) for side in (self.validation_text.source, self.validation_text.target)
        )
        hypotheses = self.translator.translate(sentences) if sentences else []
        return bleu_of_counts(self.group.sum(np.array(bleu_counts(hypotheses, references))))

    def validation_loss(self) -> float:
        """Cross-entropy in nats per token on the validation pairs, without label smoothing."""
        return self.evaluation_step.mean(self.validation_batches)

    def _check_finite(self, what, loss, step):
        if not math.isfinite(loss):
            raise self._diverged(what, loss, step)

    def _diverged(self, what, value, step):
        rate = warmup_learning_rate(step, self.config.warmup_steps, self.peak)
        return TrainingDiverged(
            f"the {what} is {value} at step {step} with learning rate {rate:.2e}; try a lower "
            "peak learning rate or a longer warm-up. The last good checkpoint is "
            f"{read_run(self.folder).get('last', 'none')}"
        )

    def _out_of_patience(self):
        name, sign = f"validation_{self.measure.name}", self.measure.sign
        scores = [sign * entry[name] for entry in self.state["history"]]
        if not self.config.patience or not scores:
            return False
        return len(scores) - 1 - int(np.argmax(scores)) >= self.config.patience

    def _from_first(self, weights):
        """The first worker's weights, by name, in all workers."""
        if self.group.size == 1:
            return weights
        flat = self.group.from_first(np.concatenate([value.ravel() for value in weights.values()]))
        ends = np.cumsum([value.size for value in weights.values()])
        return {
            name: part.reshape(value.shape)
            for (name, value), part in zip(weights.items(), np.split(flat, ends[:-1]))
        }

    def _save(self, value=None):
        """A checkpoint; after an epoch, with its value on validation, it may be the best."""
        if not self.group.is_first:
            return
        name = f"checkpoints/step-{self.state['step']:07d}"
        save_checkpoint(
            self.folder / name, self.model, self.tokenizers, self.optimizer, self._full_state()
        )
        run = {**read_run(self.folder), "last": name}
        if value is not None and self._is_best(run, value):
            run |= {"best": name, "best_value": value}
        write_run(self.folder, run)
        self.run_folder.remove_others(self._needed())

    def _is_best(self, run, value, or_as_good=False):
        if "best" not in run:
            return True
        sign, best = self.measure.sign, run["best_value"]
        return sign * value > sign * best or (or_as_good and value == best)

    def _full_state(self):
        return {
            "run": self._run,
            "training": self.state,
            "config": dataclasses.asdict(self.config),
            "notes": self.notes,
            "versions": {"mindspore": ms.__version__, "python": platform.python_version()},
        }

    def _epoch_checkpoints(self):
        """Checkpoints made at the end of an epoch that are still there, oldest first."""
        steps = [entry["step"] for entry in self.state["history"]]
        paths = [self.folder / "checkpoints" / f"step-{step:07d}" for step in steps]
        return [path for path in paths if path.is_dir()]

    def _best_epoch(self):
        """The best value of an epoch: what the run of an older version does not tell."""
        name, sign = f"validation_{self.measure.name}", self.measure.sign
        values = [sign * entry[name] for entry in self.state["history"]]
        return sign * max(values) if values else None

    def _needed(self):
        """The checkpoints of which the average will be made."""
        return self._epoch_checkpoints()[-self.config.average :]

    def _set_weights(self, weights):
        for name, parameter in self.model.parameters_and_names():
            parameter.set_data(Tensor(weights[name]))

    def _log(self, **entry):
        if self.group.is_first:
            self.run_folder.log(**entry)
