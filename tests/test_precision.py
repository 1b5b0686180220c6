"""Half precision and accumulation: the same update as one large batch, overflows that are skipped,
and runs that go on where they stopped."""

from __future__ import annotations

import json
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from safetensors.numpy import load_file

from step_llm.data.batches import Batches, encode_pairs
from step_llm.data.corpus import ParallelText
from step_llm.data.vocabulary import train_tokenizers
from step_llm.decoding.translator import Translator
from step_llm.evaluation.metrics import score
from step_llm.models.bert import BertConfig, BertForPreTraining
from step_llm.models.config import TransformerConfig
from step_llm.models.gpt import GPT, GPTConfig
from step_llm.models.transformer import Transformer
from step_llm.models.vit import ViT, ViTConfig
from step_llm.nn.attention import scaled_dot_product_attention
from step_llm.nn.layer_norm import LayerNorm
from step_llm.runtime.device import current_device
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training import precision
from step_llm.training.checkpoint import read_state
from step_llm.training.config import TrainingConfig
from step_llm.training.distributed import Group
from step_llm.training.loss import label_smoothed_cross_entropy
from step_llm.training.measures import Measure
from step_llm.training.objectives import (
    IGNORED,
    class_objective,
    pretraining_objective,
    r_drop_objective,
    token_objective,
)
from step_llm.training.precision import (
    PRECISIONS,
    PrecisionError,
    refused_operators,
)
from step_llm.training.step import StepResult, TrainStep
from step_llm.training.trainer import Trainer, TrainingDiverged

NOUNS = {"hund": "dog", "mann": "man", "junge": "boy", "könig": "king", "bär": "bear"}
VERBS = {"läuft": "runs", "sitzt": "sits", "singt": "sings", "schläft": "sleeps"}
PAIRS = [(f"ein {n} {v} .", f"a {NOUNS[n]} {VERBS[v]} .") for n in NOUNS for v in VERBS]
HALF = {"float16": ms.float16, "bfloat16": ms.bfloat16}
slow = pytest.mark.slow


def needs(name):
    """Skips where the device lacks a precision; which operators it lacks is said."""
    refused = refused_operators(name)
    if refused:
        pytest.skip(f"{current_device()} has no {', '.join(refused)} in {name}")


def small_model(seed=1, vocab_size=30):
    config = TransformerConfig(
        vocab_size, vocab_size, d_model=16, num_heads=2, d_ff=32, num_encoder_layers=1,
        num_decoder_layers=1, dropout=0.0, tied_embeddings="all", norm="pre",
    )  # fmt: skip
    return Transformer(config, seed=seed).set_train(True)


def adam(model):
    return nn.Adam(model.trainable_params(), learning_rate=1e-3, beta1=0.9, beta2=0.98, eps=1e-9)


