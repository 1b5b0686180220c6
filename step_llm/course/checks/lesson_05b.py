"""Checks of lesson 05b, What each part is worth."""

from __future__ import annotations

import dataclasses
import itertools
import math

import mindspore as ms
import numpy as np
from mindspore import Tensor

from step_llm.course.checks.judge import (
    Wrong,
    as_array,
    call,
    call_class,
    expect_close,
    expect_number,
    expect_parts,
    expect_shape,
    float_tensor,
    recognise,
)

# 97.5 % of Student's t distribution lie below, by degrees of freedom.
_T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365}


def exercise_1(make_residual):
    """A residual connection without LayerNorm: x + α · f(x), α learned and 0 at first."""
    cell = call_class(make_residual)
    rng = np.random.default_rng(0)
    x, output, goal = rng.normal(size=(3, 2, 5, 8)).astype(np.float32)
    weights = cell.trainable_params()
    count = sum(weight.size for weight in weights)
    got = call(cell, Tensor(x), Tensor(output))
    if count != 1:
        hint = "a plain number is not trained; make it a Parameter" if not count else "only α"
        raise Wrong(f"your cell has {count} trainable numbers; expected one: {hint}")
    alpha = weights[0]
    start = float(alpha.asnumpy().reshape(()))
    if start != 0.0:
        raise Wrong(f"α is {start:g} at first; expected 0, so that every layer begins as identity")
    first = got
    alpha.set_data(Tensor(np.full(alpha.shape, 0.7, np.float32)))
    got = as_array(call(cell, Tensor(x), Tensor(output)))
    recognise(
        got,
        (0.7 * (x + output), "α weighs the sum; it should weigh the sub-layer's output alone"),
        (x + output, "α has no effect on the output"),
        (x, "α has no effect on the output"),
        (0.7 * x + output, "α weighs x; it should weigh the sub-layer's output"),
        (0.7 * output, "x is missing from the sum"),
        atol=1e-5,
    )
    expect_close(first, x, "With α = 0 the cell gives x back, unchanged.")
    expect_close(got, x + 0.7 * output, "For α = 0.7 expected x + 0.7 · output.")

    def loss(a, b):
        return (cell(a, b) * Tensor(goal)).sum()

    gradient = call(lambda: ms.grad(loss, None, weights)(Tensor(x), Tensor(output)))
    gradient = gradient[0] if isinstance(gradient, (tuple, list)) else gradient
    wanted = np.full(alpha.shape, (output * goal).sum(), np.float32)
    expect_close(gradient, wanted, "It is the sum of output times what comes back.", "α's gradient")
    return "the layer begins as the identity, and α decides how much of f comes in"


def exercise_2(interval):
    """Mean of paired differences, and the half-width of its 95 % interval."""
    cases = (
        ([90.0, 94.0, 92.0], [85.0, 90.0, 88.5]),
        ([70.0, 30.0, 50.0, 10.0, 90.0], [71.0, 33.0, 52.0, 11.0, 94.0]),
    )
    for baseline, variant in cases:
        baseline, variant = np.array(baseline), np.array(variant)
        got = call(interval, baseline.copy(), variant.copy())
        got = expect_parts(got, 2, "expected two numbers: the mean difference, and the half-width")
        mean, half = (
            expect_number(value, name) for value, name in zip(got, ("the mean", "the half-width"))
        )
        difference = variant - baseline
        n, deviation = len(difference), difference.std(ddof=1)
        t = _T95[n - 1]
        case = f"for {baseline.tolist()} and {variant.tolist()}: "
        if math.isclose(mean, -difference.mean(), rel_tol=1e-3):
            raise Wrong(f"{case}the sign is turned round; take variant − baseline")
        expect_close(mean, difference.mean(), "Take the mean of variant − baseline.", "the mean")
        both = math.sqrt(baseline.var(ddof=1) + variant.var(ddof=1))
        recognise(
            half,
            (1.96 * deviation / math.sqrt(n), f"1.96 is for many seeds; for {n} take t = {t}"),
            (t * difference.std() / math.sqrt(n), "divide by n − 1 in the deviation, not by n"),
            (t * deviation, "this is no interval of the mean; divide by √n"),
            (t * deviation / n, "divide by √n, not by n"),
            (deviation / math.sqrt(n), "this is the standard error; multiply by t"),
            (_T95[n] * deviation / math.sqrt(n), f"{n} seeds have {n - 1} degrees of freedom"),
            (
                t * both / math.sqrt(n),
                "this is not paired; take the deviation of the differences, seed by seed",
            ),
            case=case,
            atol=1e-3,
        )
        hint = "Half-width = t · s / √n, s the deviation of the differences."
        expect_close(half, t * deviation / math.sqrt(n), hint, "the half-width", 1e-3)
    return "what a seed does to both sides alike is gone from the difference"


