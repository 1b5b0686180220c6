"""Checks of lesson 06, Decoding and evaluation."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops

from step_llm.course.checks.judge import (
    Wrong,
    call,
    call_class,
    expect_close,
    expect_number,
    expect_parts,
    expect_shape,
    recognise,
)
from step_llm.models.config import TransformerConfig
from step_llm.models.transformer import Transformer
from step_llm.nn.attention import MultiHeadAttention
from step_llm.nn.masks import causal_mask
from step_llm.runtime.graph_mode import compiled


class _Compiled(nn.Cell):
    """A reader's Cell inside a compiled one."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    @compiled
    def construct(self, source, decoder_input, labels):
        return self.cell(source, decoder_input, labels)


def exercise_1(log_prob):
    """The logarithm of a sentence's probability under a table of next-token probabilities."""
    for seed, ids in ((61, (4, 3, 5)), (62, (5,)), (63, (3, 4, 3, 4))):
        table = np.random.default_rng(seed).dirichlet(np.ones(6), 6)
        path = [1, *ids, 2]
        steps = [float(table[a, b]) for a, b in zip(path, path[1:])]
        got = expect_number(call(log_prob, table.copy(), list(ids)))
        expected = float(np.sum(np.log(steps)))
        if np.isclose(got, expected, atol=1e-6):
            continue
        recognise(
            got,
            (np.prod(steps), "this is the probability; the exercise asks for its logarithm"),
            (np.log(steps[:-1]).sum(), "the end token is missing: it is the last factor"),
            (np.log(steps[1:]).sum(), "the first word is missing: it follows the begin token"),
            (np.log(steps[1:-1]).sum(), "the first word and the end token have a factor each, too"),
            (expected / len(steps), "this is the mean over the tokens; the sum is wanted"),
            (-expected, "a probability is below 1, so its logarithm is below 0"),
            (np.log2(steps).sum(), "this is the logarithm to base 2; take the natural one"),
            atol=1e-6,
        )
        raise Wrong(f"for {len(ids)} words you return {got:.4f}; expected {expected:.4f}")
    return "a sum of logarithms, one for each token and one for the end: it can only fall"


def exercise_2(brevity):
    """The brevity penalty with the closest of several reference lengths."""
    cases = ((9, (12,)), (12, (9,)), (10, (10,)), (10, (20, 11, 5)), (10, (12, 8)), (10, (13, 8)))
    for c, lengths in cases:
        got = expect_number(call(brevity, c, list(lengths)))
        closest = min(lengths, key=lambda length: (abs(length - c), length))
        expected = min(1.0, np.exp(1 - closest / c))
        if np.isclose(got, expected, atol=1e-6):
            continue
        case = f"c = {c}, lengths {list(lengths)}: "
        if got > 1:
            raise Wrong(case + "you return more than 1; a long translation gets no bonus")
        ties = [length for length in lengths if abs(length - c) == abs(closest - c)]
        if len(ties) > 1 and got < expected:
            raise Wrong(case + "two lengths are equally close; the shorter one counts")
        shortest, longest = (min(1.0, np.exp(1 - r / c)) for r in (min(lengths), max(lengths)))
        if len(lengths) > 1:
            recognise(
                got,
                (shortest, "not the shortest reference counts, but the one closest in length"),
                (longest, "not the longest reference counts, but the one closest in length"),
                case=case,
                atol=1e-6,
            )
        if np.isclose(got, min(1.0, np.exp(1 - c / closest)), atol=1e-6):
            raise Wrong(case + "r and c have changed places: the exponent is 1 − r / c")
        if np.isclose(got, min(1.0, c / closest), atol=1e-6):
            raise Wrong(case + "this is c / r itself; the formula has an exponential")
        raise Wrong(case + f"the closest length is {closest}, so expected {expected:.4f}")
    return "too short is punished here; too long lowers the precisions, and so is punished already"


def exercise_3(matches):
    """Modified n-gram precision with several references."""
    cases = (
        ("the the the the", ("the cat is here",), 1),
        ("a a a dog", ("a cat", "a dog"), 1),
        ("a dog a dog a dog", ("a dog is chasing a ball", "there is a dog and a dog"), 1),
        ("a dog a dog a dog", ("a dog is chasing a ball", "there is a dog and a dog"), 2),
        ("a b c d", ("a b x c d", "b c y"), 2),
        ("one two", ("one two",), 3),
    )
    for hypothesis, references, n in cases:
        words = hypothesis.split()
        texts = [text.split() for text in references]
        answer = call(matches, list(words), [list(text) for text in texts], n)
        parts = expect_parts(answer, 2, "return two numbers: the clipped matches, and all n-grams")
        got, total = (int(expect_number(part, "each of the two numbers")) for part in parts)
        grams, *others = (list(zip(*(text[i:] for i in range(n)))) for text in (words, *texts))

        def clipped_by(limit, grams=grams):
            return sum(min(grams.count(gram), limit(gram)) for gram in set(grams))

        expected = clipped_by(lambda g, others=others: max(o.count(g) for o in others))
        if (got, total) == (expected, len(grams)):
            continue
        case = f"{hypothesis!r}, n = {n}: "
        if total != len(grams):
            raise Wrong(case + f"there are {len(grams)} n-grams, you count {total}")
        unclipped = sum(any(g in o for o in others) for g in grams)
        added = clipped_by(lambda g, others=others: sum(o.count(g) for o in others))
        alone = [clipped_by(other.count) for other in others]
        recognise(
            got,
            (unclipped, "not clipped: an n-gram counts at most as often as in a reference"),
            (added, "the references' counts are not added; the largest one clips"),
            (max(alone), "you match all n-grams in one reference; each may have another"),
            (alone[0], "only the first reference was used"),
            case=case,
        )
        raise Wrong(case + f"you find {got} matches; expected {expected}")
    return "a translation may agree with any reference, but repeating a word earns nothing"


