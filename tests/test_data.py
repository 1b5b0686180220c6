"""From files to batches: every pair once, few shapes, one order for one seed, clear errors."""

import gzip
import os

os.environ.setdefault("GLOG_v", "3")

from pathlib import Path

import mindspore.dataset as ds
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from step_llm.data.batches import BUCKETS, Batches, EncodedText, encode_pairs
from step_llm.data.corpus import DataError, ParallelText, corpus_folder, read_parallel
from step_llm.data.vocabulary import BOS_ID, EOS_ID, PAD_ID, train_tokenizers

REPO = Path(__file__).resolve().parent.parent
MIRROR = REPO.parent / "shared" / "multi30k" / "data" / "task1" / "raw"
SMALL = (4, 7, 12)
VOCAB = 5000


def make_pairs(lengths, vocab=VOCAB):
    """Pairs that differ from each other: (source length, target length), EOS and BOS included."""
    sources, targets = [], []
    for number, (source, target) in enumerate(lengths):
        name = 4 + number % (vocab - 4)
        sources.append(np.array([name] * (source - 1) + [EOS_ID], np.int32))
        targets.append(np.array([BOS_ID] + [name] * (target - 1) + [EOS_ID], np.int32))
    return EncodedText(tuple(sources), tuple(targets), vocab, vocab)


def random_pairs(count, longest=SMALL[-1], seed=0):
    random = np.random.default_rng(seed)
    return make_pairs(random.integers(1, longest + 1, (count, 2)).tolist())


def rows_of(batches):
    """The sentence pairs in some batches, without padding, as sorted tuples."""
    found = []
    for source, decoder_input, labels in batches:
        for s, d, y in zip(source.tolist(), decoder_input.tolist(), labels.tolist()):
            found.append(tuple(tuple(i for i in ids if i != PAD_ID) for ids in (s, d, y)))
    return sorted(row for row in found if row != ((), (), ()))


def expected_rows(pairs):
    return sorted(
        (tuple(s.tolist()), tuple(t[:-1].tolist()), tuple(t[1:].tolist()))
        for s, t in zip(pairs.source, pairs.target)
    )


def same(first, second):
    return len(first) == len(second) and all(
        np.array_equal(a, b) for x, y in zip(first, second) for a, b in zip(x, y)
    )


def global_numpy_state():
    return np.random.get_state()[1].tolist()  # noqa: NPY002


# Batches

lengths = st.tuples(st.integers(1, SMALL[-1]), st.integers(1, SMALL[-1]))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(lengths, min_size=1, max_size=120),
    st.integers(SMALL[-1], 200),
    st.booleans(),
    st.integers(0, 9),
)
def test_an_epoch_holds_every_pair_exactly_once(sizes, batch_tokens, shuffle, seed):
    pairs = make_pairs(sizes)
    batches = Batches(pairs, SMALL, batch_tokens, shuffle, seed)
    epoch = list(batches.epoch(1))
    assert rows_of(epoch) == expected_rows(pairs)
    assert len(epoch) == len(batches)
    assert {source.shape for source, _, _ in epoch} == set(batches.shapes)

    for batch in epoch:
        for array in batch:
            assert array.dtype == np.int32
            assert array.shape == batch[0].shape
            # Real tokens come first in a row, padding after them.
            assert not ((array[:, :-1] == PAD_ID) & (array[:, 1:] != PAD_ID)).any()
    positions = sum(source.size + decoder.size for source, decoder, _ in epoch)
    real = sum((source != PAD_ID).sum() + (decoder != PAD_ID).sum() for source, decoder, _ in epoch)
    assert batches.real_token_share() == pytest.approx(real / positions)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(lengths, min_size=1, max_size=120),
    st.integers(SMALL[-1], 200),
    st.booleans(),
    st.integers(0, 9),
)
def test_batches_of_one_language_are_those_of_pairs_without_the_source(
    sizes, batch_tokens, shuffle, seed
):
    pairs = make_pairs([(1, target) for _, target in sizes])  # a source never longer than a target
    texts = EncodedText(None, pairs.target, 0, VOCAB)
    of_pairs = Batches(pairs, SMALL, batch_tokens, shuffle, seed)
    of_texts = Batches(texts, SMALL, batch_tokens, shuffle, seed)
    epoch = list(of_texts.epoch(2))
    assert same(epoch, [batch[1:] for batch in of_pairs.epoch(2)])
    assert of_texts.shapes == of_pairs.shapes
    real = sum(int((labels != PAD_ID).sum()) for _, labels in epoch)
    assert of_texts.real_token_share() == pytest.approx(real / sum(y.size for _, y in epoch))


