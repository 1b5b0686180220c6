"""DPO: TRL's loss and gradients, what counts and what does not, and that it moves preferences."""

from __future__ import annotations

import subprocess
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from step_llm.data.answers import answer_arrays
from step_llm.data.arrays import ArrayBatches
from step_llm.models.decoder_lm import DecoderLM, DecoderLMConfig
from step_llm.models.pretrained import from_pretrained
from step_llm.training.config import TrainingConfig
from step_llm.training.preference import (
    answer_log_probs,
    dpo_loss,
    dpo_objective,
    sequence_log_probs,
)
from step_llm.training.step import TrainStep
from step_llm.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
BETAS = (0.1, 2.0)
# Ours: theirs.
NAMES = {
    "layers.layers": "model.layers", "self_attention.query_projection": "self_attn.q_proj",
    "self_attention.key_projection": "self_attn.k_proj",
    "self_attention.value_projection": "self_attn.v_proj",
    "self_attention.output_projection": "self_attn.o_proj", "feed_forward.": "mlp.",
    "mlp.gate": "mlp.gate_proj", "mlp.up": "mlp.up_proj", "mlp.down": "mlp.down_proj",
    "attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm",
    "layers.final_norm": "model.norm", "gamma": "weight",
    "embedding.weight": "model.embed_tokens.weight",
}  # fmt: skip


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN / "preference" / "dpo.npz"))


def llama():
    """The golden model; 0 is a token like others for it, so padding is −1."""
    model = from_pretrained(GOLDEN / "huggingface" / "llama").set_train(False)
    model.pad_id = -1
    return model


def their_name(name):
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    return name


def set_to(model, arrays, prefix):
    for name, parameter in model.parameters_and_names():
        parameter.set_data(Tensor(arrays[prefix + their_name(name)]))


def pairs_of(arrays, length=12):
    """Inputs and labels of the chosen and of the rejected answers."""
    texts = {
        name: [row[row >= 0].tolist() for row in arrays[name]]
        for name in ("prompts", "chosen", "rejected")
    }
    chosen = answer_arrays(texts["prompts"], texts["chosen"], length, -1)
    rejected = answer_arrays(texts["prompts"], texts["rejected"], length, -1)
    return chosen, rejected


def batch_of(reference, chosen, rejected):
    """A batch as ``dpo_objective`` takes it."""
    of_reference = [answer_log_probs(reference, *part) for part in (chosen, rejected)]
    return (chosen[0], rejected[0], *of_reference, chosen[1], rejected[1])


@pytest.mark.parametrize("beta", BETAS)
def test_loss_and_gradients_are_those_of_trl(golden, beta, in_mode):
    model, reference = llama(), llama()
    set_to(reference, golden, "reference.")
    batch = batch_of(reference, *pairs_of(golden))

    class Loss(nn.Cell):
        def __init__(self):
            super().__init__()
            self.model, self.objective = model, dpo_objective(beta)

        def construct(self, *tensors):
            total, count = self.objective(self.model, tensors)
            return total / count

    class Gradient(nn.Cell):
        def __init__(self, loss):
            super().__init__()
            self.both = ms.value_and_grad(loss, None, ms.ParameterTuple(model.trainable_params()))

        def construct(self, *tensors):
            return self.both(*tensors)

    loss, gradients = in_mode(Gradient(Loss()))(*map(Tensor, batch))
    expected = golden[f"output.loss.{beta}"]
    assert float(loss.asnumpy()) == pytest.approx(float(expected), rel=1e-5)
    names = [their_name(name) for name, _ in model.parameters_and_names()]
    assert {f"gradient.{beta}.{name}" for name in names} == {
        name for name in golden if name.startswith(f"gradient.{beta}.")
    }
    for name, gradient in zip(names, gradients):
        theirs = golden[f"gradient.{beta}.{name}"]
        off = np.abs(gradient.asnumpy() - theirs).max() / np.abs(theirs).max()
        assert off <= 2e-5, name


def test_log_probabilities_are_those_of_trl(golden):
    for part, name in zip(pairs_of(golden), ("chosen", "rejected")):
        found = answer_log_probs(llama(), *part, rows=2)
        assert found.shape == (3,)
        assert found.mean() == pytest.approx(float(golden[f"output.mean_{name}"]), rel=1e-5)


