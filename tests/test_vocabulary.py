"""Text to ids and back: both kinds of tokenizer, and their files."""

import json
import subprocess
import sys
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
BOTH = pytest.mark.parametrize("tokenizer", [BPE, WORD], ids=["bpe", "word"])


# Ids and text


@given(st.lists(st.sampled_from([*ALPHABET, "Ü", "W", "\n", "\t", "\u00a0", "u\u0308"])))
def test_byte_pairs_lose_only_case_and_spaces(characters):
    text = "".join(characters)
    ids = BPE.encode(text)
    assert UNK_ID not in ids
    assert BPE.decode(ids) == normalise(text)


@BOTH
@given(text=st.text())
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


@pytest.mark.parametrize(
    "text", ["中文", "🙂", "ein 🙂 hund", "👩‍👩‍👧", "\x00", "<PAD>", "<EOS>", "</s>"]
)
@BOTH
def test_unknown_characters_become_unk(tokenizer, text):
    assert UNK_ID in tokenizer.encode(text)
    assert not {PAD_ID, BOS_ID, EOS_ID} & set(tokenizer.encode(text))


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
    assert len(BPE) <= 120
    with pytest.raises(ValueError, match=r"vocab_size is 10; expected at least \d\d, the special"):
        Tokenizer.train(GERMAN, vocab_size=10)


@pytest.mark.parametrize("sizes", [{"vocab_size": 4}, {"vocab_size": -1}, {"min_freq": 0}])
@pytest.mark.parametrize("kind", ["bpe", "word"])
def test_sizes_that_are_too_small_are_refused(kind, sizes):
    with pytest.raises(ValueError, match="expected more than 4 and at least 1"):
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