def random_batch(rows, padding, seed):
    """Source, decoder input and labels (rows, 7), the last positions of some rows padding."""
    rng = np.random.default_rng(seed)
    arrays = [rng.integers(3, 30, (rows, 7)).astype(np.int32) for _ in range(3)]
    for array in arrays:
        array[: rows // 2, 7 - padding :] = 0
    return arrays


def values(parameters):
    return [parameter.asnumpy().copy() for parameter in parameters]


# ------------------------------------------------------------------------- components in float16


def test_masked_attention_in_float16_is_finite_and_right():
    """−1e9 is −∞ in float16, and 0 · −∞ NaN: masked attention was NaN before."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(2, 4, 5, 8)).astype(np.float32) for _ in range(3)]
    mask = rng.random((2, 1, 5, 5)) < 0.6
    mask[0, 0, 2] = False  # a query that may attend to nothing
    expected = scaled_dot_product_attention(*map(Tensor, arrays), Tensor(mask))
    found = scaled_dot_product_attention(
        *(Tensor(a.astype(np.float16)) for a in arrays), Tensor(mask)
    )
    for ours, theirs in zip(found, expected):
        assert ours.dtype == ms.float16
        np.testing.assert_allclose(ours.asnumpy(), theirs.asnumpy(), atol=4e-3)
    weights = found[1].asnumpy()
    assert not weights[~np.broadcast_to(mask, weights.shape)].any()

    def total(query):
        return scaled_dot_product_attention(query, query, query, Tensor(mask))[0].sum()

    assert np.isfinite(ms.grad(total)(Tensor(arrays[0].astype(np.float16))).asnumpy()).all()


def test_layer_norm_and_loss_in_float16_are_computed_in_float32():
    rng = np.random.default_rng(1)
    x = (300 * rng.normal(size=(3, 16))).astype(np.float16)  # squares beyond float16
    norm = LayerNorm(16)
    for weight in norm.get_parameters():
        weight.set_data(Tensor(rng.normal(size=16).astype(np.float32)))
    found = norm(Tensor(x))
    assert found.dtype == ms.float16
    expected = norm(Tensor(x.astype(np.float32)))
    np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), atol=5e-3)

    logits = rng.normal(size=(2, 3, 9)).astype(np.float16)
    labels = Tensor(np.array([[1, 2, 0], [3, 0, 0]], np.int32))
    found = label_smoothed_cross_entropy(Tensor(logits), labels, 0.1)
    expected = label_smoothed_cross_entropy(Tensor(logits.astype(np.float32)), labels, 0.1)
    for ours, theirs in zip(found, expected):
        assert ours.dtype == ms.float32
        assert ours.asnumpy() == theirs.asnumpy()


# -------------------------------------------------------------------------------- one update


@pytest.fixture(scope="module")
def updates():
    """One update from one large batch and from its three unequal parts: gradients and weights."""
    batches = [random_batch(rows, padding, seed) for seed, (rows, padding) in
               enumerate([(2, 3), (4, 0), (6, 2)])]  # fmt: skip
    large = [np.concatenate(arrays) for arrays in zip(*batches)]
    rate = 1e-2
    with graph_mode():
        whole = small_model()
        start = values(whole.trainable_params())
        loss, tokens, _ = TrainStep(whole, adam(whole), label_smoothing=0.1)(rate, large)
        parts = small_model()
        step = TrainStep(parts, adam(parts), label_smoothing=0.1, accumulate=3)
        update, gradients = step.update_step, []

        def recorded(rate, divisor):
            gradients.extend(g / divisor.asnumpy() for g in values(step.gradients))
            return update(rate, divisor)

        step.update_step = recorded
        result = step(rate, *batches)
    return whole, parts, start, step, gradients, (loss, tokens), result


def test_accumulation_gives_the_update_of_the_large_batch(updates):
    whole, parts, start, _, gradients, (loss, tokens), result = updates
    assert result[0].asnumpy() == pytest.approx(loss.asnumpy(), rel=1e-6)
    assert result[1].asnumpy() == tokens.asnumpy()
    assert result[2]
    compared = 0
    for ours, theirs, before, gradient in zip(
        parts.trainable_params(), whole.trainable_params(), start, gradients
    ):
        # Adam turns a gradient that is 0 but for rounding into a full step of either sign. That of
        # a key's bias always is: it adds the same to all scores of a query, which softmax ignores.
        if ours.name.endswith("key_projection.bias"):
            assert abs(gradient).max() < 1e-7
            continue
        sure = (gradient == 0) | (abs(gradient) > 1e-5)
        np.testing.assert_allclose(
            ours.asnumpy()[sure], theirs.asnumpy()[sure], atol=1e-5, err_msg=ours.name
        )
        compared += sure.sum()
        if sure.any() and gradient[sure].any():
            assert abs(ours.asnumpy() - before).max() > 1e-3
    assert compared > 0.9 * sum(gradient.size for gradient in gradients)


def test_the_gathered_gradient_is_zero_after_an_update(updates):
    *_, step, gradients, _, _ = updates
    assert all(gradient.any() for gradient in gradients if gradient.ndim == 2)
    assert not any(gradient.any() for gradient in values(step.gradients))


@pytest.mark.parametrize("name", HALF)
def test_half_precision_gives_nearly_the_same_gradient_and_skips_an_overflow(name):
    needs(name)
    # Of some batches a ReLU's input is so near to 0 that rounding turns it on or off, and with it a
    # column of the gradient. In this one none is.
    batch = [Tensor(array) for array in random_batch(4, 2, 1)]
    rate = 1e-2
    gradients, losses = [], []
    with graph_mode():
        for chosen in ("float32", name):
            model = small_model()
            optimizer = adam(model)
            # Two batches at most, so that in float32, too, the gradient can be looked at.
            step = TrainStep(model, optimizer, label_smoothing=0.1, precision=chosen, accumulate=2)
            scale, _ = step.loss_scale
            step.gradient_step(*batch, Tensor(scale / 100.0, ms.float32))
            gradients.append([gradient / scale for gradient in values(step.gradients)])
            for gradient in step.gradients:
                gradient.set_data(Tensor(np.zeros(gradient.shape, np.float32)))
            losses.append(float(step(rate, batch).loss.asnumpy()))
        largest = max(abs(g).max() for g in gradients[0])
        for expected, found in zip(*gradients):
            np.testing.assert_allclose(found, expected, atol=0.02 * largest)
        assert losses[1] == pytest.approx(losses[0], rel=5e-3)

        # From here on the half precision's step alone, with a scale that must overflow.
        parameters = [*model.get_parameters(), *optimizer.get_parameters()]
        before = values(parameters)
        step.loss_scale = (2.0**40 if name == "float16" else 2.0**127), 7
        assert not step(rate, batch).is_made
        assert step.loss_scale == ((2.0**39 if name == "float16" else 2.0**126), 0)
        for old, parameter in zip(before, parameters):
            np.testing.assert_array_equal(parameter.asnumpy(), old, err_msg=parameter.name)
        assert not any(gradient.any() for gradient in values(step.gradients))
        assert not step.is_hopeless

        # The scale falls until it fits; then updates are made again, and they learn.
        skipped = 1
        while not step(rate, batch).is_made:
            skipped += 1
            assert skipped < 60
        assert any((p.asnumpy() != old).any() for p, old in zip(parameters, before))
        made = 0
        for _ in range(20):
            loss, _, is_made = step(rate, batch)
            made += is_made
        assert made >= 15  # at the limit, one overflows now and then
        assert float(loss.asnumpy()) < losses[1] - 0.5


@slow
@pytest.mark.parametrize("name", HALF)
def test_half_precision_learns_to_translate_as_well(name):
    """20 sentences by heart. BLEU within 2 points of float32's."""
    needs(name)
    text = ParallelText(*zip(*PAIRS))
    tokenizers = train_tokenizers(text.source, text.target, kind="word", min_freq=1)
    pairs = encode_pairs(text, tokenizers, 8)
    (arrays,) = Batches(pairs, (8,), 8 * 24, shuffle=False).epoch()
    scores = {}
    for chosen in ("float32", name):
        model = small_model(vocab_size=len(tokenizers.source))
        step = TrainStep(model, adam(model), label_smoothing=0.1, precision=chosen)
        with graph_mode():
            for _ in range(100):
                step(5e-3, arrays)
            translations = Translator(model, tokenizers).translate(list(text.source))
        scores[chosen] = score(translations, text.target).bleu
    assert scores["float32"] > 95
    assert scores[name] > scores["float32"] - 2


def test_an_overflow_without_any_scale_is_hopeless():
    needs("float16")
    model = small_model()
    step = TrainStep(model, adam(model), precision="float16")
    step.gradient_step = lambda *inputs: (Tensor(np.inf), Tensor(4.0), Tensor(1.0))
    step.loss_scale = 2.0, 0
    batch = random_batch(2, 0, 0)
    assert not step(1e-2, batch).is_made
    assert step.loss_scale[0] == 1.0
    assert not step.is_hopeless
    step(1e-2, batch)
    assert step.is_hopeless
    assert step.loss_scale[0] == 1.0


# -------------------------------------------------------------------------------- every objective


def text_batches():
    """Three batches for a GPT: inputs and labels, with padding."""
    return [random_batch(rows, padding, rows)[1:] for rows, padding in ((2, 3), (4, 0), (6, 2))]


def image_batches():
    """Three batches of images and classes; the last has rows that only fill it up."""
    rng = np.random.default_rng(5)
    batches = []
    for rows in (2, 4, 6):
        labels = rng.integers(0, 3, rows).astype(np.int32)
        labels[4:] = IGNORED
        batches.append([rng.normal(size=(rows, 1, 4, 4)).astype(np.float32), labels])
    return batches


def pretraining_batches():
    """Three batches for both tasks of BERT, with as many hidden tokens to a pair in each: then
    their update is that of the large batch."""
    rng = np.random.default_rng(6)
    batches = []
    for rows in (2, 4, 6):
        ids = rng.integers(3, 30, (rows, 7)).astype(np.int32)
        labels = np.zeros_like(ids)
        labels[:, 2:4] = rng.integers(3, 30, (rows, 2))
        segments = np.repeat([[0, 0, 0, 1, 1, 1, 1]], rows, axis=0).astype(np.int32)
        batches.append([ids, segments, labels, rng.integers(0, 2, rows).astype(np.int32)])
    return batches


SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "d_ff": 32, "dropout": 0.0}
OBJECTIVES = {
    "GPT": (lambda: GPT(GPTConfig(30, **SMALL, max_length=8), 1), token_objective, text_batches),
    "R-Drop": (
        lambda: GPT(GPTConfig(30, **SMALL, max_length=8), 1), r_drop_objective(3.0), text_batches,
    ),
    "ViT": (
        lambda: ViT(ViTConfig(4, 2, 3, channels=1, **SMALL), 1), class_objective, image_batches,
    ),
    "BERT": (
        lambda: BertForPreTraining(BertConfig(30, **SMALL, max_length=8), 1),
        pretraining_objective, pretraining_batches,
    ),
}  # fmt: skip


