"""Objectives in NumPy, batches of texts and arrays, and training runs of models that translate not.

The loop itself is the translators'; its own tests are in test_training.py.
"""

from __future__ import annotations

import json
import math

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Parameter, Tensor, nn

from step_llm.data.arrays import ArrayBatches
from step_llm.data.batches import Batches, encode_texts
from step_llm.data.corpus import DataError
from step_llm.data.masking import masked_batch
from step_llm.data.vocabulary import BOS_ID, EOS_ID, PAD_ID, Tokenizer
from step_llm.decoding.translator import Translator
from step_llm.evaluation.metrics import perplexity
from step_llm.evaluation.plots import plot_history
from step_llm.models.bert import BertConfig, BertForPreTraining
from step_llm.models.gpt import GPT, GPTConfig
from step_llm.models.neural_lm import NeuralLM, NeuralLMConfig
from step_llm.models.vit import ViT, ViTConfig
from step_llm.models.weights import CheckpointError
from step_llm.training.checkpoint import load_model
from step_llm.training.config import TrainingConfig
from step_llm.training.measures import Measure
from step_llm.training.objectives import (
    IGNORED,
    class_objective,
    pretraining_objective,
    r_drop_objective,
    token_objective,
)
from step_llm.training.precision import refused_operators
from step_llm.training.run_folder import find_checkpoint, read_run
from step_llm.training.step import EvaluationStep, TrainStep
from step_llm.training.trainer import Trainer

LINES = [
    f"the {noun} {verb} ."
    for noun in ("dog", "man", "boy", "king", "bird", "bear")
    for verb in ("runs", "sits", "sings", "sleeps")
]


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


class Fixed(nn.Cell):
    """A model whose outputs are what it is called with."""

    pad_id = PAD_ID

    def construct(self, *outputs):
        return outputs if len(outputs) > 1 else outputs[0]


# Objectives


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_objective(smoothing):
    logits = np.random.default_rng(1).normal(0, 2, (5, 3)).astype(np.float32)
    labels = np.array([2, IGNORED, 0, 1, IGNORED], np.int32)
    total, count = class_objective(Fixed(), (Tensor(logits), Tensor(labels)), smoothing)
    log_p = log_softmax(logits.astype(float))
    expected = -sum(
        (1 - smoothing) * log_p[row, label] + smoothing * log_p[row].mean()
        for row, label in enumerate(labels)
        if label != IGNORED
    )
    assert float(total.asnumpy()) == pytest.approx(expected, rel=1e-5)
    assert float(count.asnumpy()) == 3


@pytest.mark.parametrize("hidden", [4, 0])
def test_pretraining_objective(hidden):
    """A mean over the hidden tokens and a mean over the pairs; a batch may hide no token."""
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (3, 4, 6)).astype(np.float32)
    following = rng.normal(0, 2, (3, 2)).astype(np.float32)
    labels = np.zeros(12, np.int32)
    labels[[1, 5, 6, 9][:hidden]] = [3, 5, 1, 2][:hidden]
    is_random = np.array([1, IGNORED, 0], np.int32)
    tensors = [Tensor(a) for a in (logits, following, labels.reshape(3, 4), is_random)]
    total, count = pretraining_objective(Fixed(), tensors)
    log_p, places = log_softmax(logits.astype(float)).reshape(12, 6), np.flatnonzero(labels)
    first = -np.mean([log_p[place, labels[place]] for place in places]) if hidden else 0.0
    log_q = log_softmax(following.astype(float))
    second = -np.mean([log_q[0, 1], log_q[2, 0]])
    assert float((total / count).asnumpy()) == pytest.approx(first + second, rel=1e-5)
    assert float(count.asnumpy()) == max(hidden, 1)


class TwoMasks(nn.Cell):
    """A model that answers two passes, in one call, with logits of its own for each."""

    pad_id = PAD_ID

    def __init__(self, logits):
        super().__init__()
        self.logits = Parameter(Tensor(logits))

    def construct(self, inputs):
        return self.logits


def r_drop_by_hand(logits, labels, alpha, smoothing):
    """Equation 4 of the paper, halved, label by label."""
    log_p = log_softmax(logits.astype(float))
    total = 0.0
    for place in zip(*np.nonzero(labels != PAD_ID)):
        first, second = log_p[0][place], log_p[1][place]
        for one in (first, second):
            found = (1 - smoothing) * one[labels[place]] + smoothing * one.mean()
            total -= found / 2
        total += alpha / 4 * (np.exp(first) * (first - second)).sum()
        total += alpha / 4 * (np.exp(second) * (second - first)).sum()
    return total