def mindspores_epoch(rows, shapes):
    """The batches that MindSpore's own pipeline makes of rows (L, 3), in their order."""
    dataset = ds.GeneratorDataset(rows, ["row"], shuffle=False, num_parallel_workers=1)
    dataset = dataset.bucket_batch_by_length(
        ["row"],
        bucket_boundaries=[length + 1 for _, length in shapes],
        bucket_batch_sizes=[*(rows for rows, _ in shapes), 1],
    )
    for (batch,) in dataset.create_tuple_iterator(num_epochs=1, output_numpy=True):
        yield tuple(batch[..., column] for column in range(3))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 400), st.integers(SMALL[-1], 200), st.integers(0, 9))
@example(400, 96, 3)
def test_an_epoch_is_the_one_of_mindspores_pipeline(count, batch_tokens, seed):
    pairs = random_pairs(count, seed=seed)
    unshuffled = Batches(pairs, SMALL, batch_tokens, shuffle=False)
    rows = [row for batch in unshuffled.epoch() for row in np.stack(batch, -1)]
    order = np.random.default_rng((seed, 4)).permutation(len(rows))
    expected = mindspores_epoch([rows[i] for i in order], unshuffled.shapes)
    assert same(list(Batches(pairs, SMALL, batch_tokens, seed=seed).epoch(4)), list(expected))


def test_the_shapes_are_one_for_each_bucket():
    batches = Batches(random_pairs(900), SMALL, 240)
    assert batches.shapes == ((56, 4), (32, 7), (16, 12))  # 60, 34 and 20 rows, in whole eights
    assert Batches(random_pairs(900), SMALL, 40).shapes == ((8, 4), (5, 7), (3, 12))


def test_only_the_shortest_bucket_has_rows_of_padding():
    """Shorter pairs complete a last batch: one lonely pair would weigh as much as a whole batch."""
    epoch = list(Batches(random_pairs(901), SMALL, 240).epoch())
    # Shuffled, the rows of padding may lie in several batches, but all of the shortest bucket.
    with_empty_rows = [source for source, _, _ in epoch if (source == PAD_ID).all(1).any()]
    assert {source.shape for source in with_empty_rows} <= {(56, 4)}
    assert sum((source == PAD_ID).all(1).sum() for source in with_empty_rows) < 56


def test_padding_rows_have_no_label():
    for source, decoder_input, labels in Batches(random_pairs(5), SMALL, 96).epoch():
        empty = (source == PAD_ID).all(1)
        assert empty.any()
        assert (decoder_input[empty] == PAD_ID).all()
        assert (labels[empty] == PAD_ID).all()


def test_the_order_depends_on_seed_and_epoch_alone():
    pairs = random_pairs(300)
    batches = Batches(pairs, SMALL, 96, seed=3)
    first = list(batches.epoch(0))
    mindspore_seed = ds.config.get_seed()
    try:
        for seed in (1, 2):  # These must not matter, …
            ds.config.set_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            before = global_numpy_state()
            assert same(list(Batches(pairs, SMALL, 96, seed=3).epoch(0)), first)
            assert ds.config.get_seed() == seed  # … and must not be changed.
            assert global_numpy_state() == before
    finally:
        ds.config.set_seed(mindspore_seed)
    assert same(list(batches.epoch(0)), first)
    assert not same(list(batches.epoch(1)), first)
    assert not same(list(Batches(pairs, SMALL, 96, seed=4).epoch(0)), first)


def test_shuffling_makes_new_batches_not_only_a_new_order():
    batches = Batches(random_pairs(300), SMALL, 96)
    sets = [{frozenset(source[:, 0].tolist()) for source, _, _ in batches.epoch(e)} for e in (0, 1)]
    assert not sets[0] & sets[1]


def test_without_shuffling_every_epoch_is_the_same():
    batches = Batches(random_pairs(200), SMALL, 96, shuffle=False)
    assert same(list(batches.epoch(0)), list(batches.epoch(7)))


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 1), st.integers(0, 5))
def test_a_resumed_epoch_is_the_tail_of_the_whole(share, epoch):
    batches = Batches(random_pairs(150), SMALL, 96, seed=1)
    start = round(share * len(batches))
    assert same(list(batches.epoch(epoch, start)), list(batches.epoch(epoch))[start:])


