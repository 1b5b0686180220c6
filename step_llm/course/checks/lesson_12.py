"""Checks of lesson 12, from base model to assistant."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor

from step_llm.course.checks.judge import (
    Wrong,
    call,
    call_class,
    expect_parts,
    expect_shape,
    recognise,
)


def exercise_1(row):
    """Inputs and labels of a prompt with its answer; the answer alone counts."""
    cases = (([5, 6, 7], [9, 2], 7, 0), ([8], [4, 3, 2], 4, 0), ([5, 5, 1, 3], [6, 2], 5, 0))
    for prompt, answer, length, pad_id in cases:
        text = [*prompt, *answer]
        inputs = text[:-1] + [pad_id] * (length + 1 - len(text))
        labels = [pad_id] * (len(prompt) - 1) + answer
        labels += [pad_id] * (length - len(labels))
        returned = call(row, list(prompt), list(answer), length, pad_id)
        found = expect_parts(returned, 2, "return inputs and labels")
        case = f"prompt {prompt}, answer {answer}: "
        got_inputs = expect_shape(found[0], (length,), "the array of inputs")
        got = expect_shape(found[1], (length,), "the array of labels")
        if got_inputs.tolist() != inputs:
            if got_inputs[: len(text)].tolist() == text:
                raise Wrong(case + "the last token of the answer is no input: nothing follows it")
            raise Wrong(case + f"the inputs are {got_inputs.tolist()}; expected {inputs}")
        if got.tolist() == labels:
            continue
        shifted = [pad_id, *labels[:-1]]
        everything = text[1:] + [pad_id] * (length + 1 - len(text))
        if got.tolist() == everything:
            raise Wrong(case + "the prompt's tokens are labels, too; they should be padding")
        if got.tolist() == shifted:
            raise Wrong(
                case + "each label stands in the place of its own token: the model would repeat "
                "what it reads. A label is the next token"
            )
        place = len(prompt) - 1
        if got.tolist() == [*labels[:place], pad_id, *labels[place + 1 :]]:
            raise Wrong(
                case + "the answer's first token is no label: the last token of the prompt should "
                "have it, or the model never learns how an answer begins"
            )
        raise Wrong(case + f"the labels are {got.tolist()}; expected {labels}")
    return "that is a row of answer_arrays; the loss is zero on the rest"


def exercise_2(lora):
    """LoRA for an embedding, as an nn.Cell."""
    rng = np.random.default_rng(122)
    for (size, width), rank, alpha in (((9, 6), 2, 3.0), ((7, 4), 4, 4.0)):
        table = rng.normal(size=(size, width)).astype(np.float32)
        ids = rng.integers(0, size, (2, 3)).astype(np.int32)
        cell = call_class(lora, table.copy(), rank, alpha)
        shapes = {"a": (size, rank), "b": (width, rank)}
        for name, shape in shapes.items():
            parameter = getattr(cell, name, None)
            if not isinstance(parameter, ms.Parameter):
                call(cell, Tensor(ids))  # None, where nothing has been written yet
                raise Wrong(f"there is no Parameter self.{name}")
            if parameter.shape != shape:
                raise Wrong(f"self.{name} has shape {parameter.shape}; expected {shape}")
        if np.abs(cell.b.asnumpy()).max() > 0:
            raise Wrong("b should begin at 0, so that the embedding begins as it was")
        if np.abs(cell.a.asnumpy()).max() == 0:
            raise Wrong("a and b both begin at 0: then neither has a gradient. Draw a at random")
        a, b = (rng.normal(size=shape).astype(np.float32) for shape in shapes.values())
        cell.a.set_data(Tensor(a))
        cell.b.set_data(Tensor(b))
        got = expect_shape(call(cell, Tensor(ids)), (2, 3, width), "what construct returns")
        added = a[ids] @ b.T
        expected = table[ids] + alpha / rank * added
        if not np.allclose(got, expected, atol=1e-4):
            recognise(
                got,
                (table[ids], "what A and B hold has no part in the output"),
                (table[ids] + added, "the factor α / r is missing"),
                (table[ids] + alpha * added, "the factor is α / r, not α"),
                (alpha / rank * added, "the table's own rows are missing"),
                atol=1e-4,
            )
            raise Wrong(f"the output differs by up to {np.abs(got - expected).max():.2g}")
        if len(cell.trainable_params()) != 2:
            names = ", ".join(p.name for p in cell.trainable_params())
            raise Wrong(f"a and b alone should learn; here it is {names}")

        def total(ids, cell=cell):
            return (cell(ids) ** 2).sum()

        gradients = call(ms.value_and_grad(total, None, cell.trainable_params()), Tensor(ids))[1]
        if any(np.abs(gradient.asnumpy()).max() == 0 for gradient in gradients):
            raise Wrong("a or b has no gradient: training would never change it")
    return "r (V + D) numbers learn instead of V D; this is how published LoRAs treat embeddings"


def exercise_3(pull):
    """The derivative of DPO's loss with respect to the margin."""
    rng = np.random.default_rng(123)
    for beta in (0.1, 0.7):
        four = [rng.normal(size=6) * 4 - 10 for _ in range(4)]
        chosen, rejected, chosen_reference, rejected_reference = four
        z = (chosen - chosen_reference) - (rejected - rejected_reference)
        expected = -beta / (1 + np.exp(beta * z))
        got = expect_shape(call(pull, *(part.copy() for part in four), beta), (6,))
        if np.allclose(got, expected, atol=1e-7):
            continue
        plain = chosen - rejected
        recognise(
            got,
            (-expected, "the sign: a larger margin makes the loss smaller"),
            (expected / beta, "the inner derivative β is missing"),
            (-expected / beta, "the inner derivative −β is missing"),
            (-beta / (1 + np.exp(-beta * z)), "σ(βz) grows with the margin; it is σ(−βz)"),
            (np.log1p(np.exp(-beta * z)), "this is the loss; its derivative is asked for"),
            (-beta / (1 + np.exp(z)), "σ takes β times the margin"),
            (-beta / (1 + np.exp(beta * plain)), "the reference has no part in your margin"),
            atol=1e-7,
        )
        raise Wrong(f"for β = {beta} you return {got[:3].round(5)}, not {expected[:3].round(5)}")
    return "−β σ(−βz): half of β at the beginning, next to nothing once a pair is told apart"