def exercise_3(p_value):
    """The exact two-sided p-value of paired differences, by turning their signs."""
    cases = ([-4.0, -5.0, -3.5], [2.0, -1.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    for differences in cases:
        values = np.array(differences)
        got = expect_number(call(p_value, values.copy()), "the p-value")
        signs = np.array(list(itertools.product((1, -1), repeat=len(values))))
        means = (signs * values).mean(axis=1)
        seen = values.mean()
        as_far = np.abs(means) >= abs(seen) - 1e-9
        beyond = np.abs(means) > abs(seen) + 1e-9
        case = f"for {differences}: "
        if not math.isclose(got, as_far.mean(), abs_tol=1e-9):
            recognise(
                got,
                (beyond.mean(), "a mean exactly as far as the one that was seen counts too"),
                (np.mean(means >= seen - 1e-9), "one side only; compare sizes, without the sign"),
                (np.mean(means <= seen + 1e-9), "one side only; compare sizes, without the sign"),
                (as_far.sum(), f"this is how many there are; divide by all {len(signs)}"),
                case=case,
            )
        hint = (
            f"For {differences}, of the {len(signs)} ways to choose the signs, count those with a "
            "mean as far from 0."
        )
        expect_close(got, as_far.mean(), hint, "the p-value")
    return "three seeds that all agree reach 0.25 and no less; six reach 0.03"


def exercise_4(build_pair):
    """Find the bug: two models that differ in more than one thing."""
    from step_llm.models.config import TransformerConfig
    from step_llm.models.transformer import Transformer
    from step_llm.models.weights import weights_of

    config = TransformerConfig(
        11, 11, d_model=8, num_heads=2, num_encoder_layers=1, num_decoder_layers=1, d_ff=12,
        max_length=10, tied_embeddings="all",
    )  # fmt: skip
    expected = weights_of(Transformer(config, seed=3))
    for changes in ({"tied_embeddings": "none"}, {"positions": "learned"}, {"norm": "pre"}):
        got = call(build_pair, config, dict(changes), 3)
        parts = expect_parts(got, 2, "expected two models: the baseline and the variant")
        if not all(isinstance(part, Transformer) for part in parts):
            raise Wrong(
                f"expected two Transformers, got {', '.join(type(p).__name__ for p in parts)}"
            )
        baseline, variant = parts
        case = f"with the change {changes}, "
        if baseline.config != config:
            raise Wrong(f"{case}the first model is not the baseline: its configuration is another")
        if variant.config != dataclasses.replace(config, **changes):
            raise Wrong(f"{case}the second model's configuration is not the changed one")
        ours, theirs = weights_of(baseline), weights_of(variant)
        if any((ours[name] != value).any() for name, value in expected.items()):
            raise Wrong(f"{case}the baseline does not begin as its seed says")
        common = [
            name for name in ours if name in theirs and ours[name].shape == theirs[name].shape
        ]
        different = [name for name in common if (ours[name] != theirs[name]).any()]
        if different:
            raise Wrong(
                f"{case}of the {len(common)} weights that both models have, {len(different)} begin "
                f"with other values, {different[0]} for one: the luck of the draw differs too"
            )
        if any(not np.isfinite(value).all() for value in theirs.values()):
            raise Wrong(f"{case}the variant has weights that are not finite")
        own = [name for name in theirs if name not in ours and name.endswith("weight")]
        if any((theirs[name] == 0).all() for name in own):
            raise Wrong(f"{case}the variant's own weights are 0; they should be drawn")
        name, weight = next(iter(baseline.parameters_and_names()))
        weight.set_data(float_tensor(weight.asnumpy() + 1.0))
        if (weights_of(variant)[name] != theirs[name]).any():
            raise Wrong(f"{case}both models hold the same Parameter: who trains one trains both")
    return "now the two models differ in what was changed, and in nothing else"


def exercise_5(agreement):
    """How far two passes of R-Drop are apart: KL(p ‖ q) + KL(q ‖ p) at each position."""
    logits = np.random.default_rng(5).normal(size=(2, 4, 6))
    log_p, log_q = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    p, q = np.exp(log_p), np.exp(log_q)
    got = as_array(call(agreement, log_p.copy(), log_q.copy()))
    there, back = (p * (log_p - log_q)).sum(-1), (q * (log_q - log_p)).sum(-1)
    if got.shape in ((), (4, 6)):
        raise Wrong(f"the answer has shape {got.shape}; add up over the words alone, to (4,)")
    recognise(
        expect_shape(got, (4,)),
        (there, "this is KL(p ‖ q) alone; add KL(q ‖ p)"),
        (back, "this is KL(q ‖ p) alone; add KL(p ‖ q)"),
        (-there - back, "the sign is turned round: KL is never below 0"),
        (there - back, "add the two; do not take one from the other"),
        ((there + back) / 6, "add up over the words; do not take the mean"),
        ((log_p - log_q).sum(-1), "weigh each word with p, or with q"),
        (np.abs(p - q).sum(-1), "this compares the probabilities; KL compares their logarithms"),
        atol=1e-6,
    )
    expect_close(got, there + back, "KL(p ‖ q) is the sum over the words of p · (log p − log q).")
    got = call(agreement, log_p.copy(), log_p.copy())
    expect_close(got, np.zeros(4), "Two equal passes are 0 apart.")
    return "0 where both passes say the same, and more the further they are apart"