@pytest.mark.parametrize(("alpha", "smoothing"), [(0.0, 0.1), (3.0, 0.1), (5.0, 0.0)])
def test_r_drop_objective(alpha, smoothing):
    """Value and gradient, against NumPy in float64 and its differences."""
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 2, (2, 3, 4, 6)).astype(np.float32)
    labels = rng.integers(1, 6, (3, 4)).astype(np.int32)
    labels[1, 2:], labels[2] = PAD_ID, PAD_ID
    model = TwoMasks(logits.reshape(6, 4, 6))
    objective, tensors = r_drop_objective(alpha), (Tensor(labels), Tensor(labels))
    step = ms.value_and_grad(
        lambda: objective(model, tensors, smoothing), None, model.trainable_params(), has_aux=True
    )
    (total, count), (gradient,) = step()
    assert float(count.asnumpy()) == 6
    expected = r_drop_by_hand(logits, labels, alpha, smoothing)
    assert float(total.asnumpy()) == pytest.approx(expected, rel=1e-5)
    differences = np.zeros(logits.shape)
    for place in np.ndindex(logits.shape):
        ends = []
        for change in (1e-5, -1e-5):
            changed = logits.astype(float)
            changed[place] += change
            ends.append(r_drop_by_hand(changed, labels, alpha, smoothing))
        differences[place] = (ends[0] - ends[1]) / 2e-5
    np.testing.assert_allclose(gradient.asnumpy(), differences.reshape(6, 4, 6), atol=1e-5)


def test_without_dropout_r_drop_is_the_token_objective():
    """Two passes that do not differ agree; with dropout they do not, and the sum is greater."""
    labels = Tensor(np.array([[5, 6, 7, PAD_ID]], np.int32))
    for dropout in (0.0, 0.4):
        config = GPTConfig(
            30, d_model=16, num_heads=2, num_layers=1, d_ff=32, max_length=8, dropout=dropout
        )
        model = GPT(config, 1).set_train(True)
        plain, strict = (
            float(r_drop_objective(alpha)(model, (labels, labels), 0.1)[0].asnumpy())
            for alpha in (0.0, 1000.0)
        )
        alone = float(token_objective(model, (labels, labels), 0.1)[0].asnumpy())
        if dropout:
            assert strict > plain + 0.1
        else:
            assert strict == pytest.approx(alone, rel=1e-6) == plain


@pytest.mark.parametrize("alpha", [-1.0, float("nan"), float("inf")])
def test_r_drop_refuses(alpha):
    with pytest.raises(ValueError, match=f"alpha is {alpha}; expected a number of at least 0"):
        r_drop_objective(alpha)


def test_a_step_with_another_objective_trains_a_classifier():
    """TrainStep takes what the objective takes: here floats and classes, with a row that is none.

    An update moves only what real rows ask for: the third class, which only the ignored row has,
    becomes less probable for all.
    """
    model = nn.Dense(4, 3)
    images = np.random.default_rng(3).normal(size=(6, 4)).astype(np.float32)
    labels = np.array([0, 1, 0, 1, 0, IGNORED], np.int32)
    step = TrainStep(model, nn.Adam(model.trainable_params(), 0.1), class_objective, clip_norm=10.0)
    evaluation = EvaluationStep(model, class_objective)
    losses = []
    for _ in range(60):
        loss, count, _ = step(0.1, (images, labels))
        losses.append(float(loss.asnumpy()))
        assert float(count.asnumpy()) == 5
    assert losses[-1] < 0.1 < 0.5 < losses[0]
    total, count = evaluation((images, labels))
    assert float(total.asnumpy()) / float(count.asnumpy()) < losses[-1]
    assert (model(Tensor(images)).asnumpy()[:5].argmax(axis=1) == labels[:5]).all()
    assert (model.bias.asnumpy()[2] < model.bias.asnumpy()[:2]).all()


def test_perplexity():
    assert perplexity(math.log(50)) == pytest.approx(50)
    assert perplexity(0.0) == 1.0
    assert perplexity(1e4) == math.inf


# Batches


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(LINES, kind="word", min_freq=1)


