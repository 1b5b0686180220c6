"""Checks of lesson 06, Decoding and evaluation."""

from __future__ import annotations

import numpy as np

from step_llm.course.checks.judge import (
    Wrong,
    call,
    expect_number,
    expect_parts,
    expect_shape,
    recognise,
)


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
