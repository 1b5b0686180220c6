"""Sampling: from a next-token distribution to text.

``generate`` continues prompts with any language model: a GPT (with a cache of keys and values, or
plainly over the whole prefix), or a function from prefixes to log-probabilities.

Letters: R rows (one for each prompt), T prompt length, t prefix length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from mindspore import Tensor

from step_llm.decoding.search import extend, token_steps

__all__ = ["Sampling", "generate", "generate_tokens", "next_token_probabilities"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. The knobs work in this order: temperature, top-k, top-p.

    Args:
        temperature: τ; below 1 sharpens the distribution, above 1 flattens it.
        top_k: draw among the k most probable tokens only; None draws among all.
        top_p: draw among the fewest tokens that have at least this probability together.
        seed: the same seed draws the same texts; a row's text does not depend on the other rows.

    Raises:
        ValueError: a temperature that is not above 0, a top_k below 1, a top_p outside (0, 1].
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self):
        _check_knobs(self.temperature, self.top_k, self.top_p)


def next_token_probabilities(
    logits, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0
) -> np.ndarray:
    r"""The distribution from which the next token is drawn.

    Formula: p = softmax(logits / τ); of that the k most probable; of these the fewest, most
    probable first, whose sum reaches top_p; divided by their sum.

    Args:
        logits: (…, V) NumPy array or Tensor: logits, or log-probabilities.
        temperature, top_k, top_p: see ``Sampling``.

    Returns:
        (…, V) float64; each row sums to 1. Of equal logits the one with the smaller id counts as
        the more probable.

    Raises:
        ValueError: as ``Sampling``; logits with NaN, or a row without any token that may come.

    Source: Fan et al. 2018, "Hierarchical Neural Story Generation" (top-k); Holtzman et al. 2020,
    "The Curious Case of Neural Text Degeneration" (top-p, nucleus sampling).
    """
    _check_knobs(temperature, top_k, top_p)
    logits = np.asarray(logits.asnumpy() if isinstance(logits, Tensor) else logits, np.float64)
    most = logits.max(axis=-1, keepdims=True)
    if not np.isfinite(most).all():
        raise ValueError("the logits have a row that is not finite; expected a distribution")
    probabilities = _normalised(np.exp((logits - most) / temperature))
    if top_k is None and top_p == 1.0:
        return probabilities
    order = np.argsort(-probabilities, axis=-1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, axis=-1)
    if top_k is not None:
        ranked[..., top_k:] = 0.0
        ranked = _normalised(ranked)
    # A token stays while those before it have not reached top_p; the first one always stays.
    before = np.cumsum(ranked, axis=-1) - ranked
    before[..., 0] = 0.0
    if top_p < 1.0:
        ranked[before >= top_p] = 0.0
    kept = np.zeros_like(probabilities)
    np.put_along_axis(kept, order, ranked, axis=-1)
    return _normalised(kept)


def generate(
    decoder,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling | None = None,
    end_id: int | Sequence[int] | None = None,
) -> list[list[int]]:
    """Continue each prompt, token by token.

    Args:
        decoder: a ``StepDecoder`` of a language model: ``CachedGPT``, ``PlainGPT`` or
            ``PrefixModel``.
        prompts: lists of ids, of any lengths; each has at least one token (the begin token, for
            example).
        max_new_tokens: the most tokens that a text gets.
        sampling: how tokens are drawn; None takes the most probable one at every step.
        end_id: the token that ends a text, or several; None lets every text have max_new_tokens.

    Returns:
        for each prompt the new ids, without prompt and end token.

    Raises:
        ValueError: no prompt, an empty one, max_new_tokens below 1, or prompts and new tokens that
            need more positions than the model has.
    """
    prompts, choose = _prepared(decoder, prompts, max_new_tokens, sampling)
    found = extend(decoder, prompts, choose, max_new_tokens, end_id)
    return [list(hypothesis.ids) for hypothesis in found]


def generate_tokens(
    decoder,
    prompt: Sequence[int],
    max_new_tokens: int,
    sampling: Sampling | None = None,
    end_id: int | Sequence[int] | None = None,
) -> Iterator[int]:
    """Continue one prompt; each new id comes as soon as it is known.

    Args, errors: as ``generate``, of one prompt. The errors come at once, not with the first id.

    Returns:
        an iterator over the ids that ``generate`` would return. Dropout is off until it is
        exhausted or closed.
    """
    prompts, choose = _prepared(decoder, [prompt], max_new_tokens, sampling)
    steps = token_steps(decoder, prompts, choose, max_new_tokens, end_id)
    return (int(step.tokens[0]) for step in steps if step.is_new[0])


def _prepared(decoder, prompts, max_new_tokens, sampling):
    """The prompts as lists of whole numbers, and how the next tokens are chosen."""
    prompts = [[int(token) for token in prompt] for prompt in prompts]
    if not prompts or not all(prompts):
        raise ValueError("a prompt is empty; expected at least one prompt, each with a token")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; expected at least 1")
    _check_positions(decoder.max_length, max(map(len, prompts)), max_new_tokens)
    choose = _most_probable if sampling is None else _Sampler(sampling, len(prompts))
    return prompts, choose


class _Sampler:
    """Draws a token for each row, each row from random numbers of its own."""

    def __init__(self, sampling, rows):
        self.sampling = sampling
        self.generators = [np.random.default_rng([sampling.seed, row]) for row in range(rows)]

    def __call__(self, log_probs):
        knobs = self.sampling
        probabilities = next_token_probabilities(
            log_probs, knobs.temperature, knobs.top_k, knobs.top_p
        )
        uniform = np.array([generator.random() for generator in self.generators])
        below = np.cumsum(probabilities, axis=1) <= uniform[:, None]
        # Where rounding leaves the sum below the number drawn, the last token that may come.
        last = probabilities.shape[1] - 1 - (probabilities[:, ::-1] > 0).argmax(axis=1)
        return np.minimum(below.sum(axis=1), last)


def _most_probable(log_probs):
    return log_probs.argmax(axis=1)


def _normalised(weights):
    return weights / weights.sum(axis=-1, keepdims=True)


def _check_knobs(temperature, top_k, top_p):
    if not 0.0 < temperature < np.inf:
        raise ValueError(
            f"temperature is {temperature}; expected more than 0 (for the most probable token at "
            "every step, generate without sampling)"
        )
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}; expected at least 1, or None for all tokens")
    if not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p is {top_p}; expected a share in (0, 1]")


def _check_positions(max_length, prompt, new_tokens):
    if max_length is None:
        return
    if prompt > max_length:
        raise ValueError(
            f"a prompt has {prompt} tokens, but the model has {max_length} positions; shorten it"
        )
    # The last new token is never read, so it needs no position.
    if prompt + new_tokens - 1 > max_length:
        raise ValueError(
            f"a prompt of {prompt} tokens and {new_tokens} new ones do not fit into the model's "
            f"{max_length} positions; expected at most {max_length - prompt + 1} new tokens"
        )