def test_texts_in_batches(tokenizer):
    lines = [*LINES, "", "the " * 30]
    texts = encode_texts(lines, tokenizer, longest=8, name="these")
    assert texts.report == (
        "these: 24 lines, 1 empty left out (the first is line 25), "
        "1 too long left out (the first is line 26)"
    )
    batches = Batches(texts, (8,), 64, seed=2)
    seen = []
    for decoder_input, labels in batches.epoch(1):
        assert decoder_input.shape == labels.shape == (8, 8)
        for before, after in zip(decoder_input, labels):
            assert before[0] == BOS_ID
            length = list(after).index(EOS_ID)
            np.testing.assert_array_equal(before[1 : length + 1], after[:length])
            assert (after[length + 1 :] == PAD_ID).all()
            seen.append(tokenizer.decode(after))
    assert sorted(seen) == sorted(LINES)
    assert batches.real_token_share() == pytest.approx(5 / 8)
    with pytest.raises(DataError, match=r"0 lines, 1 empty .* 1 too long .* one of 1 … 7 tokens"):
        encode_texts(lines[-2:], tokenizer, longest=8)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 9), st.integers(0, 3))
def test_array_batches_have_each_row_once(size, rows, seed, number):
    images = np.arange(2 * size).reshape(size, 2) + 5
    labels = np.arange(size)
    batches = ArrayBatches((images, labels), rows, fill=IGNORED, seed=seed)
    every = list(batches.epoch(number))
    assert len(every) == len(batches) == -(-size // rows)
    assert batches.shapes == ((rows, 2),)
    assert all((x.shape, y.shape) == ((rows, 2), (rows,)) for x, y in every)
    x, y = (np.concatenate(arrays) for arrays in zip(*every))
    real = y != IGNORED
    assert sorted(y[real]) == list(range(size))
    np.testing.assert_array_equal(x[real], images[y[real]])
    assert (x[~real] == 0).all()
    start = len(batches) // 2  # where a stopped epoch goes on
    for one, other in zip(every[start:], batches.epoch(number, start)):
        np.testing.assert_array_equal(one[1], other[1])


def test_array_batches_change_at_each_epoch_but_not_when_repeated():
    def change(rng, ids, labels):
        return ids + rng.integers(0, 1000, ids.shape), labels

    ids, labels = np.zeros((6, 3), np.int64), np.arange(6)

    def first(number, **options):
        batches = ArrayBatches((ids, labels), 3, seed=4, change=change, **options)
        return np.concatenate([x for x, _ in batches.epoch(number)])

    np.testing.assert_array_equal(first(1), first(1))
    assert (first(1) != first(2)).any()
    np.testing.assert_array_equal(first(1, shuffle=False), first(2, shuffle=False))
    assert len(np.unique(first(0))) > 10


@pytest.mark.parametrize(
    ("arrays", "rows", "words"),
    [
        ((np.zeros(4), np.zeros(3)), 2, r"arrays of \[3, 4\] rows"),
        ((np.zeros(0),), 2, r"arrays of \[0\] rows"),
        ((np.zeros(4),), 0, "in batches of 0"),
        ((np.zeros(5),), 2, "5 rows in batches of 2 leave 1 over"),
    ],
)
def test_arrays_that_are_refused(arrays, rows, words):
    with pytest.raises(ValueError, match=words):
        ArrayBatches(arrays, rows)
    with pytest.raises(ValueError, match="start is 3; expected 0 … 2"):
        ArrayBatches((np.zeros(4),), 2).epoch(0, 3)


# Runs

CONFIG = {
    "epochs": 3, "warmup_steps": 5, "peak_learning_rate": 2e-2, "label_smoothing": 0.0,
    "average": 2, "save_every": 2, "seed": 1,
}  # fmt: skip


def gpt_trainer(tokenizer, folder, dropout=0.0, **changes):
    model = GPT(GPTConfig(len(tokenizer), 16, 2, 1, 32, dropout, 8), seed=1)
    texts = encode_texts(LINES, tokenizer, 8)
    return Trainer(
        model, tokenizer, Batches(texts, (8,), 64, seed=1),
        Batches(texts, (8,), 64, shuffle=False), TrainingConfig(**{**CONFIG, **changes}),
        folder, notes={"corpus": "lines"}, progress=False,
    )  # fmt: skip


def test_a_language_model_is_trained_in_half_precision_from_several_batches(tokenizer, tmp_path):
    if refused_operators("float16"):
        pytest.skip("this device has no float16")
    changes = {"precision": "float16", "accumulate": 2, "epochs": 12}
    history = gpt_trainer(tokenizer, tmp_path, **changes).fit()
    assert [entry["step"] for entry in history] == list(range(2, 26, 2))  # two batches, then one
    assert history[-1]["validation_perplexity"] < 1.3 * (6 * 4) ** (1 / 5)


@pytest.fixture(scope="module")
def run(tokenizer, tmp_path_factory):
    trainer = gpt_trainer(tokenizer, tmp_path_factory.mktemp("gpt"), epochs=12)
    trainer.fit()
    return trainer


def test_a_gpt_learns_what_may_follow(run):
    """Of a line two words are free, one of 6 and one of 4; the other three tokens are certain."""
    best = (6 * 4) ** (1 / 5)
    history = run.state["history"]
    assert len(history) == 12
    assert history[0]["validation_perplexity"] > 2 * best
    assert best * 0.999 < history[-1]["validation_perplexity"] < 1.15 * best
    for entry in history:
        expected = math.exp(entry["validation_loss"])
        assert entry["validation_perplexity"] == pytest.approx(expected, abs=0.01, rel=1e-3)
    of_epochs = min(entry["validation_perplexity"] for entry in history)
    assert read_run(run.folder)["best_value"] <= of_epochs + 0.006


def test_the_best_checkpoint_is_a_gpt(run, tokenizer):
    best = find_checkpoint(run.folder)
    fields = json.loads((best / "config.json").read_text(encoding="utf-8"))
    assert fields == {"arch": "gpt", "pad_id": 0, **run.model.config.to_dict()}
    model, pair = load_model(run.folder)
    assert type(model) is GPT
    assert model.config == run.model.config
    assert pair.shared
    assert pair.target.encode(LINES[3]) == tokenizer.encode(LINES[3])
    assert set(read_run(run.folder)) == {"run", "last", "best", "best_value", "average"}
    with pytest.raises(ValueError, match="a GPT is no translator"):
        Translator(model, pair)
    figure = plot_history(run.state["history"])
    assert figure.axes[1].get_ylabel() == "perplexity"


def test_a_run_goes_on_where_it_was(tokenizer, tmp_path):
    whole = gpt_trainer(tokenizer, tmp_path / "whole")
    whole.fit()
    gpt_trainer(tokenizer, tmp_path / "part", epochs=1).fit()
    rest = gpt_trainer(tokenizer, tmp_path / "part")
    assert rest.resume()
    rest.fit()
    assert [entry["step"] for entry in rest.state["history"]] == [3, 6, 9]
    weights = dict(rest.model.parameters_and_names())
    for name, parameter in whole.model.parameters_and_names():
        np.testing.assert_allclose(parameter.asnumpy(), weights[name].asnumpy(), atol=1e-5)


def test_r_drop_is_of_the_updates_and_not_of_validation(tokenizer, tmp_path):
    """Two trainings that differ in it alone: the first update's loss, and the validation's."""
    losses, values = [], []
    for alpha in (0.0, 1000.0):
        trainer = gpt_trainer(tokenizer, tmp_path / str(alpha), r_drop=alpha, dropout=0.3)
        values.append(trainer.evaluation_step.mean(trainer.validation_batches))
        trainer.model.set_train(True)
        batch = next(trainer.batches.epoch(0))
        losses.append(float(trainer.train_step(1e-3, batch).loss.asnumpy()))
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert losses[1] > losses[0] + 0.1


def test_r_drop_is_for_tokens_alone(tmp_path):
    model = ViT(ViTConfig(4, 2, 4, 1, 32, 2, 1, 64), seed=1)
    images = np.zeros((8, 1, 4, 4), np.float32), np.zeros(8, np.int32)
    batches = ArrayBatches(images, 4, fill=IGNORED)
    how = TrainingConfig(**{**CONFIG, "r_drop": 1.0})
    with pytest.raises(ValueError, match="expected 0 for an objective"):
        Trainer(model, None, batches, batches, how, tmp_path, objective=class_objective)
    assert not any(tmp_path.iterdir())


def test_both_tasks_of_bert_are_trained(tokenizer, tmp_path):
    """Of these rows each token tells all the others, and whether the second half follows."""
    mask_id = len(tokenizer)  # one token more than the tokenizer has
    config = BertConfig(mask_id + 1, 32, 2, 1, 64, 0.0, max_length=8)
    model = BertForPreTraining(config, seed=1)
    offset = np.arange(480, dtype=np.int32)[:, None] % 8
    ids = (4 + (offset + np.arange(8, dtype=np.int32)) % 8).astype(np.int32)
    is_random = (offset[:, 0] // 4).astype(np.int32)
    segments = np.repeat([[0, 0, 0, 0, 1, 1, 1, 1]], 480, axis=0).astype(np.int32)
    change = masked_batch(mask_id + 1, mask_id, (1, 2, 3))
    batches = ArrayBatches((ids, segments, is_random), 16, fill=IGNORED, seed=1, change=change)
    how = TrainingConfig(**{**CONFIG, "epochs": 5, "warmup_steps": 20, "save_every": 99})
    trainer = Trainer(
        model, tokenizer, batches, batches, how, tmp_path, objective=pretraining_objective,
        progress=False,
    )  # fmt: skip
    history = trainer.fit()
    # All 8 tokens are as frequent: without the others, one costs ln 8, and the second task ln 2.
    assert history[-1]["validation_loss"] < math.log(8)
    loaded, _ = load_model(tmp_path)
    assert type(loaded) is BertForPreTraining
    loaded.set_train(False)
    _, logits = loaded(Tensor(ids), Tensor(segments))
    assert (logits.asnumpy().argmax(axis=1) == is_random).mean() > 0.9


def test_a_neural_language_model_is_trained_and_read(tokenizer, tmp_path):
    model = NeuralLM(NeuralLMConfig(len(tokenizer), 3, 8, 16), seed=1)
    texts = encode_texts(LINES * 8, tokenizer, 8)
    batches = Batches(texts, (8,), 64, seed=1)
    trainer = Trainer(
        model, tokenizer, batches, batches, TrainingConfig(**{**CONFIG, "epochs": 5}), tmp_path,
        progress=False,
    )  # fmt: skip
    history = trainer.fit()
    assert history[-1]["validation_perplexity"] < 1.2 * (6 * 4) ** (1 / 5)
    loaded, _ = load_model(tmp_path)
    assert type(loaded) is NeuralLM


def test_an_image_classifier_is_trained_without_a_tokenizer_and_by_a_measure_of_ones_own(tmp_path):
    """Its class is the quarter of the image that is bright."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 4, 90).astype(np.int32)
    images = rng.normal(0, 0.1, (90, 1, 4, 4)).astype(np.float32)
    for image, label in zip(images, labels):
        image[
            0, 2 * (label // 2) : 2 * (label // 2) + 2, 2 * (label % 2) : 2 * (label % 2) + 2
        ] += 1
    model = ViT(ViTConfig(4, 2, 4, 1, 32, 2, 1, 64, dropout=0.0), seed=1)
    batches = ArrayBatches((images, labels), 16, fill=IGNORED, seed=1)

    def accuracy(_):
        return 100 * float((model(Tensor(images)).asnumpy().argmax(axis=1) == labels).mean())

    how = {**CONFIG, "epochs": 12, "peak_learning_rate": 5e-3, "save_every": 99}
    trainer = Trainer(
        model, None, batches, batches, TrainingConfig(**how), tmp_path,
        measure=Measure("accuracy", "accuracy {:.0f} %", 1, accuracy),
        objective=class_objective, progress=False,
    )  # fmt: skip
    history = trainer.fit()
    assert history[-1]["validation_accuracy"] > 95
    loaded, tokenizers = load_model(tmp_path)
    assert type(loaded) is ViT
    assert tokenizers is None
    assert read_run(tmp_path)["best_value"] == max(e["validation_accuracy"] for e in history)
    assert plot_history(history).axes[1].get_ylabel() == "accuracy"


def test_a_checkpoint_of_an_architecture_that_is_not_known(run, tmp_path):
    best = find_checkpoint(run.folder)
    folder = tmp_path / "other"
    folder.mkdir()
    for path in best.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**fields, "arch": "mamba"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="its architecture is 'mamba'; expected one of tra"):
        load_model(folder)
    (folder / "config.json").write_text(json.dumps({**fields, "vocab_size": 9}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="but the model was made for 9"):
        load_model(folder)
