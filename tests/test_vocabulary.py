"""Text to ids and back: both kinds of tokenizer, and their files."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from step_llm.data.vocabulary import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    UNK_ID,
    Tokenizer,
    TokenizerPair,
    normalise,
    train_tokenizers,
)

GERMAN = [
    "Ein Zaun.",
    "Ein Hund springt über den Zaun.",
    "Ein Hund läuft.",
    "Der Hund schläft.",
    "Der Mann im T-Shirt lacht (laut).",
    "Ein weißer Hund springt, ein Mann lacht.",
    "„Die Frau“ schläft!",
]
ENGLISH = [
    "A fence.",
    "A dog jumps over the fence.",
    "A dog runs.",
    "The dog sleeps.",
    "The man in the T-shirt laughs (loudly).",
    "A white dog jumps, a man's laughing.",
    '"The woman" sleeps!',
]
REPO = Path(__file__).resolve().parent.parent
BPE = Tokenizer.train(GERMAN + ENGLISH, "bpe", vocab_size=120)
WORD = Tokenizer.train(GERMAN + ENGLISH, "word", min_freq=1)
ALPHABET = sorted(set("".join(map(normalise, GERMAN + ENGLISH))))
NUMBER_OF_BYTES = 256
ANY_TEXT = st.text(st.characters())  # surrogates too, as an undecodable command line holds them
BOTH = pytest.mark.parametrize("tokenizer", [BPE, WORD], ids=["bpe", "word"])


# Ids and text


@given(st.lists(st.sampled_from([*ALPHABET, "Ü", "W", "\n", "\t", "\u00a0", "u\u0308"])))
def test_text_of_known_characters_needs_no_bytes(characters):
    text = "".join(characters)
    ids = BPE.encode(text)
    assert all(UNK_ID < i < len(BPE) - NUMBER_OF_BYTES for i in ids)
    assert BPE.decode(ids) == normalise(text)


@given(ANY_TEXT)
def test_byte_pairs_lose_only_case_and_spaces(text):
    ids = BPE.encode(text)
    assert all(UNK_ID < i < len(BPE) for i in ids)
    assert BPE.decode(ids) == normalise(text)


@pytest.mark.parametrize(
    "text",
    [
        "汉字", "☃", "łódź", "ein 🙂 hund", "👩\u200d👩\u200d👧", "\x00", "\ufffd", "\ufeff", "▁",
        "<0x41>", "<0xff>", "<PAD>", "<EOS>", "</s>", "a\u0301\u0327" * 200,
    ],
)  # fmt: skip
def test_nothing_is_unknown_to_byte_pairs(text):
    assert BPE.decode(BPE.encode(text)) == normalise(text)
    assert min(BPE.encode(text)) > UNK_ID


@BOTH
@given(text=ANY_TEXT)
def test_any_text_gets_ids_of_the_vocabulary_and_never_pad_bos_or_eos(tokenizer, text):
    ids = tokenizer.encode(text)
    assert all(UNK_ID <= i < len(tokenizer) for i in ids)
    assert bool(ids) == bool(text.split())
    assert len(tokenizer.tokens(text)) == len(ids)


@BOTH
@pytest.mark.parametrize("line", GERMAN + ENGLISH)
def test_text_seen_in_training_comes_back(tokenizer, line):
    assert tokenizer.decode(tokenizer.encode(line)) == line.lower()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Ein\t HUND \n", "ein hund"),
        ("u\u0308ber", "über"),  # u and a combining diaeresis, as some keyboards write it
        ("ÜBER", "über"),
        ("", ""),
        (" \u00a0\u3000", ""),
        ("\ud800a", "\ufffda"),  # half a surrogate pair
        ("\ud83d\ude42", "🙂"),  # a whole one
    ],
)
def test_normalise(text, expected):
    assert normalise(text) == expected


@BOTH
def test_a_word_is_the_same_token_with_and_without_punctuation(tokenizer):
    bare, dotted, bracketed = map(tokenizer.encode, ("hund", "hund.", "ein hund, ein hund!"))
    assert dotted[: len(bare)] == bare
    assert len(bracketed) == 2 * len(tokenizer.encode("ein hund")) + 2


def test_words_are_whole_and_rare_ones_unknown():
    tokenizer = Tokenizer.train(GERMAN, "word", min_freq=2)
    assert tokenizer.tokens("Ein Hund springt.") == ["ein", "hund", "springt", "."]
    assert tokenizer.encode("weißer") == [UNK_ID]  # seen once
    assert tokenizer.tokens("Ein Elefant.") == ["ein", "<UNK>", "."]


def test_the_commonest_words_come_first_and_vocab_size_limits_them():
    assert [WORD.token(i) for i in range(4)] == ["<PAD>", "<BOS>", "<EOS>", "<UNK>"]
    assert WORD.token(4) == "."  # 12 times, more than any other
    assert len(Tokenizer.train(GERMAN, "word", vocab_size=10, min_freq=1)) == 10
    assert len(Tokenizer.train(GERMAN, "word", min_freq=1)) > 20


def test_byte_pairs_spell_what_they_have_not_seen():
    tokens = BPE.tokens("zaunhund")
    assert "".join(tokens) == "▁zaunhund"
    assert len(tokens) > 1


def test_characters_never_seen_are_spelled_in_bytes():
    assert BPE.tokens("Hund ☃")[-4:] == ["▁", "<0xE2>", "<0x98>", "<0x83>"]
    ids = BPE.encode("☃")
    first = len(BPE) - NUMBER_OF_BYTES
    assert ids[-3:] == [first + byte for byte in "☃".encode()]
    assert [BPE.token(first + b) for b in (0, 10, 255)] == ["<0x00>", "<0x0A>", "<0xFF>"]


def test_bytes_that_are_no_character_become_one_sign():
    *_, first, second, third = BPE.encode("☃")
    hund = BPE.encode("hund")
    assert BPE.decode([first, second, third, *hund]) == "☃ hund"
    assert BPE.decode([first, second, *hund]) == "\ufffd hund"
    assert BPE.decode([*hund, first]) == "hund\ufffd"
    assert BPE.decode([third, second]) == "\ufffd\ufffd"


@BOTH
@given(data=st.data())
def test_any_ids_give_one_line_of_text(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1)))
    text = tokenizer.decode(ids)
    assert " ".join(text.split()) == text
    text.encode()  # no half of a surrogate pair


@pytest.mark.parametrize("text", ["中文", "🙂", "ein 🙂 hund", "\x00", "<PAD>", "<EOS>", "</s>"])
def test_words_that_were_not_seen_become_unk(text):
    assert UNK_ID in WORD.encode(text)
    assert not {PAD_ID, BOS_ID, EOS_ID} & set(WORD.encode(text))


@pytest.mark.parametrize("kind", ["bpe", "word"])
def test_a_word_of_a_million_letters_takes_seconds(kind):
    word = "".join(random.Random(1).choices("abcdefgh", k=1_000_000))
    start = time.monotonic()
    tokenizer = Tokenizer.train([word, "Ein Hund."], kind, vocab_size=5000, min_freq=1)
    ids = tokenizer.encode(word)
    assert tokenizer.decode(ids) == word
    assert time.monotonic() - start < 60  # whole, its byte pairs take minutes


@BOTH
def test_decode_stops_at_eos_and_leaves_special_tokens_out(tokenizer):
    ids = tokenizer.encode("Ein Hund.")
    assert tokenizer.decode([BOS_ID, PAD_ID, *ids, EOS_ID, *ids]) == "ein hund."
    assert tokenizer.decode([*ids[:-1], UNK_ID, ids[-1]]) == "ein hund."
    assert tokenizer.decode([]) == tokenizer.decode([EOS_ID]) == ""


@BOTH
@pytest.mark.parametrize("wrong", [-1, 10_000])
def test_an_id_outside_the_vocabulary_is_named(tokenizer, wrong):
    message = rf"token id {wrong} is outside the vocabulary; expected 0 … {len(tokenizer) - 1}"
    with pytest.raises(ValueError, match=message):
        tokenizer.decode([4, wrong])
    with pytest.raises(ValueError, match=message):
        tokenizer.token(wrong)


# Training


@pytest.mark.parametrize("kind", ["bpe", "word"])
def test_other_processes_learn_the_same_vocabulary(kind):
    """Hash seeds differ between processes: no order may come from a set or a hash table."""
    script = (
        "import sys, json; from step_llm.data.vocabulary import Tokenizer\n"
        "t = Tokenizer.train(json.load(sys.stdin), sys.argv[1], 120, 1)\n"
        "print(json.dumps([t.token(i) for i in range(len(t))]))"
    )
    tokenizer = Tokenizer.train(GERMAN + ENGLISH, kind, 120, 1)
    here = [tokenizer.token(i) for i in range(len(tokenizer))]
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script, kind],
            input=json.dumps(GERMAN + ENGLISH),
            capture_output=True,
            text=True,
            check=True,
            cwd=REPO,
        )
        assert json.loads(done.stdout) == here


def test_vocab_size_is_kept():
    assert len(BPE) <= 120 + NUMBER_OF_BYTES
    assert len(Tokenizer.train(GERMAN + ENGLISH, vocab_size=90)) == 90 + NUMBER_OF_BYTES
    with pytest.raises(ValueError, match=r"vocab_size is 10; expected at least \d\d, the special"):
        Tokenizer.train(GERMAN, vocab_size=10)


@pytest.mark.parametrize(
    "sizes", [{"vocab_size": 4}, {"vocab_size": -1}, {"vocab_size": 10**6 + 1}, {"min_freq": 0}]
)
@pytest.mark.parametrize("kind", ["bpe", "word"])
def test_sizes_out_of_range_are_refused(kind, sizes):
    with pytest.raises(ValueError, match=r"more than 4 \(at most 1,000,000\) and at least 1"):
        Tokenizer.train(GERMAN, kind, **sizes)


def test_wrong_kinds_and_no_text_are_refused():
    with pytest.raises(ValueError, match="kind of tokenizer is 'char'; expected one of bpe, word"):
        Tokenizer.train(GERMAN, "char")
    for lines in ([], ["", "  "]):
        with pytest.raises(ValueError, match="expected some text"):
            Tokenizer.train(lines)
    with pytest.raises(ValueError, match="no token was seen 99 times or more"):
        Tokenizer.train(GERMAN, "word", min_freq=99)


def test_a_pair_is_shared_or_not():
    shared = train_tokenizers(GERMAN, ENGLISH, vocab_size=100)
    assert shared.shared
    assert UNK_ID not in shared.source.encode("weißer") + shared.source.encode("woman's")
    apart = train_tokenizers(GERMAN, ENGLISH, kind="word", min_freq=1, shared=False)
    assert not apart.shared
    assert apart.source.encode("hund") != [UNK_ID]
    assert apart.target.encode("hund") == [UNK_ID]


# Files


def same(first, second):
    return first.kind == second.kind and all(
        first.encode(line) == second.encode(line) for line in [*GERMAN, *ENGLISH, "Ein 🙂 Elefant"]
    )


@BOTH
def test_a_saved_tokenizer_comes_back(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "t.json")
    assert same(tokenizer, Tokenizer.load(tmp_path / "t.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


@pytest.mark.parametrize("shared", [True, False])
def test_a_saved_pair_comes_back(shared, tmp_path):
    # A pair of the other sort was there before, and must not be mistaken for this one.
    train_tokenizers(ENGLISH, GERMAN, vocab_size=90, shared=not shared).save(tmp_path)
    pair = train_tokenizers(GERMAN, ENGLISH, vocab_size=100, shared=shared)
    pair.save(tmp_path)
    loaded = TokenizerPair.load(tmp_path)
    assert loaded.shared is shared
    assert same(loaded.source, pair.source)
    assert same(loaded.target, pair.target)


def test_a_file_of_byte_pairs_without_bytes_is_read_as_before(tmp_path):
    path = tmp_path / "t.json"
    BPE.save(path)
    fields = json.loads(path.read_text("utf-8"))
    engine = fields["tokenizer"]
    vocabulary = engine["model"]["vocab"]
    engine["model"]["vocab"] = {t: i for t, i in vocabulary.items() if not t.startswith("<0x")}
    engine["model"]["byte_fallback"] = False
    engine["pre_tokenizer"]["pattern"]["Regex"] = r" ?\w+| ?[^\w ]"
    path.write_text(json.dumps(fields), "utf-8")
    old = Tokenizer.load(path)
    assert len(old) == len(BPE) - NUMBER_OF_BYTES
    for line in GERMAN + ENGLISH:
        assert old.encode(line) == BPE.encode(line)
    assert old.tokens("Hund ☃")[-2:] == ["▁", "<UNK>"]
    assert old.decode(old.encode("Hund ☃.")) == "hund ."


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "t.json"
    BPE.save(path)

    def full_disk(self, *args, **kwargs):
        self.write_bytes(b'{"kind"')
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="no space"):
        WORD.save(path)
    assert same(Tokenizer.load(path), BPE)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no tokenizer at .*t\.json"):
        Tokenizer.load(tmp_path / "t.json")
    with pytest.raises(FileNotFoundError, match=r"there is no tokenizer at .*source\.json"):
        TokenizerPair.load(tmp_path)


@settings(max_examples=30, deadline=None)
@given(cut=st.floats(0, 0.999))
def test_a_cut_off_file_is_refused(cut, tmp_path_factory):
    path = tmp_path_factory.mktemp("cut") / "t.json"
    BPE.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(ValueError, match=r"t\.json is not a tokenizer"):
        Tokenizer.load(path)


@pytest.mark.parametrize("change", [{"kind": "char"}, {"kind": None}, {"tokenizer": {}}])
def test_a_file_with_other_content_is_refused(change, tmp_path):
    path = tmp_path / "t.json"
    BPE.save(path)
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")
    with pytest.raises(ValueError, match=r"t\.json is not a tokenizer"):
        Tokenizer.load(path)


def test_a_tokenizer_without_an_id_is_refused(tmp_path):
    path = tmp_path / "t.json"
    WORD.save(path)
    fields = json.loads(path.read_text("utf-8"))
    fields["tokenizer"]["model"]["vocab"][" hund"] = 10_000
    path.write_text(json.dumps(fields), "utf-8")
    with pytest.raises(ValueError, match=r"no token has the id \d+; expected no gaps"):
        Tokenizer.load(path)


def test_a_tokenizer_with_other_special_tokens_is_refused(tmp_path):
    path = tmp_path / "t.json"
    WORD.save(path)
    path.write_text(path.read_text("utf-8").replace("<BOS>", "<s>"), "utf-8")
    with pytest.raises(ValueError, match="ids 0 to 3 are"):
        Tokenizer.load(path)
