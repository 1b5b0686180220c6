"""The loss: against NumPy in float64; padding counts for nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn

from step_llm.training.loss import label_smoothed_cross_entropy


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def loss_by_hand(logits, labels, epsilon, pad_id):
    """Cross-entropy against the smoothed distribution itself, token by token."""
    log_p = log_softmax(logits)
    total = 0.0
    for place in np.ndindex(labels.shape):
        if labels[place] != pad_id:
            wanted = np.full(logits.shape[-1], epsilon / logits.shape[-1])
            wanted[labels[place]] += 1 - epsilon
            total -= (wanted * log_p[place]).sum()
    return total


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    length=st.integers(1, 4),
    vocabulary=st.integers(2, 9),
    epsilon=st.sampled_from([0.0, 0.1, 0.5]),
    pad_id=st.integers(-1, 1),
    seed=st.integers(0, 99),
)
def test_loss_equals_numpy(batch, length, vocabulary, epsilon, pad_id, seed):
    logits = random(seed, batch, length, vocabulary) * 3
    labels = np.random.default_rng(seed).integers(0, vocabulary, (batch, length)).astype(np.int32)
    total, count = label_smoothed_cross_entropy(Tensor(logits), Tensor(labels), epsilon, pad_id)
    assert total.shape == count.shape == ()
    assert total.dtype == count.dtype == ms.float32
    expected = loss_by_hand(logits, labels, epsilon, pad_id)
    assert float(total.asnumpy()) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert float(count.asnumpy()) == (labels != pad_id).sum()


class Loss(nn.Cell):
    """Sum, count, and the gradient of the sum."""

    def __init__(self, epsilon, pad_id=0):
        super().__init__()
        self.epsilon = epsilon
        self.pad_id = pad_id

    def total(self, logits, labels):
        return label_smoothed_cross_entropy(logits, labels, self.epsilon, self.pad_id)

    def construct(self, logits, labels):
        return ms.value_and_grad(self.total, 0, None, has_aux=True)(logits, labels)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_value_and_gradient(epsilon, in_mode):
    logits = random(0, 2, 3, 7)
    labels = np.array([[1, 2, 3], [4, 0, 0]], np.int32)
    (total, count), gradient = in_mode(Loss(epsilon))(Tensor(logits), Tensor(labels))
    expected = loss_by_hand(logits, labels, epsilon, 0)
    assert float(total.asnumpy()) == pytest.approx(expected, rel=1e-5)
    assert float(count.asnumpy()) == 4
    # The gradient of cross-entropy: what the model says minus what it should say.
    expected = np.exp(log_softmax(logits)) - epsilon / 7 - (1 - epsilon) * np.eye(7)[labels]
    expected[labels == 0] = 0
    np.testing.assert_allclose(gradient.asnumpy(), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_padding_counts_for_nothing(epsilon, in_mode):
    cell = in_mode(Loss(epsilon))
    labels = Tensor(np.array([[1, 2, 0], [3, 0, 0]], np.int32))
    logits = random(0, 2, 3, 5)
    changed = logits.copy()
    changed[0, 2], changed[1, 1:] = 50, random(1, 2, 5) * 9
    (before, _), _ = cell(Tensor(logits), labels)
    (after, count), gradient = cell(Tensor(changed), labels)
    assert before.asnumpy() == after.asnumpy()
    assert count.asnumpy() == 3
    assert (gradient.asnumpy()[0, 2] == 0).all()
    assert (gradient.asnumpy()[1, 1:] == 0).all()
    assert np.abs(gradient.asnumpy()[0, :2]).min() > 0


@pytest.mark.parametrize("pad_id", [-100, -1, 7, 2**31 - 1])
def test_padding_may_be_an_id_that_no_token_has(pad_id, in_mode):
    logits = random(0, 2, 3, 7)
    labels = np.array([[0, 2, 0], [4, pad_id, pad_id]], np.int32)
    (total, count), gradient = in_mode(Loss(0.1, pad_id))(Tensor(logits), Tensor(labels))
    assert float(total.asnumpy()) == pytest.approx(
        loss_by_hand(logits, labels, 0.1, pad_id), rel=1e-5
    )
    assert float(count.asnumpy()) == 4
    assert (gradient.asnumpy()[1, 1:] == 0).all()
    assert np.abs(gradient.asnumpy()[0]).min() > 0


def test_a_batch_of_padding_gives_0():
    logits = random(0, 2, 3, 5)
    total, count = label_smoothed_cross_entropy(
        Tensor(logits), Tensor(np.zeros((2, 3), np.int32)), 0.1
    )
    assert total.asnumpy() == 0
    assert count.asnumpy() == 0


def test_a_model_that_knows_nothing_pays_log_v():
    labels = Tensor(np.array([[1, 2]], np.int32))
    for epsilon in (0.0, 0.1):
        total, count = label_smoothed_cross_entropy(
            Tensor(np.zeros((1, 2, 32), np.float32)), labels, epsilon
        )
        assert float((total / count).asnumpy()) == pytest.approx(np.log(32), rel=1e-6)


def test_large_logits_stay_finite(in_mode):
    logits = np.array([[[1e4, -1e4, 0], [-1e4, 0, 1e4]]], np.float32)
    labels = np.array([[1, 2]], np.int32)
    (total, _), gradient = in_mode(Loss(0.1))(Tensor(logits), Tensor(labels))
    assert float(total.asnumpy()) == pytest.approx(loss_by_hand(logits, labels, 0.1, 0), rel=1e-5)
    assert np.isfinite(gradient.asnumpy()).all()


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ((2, 5), (2, 1), r"logits has shape \(2, 5\); expected \(B, T, V\)"),
        ((2, 3, 5), (6,), r"labels has shape \(6,\); expected \(B, T\)"),
    ],
)
def test_wrong_shapes_are_named(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        label_smoothed_cross_entropy(Tensor(random(0, *logits)), Tensor(np.ones(labels, np.int32)))


ROOT = Path(__file__).resolve().parents[1]
# The peak memory of a process, of the loss and its gradient, in units of the logits' size.
MEMORY = """
import re
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from step_llm.runtime.graph_mode import compiled, graph_mode
from step_llm.training.loss import label_smoothed_cross_entropy

def peak():
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1])

class Step(nn.Cell):
    def __init__(self):
        super().__init__()
        def loss(logits, labels):
            return label_smoothed_cross_entropy(logits, labels, 0.1)[0]
        self.value_and_grad = ms.value_and_grad(loss)

    @compiled
    def construct(self, *tensors):
        return self.value_and_grad(*tensors)

step = Step()
with graph_mode():
    for rows in (1, 64):  # the first pays for the compiler
        logits = Tensor(np.zeros((rows, 32, 8000), np.float32))
        labels = Tensor(np.ones((rows, 32), np.int32))
        before = peak()
        step(logits, labels)[0].asnumpy()
print((peak() - before) / logits.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read memory from")
def test_the_loss_takes_four_times_its_logits(tmp_path):
    """The largest tensors of a training step by far, and MindSpore keeps them for each shape of
    batch. With mint.mean for the smoothing they took eight times the logits."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "STEP_LLM_GRAPH_CACHE": "0"}
    program = tmp_path / "program.py"  # MindSpore compiles from a file
    program.write_text(MEMORY)
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 5.0
