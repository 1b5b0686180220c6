"""MarianMT from its folders: greedy and beam search, special ids, tokenizers, what is refused.

Their logits are compared with transformers' in test_pretrained.py, like those of every folder.
"""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from mindspore import Tensor
from safetensors.numpy import load_file, save_file

from step_llm.decoding.decoders import CachedDecoder, PlainDecoder
from step_llm.decoding.search import beam_search, greedy_search
from step_llm.decoding.translator import Translator
from step_llm.models.pretrained import from_pretrained, tokenizer_from_pretrained
from step_llm.nn.positions import sinusoidal_encoding
from tests.support.golden_folders import FOLDER, refused

CASES = sorted(path.name for path in FOLDER.iterdir() if path.name.startswith("marian"))
TOLERANCE = 1e-4
QUICK = ("marian", "marian_split")


def arrays_of(case):
    with np.load(FOLDER / case / "expected.npz") as file:
        return dict(file)


def logits_of(folder, case):
    arrays = arrays_of(case)
    ids = [Tensor(arrays[f"input.{side}"].astype(np.int32)) for side in ("source", "target")]
    return from_pretrained(folder)(*ids).asnumpy()


def assert_same(case, folder):
    logits = arrays_of(case)["output.logits"]
    np.testing.assert_allclose(logits_of(folder, case), logits, rtol=0, atol=TOLERANCE)


def test_the_halves_hold_the_sines_and_cosines():
    both = sinusoidal_encoding(9, 7).asnumpy()
    halves = sinusoidal_encoding(9, 7, is_interleaved=False).asnumpy()
    np.testing.assert_array_equal(halves, np.concatenate([both[:, 0::2], both[:, 1::2]], axis=1))


# Searches


def texts_of(case):
    """The translations of transformers, each with the end where it came."""
    arrays = arrays_of(case)
    texts = [arrays[f"tokens.{n}"].tolist() for n in range(3)]
    # Else a model that repeats one token would pass.
    assert max(len(set(text)) for text in texts) > 3
    return texts


def translations(decoder, case):
    """All sources at once, though their lengths differ; transformers had them one by one."""
    longest = max(map(len, texts_of(case)))
    found = greedy_search(decoder, arrays_of(case)["input.source"], longest)
    end = [decoder.special_ids.eos]
    return [[*one.ids, *(end if one.is_finished else [])] for one in found]


@pytest.mark.parametrize("case", CASES)
def test_greedy_search_is_that_of_transformers(case):
    model = from_pretrained(FOLDER / case)
    assert translations(PlainDecoder(model), case) == texts_of(case)
    assert len({model.eos_id in text for text in texts_of(case)}) == 2  # one ends before another


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in CASES]
)
def test_compiled_greedy_search_is_that_of_transformers(case):
    assert translations(CachedDecoder(from_pretrained(FOLDER / case)), case) == texts_of(case)


@pytest.mark.parametrize(
    "case", ["marian_odd", pytest.param("marian_other_ids", marks=pytest.mark.slow)]
)
def test_every_step_of_the_cache_gives_the_logits_of_transformers(case):
    model, arrays = from_pretrained(FOLDER / case), arrays_of(case)
    logits = arrays["output.logits"].astype(np.float64)
    wanted = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    decoder = CachedDecoder(model)
    with decoder.running():
        state, first = decoder.start(arrays["input.source"].astype(np.int32))
        np.testing.assert_array_equal(first, arrays["input.target"][:, 0])
        for t, tokens in enumerate(arrays["input.target"].T):
            log_probs, state = decoder.step(state, tokens.astype(np.int32))
            np.testing.assert_allclose(log_probs, wanted[:, t], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "case", ["marian_other_ids", pytest.param("marian_like_opus", marks=pytest.mark.slow)]
)
def test_beam_search_with_and_without_cache(case):
    model, source = from_pretrained(FOLDER / case), arrays_of(case)["input.source"]
    plain = beam_search(PlainDecoder(model), source, 4, 8, 0.6, n_best=2)
    cached = beam_search(CachedDecoder(model), source, 4, 8, 0.6, n_best=2)
    assert [[h.ids for h in one] for one in cached] == [[h.ids for h in one] for one in plain]
    for hypothesis in (h for one in plain for h in one):
        assert not {model.pad_id, model.bos_id, model.eos_id} & set(hypothesis.ids)


