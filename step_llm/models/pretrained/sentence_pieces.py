"""The tokenizers of Marian: pieces of SentencePiece, whose ids vocab.json has.

``source.spm`` and ``target.spm`` say how a text is cut, each side's in its own way; their own ids
are not the model's. They are read by the package sentencepiece, which nothing else here needs.

Source: ``tokenization_marian.py`` of github.com/huggingface/transformers; Kudo and Richardson 2018,
"SentencePiece: A simple and language independent subword tokenizer".
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from step_llm.models.pretrained import fields as field
from step_llm.models.pretrained.tokenizer_kinds import TokenizerKind, content_of

__all__ = ["SENTENCE_PIECES", "SentencePieces", "SentencePiecesPair"]


class SentencePieces:
    """One side: a sentence to ids and back. Neither way adds the end token.

    Args:
        processor: a ``SentencePieceProcessor``.
        ids: the id of each piece.
        unknown: the piece that stands for those that have no id.
        special: the pieces that are no text.
    """

    def __init__(self, processor, ids: dict, unknown: str, special: Iterable):
        self._processor = processor
        self._ids = ids
        self._unknown = ids[unknown]
        self._pieces = {number: piece for piece, number in ids.items()}
        self._special = {ids[piece] for piece in (unknown, *special)}

    def __len__(self) -> int:
        """One more than the largest id."""
        return max(self._pieces) + 1

    def encode(self, text: str) -> list[int]:
        """The ids of a sentence. A model of several languages has their names as tokens: one at the
        beginning, as in ">>fra<< good morning", is kept whole."""
        end = text.find("<<") + 2 if text.startswith(">>") else 0
        code, text = ([text[:end]], text[end:]) if end > 1 else ([], text)
        pieces = [*code, *self._processor.encode(text, out_type=str)]
        return [self._ids.get(piece, self._unknown) for piece in pieces]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, without the special ones.

        Raises:
            ValueError: an id that no piece has.
        """
        pieces = [self.token(number) for number in ids if number not in self._special]
        return self._processor.decode_pieces(pieces).replace("▁", " ").strip()

    def token(self, number: int) -> str:
        """The piece of an id; "▁" at its beginning stands for a space.

        Raises:
            ValueError: an id that no piece has.
        """
        if number not in self._pieces:
            raise ValueError(f"token id {number} is outside the vocabulary of {len(self)}")
        return self._pieces[number]


class SentencePiecesPair(NamedTuple):
    """The tokenizers of both sides, as ``Translator`` takes them."""

    source: SentencePieces
    target: SentencePieces


def _processor(path: Path):
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise ValueError(
            f"{path.name} needs a package that is not installed: pip install sentencepiece"
        ) from error
    return SentencePieceProcessor(model_file=str(path))


def _build(settings, source, target, vocabulary, target_vocabulary=None):
    """Both sides from their files; ``vocabulary`` and the like are already read."""
    special = [
        content_of(settings[f"{name}_token"]) or default
        for name, default in (("unk", "<unk>"), ("eos", "</s>"), ("pad", "<pad>"))
    ]
    sides = []
    for path, ids in ((source, vocabulary), (target, target_vocabulary or vocabulary)):
        missing = [piece for piece in special if piece not in ids]
        if missing:
            raise ValueError(f"the vocabulary has no {missing[0]}")
        if len(set(ids.values())) < len(ids):
            raise ValueError("the vocabulary gives two pieces one id")
        sides.append(SentencePieces(_processor(path), ids, special[0], special[1:]))
    return SentencePiecesPair(*sides)


SENTENCE_PIECES = TokenizerKind(
    files=("source.spm", "target.spm", "vocab.json"),
    settings={
        "separate_vocabs": field.flag(),
        # What would cut a text by chance, or otherwise than the files say.
        "sp_model_kwargs": field.only({}),
        **dict.fromkeys(("unk_token", "eos_token", "pad_token"), field.token()),
    },
    build=_build,
    follow=lambda engine, settings: engine,
)