def sgd(model):
    """Adam would make a full step of what is nothing but rounding."""
    return nn.SGD(model.trainable_params(), learning_rate=0.5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_of_every_objective_parts_and_shares_give_the_update_of_the_large_batch(name):
    """Of parts one after another; and of shares of two workers, one after another in one process,
    whose gradients are added as their sum would be."""
    make, objective, batches_of = OBJECTIVES[name]
    batches = batches_of()
    large = [np.concatenate(arrays) for arrays in zip(*batches)]
    updated, results = [], []
    with graph_mode():
        for inputs in ([large], batches):
            model = make().set_train(True)
            step = TrainStep(
                model, sgd(model), objective, label_smoothing=0.1, accumulate=len(inputs)
            )
            results.append(step(0.5, *inputs))
            updated.append(values(model.trainable_params()))
        model = make().set_train(True)
        before = values(model.trainable_params())
        step = TrainStep(model, sgd(model), objective, label_smoothing=0.1, group=Group(0, 2))
        other = TrainStep(model, sgd(model), objective, label_smoothing=0.1, group=Group(1, 2))
        # The other worker's part goes where the sum over all workers would put it.
        five = [array[:5] for array in large]  # five rows of two workers: one is added
        seen = []

        def of_both(numbers):
            other.gradient_sum = seen.append
            with pytest.raises(AttributeError):  # it stops at its sum, which gives it nothing
                other(0.5, five)
            for mine, its in zip(step.gradients, other.gradients):
                mine.set_data(Tensor(mine.asnumpy() + its.asnumpy()))
            return Tensor(numbers.asnumpy() + seen[0].asnumpy())

        step.gradient_sum = of_both
        shared = step(0.5, five)
        alone = make().set_train(True)
        whole = TrainStep(alone, sgd(alone), objective, label_smoothing=0.1)(0.5, five)
    for result, expected in ((results[1], results[0]), (shared, whole)):
        assert float(result.tokens.asnumpy()) == float(expected.tokens.asnumpy())
        assert float(result.loss.asnumpy()) == pytest.approx(float(expected.loss.asnumpy()), 1e-5)
    for weights, expected in (
        (updated[1], updated[0]),
        (values(model.trainable_params()), values(alone.trainable_params())),
    ):
        for one, other_one in zip(weights, expected):
            np.testing.assert_allclose(one, other_one, atol=1e-5)
    assert max(abs(a - b).max() for a, b in zip(updated[0], before)) > 1e-2


@pytest.mark.parametrize("name", OBJECTIVES)
def test_of_every_objective_half_precision_gives_nearly_the_same_update(name):
    needs("float16")
    make, objective, batches_of = OBJECTIVES[name]
    batch = batches_of()[2]
    losses, moves = [], []
    with graph_mode():
        for chosen in ("float32", "float16"):
            model = make().set_train(True)
            before = values(model.trainable_params())
            step = TrainStep(model, sgd(model), objective, clip_norm=100.0, precision=chosen)
            result = step(0.5, batch)
            while not result.is_made:
                result = step(0.5, batch)
            losses.append(float(result.loss.asnumpy()))
            moves.append([a - b for a, b in zip(values(model.trainable_params()), before)])
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)
    largest = max(abs(move).max() for move in moves[0])
    off = np.concatenate([abs(a - b).ravel() for a, b in zip(*moves)])
    # A ReLU's input near 0 may be turned on or off by rounding, and a column of a gradient with it.
    assert (off < 0.02 * largest).mean() > 0.95
    assert off.max() < 0.5 * largest