def test_a_search_keeps_to_the_positions(change):
    model = from_pretrained(change("marian", {"max_position_embeddings": 5}))
    source = arrays_of("marian")["input.source"]
    assert greedy_search(PlainDecoder(model), source, 5)
    with pytest.raises(ValueError, match="max_length is 6; expected at most 5, the number of pos"):
        greedy_search(PlainDecoder(model), source, 6)


def test_a_source_of_padding_alone_has_no_translation():
    model = from_pretrained(FOLDER / "marian")
    (found,) = greedy_search(CachedDecoder(model), np.full((1, 3), model.pad_id), 5)
    assert found.ids == ()


def test_without_padding_every_source_token_counts(change):
    folder = change("marian", {"pad_token_id": None})
    model = from_pretrained(folder)
    assert (model.pad_id, model.bos_id, model.eos_id) == (-1, 30, 0)
    (found,) = greedy_search(PlainDecoder(model), np.array([[30, 30, 30]]), 5)
    assert 30 not in found.ids  # the id that a translation begins with


# Folders that differ from those that transformers writes today, and are right all the same


def test_the_layout_of_the_published_translators(change):
    """All four names of the one table, the sines and cosines, and the fields of 2020."""

    def published(tensors):
        shared = tensors["model.shared.weight"]
        for name in ("model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head"):
            tensors[f"{name}.weight"] = shared.copy()
        for side in ("encoder", "decoder"):
            tensors[f"model.{side}.embed_positions.weight"] = np.zeros((16, 12), np.float32)
        return tensors

    older = {
        "normalize_before": False, "normalize_embedding": False, "add_final_layer_norm": False,
        "add_bias_logits": False, "static_position_embeddings": True, "num_hidden_layers": 2,
    }  # fmt: skip
    missing = dict.fromkeys(
        ("decoder_vocab_size", "share_encoder_decoder_embeddings", "tie_word_embeddings"), "remove"
    )
    assert_same("marian_like_opus", change("marian_like_opus", {**older, **missing}, published))


def test_a_tied_head_may_be_there_twice(change):
    def doubled(tensors):
        table = tensors["model.decoder.embed_tokens.weight"]
        return {**tensors, "lm_head.weight": table.copy()}

    assert_same("marian_split", change("marian_split", tensors=doubled))


def test_without_scale_embedding_there_is_no_scale(change):
    assert_same("marian_unscaled", change("marian_unscaled", {"scale_embedding": "remove"}))


# Folders that are refused


@pytest.mark.parametrize(
    ("case", "fields", "words"),
    [
        ("marian", {"architectures": ["MarianForCausalLM"]}, "expected one of MarianMTModel"),
        ("marian", {"normalize_before": True}, "normalize_before is True; expected False: only"),
        ("marian", {"add_final_layer_norm": True}, "add_final_layer_norm is True; expected False"),
        ("marian", {"normalize_embedding": True}, "normalize_embedding is True; expected False"),
        ("marian", {"add_bias_logits": True}, "add_bias_logits is True; expected False: only"),
        ("marian", {"static_position_embeddings": False}, "is False; expected True: only this"),
        ("marian", {"activation_function": "tanh"}, "activation_function is 'tanh'; expected one"),
        (
            "marian",
            {"decoder_attention_heads": 4},
            "encoder_attention_heads is 2 and decoder_attention_heads 4; expected the same",
        ),
        ("marian", {"decoder_ffn_dim": 8}, "encoder_ffn_dim is 12 and decoder_ffn_dim 8; expected"),
        ("marian", {"tie_word_embeddings": False}, "but share_encoder_decoder_embeddings is not"),
        ("marian", {"decoder_vocab_size": 30}, "decoder_vocab_size is 30 and vocab_size 31"),
        ("marian", {"pad_token_id": 31}, "pad_token_id is 31; expected 0 … 30, or null"),
        ("marian", {"eos_token_id": [0]}, "eos_token_id is [0]; expected a token id"),
        ("marian", {"eos_token_id": 31}, "eos_token_id is 31; expected 0 … 30"),
        ("marian", {"decoder_start_token_id": None}, "decoder_start_token_id is None; expected a"),
        ("marian", {"decoder_start_token_id": "remove"}, "is 58100; expected 0 … 30"),
        ("marian_split", {"eos_token_id": 33}, "eos_token_id is 33; expected 0 … 32"),
        ("marian", {"encoder_attention_heads": 3, "decoder_attention_heads": 3}, "not divisible"),
        ("marian", {"d_model": 10**15}, "expected (31, 1000000000000000)"),
        ("distilbert", {"architectures": ["DistilBertForSequenceClassification"]}, "expected one"),
        ("distilbert", {"dim": 16}, "has shape (37, 12), expected (37, 16)"),
        ("distilbert", {"activation": "swish"}, "activation is 'swish'; expected one of relu"),
        ("distilbert", {"tie_word_embeddings": False}, "expected True: only this is supported"),
    ],
)
def test_a_setting_that_is_not_supported_is_named(case, fields, words, change):
    said = refused(change(case, fields))
    assert "config.json" in said or "has shape" in said
    assert words in said


