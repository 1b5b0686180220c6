"""The kinds of tokenizers that published folders have, and what their settings mean.

A setting that tokenizer_config.json names counts, whatever tokenizer.json says: transformers does
it so too. A setting that cannot be followed is refused by its name.
"""

from __future__ import annotations

import json
from typing import Callable, NamedTuple

from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from step_llm.models.pretrained import fields as field

__all__ = [
    "BYTE_LEVEL", "KINDS", "ONE_FILE", "WORD_PIECE", "TokenizerKind", "check_growth", "content_of",
]  # fmt: skip


_NORMALIZERS = (
    "BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Prepend",
    "Replace", "Sequence", "Strip", "StripAccents",
)  # fmt: skip
_MOST_STEPS = 10


class TokenizerKind(NamedTuple):
    """One kind of tokenizer.

    Args:
        files: the older files, which stand for a missing tokenizer.json.
        settings: the fields of tokenizer_config.json that this kind understands.
        build: from the settings and the paths of the older files to an engine.
        follow: from an engine, of either origin, and the settings to one that follows them.

    ``build`` and ``follow`` raise a ValueError for what cannot be.
    """

    files: tuple
    settings: dict
    build: Callable
    follow: Callable


def content_of(token) -> str | None:
    """The text of a token as the folder's files write it: see ``fields.token``."""
    return token["content"] if isinstance(token, dict) else token


def _with_options(engine, part, kind, settings, options):
    """The engine with settings put into each step of one kind.

    Args:
        part: "normalizer" or "pre_tokenizer".
        kind: the type of these steps.
        options: what the engine calls each setting.
    """
    named = [name for name in options if settings[name] is not None]
    if not named:
        return engine
    state = json.loads(engine.to_str())
    steps = [step for step in _steps(state[part]) if step["type"] == kind]
    if not steps:
        raise ValueError(
            f"tokenizer_config.json sets {', '.join(named)}, but the {part} has no {kind} that "
            "could follow"
        )
    for step in steps:
        step.update({options[name]: settings[name] for name in named})
    return Engine.from_str(json.dumps(state))


def check_growth(engine: Engine) -> None:
    """See that no normalizer makes a long text of a short one: a few steps would fill the memory.

    Raises:
        ValueError: a step that does, or one that is not known.
    """
    normalizer = engine.normalizer
    steps = _steps(None if normalizer is None else json.loads(normalizer.__getstate__()))
    for step in steps:
        kind, given = step["type"], step.get("content") or step.get("prepend") or ""
        if kind not in _NORMALIZERS or len(given) > 1 or len(steps) > _MOST_STEPS:
            raise ValueError(
                f"the normalizer has {len(steps)} steps, and among them {kind} {given[:80]!r}; "
                f"expected at most {_MOST_STEPS} of {', '.join(_NORMALIZERS)}, and single "
                "characters to put in"
            )


def _steps(state):
    """The steps of a normalizer or pre-tokenizer, also of one in another."""
    if state is None:
        return []
    inner = state.get("normalizers") or state.get("pretokenizers") or ()
    return [state, *(step for one in inner for step in _steps(one))]


# Byte pairs: GPT-2

_END_OF_TEXT = "<|endoftext|>"


def _build_byte_level(settings, vocabulary, merges):
    engine = Engine(models.BPE.from_file(vocabulary, merges))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        token = content_of(settings[name]) or _END_OF_TEXT
        if engine.token_to_id(token) is not None:
            engine.add_special_tokens([token])
    return engine


def _follow_byte_level(engine, settings):
    options = {"add_prefix_space": "add_prefix_space"}
    engine = _with_options(engine, "pre_tokenizer", "ByteLevel", settings, options)
    if settings["add_bos_token"] is None and settings["add_eos_token"] is None:
        return engine
    before, after, special = [], [], []
    for name, place in (("bos_token", before), ("eos_token", after)):
        if settings[f"add_{name}"]:
            token = content_of(settings[name]) or _END_OF_TEXT
            if engine.token_to_id(token) is None:
                raise ValueError(f"add_{name} is true, but the vocabulary has no {token}")
            place.append(token)
            special.append((token, engine.token_to_id(token)))
    first = [f"{piece}:0" for piece in (*before, "$A", *after)]
    second = [f"{piece}:1" for piece in (*before, "$B", *after)]
    engine.post_processor = processors.TemplateProcessing(
        single=first, pair=[*first, *second], special_tokens=special
    )
    return engine


BYTE_LEVEL = TokenizerKind(
    files=("vocab.json", "merges.txt"),
    settings={
        "add_prefix_space": field.flag(),
        "add_bos_token": field.flag(),
        "add_eos_token": field.flag(),
        **dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), field.token()),
    },
    build=_build_byte_level,
    follow=_follow_byte_level,
)
# Llama and Qwen cut a text before the pairs are made, as their own tokenizer.json alone says.
ONE_FILE = BYTE_LEVEL._replace(files=("tokenizer.json",))


# Pieces of words: BERT


def _build_word_piece(settings, vocabulary):
    special = {
        name: content_of(settings[f"{name}_token"]) or f"[{name.upper()}]"
        for name in ("cls", "sep", "mask", "pad", "unk")
    }
    engine = Engine(models.WordPiece.from_file(vocabulary, unk_token=special["unk"]))
    for token in special.values():
        if engine.token_to_id(token) is None:
            raise ValueError(f"the vocabulary has no {token}")
    engine.normalizer = normalizers.BertNormalizer()
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece()
    first, second = special["cls"], special["sep"]
    engine.post_processor = processors.TemplateProcessing(
        single=[first, "$A", second],
        pair=[first, "$A", second, "$B:1", f"{second}:1"],
        special_tokens=[(token, engine.token_to_id(token)) for token in (first, second)],
    )
    engine.add_special_tokens(list(special.values()))
    return engine


def _follow_word_piece(engine, settings):
    options = {
        "do_lower_case": "lowercase",
        "strip_accents": "strip_accents",
        "tokenize_chinese_chars": "handle_chinese_chars",
    }
    return _with_options(engine, "normalizer", "BertNormalizer", settings, options)


WORD_PIECE = TokenizerKind(
    files=("vocab.txt",),
    settings={
        "do_lower_case": field.flag(),
        "strip_accents": field.flag(),
        "tokenize_chinese_chars": field.flag(),
        "do_basic_tokenize": field.only(True),
        "never_split": field.nothing(),
        **dict.fromkeys(
            ("cls_token", "sep_token", "mask_token", "pad_token", "unk_token"), field.token()
        ),
    },
    build=_build_word_piece,
    follow=_follow_word_piece,
)

# By the class of transformers that tokenizer_config.json or config.json names.
KINDS = {
    "GPT2Tokenizer": BYTE_LEVEL,
    "GPT2TokenizerFast": BYTE_LEVEL,
    "BertTokenizer": WORD_PIECE,
    "BertTokenizerFast": WORD_PIECE,
    "DistilBertTokenizer": WORD_PIECE,
    "DistilBertTokenizerFast": WORD_PIECE,
}