def test_how_many_batches_an_update_takes():
    model = small_model()
    step = TrainStep(model, adam(model), accumulate=2)
    for batches in ([], [random_batch(2, 0, 0)] * 3):
        with pytest.raises(
            ValueError, match=f"{len(batches)} batches to an update; expected 1 … 2"
        ):
            step(1e-2, *batches)


# -------------------------------------------------------------------------- what cannot be done


def test_a_precision_that_the_device_lacks_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(
        precision, "refused_operators",
        lambda name: ["MatMul", "Transpose"] if name == "bfloat16" else [],
    )  # fmt: skip
    with pytest.raises(PrecisionError) as error:
        TrainStep(small_model(), None, precision="bfloat16")
    assert str(error.value) == (
        f"precision is bfloat16, but MindSpore {ms.__version__} has no MatMul, Transpose of that "
        f"type on device {current_device()}; choose float32 or float16"
    )


def test_unknown_choices():
    with pytest.raises(PrecisionError, match="precision is 'half'; expected one of float32, float"):
        refused_operators("half")
    with pytest.raises(ValueError, match="precision is 'fp16'; expected one of float32, float16"):
        TrainingConfig(precision="fp16")
    with pytest.raises(ValueError, match="accumulate is 0; expected at least 1"):
        TrainingConfig(accumulate=0)
    assert refused_operators("float32") == []
    assert set(PRECISIONS) == {"float32", *HALF}