def test_weights_that_contradict_config_json(change):
    def without_bias(tensors):
        return {name: tensor for name, tensor in tensors.items() if name != "final_logits_bias"}

    def other_head(tensors):
        return {**tensors, "lm_head.weight": tensors["model.shared.weight"] + np.float32(1)}

    folder = change("marian", tensors=without_bias)
    assert "final_logits_bias is missing" in refused(folder)
    shutil.rmtree(folder)
    assert "lm_head.weight differs from model.shared" in refused(change("marian", None, other_head))
    folder = change("marian_untied", {"tie_word_embeddings": True})
    said = refused(folder)
    assert "lm_head.weight differs from model.decoder.embed_tokens.weight" in said
    assert "model.shared.weight is missing" in refused(
        change("marian_split", {"share_encoder_decoder_embeddings": True, "decoder_vocab_size": 31})
    )


def test_a_bert_without_segments_takes_none():
    model, ids = from_pretrained(FOLDER / "distilbert"), Tensor(np.array([[3, 4]], np.int32))
    assert not any("segment" in parameter.name for parameter in model.get_parameters())
    with pytest.raises(ValueError, match="segments are given, but this model has none"):
        model(ids, ids)


# Tokenizers

TEXTS = ("the dog runs", "Ein Hund läuft.", "two  dogs, 狗!", ">>deu<< the dog", ">> the", "", " ")


@pytest.fixture
def pieces(change):
    """A folder with tokenizers of a few sentences, and what reads its two files."""
    package = pytest.importorskip(
        "sentencepiece", reason="the optional package sentencepiece is not installed"
    )
    folder, sides = change("marian", {"vocab_size": 90, "decoder_vocab_size": 90}), []
    lines = {
        "source": ["the dog runs", "two dogs run, the dog!", "a tent in the sun"] * 9,
        "target": ["ein Hund läuft.", "zwei Hunde laufen", "ein Zelt in der Sonne"] * 9,
    }
    tokens = ["</s>", "<unk>", ">>deu<<"]
    for side, text in lines.items():
        path = folder / f"{side}.spm"
        with open(path, "wb") as file:
            package.SentencePieceTrainer.train(
                sentence_iterator=iter(text), model_writer=file, vocab_size=40, bos_id=-1,
                eos_id=-1, unk_id=0, hard_vocab_limit=False, minloglevel=2,
            )  # fmt: skip
        sides.append(package.SentencePieceProcessor(model_file=str(path)))
        tokens += [sides[-1].id_to_piece(i) for i in range(1, sides[-1].get_piece_size())]
    tokens = [*dict.fromkeys(tokens), "<pad>"]
    ids = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
    return folder, sides, ids


