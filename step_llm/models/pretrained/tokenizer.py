"""Reading the tokenizer of a folder in Hugging Face's layout.

It is ``tokenizer.json``, or is made of the older files. What stands beside it changes it:
``tokenizer_config.json`` has settings and added tokens, ``added_tokens.json`` more of the latter.
"""

from __future__ import annotations

import contextlib
import os
from itertools import groupby
from pathlib import Path

from tokenizers import AddedToken
from tokenizers import Tokenizer as Engine

from step_llm.models.pretrained import fields as field
from step_llm.models.pretrained.fields import checked_fields, read_optional, shown
from step_llm.models.pretrained.folder import read_description
from step_llm.models.pretrained.sentence_pieces import SENTENCE_PIECES, SentencePiecesPair
from step_llm.models.pretrained.tokenizer_kinds import KINDS, check_growth, content_of
from step_llm.models.weights import CheckpointError
from step_llm.runtime.files import check_length

__all__ = ["tokenizer_from_pretrained"]

# What tokenizer_config.json and special_tokens_map.json may say, whatever the kind.
_SPECIAL = {
    **dict.fromkeys(
        (f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")),
        field.token(),
    ),
    "additional_special_tokens": field.tokens(),
}
_ADDED = {
    "content": field.text(is_required=True),
    **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), field.flag()),
}
# Texts over which a regular expression that takes exponential time gives up.
_PROBES = [*(f"{64 * one}!\n" for one in ("a", "A", "1", " ", ".", "狗", "\n")), "aA1 ." * 32]


def tokenizer_from_pretrained(folder: str | Path) -> Engine | SentencePiecesPair:
    """Read the tokenizer of a GPT-2, BERT, DistilBERT, Marian, Llama, Qwen2 or Qwen3 folder.

    Args:
        folder: holds ``config.json``, and ``tokenizer.json`` or the older files: ``vocab.json`` and
            ``merges.txt`` of GPT-2, ``vocab.txt`` of BERT; Llama and Qwen have none. Marian has
            ``source.spm``, ``target.spm`` and ``vocab.json`` alone (with ``target_vocab.json``
            where its vocabularies are separate); they are read by the package sentencepiece, which
            is optional: pip install sentencepiece. Beside them may stand ``tokenizer_config.json``,
            ``special_tokens_map.json`` and ``added_tokens.json``.

    Returns:
        a tokenizer of the ``tokenizers`` library: ``encode(text).ids``, ``decode(ids)``. For BERT
        ``encode(first, second)`` gives a pair with its segments in ``type_ids``; [CLS] and [SEP]
        are put in. Nothing is cut and nothing is filled up, whatever tokenizer.json says: that is
        the business of who makes batches. For Marian a pair, ``source`` and ``target``, as
        ``Translator`` takes it; each has ``encode(text)`` to ids and ``decode(ids)``.

    Raises:
        CheckpointError: a file that is missing or damaged, a model without tokenizer, a setting
            that cannot be followed, a token whose id is another than the files say, or an id
            beyond the model's embeddings; or a regular expression that takes too long.
    """
    folder = Path(folder)
    description = read_description(folder)
    family = description.family
    if family.tokenizer is None:
        model_type = description.fields["model_type"]
        raise CheckpointError(
            f"{folder} holds a {model_type}, which reads no text and has no tokenizer"
        )
    vocab_size = description.read({"vocab_size": field.size()})["vocab_size"]
    said = _Said(folder)
    if family.tokenizer is SENTENCE_PIECES:
        return _sentence_pieces(folder, said, description)
    name = said.settings({"tokenizer_class": field.text()})["tokenizer_class"]
    name = name or description.tokenizer_class
    kind = KINDS.get(name, family.tokenizer)
    is_one_file = (folder / "tokenizer.json").is_file()
    if not is_one_file and name is not None and name not in KINDS:
        raise CheckpointError(
            f"{folder} names the class {shown(name)} and holds no tokenizer.json; without that "
            f"file expected one of {', '.join(KINDS)}"
        )
    files = ("tokenizer.json",) if is_one_file else kind.files
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        older = "" if "tokenizer.json" in files else f", or {' and '.join(files)}"
        raise CheckpointError(
            f"{folder} holds no {' and no '.join(missing)}; expected tokenizer.json{older}"
        )
    settings, added = said.settings(kind.settings), said.added_tokens()
    paths = [str(folder / file) for file in files]
    try:
        for path in paths:
            check_length(Path(path))
        engine = Engine.from_file(*paths) if is_one_file else kind.build(settings, *paths)
        engine.no_truncation()
        engine.no_padding()
        check_growth(engine)
        _add(engine, added)
        engine = kind.follow(engine, settings)
        with _without_panics():
            # Of an empty text come the tokens that are put around every text.
            ids = [token for text in ("", *_PROBES) for token in engine.encode(text).ids]
        largest = max([*engine.get_vocab().values(), *ids], default=-1)
    except Exception as error:  # The library raises a bare Exception for a damaged file.
        raise CheckpointError(
            f"cannot read the tokenizer {', '.join(files)} in {folder}: {error}"
        ) from error
    if largest >= vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has ids up to {largest}, but config.json says that the model "
            f"has embeddings for {vocab_size}"
        )
    return engine


