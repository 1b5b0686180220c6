"""Right and wrong answers to the exercises of lesson 05b."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
from mindspore import Parameter, Tensor, nn

from step_llm import Transformer
from step_llm.models.weights import set_weights, weights_of

T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365}


class ReZero(nn.Cell):
    def __init__(self, start=0.0):
        super().__init__()
        self.alpha = Parameter(Tensor(np.array([start], np.float32)), name="alpha")

    def construct(self, x, output):
        return x + self.alpha * output


class ReZeroScalar(ReZero):
    def __init__(self):
        super().__init__()
        self.alpha = Parameter(Tensor(np.array(0.0, np.float32)), name="alpha")


class ReZeroOfOne(ReZero):
    def __init__(self):
        super().__init__(1.0)


class PlainSum(nn.Cell):
    def construct(self, x, output):
        return x + output


class FixedAlpha(nn.Cell):
    def __init__(self):
        super().__init__()
        self.alpha = 0.0

    def construct(self, x, output):
        return x + self.alpha * output


class AlphaOfTheSum(ReZero):
    def construct(self, x, output):
        return self.alpha * (x + output)


class AlphaBesideNothing(ReZero):
    def construct(self, x, output):
        return x + self.alpha * output * 0.0


class AlphaWide(ReZero):
    def __init__(self):
        super().__init__()
        self.alpha = Parameter(Tensor(np.zeros(8, np.float32)), name="alpha")


def interval(baseline, variant, t=None, ddof=1, root=True):
    difference = np.asarray(variant) - np.asarray(baseline)
    n = len(difference)
    t = T95[n - 1] if t is None else t
    return difference.mean(), t * difference.std(ddof=ddof) / (math.sqrt(n) if root else 1.0)


def interval_turned(baseline, variant):
    return interval(variant, baseline)


def interval_normal(baseline, variant):
    return interval(baseline, variant, t=1.96)


def interval_by_n(baseline, variant):
    return interval(baseline, variant, ddof=0)


def interval_without_root(baseline, variant):
    return interval(baseline, variant, root=False)


def interval_unpaired(baseline, variant):
    n = len(baseline)
    both = math.sqrt(np.var(baseline, ddof=1) + np.var(variant, ddof=1))
    return np.mean(variant) - np.mean(baseline), T95[n - 1] * both / math.sqrt(n)


def means_of_signs(differences):
    signs = np.array(list(itertools.product((1, -1), repeat=len(differences))))
    return (signs * differences).mean(axis=1)


def p_value(differences):
    means = means_of_signs(differences)
    return np.mean(np.abs(means) >= abs(np.mean(differences)) - 1e-9)


def p_one_sided(differences):
    return np.mean(means_of_signs(differences) >= np.mean(differences) - 1e-9)


def p_count(differences):
    return p_value(differences) * 2 ** len(differences)


def p_strict(differences):
    means = means_of_signs(differences)
    return np.mean(np.abs(means) > abs(np.mean(differences)) + 1e-9)


def build_pair(config, changes, seed):
    baseline = Transformer(config, seed)
    variant = Transformer(dataclasses.replace(config, **changes), seed)
    set_weights(variant, {**weights_of(variant), **weights_of(baseline)})
    return baseline, variant


def build_pair_of_one_seed(config, changes, seed):
    return Transformer(config, seed), Transformer(dataclasses.replace(config, **changes), seed)


def build_pair_of_one_model(config, changes, seed):
    baseline = Transformer(config, seed)
    return baseline, baseline


def build_pair_that_shares(config, changes, seed):
    baseline, variant = build_pair(config, changes, seed)
    variant.target_embedding.weight = baseline.target_embedding.weight
    return baseline, variant


def build_pair_with_zeros(config, changes, seed):
    baseline, variant = build_pair(config, changes, seed)
    known = weights_of(baseline)
    zeros = {name: value * 0 for name, value in weights_of(variant).items()}
    set_weights(variant, {**zeros, **known})
    return baseline, variant


def build_pair_of_the_variants_weights(config, changes, seed):
    baseline = Transformer(config, seed)
    variant = Transformer(dataclasses.replace(config, **changes), seed)
    own = weights_of(variant)
    set_weights(baseline, {name: own[name] for name in weights_of(baseline)})
    return baseline, variant


def agreement(log_p, log_q, axis=-1):
    return ((np.exp(log_p) - np.exp(log_q)) * (log_p - log_q)).sum(axis)


def kl(log_p, log_q):
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


def kl_turned(log_p, log_q):
    return kl(log_q, log_p)


def agreement_of_the_sign(log_p, log_q):
    return -agreement(log_p, log_q)


def agreement_of_a_difference(log_p, log_q):
    return kl(log_p, log_q) - kl(log_q, log_p)


def agreement_of_a_mean(log_p, log_q):
    return agreement(log_p, log_q) / log_p.shape[-1]


def agreement_without_weights(log_p, log_q):
    return (log_p - log_q).sum(-1)


def agreement_of_probabilities(log_p, log_q):
    return np.abs(np.exp(log_p) - np.exp(log_q)).sum(-1)


def agreement_of_all(log_p, log_q):
    return agreement(log_p, log_q, axis=None)


def agreement_of_half(log_p, log_q):
    return agreement(log_p, log_q) / 2


def agreement_of_tensors(log_p, log_q):
    return Tensor(agreement(log_p, log_q).astype(np.float32))


RIGHT = {
    "5b.1": (ReZero,),
    "5b.2": (interval,),
    "5b.3": (p_value,),
    "5b.4": (build_pair,),
    "5b.5": (agreement,),
}
ALSO_RIGHT = [("5b.1", (ReZeroScalar,)), ("5b.5", (agreement_of_tensors,))]
WRONG = {
    "5b.1": [
        (ReZeroOfOne,),
        (PlainSum,),
        (FixedAlpha,),
        (AlphaOfTheSum,),
        (AlphaBesideNothing,),
        (AlphaWide,),
    ],
    "5b.2": [
        (interval_turned,),
        (interval_normal,),
        (interval_by_n,),
        (interval_without_root,),
        (interval_unpaired,),
    ],
    "5b.3": [(p_one_sided,), (p_strict,), (p_count,)],
    "5b.4": [
        (build_pair_of_one_seed,),
        (build_pair_of_one_model,),
        (build_pair_that_shares,),
        (build_pair_with_zeros,),
        (build_pair_of_the_variants_weights,),
    ],
    "5b.5": [
        (kl,),
        (kl_turned,),
        (agreement_of_the_sign,),
        (agreement_of_a_difference,),
        (agreement_of_a_mean,),
        (agreement_without_weights,),
        (agreement_of_probabilities,),
        (agreement_of_all,),
        (agreement_of_half,),
    ],
}
NAMED = {
    "5b.1": [
        ((FixedAlpha,), "make it a Parameter"),
        ((ReZeroOfOne,), "α is 1 at first"),
        ((AlphaOfTheSum,), "α weighs the sum"),
        ((AlphaBesideNothing,), "no effect"),
    ],
    "5b.2": [
        ((interval_turned,), "the sign is turned round"),
        ((interval_normal,), "1.96 is for many seeds"),
        ((interval_by_n,), "n − 1"),
        ((interval_without_root,), "divide by √n"),
        ((interval_unpaired,), "not paired"),
    ],
    "5b.3": [
        ((p_one_sided,), "one side only"),
        ((p_strict,), "counts too"),
        ((p_count,), "divide"),
    ],
    "5b.4": [
        ((build_pair_of_one_seed,), "the luck of the draw differs too"),
        ((build_pair_that_shares,), "who trains one trains both"),
        ((build_pair_with_zeros,), "should be drawn"),
    ],
    "5b.5": [
        ((kl,), "KL(p ‖ q) alone"),
        ((kl_turned,), "KL(q ‖ p) alone"),
        ((agreement_of_the_sign,), "never below 0"),
        ((agreement_of_a_difference,), "add the two"),
        ((agreement_of_a_mean,), "do not take the mean"),
        ((agreement_without_weights,), "weigh each word"),
        ((agreement_of_probabilities,), "their logarithms"),
        ((agreement_of_all,), "over the words alone"),
    ],
}