def test_an_epoch_can_be_left_early_and_two_can_run_at_once():
    batches = Batches(random_pairs(300), SMALL, 96)
    whole = list(batches.epoch(0))
    for _ in range(3):
        for _ in batches.epoch(0):
            break
    first, second = batches.epoch(0), batches.epoch(0)
    alternating = list(zip(first, second))
    assert same([a for a, _ in alternating], whole)
    assert same([b for _, b in alternating], whole)


@pytest.mark.parametrize("start", [-1, 10_000])
def test_a_start_outside_the_epoch_is_refused(start):
    with pytest.raises(ValueError, match=rf"start is {start}; expected 0 … \d+"):
        Batches(random_pairs(20), SMALL, 96).epoch(0, start)


@pytest.mark.parametrize("buckets", [(), (4, 4), (7, 4), (0, 4)])
def test_wrong_buckets_are_refused(buckets):
    with pytest.raises(ValueError, match="expected ascending lengths"):
        Batches(random_pairs(20, 4), buckets, 96)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="the longest of 1 has 13 positions; expected 1 … 12"):
        Batches(make_pairs([(13, 4)]), SMALL, 96)
    with pytest.raises(ValueError, match="batch_tokens is 11; needs at least 12"):
        Batches(random_pairs(20), SMALL, 11)
    with pytest.raises(ValueError, match="the longest of 0 has 0"):
        Batches(make_pairs([]), SMALL, 96)


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("wrong", [-1, 100])
def test_an_id_outside_the_vocabulary_is_named(side, wrong):
    ids = {"source": (np.array([4, 2], np.int32),), "target": (np.array([1, 4, 2], np.int32),)}
    EncodedText(**ids, source_vocab_size=100, target_vocab_size=100)
    ids[side][0][0] = wrong
    with pytest.raises(ValueError, match=f"the text: {side} id {wrong}; expected 0 … 99"):
        EncodedText(**ids, source_vocab_size=100, target_vocab_size=100)


# Encoding

TEXT = ParallelText(
    ("Ein Hund.", "", "Ein Hund läuft.", "ein " * 70, "Ein Mann.", "  "),
    ("A dog.", "A dog.", "A dog runs.", "a dog", "a " * 64, ""),
    "the example",
)
TOKENIZERS = train_tokenizers(TEXT.source, TEXT.target, kind="word", min_freq=1, shared=False)


def test_pairs_get_bos_and_eos():
    pairs = encode_pairs(TEXT, TOKENIZERS)
    source, target = TOKENIZERS.source.encode("Ein Hund."), TOKENIZERS.target.encode("A dog.")
    assert pairs.source[0].tolist() == [*source, EOS_ID]
    assert pairs.target[0].tolist() == [BOS_ID, *target, EOS_ID]
    assert pairs.source_vocab_size == len(TOKENIZERS.source)
    assert pairs.target_vocab_size == len(TOKENIZERS.target)
    assert pairs.lengths.tolist() == [4, 5]


def test_empty_and_long_pairs_are_left_out_whole_and_reported():
    pairs = encode_pairs(TEXT, TOKENIZERS)
    assert (pairs.empty_lines, pairs.long_lines) == ((2, 6), (4, 5))
    assert len(pairs) == 2
    assert pairs.report == (
        "the example: 2 sentence pairs, 2 with an empty side left out (the first is line 2), "
        "2 too long left out (the first is line 4)"
    )
    # 64 words and BOS need 65 positions: the limit is exact.
    assert encode_pairs(TEXT, TOKENIZERS, longest=65).long_lines == (4,)


def test_a_text_without_a_usable_pair_is_refused():
    text = ParallelText(("ein hund", ""), ("a dog", "a"), "tiny")
    message = (
        r"tiny: 0 sentence pairs, 1 with an empty side left out \(the first is line 2\), "
        r"1 too long left out \(the first is line 1\); expected at least one of 1 … 1 tokens"
    )
    with pytest.raises(DataError, match=message):
        encode_pairs(text, TOKENIZERS, longest=2)


# Files