@contextlib.contextmanager
def _without_panics():
    """A panic of the tokenizers library as a ValueError, without the page that it prints."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # standard error is closed: nothing is printed
            kept = os.dup(2)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 2)
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
        try:
            yield
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # which is no Exception
                raise
            raise ValueError(f"it fails on a simple text: {error}") from None


def _sentence_pieces(folder, said, description):
    settings = said.settings(SENTENCE_PIECES.settings)
    files = [
        *SENTENCE_PIECES.files,
        *(["target_vocab.json"] if settings["separate_vocabs"] else []),
    ]
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise CheckpointError(f"{folder} holds no {' and no '.join(missing)}")
    sizes = description.read({"vocab_size": field.size(), "decoder_vocab_size": field.size(None)})
    sizes = sizes["vocab_size"], sizes["decoder_vocab_size"] or sizes["vocab_size"]
    paths = [folder / file for file in files]
    vocabularies = [_vocabulary(path) for path in paths[2:]]
    for path, ids, size in zip((paths[2], paths[-1]), (vocabularies[0], vocabularies[-1]), sizes):
        if max(ids.values()) >= size:
            raise CheckpointError(
                f"{path} has ids up to {max(ids.values())}, but config.json says that the model "
                f"has embeddings for {size}"
            )
    for number, flags in said.added_tokens():
        if number not in (ids.get(flags["content"]) for ids in vocabularies):
            raise CheckpointError(
                f"{folder}: the added token {shown(flags['content'])} should have the id {number}, "
                "but has not in vocab.json: only tokens that are there are supported"
            )
    try:
        return SENTENCE_PIECES.build(settings, *paths[:2], *vocabularies)
    except Exception as error:  # The library raises several kinds for a damaged file.
        raise CheckpointError(f"cannot read the tokenizer in {folder}: {error}") from error


def _vocabulary(path):
    """The ids of pieces, as vocab.json has them."""
    ids = read_optional(path)
    ids = checked_fields(path, ids, dict.fromkeys(ids, field.index()))
    if not ids:
        raise CheckpointError(f"{path} is empty; expected an id for each piece")
    return ids


class _Said:
    """What a folder's smaller files say of its tokenizer; each of them may be missing."""

    def __init__(self, folder):
        self._config = folder / "tokenizer_config.json"
        self._added = folder / "added_tokens.json"
        special = folder / "special_tokens_map.json"
        older = checked_fields(special, read_optional(special), _SPECIAL)
        older = {name: value for name, value in older.items() if value is not None}
        self._fields = {**older, **read_optional(self._config)}

    def settings(self, table):
        """The values of some fields of tokenizer_config.json."""
        return checked_fields(self._config, self._fields, table)

    def added_tokens(self):
        """The tokens that the vocabulary lacks: pairs of id and what AddedToken takes, by id."""
        tokens = self.settings(_SPECIAL)
        more = tokens.pop("additional_special_tokens") or ()
        special = {content_of(token) for token in (*tokens.values(), *more)}
        added = {}
        ids = read_optional(self._added)
        ids = checked_fields(self._added, ids, dict.fromkeys(ids, field.index()))
        for content, number in ids.items():
            flags = {"special": content in special, "normalized": content not in special}
            added[number] = {"content": content, **flags}
        # The newer place, with more to say of each token.
        described = self.settings({"added_tokens_decoder": field.objects()})
        for number, fields in (described["added_tokens_decoder"] or {}).items():
            if not number.isdecimal() or len(number) > 9:
                raise CheckpointError(
                    f"{self._config}: added_tokens_decoder names {shown(number)}; expected ids"
                )
            flags = checked_fields(self._config, fields, _ADDED)
            added[int(number)] = {name: flag for name, flag in flags.items() if flag is not None}
        return sorted(added.items())


def _add(engine, added):
    """Put tokens into an engine, and see that each has the id that it should have.

    Raises:
        ValueError: a token with another id.
    """
    added = [(number, AddedToken(**flags)) for number, flags in added]
    # Those that are new get the next ids, in this order.
    for is_special, run in groupby((token for _, token in added), lambda token: token.special):
        (engine.add_special_tokens if is_special else engine.add_tokens)(list(run))
    for number, token in added:
        found = engine.token_to_id(token.content)
        if found != number:
            raise ValueError(
                f"the added token {shown(token.content)} should have the id {number}, but "
                f"has {found}"
            )