def exercise_4(tie):
    """The length penalty at which a longer hypothesis draws level with a shorter one."""
    for short, long in (((-1.184, 3), (-1.324, 5)), ((-2.0, 4), (-2.6, 9)), ((-0.5, 2), (-0.9, 3))):
        got = expect_number(call(tie, *short, *long))
        ratio = (5 + long[1]) / (5 + short[1])
        expected = np.log(long[0] / short[0]) / np.log(ratio)
        if np.isclose(got, expected, atol=1e-3):
            continue
        if np.isclose(got, -expected, atol=1e-3):
            raise Wrong("the sign is wrong: α is positive here; look at which ratio you invert")
        if np.isclose(got, np.log(long[0] / short[0]) / np.log(long[1] / short[1]), atol=1e-3):
            raise Wrong("the penalty of the library is ((5 + length) / 6)^α, not length^α")
        if np.isclose(got, long[0] / short[0] / ratio, atol=1e-3):
            raise Wrong("α is an exponent: take the logarithm of both sides")
        scores = [p / ((5 + n) / 6) ** got for p, n in (short, long)]
        raise Wrong(
            f"with your α = {got:.3f} the two scores are {scores[0]:.3f} and {scores[1]:.3f}; "
            "they should be equal"
        )
    return "below this α the shorter one wins, above it the longer one"


def exercise_5(top_p):
    """Top-p sampling: the smallest set of tokens that holds at least p of the probability."""
    few, most, even = (0.05, 0.5, 0.15, 0.3), (0.7, 0.1, 0.2), (0.1, 0.2, 0.3, 0.4)
    cases = [(few, p) for p in (0.75, 0.4, 0.9)] + [(most, p) for p in (0.5, 0.75, 1.0)]
    for probabilities, limit in [*cases, (even, 0.65)]:
        given = np.array(probabilities)
        got = expect_shape(call(top_p, given.copy(), limit), given.shape)
        order = np.argsort(-given)
        size = int(np.argmax(given[order].cumsum() >= limit - 1e-9)) + 1
        kept = np.zeros(len(given), bool)
        kept[order[:size]] = True
        if np.allclose(got, np.where(kept, given, 0) / given[kept].sum(), atol=1e-6):
            continue
        case = f"{list(probabilities)}, p = {limit}: "
        yours = (got > 0).sum()
        if np.allclose(got, np.where(kept, given, 0), atol=1e-6):
            raise Wrong(case + "the right tokens, but they do not sum to 1 any more")
        if np.array_equal(got > 0, kept):
            raise Wrong(case + "the right tokens; divide their probabilities by their sum")
        if limit == 1 and yours == 1:
            raise Wrong(
                case + "the sum of all ends a rounding error below 1, so no place reaches p, and "
                "argmax of nothing but False is 0; compare with p − 1e-9"
            )
        if size > 1 and yours == size - 1:
            raise Wrong(case + "the token that crosses p belongs to the set, too")
        if not yours or not np.isfinite(got).all():
            raise Wrong(case + "nothing is left; the most probable token is always kept")
        if yours == size:
            raise Wrong(case + "as many tokens as needed, but not the most probable ones")
        raise Wrong(case + f"you keep {yours} tokens; expected {size}")
    return "the set is small where the model is sure and large where it is not, unlike with top-k"