def exercise_4(round_to_4_bits):
    """Whole numbers of 4 bits, and a scale for each group."""
    rng = np.random.default_rng(124)
    for (outputs, inputs), group in (((3, 8), 4), ((2, 6), 6), ((4, 12), 2)):
        weight = rng.normal(size=(outputs, inputs)) * rng.uniform(0.1, 9, size=(outputs, 1))
        weight[0, :group] = 0.0
        returned = call(round_to_4_bits, weight.copy(), group)
        found = expect_parts(returned, 2, "return the whole numbers and the scales")
        numbers = expect_shape(found[0], weight.shape, "the array of numbers")
        scales = expect_shape(found[1], (outputs, inputs // group), "the array of scales")
        if not (np.isfinite(numbers).all() and np.isfinite(scales).all()):
            raise Wrong("there is a value that is not finite: a group of zeros divides by 0")
        if (numbers != np.rint(numbers)).any():
            raise Wrong("the numbers should be whole")
        if numbers.min() < -7 or numbers.max() > 7:
            raise Wrong(f"the numbers go from {numbers.min():g} to {numbers.max():g}, not −7 … 7")
        if (numbers[weight == 0] != 0).any():
            raise Wrong("a weight of 0 should stay 0")
        groups = weight.reshape(outputs, -1, group)
        largest = np.abs(groups).max(-1)
        is_real = largest > 0
        ratio = largest[is_real] / np.asarray(scales, np.float64)[is_real]
        if not np.allclose(ratio, 7.0, rtol=1e-4):
            recognise(
                ratio,
                (np.full_like(ratio, 8.0), "the largest number is 7, so the scale is max |w| / 7"),
                (np.full_like(ratio, 127.0), "that is the scale of 8 bits"),
                (np.full_like(ratio, 1 / 7.0), "the scale is max |w| / 7, not its inverse"),
                atol=1e-3,
            )
            signed = groups.max(-1)[is_real] / np.asarray(scales, np.float64)[is_real]
            if np.allclose(signed, 7.0, rtol=1e-4):
                raise Wrong("the largest by its absolute value decides: a weight may be negative")
            raise Wrong("the largest |w| of each group should be 7 times its scale")
        error = np.abs(groups - numbers.reshape(groups.shape) * scales[..., None])
        if (error > scales[..., None] * 0.5001).any():
            raise Wrong(
                "a weight is off by more than half a step: round to the nearest whole number"
            )
    return "15 levels, and one float32 for each group: 4 + 32 / group bits per weight"


def exercise_5(windows):
    """Windows of a strided perplexity, mended: each prediction counts once."""
    for labels, window, stride in ((300, 128, 64), (10, 4, 1), (7, 8, 3), (12, 4, 4), (13, 5, 3)):
        returned = call(windows, labels, window, stride)
        case = f"{labels} predictions, window {window}, stride {stride}: "
        if not isinstance(returned, (list, tuple)) or not returned:
            raise Wrong("return a list of triples (begin, first, end)")
        triples = [
            tuple(int(expect_shape(part, ())) for part in expect_parts(
                triple, 3, "each window is a triple (begin, first, end)"
            ))
            for triple in returned
        ]  # fmt: skip
        counted = [place for _, first, end in triples for place in range(first, end)]
        if len(counted) > labels and len(set(counted)) == labels:
            raise Wrong(case + f"in all {len(counted)} are counted: some of them more than once")
        if sorted(counted) != list(range(labels)):
            raise Wrong(case + "some predictions are not counted, or do not exist")
        begins = [begin for begin, _, _ in triples]
        if begins != [stride * place for place in range(len(triples))]:
            raise Wrong(case + f"the windows begin at {begins[:4]}; expected every {stride}")
        for begin, first, end in triples:
            if not begin <= first < end <= begin + window:
                raise Wrong(case + f"({begin}, {first}, {end}) counts what its window has not read")
        first_to_reach = [next(b for b in begins if b + window > place) for place in counted]
        own = [begin for begin, first, end in triples for _ in range(first, end)]
        if own != first_to_reach:
            raise Wrong(case + "each prediction counts in the first window that reaches it")
    return "so text_losses does it; a token counted twice would weigh double in the mean"