def test_a_sentence_gives_the_ids_of_its_pieces(pieces):
    folder, sides, ids = pieces
    pair = tokenizer_from_pretrained(folder)
    for tokenizer, side in zip(pair, sides):
        assert len(tokenizer) == len(ids)
        for text in TEXTS:
            code = [">>deu<<"] if text.startswith(">>deu<<") else []
            cut = [*code, *side.encode(text[len("".join(code)) :], out_type=str)]
            assert tokenizer.encode(text) == [ids.get(piece, ids["<unk>"]) for piece in cut]
    assert pair.source.decode(pair.source.encode("two dogs run")) == "two dogs run"
    assert pair.target.decode([*pair.target.encode("ein Hund läuft."), 0]) == "ein Hund läuft."
    assert pair.target.token(0) == "</s>"
    with pytest.raises(ValueError, match="token id 999 is outside the vocabulary"):
        pair.target.decode([999])


@pytest.mark.slow
def test_text_is_translated(pieces):
    """A model that was trained on nothing gives no sense, but the ids go the whole way."""
    folder, _, ids = pieces
    count = len(ids)
    tensors = load_file(folder / "model.safetensors")
    table = np.random.default_rng(1).normal(size=(count, 8)).astype(np.float32)
    tensors.update({"model.shared.weight": table})
    tensors["final_logits_bias"] = np.zeros((1, count), np.float32)
    save_file(tensors, folder / "model.safetensors")
    path = folder / "config.json"
    fields = {
        **json.loads(path.read_text(encoding="utf-8")), "vocab_size": count,
        "decoder_vocab_size": count, "pad_token_id": count - 1, "decoder_start_token_id": count - 1,
        "max_position_embeddings": 20,
    }  # fmt: skip
    path.write_text(json.dumps(fields), encoding="utf-8")
    model, pair = from_pretrained(folder), tokenizer_from_pretrained(folder)
    translator = Translator(model, pair)
    source = np.array([[*pair.source.encode("two dogs"), model.eos_id]])
    (found,) = greedy_search(PlainDecoder(model), source, min(2 * source.shape[1] + 10, 20))
    assert translator.translate(["two dogs", "", "the dog"])[:2] == [
        pair.target.decode(found.ids), "",
    ]  # fmt: skip
    assert len(translator.translate(["the dog runs"], beam_size=3)) == 1
    maps = translator.attention_maps("two dogs")
    assert maps[0].queries[-1] == "</s>"
    assert maps[1].keys[0] == "<pad>"


@pytest.mark.parametrize("file", ["source.spm", "target.spm", "vocab.json"])
def test_a_missing_file_of_a_tokenizer(file, pieces):
    folder = pieces[0]
    (folder / file).unlink()
    assert refused(folder, tokenizer_from_pretrained).endswith(f"holds no {file}")


def test_tokenizers_that_cannot_be_read(pieces):
    folder, _, ids = pieces
    vocabulary, settings = folder / "vocab.json", folder / "tokenizer_config.json"
    for wrong, words in (
        ({**ids, "x": 90}, "has ids up to 90, but config.json says that the model has embeddings"),
        ({**ids, "x": "1"}, "x is '1'; expected a whole number"),
        ({**ids, "x": 1}, "gives two pieces one id"),
        ({"the": 1}, "the vocabulary has no <unk>"),
        ({}, "is empty; expected an id for each piece"),
    ):
        vocabulary.write_text(json.dumps(wrong), encoding="utf-8")
        assert words in refused(folder, tokenizer_from_pretrained)
    vocabulary.write_text(json.dumps(ids), encoding="utf-8")
    for fields, words in (
        ({"sp_model_kwargs": {"enable_sampling": True}}, "expected {}: only this is supported"),
        ({"separate_vocabs": True}, "holds no target_vocab.json"),
        ({"eos_token": "<end>"}, "the vocabulary has no <end>"),
        ({"added_tokens_decoder": {"5": {"content": "<new>"}}}, "the added token '<new>' should"),
    ):
        settings.write_text(json.dumps(fields), encoding="utf-8")
        assert words in refused(folder, tokenizer_from_pretrained)
    settings.unlink()
    (folder / "source.spm").write_bytes(b"no pieces")
    assert "cannot read the tokenizer in" in refused(folder, tokenizer_from_pretrained)


def test_without_the_package_the_error_says_what_to_install(change, monkeypatch):
    folder = change("marian")
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(b"")
    ids = {"</s>": 0, "<unk>": 1, "<pad>": 30}
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    said = refused(folder, tokenizer_from_pretrained)
    assert "source.spm needs a package that is not installed: pip install sentencepiece" in said