def write(folder, source, target, split="train"):
    for language, content in (("de", source), ("en", target)):
        if content is not None:
            (folder / f"{split}.{language}").write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (b"a\nb\n", b"c\nd\n", (("a", "b"), ("c", "d"))),
        (b"a\nb", b"c\nd", (("a", "b"), ("c", "d"))),
        (b"a\r\nb\r\n", b"c\r\nd\r\n", (("a", "b"), ("c", "d"))),
        (b"\xef\xbb\xbfa\n", b"c\n", (("a",), ("c",))),  # a byte order mark
        (b"a\n\nb\n", b"c\nd\n\n", (("a", "", "b"), ("c", "d", ""))),  # empty lines keep the rest
        ("a\u2028b\x0bc\x85\n".encode(), b"c\n", (("a\u2028b\x0bc\x85",), ("c",))),
    ],
)
def test_lines_end_at_newlines_alone(tmp_path, source, target, expected):
    text = read_parallel(write(tmp_path, source, target), "train")
    assert (text.source, text.target) == expected
    assert text.name == str(tmp_path / "train")


def test_the_languages_can_be_exchanged(tmp_path):
    text = read_parallel(write(tmp_path, b"Hund\n", b"dog\n", "val"), "val", "en", "de")
    assert (text.source, text.target) == (("dog",), ("Hund",))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (
            None,
            b"a\n",
            r"there is no file .*train\.de; expected a folder with such files, or one of ",
        ),
        (b"a\n", None, r"there is no file .*train\.en"),
        (b"", b"a\n", r"train\.de is empty; expected one sentence a line"),
        (b"a\n", b"\n \n", r"train\.en is empty"),
        (b"a\nb\n", b"a\n", r"train has 2 source lines and 1 target lines; expected line n"),
        (b"a\n\xc3\xbc\nb\xfc\n", b"a\n", r"train\.de, line 3: not UTF-8 \(byte 2 .* is 0xfc\)"),
        ("ü".encode("utf-16"), b"a\n", r"train\.de, line 1: not UTF-8"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, source, target, message):
    with pytest.raises(DataError, match=message) as error:
        read_parallel(write(tmp_path, source, target), "train")
    assert "\n" not in str(error.value)


def test_sides_of_different_length_are_refused():
    with pytest.raises(ValueError, match="2 sources and 1 targets; expected pairs"):
        EncodedText((np.array([2]),) * 2, (np.array([1, 2]),), 5, 5)
    with pytest.raises(DataError, match="the text has 2 source lines and 1 target lines"):
        ParallelText(("a", "b"), ("c",))


def test_where_corpora_lie(monkeypatch, tmp_path):
    monkeypatch.delenv("STEP_LLM_DATA", raising=False)
    assert corpus_folder("mini") == REPO / "data" / "mini"
    assert corpus_folder("some/folder") == Path("some/folder")
    monkeypatch.setenv("STEP_LLM_DATA", str(tmp_path))
    assert corpus_folder("multi30k") == tmp_path / "multi30k"
    with pytest.raises(DataError, match="run `python -m step_llm fetch` to download it"):
        read_parallel(corpus_folder("multi30k"), "train")


# The real corpora


def test_the_mini_corpus_goes_through_whole():
    text = read_parallel(REPO / "data" / "mini", "val")
    pairs = encode_pairs(text, train_tokenizers(text.source, text.target, vocab_size=600))
    assert pairs.empty_lines == pairs.long_lines == ()
    assert rows_of(Batches(pairs).epoch()) == expected_rows(pairs)


@pytest.mark.skipif(not MIRROR.is_dir(), reason="Multi30k is not on this machine")
def test_real_tokens_fill_85_percent_on_multi30k(tmp_path):
    for language in ("de", "en"):
        content = gzip.decompress((MIRROR / f"train.{language}.gz").read_bytes())
        (tmp_path / f"train.{language}").write_bytes(content)
    text = read_parallel(tmp_path, "train")
    assert len(text) == 29_000
    pairs = encode_pairs(text, train_tokenizers(text.source, text.target, vocab_size=6000))
    print(pairs.report)
    assert len(pairs) == 29_000
    assert len(BUCKETS) <= 8
    for batch_tokens in (2400, 3072, 4096):
        batches = Batches(pairs, batch_tokens=batch_tokens)
        print(f"{batch_tokens} positions: {batches.real_token_share():.4f}, {batches.shapes}")
        assert batches.real_token_share() >= 0.85
    seen = sum(int((labels != PAD_ID).sum()) for _, _, labels in batches.epoch())
    assert seen == sum(len(target) - 1 for target in pairs.target)