# ----------------------------------------------------------------------------------- whole runs


def trainer_for(folder, seed=3, pairs=PAIRS, **changes):
    text = ParallelText(*zip(*pairs))
    tokenizers = train_tokenizers(text.source, text.target, kind="word", min_freq=1)
    model = small_model(seed, len(tokenizers.source))
    settings = {
        "epochs": 2, "batch_tokens": 64, "buckets": (8,), "warmup_steps": 4, "average": 1,
        "peak_learning_rate": 5e-3, "save_every": 2, **changes,
    }  # fmt: skip
    config = TrainingConfig(**settings)
    batches = Batches(encode_pairs(text, tokenizers, 8), (8,), 64, seed=config.seed)
    trainer = Trainer(
        model, tokenizers, batches, batches, config, folder,
        measure=Measure("bleu", "BLEU {:.1f}", 1, lambda loss: 1.0), progress=False,
    )  # fmt: skip
    trainer.evaluation_step = SimpleNamespace(mean=lambda batches: 1.0)
    return trainer


def log_of(trainer):
    lines = (trainer.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry for entry in map(json.loads, lines) if entry["event"] == "step"]


class Instead:
    """A training step of which a call is another function's: it is given the step first."""

    def __init__(self, step, call):
        self.step, self.call = step, call

    def __call__(self, *inputs):
        return self.call(self.step, *inputs)

    def __getattr__(self, name):
        return getattr(self.step, name)


class Killed(BaseException):
    """Nothing in the library catches it, so nothing is tidied up."""


def dies_at(trainer, step):

    def dying(real, *inputs):
        if trainer.state["step"] + 1 == step:
            raise Killed
        return real(*inputs)

    trainer.train_step = Instead(trainer.train_step, dying)