def test_the_golden_file_can_be_made_again():
    python = ROOT / ".venv-golden" / "bin" / "python"
    has_trl = [str(python), "-c", "import trl"]
    if not python.exists() or subprocess.run(has_trl, capture_output=True).returncode:
        pytest.skip("TRL is not installed in .venv-golden (make test-golden)")
    command = [str(python), str(GOLDEN / "make_dpo.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_sequence_log_probs_by_hand(in_mode):
    probabilities = np.array([[[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], [[0.2, 0.4, 0.4], [1, 1, 1]]])
    logits = Tensor(np.log(probabilities).astype(np.float32))
    labels = Tensor(np.array([[1, 2], [2, 0]], np.int32))

    class Of(nn.Cell):
        def construct(self, logits, labels):
            return sequence_log_probs(logits, labels)

    found = in_mode(Of())(logits, labels).asnumpy()
    np.testing.assert_allclose(found, [np.log(0.25 * 0.7), np.log(0.4)], rtol=1e-5)
    half = sequence_log_probs(logits.astype(ms.float16), labels)
    assert half.dtype == ms.float32


def test_dpo_loss_by_hand():
    chosen, rejected = Tensor([-1.0, -3.0, -90.0]), Tensor([-2.0, -3.0, -1.0])
    reference = Tensor([-2.0, -3.0, -1.0]), Tensor([-1.0, -3.0, -90.0])
    loss = dpo_loss(chosen, rejected, *reference, beta=0.5).asnumpy()
    # Margins 2, 0 and −178 times β: the last has no σ in float32, its logarithm has.
    np.testing.assert_allclose(loss, [np.log(1 + np.exp(-1)), np.log(2), 89.0], rtol=1e-5)


@pytest.mark.parametrize("beta", [0.0, -0.1, float("nan"), float("inf")])
def test_betas_that_are_refused(beta):
    for call in (lambda: dpo_objective(beta), lambda: dpo_loss(*[Tensor([0.0])] * 4, beta=beta)):
        with pytest.raises(ValueError, match=f"beta is {beta}; expected more than 0"):
            call()


def test_shapes_that_are_refused():
    with pytest.raises(ValueError, match=r"logits has shape \(2, 3\); expected \(B, T, V\)"):
        sequence_log_probs(ops.ones((2, 3)), ops.ones((2, 3), ms.int32))
    with pytest.raises(ValueError, match=r"labels has shape \(2,\); expected \(B, T\)"):
        sequence_log_probs(ops.ones((2, 3, 4)), ops.ones((2,), ms.int32))


def small_model():
    sizes = {"d_model": 16, "num_heads": 2, "num_kv_heads": 1, "d_head": 8, "d_ff": 24}
    return DecoderLM(DecoderLMConfig(11, num_layers=1, **sizes), seed=1)


def small_batch(model):
    prompts = [[3, 1, 4], [2, 7], [5, 5, 5], [9]]
    chosen = answer_arrays(prompts, [[6, 2]] * 4, 6)
    return batch_of(model, chosen, answer_arrays(prompts, [[8, 1, 2]] * 4, 6))


def test_rows_that_fill_a_batch_up_do_not_count():
    model = small_model()
    batch = small_batch(model)
    stir = np.random.default_rng(0)
    for weight in model.trainable_params():
        weight.set_data(Tensor(stir.normal(0.0, 0.3, weight.shape).astype(np.float32)))
    total, count = dpo_objective(0.3)(model, tuple(map(Tensor, batch)))
    filled = [np.concatenate([part, np.zeros((2, *part.shape[1:]), part.dtype)]) for part in batch]
    total_filled, count_filled = dpo_objective(0.3)(model, tuple(map(Tensor, filled)))
    assert (float(count.asnumpy()), float(count_filled.asnumpy())) == (4, 4)
    assert float(total.asnumpy()) == pytest.approx(float(total_filled.asnumpy()), rel=1e-5)


def test_a_step_prefers_the_chosen_answer():
    model = small_model()
    batch = small_batch(model)
    step = TrainStep(model, nn.Adam(model.trainable_params(), 1e-2), dpo_objective(0.5))
    losses = [float(step(1e-2, batch).loss.asnumpy()) for _ in range(8)]
    assert losses[0] == pytest.approx(np.log(2), rel=1e-5)
    assert losses[-1] < 0.5 * losses[0]
    margin = answer_log_probs(model, batch[0], batch[4]) - batch[2]
    margin -= answer_log_probs(model, batch[1], batch[5]) - batch[3]
    assert (margin > 0).all()


def test_the_trainer_takes_it(tmp_path):
    model = small_model()
    batches = ArrayBatches(small_batch(model), 3, fill=0, seed=1)  # 4 pairs: the last two rows fill
    config = TrainingConfig(epochs=3, warmup_steps=1, peak_learning_rate=1e-2, average=1)
    trainer = Trainer(model, None, batches, batches, config, tmp_path / "run",
                      objective=dpo_objective(0.5), progress=False)  # fmt: skip
    history = trainer.fit()
    assert history[-1]["validation_loss"] < history[0]["validation_loss"] < np.log(2)


def test_training_mode_comes_back():
    model = small_model()
    for is_training in (True, False):
        model.set_train(is_training)
        small_batch(model)
        assert model.training == is_training
    assert answer_log_probs(model, np.zeros((0, 6)), np.zeros((0, 6))).shape == (0,)
