"""Text while it is being written: from a language model's tokens, one by one, to pieces of text.

A token of a byte-level vocabulary may hold a part of a character only: 狗 has three bytes. Such a
token's text is held back until the rest has come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from step_llm.decoding.sampling import Sampling, generate_tokens

__all__ = ["stream", "text_pieces"]

_INCOMPLETE = "\ufffd"  # what a decoder writes for bytes that are no whole character


def stream(
    decoder,
    tokenizer,
    prompt: str | Sequence[int],
    max_new_tokens: int,
    sampling: Sampling | None = None,
    end_id: int | Sequence[int] | None = None,
) -> Iterator[str]:
    """Continue a prompt, and give each piece of text as soon as it is known.

        for piece in stream(CachedGPT(model), tokenizer, "The dog", 50):
            print(piece, end="", flush=True)

    Args:
        decoder: a ``StepDecoder`` of a language model; ``CachedGPT`` for example.
        tokenizer: has ``encode(text).ids`` and ``decode(ids)``, as ``tokenizer_from_pretrained``.
        prompt: a text, or ids.
        max_new_tokens, sampling, end_id: as ``generate``.

    Returns:
        an iterator over texts that are not empty; together they are the text of what ``generate``
        returns.

    Raises:
        ValueError: as ``generate``, at once.
    """
    if isinstance(prompt, str):
        prompt = tokenizer.encode(prompt).ids
    tokens = generate_tokens(decoder, prompt, max_new_tokens, sampling, end_id)
    return text_pieces(tokenizer, tokens)


def text_pieces(tokenizer, tokens: Iterable[int]) -> Iterator[str]:
    """The texts of tokens; a character that they split comes when it is whole.

    Together they are what ``decode`` makes of all tokens. (But for a tokenizer like Llama 2's in
    one case: it takes back a whole run of bytes if one among them belongs to no character.)

    Args:
        tokenizer: has ``decode(ids)``.
        tokens: the ids, in any iterable.
    """
    # Decoding all that has come at each step would cost more with each. What a token adds is what
    # the text of the last few has more than the text without it: they are decoded together, since
    # some tokenizers write the first token of a text in another way.
    ids, begin, end = [], 0, 0  # the text of ids[:end] has been given
    for token in tokens:
        ids.append(token)
        before, after = tokenizer.decode(ids[begin:end]), tokenizer.decode(ids[begin:])
        if len(after) > len(before) and not after.endswith(_INCOMPLETE):
            yield after[len(before) :]
            begin, end = end, len(ids)
    rest = tokenizer.decode(ids[begin:])[len(tokenizer.decode(ids[begin:end])) :]
    if rest:
        yield rest