@slow
def test_a_resumed_run_gives_the_same_weights(tmp_path):
    """In float16 with two batches an update (the third of an epoch is left to one of its own)."""
    needs("float16")
    runs = []
    for name, is_killed in (("whole", False), ("killed", True)):
        settings = {"precision": "float16", "accumulate": 2, "epochs": 3, "save_every": 3}
        trainer = trainer_for(tmp_path / name, **settings)
        trainer.train_step.loss_scale = 2.0**38, 0  # the first updates are skipped
        if is_killed:
            dies_at(trainer, 4)
            with pytest.raises(Killed):
                trainer.fit()
            scale = read_state(trainer.folder / "checkpoints" / "step-0000003")["training"]
            trainer = trainer_for(tmp_path / name, seed=99, **settings)
            assert trainer.resume()
            assert trainer.state["step"] == 3
            assert trainer.train_step.loss_scale == tuple(scale["loss_scale"])
            assert trainer.train_step.loss_scale[0] < 2.0**38
        trainer.fit()
        runs.append(trainer)
    whole, resumed = runs
    assert len(whole.batches) == 3
    assert [entry["step"] for entry in log_of(resumed)] == [1, 2, 3, 4, 5, 6]  # two an epoch
    assert resumed.state["skipped"] == whole.state["skipped"] >= 1
    assert resumed.train_step.loss_scale == whole.train_step.loss_scale
    skipped = [entry for entry in log_of(whole) if entry.get("skipped")]
    assert len(skipped) == whole.state["skipped"]
    assert all(entry["loss_scale"] >= 1.0 for entry in skipped)
    last = "checkpoints/step-0000006/model.safetensors"
    expected = load_file(str(whole.folder / last))
    for name, value in load_file(str(resumed.folder / last)).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6)
        assert value.dtype == np.float32


def test_the_trainer_counts_what_is_skipped_and_stops_when_it_is_hopeless(tmp_path):
    needs("float16")
    trainer = trainer_for(tmp_path, precision="float16")
    made = iter([True, False, False, True, True, True])

    def scripted(*_):
        return StepResult(Tensor(2.0), Tensor(10.0), next(made))

    trainer.train_step = Instead(trainer.train_step, scripted)
    trainer.fit()
    log = log_of(trainer)
    assert [bool(entry.get("skipped")) for entry in log] == [False, True, True, False, False, False]
    assert trainer.state["skipped"] == 2
    assert trainer.state["step"] == 6
    state = read_state(trainer.folder / "checkpoints" / "step-0000006")
    assert state["training"]["skipped"] == 2
    assert (state["config"]["precision"], state["config"]["accumulate"]) == ("float16", 1)

    trainer = trainer_for(tmp_path / "hopeless", precision="float16")
    trainer.train_step.is_hopeless = True
    trainer.train_step = Instead(
        trainer.train_step, lambda *_: StepResult(Tensor(np.inf), Tensor(10.0), False)
    )
    with pytest.raises(TrainingDiverged, match="not finite with loss scale 1 at step 1"):
        trainer.fit()


def test_the_plain_update_is_one_graph_where_nothing_else_is_asked_for(tmp_path):
    """It has no gradients kept beside the weights."""
    assert not hasattr(trainer_for(tmp_path / "a").train_step, "gradients")
    step = trainer_for(tmp_path / "b", accumulate=2).train_step
    assert len(step.gradients) > 10
    assert step.loss_scale == (1.0, 0)


def test_a_run_of_an_older_version_goes_on(tmp_path):
    """Its state knows nothing of skipped updates, its configuration nothing of precision."""
    trainer = trainer_for(tmp_path, epochs=1)
    trainer.train_step = Instead(
        trainer.train_step, lambda *_: StepResult(Tensor(2.0), Tensor(10.0), True)
    )
    trainer.fit()
    path = tmp_path / "checkpoints" / "step-0000003" / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    for name in ("precision", "accumulate"):
        del state["config"][name]
    del state["training"]["skipped"]
    path.write_text(json.dumps(state), encoding="utf-8")
    again = trainer_for(tmp_path, epochs=2)
    assert again.resume()
    assert again.state["skipped"] == 0
    assert TrainingConfig.from_dict(state["config"]).precision == "float32"