def exercise_6(scorer):
    """A Cell that gives each translation of a batch its score, in one pass, compiled or not."""
    config = TransformerConfig(
        source_vocab_size=20, target_vocab_size=20, d_model=16, num_heads=2,
        num_encoder_layers=1, num_decoder_layers=1, d_ff=32,
    )  # fmt: skip
    model = Transformer(config, seed=6).set_train(False)
    rng = np.random.default_rng(66)
    source = rng.integers(4, 20, (3, 5)).astype(np.int32)
    labels = np.zeros((3, 7), np.int32)
    for row, length in zip(labels, (7, 3, 5)):
        row[:length] = [*rng.integers(4, 20, length - 1), 2]
    inputs = np.concatenate([np.ones((3, 1), np.int32), labels[:, :-1]], axis=1)
    inputs[inputs == 2] = 0
    tensors = [Tensor(array) for array in (source, inputs, labels)]
    log_p = ops.log_softmax(model(*tensors[:2]), -1).asnumpy()
    log_p = np.take_along_axis(log_p, labels[..., None], -1)[..., 0]  # (B, T)
    is_real = labels != 0
    total, lengths = (log_p * is_real).sum(1), is_real.sum(1)
    for alpha in (0.6, 0.0):
        cell = call_class(scorer, model, alpha)
        got = expect_shape(call(cell, *tensors), (3,), "what construct returns")
        divisor = ((5 + lengths) / 6) ** alpha
        if not np.allclose(got, total / divisor, atol=1e-4):
            recognise(
                got,
                (log_p.sum(1) / divisor, "padding has a part in your sums"),
                (log_p.sum(1) / ((5 + 7) / 6) ** alpha, "padding has a part in your sums"),
                (total / ((5 + 7) / 6) ** alpha, "the length of a row is without its padding"),
                (
                    total / ((4 + lengths) / 6) ** alpha,
                    "the end token counts as one token of the length, too",
                ),
                (
                    (log_p * is_real * (labels != 2)).sum(1) / divisor,
                    "the end token is missing from the sums: its probability is the last factor",
                ),
                (total * divisor, "divide by the penalty; you multiply"),
                (-total / divisor, "a score is a log-probability, below 0, not a loss"),
                (total, "this is log p alone; divide it by the length penalty"),
                (total / lengths**alpha, "the penalty is ((5 + length) / 6)^α, not length^α"),
                (total.sum() / divisor.sum(), "one number for each translation, not for the batch"),
                case=f"α = {alpha}: ",
                atol=1e-4,
            )
            raise Wrong(
                f"α = {alpha}: your scores are {np.round(got, 3).tolist()}; expected "
                f"{np.round(total / divisor, 3).tolist()}"
            )
    hint = "The same construct gave the right scores uncompiled."
    expect_close(call(_Compiled(cell), *tensors), got, hint, "what the compiled Cell returns")
    return "what a search adds up step by step, one pass gives at once: no step waits for another"


def exercise_7(one_by_one):
    """Causal self-attention with a cache, mended: equal to all positions at once."""
    attention = MultiHeadAttention(d_model=8, num_heads=2)
    rng = np.random.default_rng(67)
    for name in ("query", "key", "value", "output"):
        bias = getattr(attention, f"{name}_projection").bias
        bias.set_data(Tensor(rng.normal(size=8).astype(np.float32)))
    x = rng.normal(size=(2, 5, 8)).astype(np.float32)

    def run(x, room=7):
        return expect_shape(call(one_by_one, attention, Tensor(x), room), x.shape, "the output")

    got = run(x)
    if not np.isfinite(got).all():
        raise Wrong("the output has values that are not finite: which rows may look nowhere?")
    mask = causal_mask(5)
    expected = attention(Tensor(x), Tensor(x), Tensor(x), mask).asnumpy()
    if np.allclose(got, expected, atol=1e-4):
        if not np.allclose(run(x, 5), expected, atol=1e-4):
            raise Wrong("with room for just as many places as there are positions it goes wrong")
        return "each row is that of all positions at once: it sees those before it, and itself"
    moves = np.zeros((5, 5), bool)  # which row moves if which place of x is changed
    for place in range(5):
        changed = x.copy()
        changed[:, place] += 1.0
        moves[place] = np.abs(run(changed) - got).max(axis=(0, 2)) > 1e-5
    if np.tril(moves, -1).any():
        raise Wrong("a change at one position moves rows before it: they see what is yet to come")
    # A row's query moves with its place in any case; does its own value have a part in it?
    attention.query_projection.weight.set_data(Tensor(np.zeros((8, 8), np.float32)))
    got = run(x)
    changed = x.copy()
    changed[:, 1] += 1.0
    if np.abs(run(changed) - got)[:, 1].max() < 1e-5:
        first = np.abs(got[:, 0] - attention.output_projection.bias.asnumpy()).max() < 1e-5
        seen = ", and the first row sees nothing at all: it is the bias of the output" * int(first)
        raise Wrong("the key and value of a position have no part in its own row" + seen)
    if not moves[0, 1:].all():
        raise Wrong("a change at position 0 does not reach the rows behind it: is it kept?")
    if np.abs(run(x, 9) - got).max() > 1e-5:
        raise Wrong("the rows depend on the room of the cache: empty places are attended to")
    worst = np.abs(got - expected).max()
    raise Wrong(
        f"the rows differ from those of all positions at once by up to {worst:.2g}; is a row's own "
        "place the last one that it sees?"
    )
