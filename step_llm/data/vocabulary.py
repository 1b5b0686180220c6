"""Text to token ids and back: words or byte pairs, one interface.

Both kinds cut a sentence in the same way first: lower-cased, at spaces, and around punctuation.
A piece that begins a word keeps the space before it, so joining the pieces gives the text back.

    "Ein Zaun."   ->   " ein", " zaun", "."

Byte pairs can write every text: a character that was not in the training text becomes the bytes of
its UTF-8, of which each has a token ("byte fallback", as in Touvron et al. 2023, section 2.1).
Words cannot: what they have not seen is UNK.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tokenizers import Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Engine

from step_llm.runtime.files import read_text, replacing

__all__ = [
    "BOS_ID", "EOS_ID", "PAD_ID", "UNK_ID", "SpecialIds", "Tokenizer", "TokenizerPair",
    "normalise", "train_tokenizers",
]  # fmt: skip

PAD_ID, BOS_ID, EOS_ID, UNK_ID = 0, 1, 2, 3
# Upper case, so that no text, which is lower-cased, can ever spell one of them.
_SPECIAL = ("<PAD>", "<BOS>", "<EOS>", "<UNK>")
_KINDS = {
    "bpe": (models.BPE, trainers.BpeTrainer),
    "word": (models.WordLevel, trainers.WordLevelTrainer),
}
_BYTES = {f"<0x{byte:02X}>": bytes([byte]) for byte in range(256)}
# A run of letters and digits, or one other character; either with the space before it. A run ends
# at 256, because the time to learn byte pairs grows with its square: a million took minutes.
_PIECE = r" ?\w{1,256}| ?[^\w ]"
_LARGEST = 1_000_000


def _split(pattern):
    return {
        "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False,
    }  # fmt: skip


# What stands in a tokenizer that this library has made, now or earlier. Another's regular
# expression may take exponential time, or panic.
_PARTS = {
    "pre_tokenizer": (_split(_PIECE), _split(r" ?\w+| ?[^\w ]")),
    **dict.fromkeys(("normalizer", "post_processor", "decoder", "truncation", "padding"), (None,)),
}


class SpecialIds(NamedTuple):
    """What a translator's ids begin, end and are filled up with; the defaults are this library's.

    Published models have others: those of Marian begin a translation with the id of padding.
    """

    pad: int = PAD_ID
    bos: int = BOS_ID
    eos: int = EOS_ID


def normalise(text: str) -> str:
    """Lower case, composed characters (NFC), single spaces: all that tokenizing changes.

    Half a surrogate pair, which is no character, becomes U+FFFD.
    """
    # Python marks undecodable bytes of a command line as surrogates, which the engine refuses.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(unicodedata.normalize("NFC", text.lower()).split())


class Tokenizer:
    """Sentences to lists of token ids, and back.

    Made by ``Tokenizer.train`` or ``Tokenizer.load``. Ids 0 to 3 are PAD, BOS, EOS and UNK; of byte
    pairs the last 256 are the bytes. Neither ``encode`` nor ``tokens`` adds BOS or EOS.

    Args:
        kind: "word", where each piece is one token, or "bpe", where rare pieces are spelled with
            several tokens (Sennrich et al. 2016), in need with bytes.
        engine: the trained tokenizer of the ``tokenizers`` library.

    Raises:
        ValueError: an unknown kind, or an engine whose ids have gaps or do not begin with the
            special tokens.
    """

    def __init__(self, kind: str, engine: Engine):
        _check_kind(kind)
        self.kind = kind
        self._engine = engine
        self._tokens = [engine.id_to_token(i) for i in range(engine.get_vocab_size())]
        if None in self._tokens:
            raise ValueError(f"no token has the id {self._tokens.index(None)}; expected no gaps")
        if tuple(self._tokens[: len(_SPECIAL)]) != _SPECIAL:
            raise ValueError(
                f"ids 0 to 3 are {self._tokens[:4]}; expected {', '.join(_SPECIAL)} in this order"
            )
        self._bytes = [_BYTES.get(token, token.encode()) for token in self._tokens]
        self._bytes[: len(_SPECIAL)] = [b""] * len(_SPECIAL)

    @classmethod
    def train(
        cls, lines: Iterable[str], kind: str = "bpe", vocab_size: int | None = None, min_freq=2
    ) -> Tokenizer:
        """Learn the vocabulary of some text. The same lines give the same vocabulary.

        Args:
            lines: the sentences.
            kind: "bpe" or "word".
            vocab_size: the largest number of tokens to learn, the four special ones among them. The
                256 bytes of "bpe" come on top: len(tokenizer) is up to vocab_size + 256. None
                stands for 6,000 with "bpe", and for as many as there are with "word".
            min_freq: a word, or a merge of two tokens, seen less often is not learned.

        Raises:
            ValueError: an unknown kind, no text at all, a vocab_size above 1,000,000, or one that
                does not even hold the special tokens and, for "bpe", the characters of the text.
        """
        _check_kind(kind)
        if vocab_size is None:
            vocab_size = 6000 if kind == "bpe" else _LARGEST
        if not len(_SPECIAL) < vocab_size <= _LARGEST or min_freq < 1:
            raise ValueError(
                f"vocab_size is {vocab_size} and min_freq {min_freq}; expected more than "
                f"{len(_SPECIAL)} (at most {_LARGEST:,}) and at least 1"
            )
        model, trainer = _KINDS[kind]
        engine = Engine(model(unk_token=_SPECIAL[UNK_ID]))
        engine.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECE), behavior="isolated")
        options = {"special_tokens": list(_SPECIAL), "show_progress": False}
        trainer = trainer(vocab_size=vocab_size, min_frequency=min_freq, **options)
        engine.train_from_iterator(map(_marked, lines), trainer)
        learned = engine.get_vocab_size()
        if learned == len(_SPECIAL):
            raise ValueError(f"no token was seen {min_freq} times or more; expected some text")
        if learned > vocab_size:
            raise ValueError(
                f"vocab_size is {vocab_size}; expected at least {learned}, the special "
                "tokens and the single characters of the text"
            )
        return cls(kind, _with_bytes(engine) if kind == "bpe" else engine)

    def __len__(self) -> int:
        return len(self._tokens)

    def encode(self, text: str) -> list[int]:
        """The ids of a sentence; of words, those that the vocabulary does not hold become UNK."""
        return self._engine.encode(_marked(text)).ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids up to the first EOS, without the special tokens.

        decode(encode(text)) is normalise(text), but for words that became UNK. Bytes that are no
        whole character give U+FFFD.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        text = bytearray()
        for token_id in map(int, ids):
            self._check_id(token_id)
            if token_id == EOS_ID:
                break
            text += self._bytes[token_id]
        # A byte may be a line end or a second space, and a sentence has neither.
        return " ".join(text.decode(errors="replace").split())

    def token(self, token_id: int) -> str:
        """One token, for people to read: "▁" is the space that begins a word, "<0xE6>" a byte.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        self._check_id(token_id)
        piece = self._tokens[token_id]
        return piece.replace(" ", "▁") if self.kind == "bpe" else piece.strip()

    def tokens(self, text: str) -> list[str]:
        """The tokens of a sentence, for people to read: the labels of a plot."""
        return [self.token(token_id) for token_id in self.encode(text)]

    def pieces(self) -> list[str]:
        """Every token by its id, as the ``tokenizers`` library spells it: no two are the same."""
        return list(self._tokens)

    def save(self, path: str | Path) -> None:
        """Write the tokenizer as JSON; an interrupted write leaves the old file whole."""
        fields = {"kind": self.kind, "tokenizer": json.loads(self._engine.to_str())}
        with replacing(Path(path)) as aside:
            aside.write_text(json.dumps(fields, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read what ``save`` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a file that is not a tokenizer, or is damaged.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no tokenizer at {path}")
        try:
            fields = json.loads(read_text(path))
            state = fields["tokenizer"]
            foreign = [part for part, wanted in _PARTS.items() if state[part] not in wanted]
            if foreign:
                raise ValueError(f"it has a {foreign[0]} that this library never makes")
            return cls(fields["kind"], Engine.from_str(json.dumps(state)))
        except Exception as error:  # The library raises a bare Exception for a damaged model.
            # A UnicodeDecodeError's own form holds the whole file.
            why = str(error) if isinstance(error, ValueError) else repr(error)
            raise ValueError(f"{path} is not a tokenizer of this library: {why[:200]}") from None

    def _check_id(self, token_id: int) -> None:
        if not 0 <= token_id < len(self._tokens):
            raise ValueError(
                f"token id {token_id} is outside the vocabulary; expected 0 … {len(self) - 1}"
            )


@dataclass(frozen=True)
class TokenizerPair:
    """The tokenizers of the two languages; ``shared`` where one and the same serves both.

    Args:
        source, target: the tokenizer of each side.
    """

    source: Tokenizer
    target: Tokenizer

    @property
    def shared(self) -> bool:
        """Whether both sides have one vocabulary, so that their embeddings can be tied."""
        return self.source is self.target

    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.json``, or one file a side, into an existing folder."""
        joint, *sides = _files(folder)
        if self.shared:
            self.source.save(joint)
        else:
            for tokenizer, path in zip((self.source, self.target), sides):
                tokenizer.save(path)
            joint.unlink(missing_ok=True)  # ``load`` would prefer an old one.

    @classmethod
    def load(cls, folder: str | Path) -> TokenizerPair:
        """Read what ``save`` wrote.

        Raises:
            FileNotFoundError: no tokenizer in the folder.
            ValueError: a damaged file.
        """
        joint, *sides = _files(folder)
        if joint.exists():
            both = Tokenizer.load(joint)
            return cls(both, both)
        return cls(*map(Tokenizer.load, sides))


def train_tokenizers(
    source: Sequence, target: Sequence, kind="bpe", vocab_size=None, min_freq=2, shared=True
) -> TokenizerPair:
    """Learn the vocabularies of a parallel text: one for both languages, or one for each.

    Args:
        source, target: the sentences of each side.
        kind, vocab_size, min_freq: as in ``Tokenizer.train``; vocab_size holds for each tokenizer.
        shared: learn one vocabulary from both sides together.

    Raises:
        ValueError: as in ``Tokenizer.train``.
    """
    sizes = {"kind": kind, "vocab_size": vocab_size, "min_freq": min_freq}
    if shared:
        both = Tokenizer.train([*source, *target], **sizes)
        return TokenizerPair(both, both)
    return TokenizerPair(Tokenizer.train(source, **sizes), Tokenizer.train(target, **sizes))


def _files(folder: str | Path) -> list[Path]:
    return [Path(folder) / f"tokenizer{side}.json" for side in ("", ".source", ".target")]


def _marked(text: str) -> str:
    """The text as the engine sees it: a space before each word, the first one too."""
    text = normalise(text)
    return " " + text if text else ""


def _with_bytes(engine: Engine) -> Engine:
    """The same engine with a token for each byte, after the others."""
    # In the model alone: as special tokens they would be found wherever a text spells "<0x10>".
    fields = json.loads(engine.to_str())
    vocabulary = fields["model"]["vocab"]
    vocabulary.update({token: len(vocabulary) + n for n, token in enumerate(_BYTES)})
    fields["model"]["byte_fallback"] = True
    return Engine.from_str(json.dumps(fields))


def _check_kind(kind: str) -> None:
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"the kind of tokenizer is {kind!r}; expected one of {', '.join(_KINDS)}")
