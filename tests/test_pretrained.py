"""Real weights: the library against folders that transformers wrote, and what from_pretrained says.

The folders and what transformers computes from them: `tests/golden/make_huggingface.py`.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from mindspore import Tensor

from step_llm.decoding.language import CachedGPT, PlainGPT
from step_llm.decoding.sampling import generate
from step_llm.models.bert import Bert, BertForClassification, BertForMaskedLM, BertForPreTraining
from step_llm.models.decoder_lm import DecoderLM
from step_llm.models.gpt import GPT
from step_llm.models.marian import Marian
from step_llm.models.pretrained import from_pretrained, tokenizer_from_pretrained
from step_llm.models.pretrained.families import FAMILIES
from step_llm.models.vit import ViT
from step_llm.models.weights import CheckpointError
from step_llm.training.objectives import token_objective
from tests.support.golden_folders import FOLDER, refused

TOLERANCE = 1e-4
KINDS = {
    "gpt2": GPT,
    "gpt2_odd": GPT,
    "gpt2_deep_relu": GPT,
    "gpt2_body": GPT,
    "gpt2_distilled": GPT,
    "distilbert": BertForMaskedLM,
    "distilbert_odd": BertForMaskedLM,
    "distilbert_body": Bert,
    "bert": BertForPreTraining,
    "bert_odd": BertForPreTraining,
    "bert_masked_lm": BertForMaskedLM,
    "bert_classification": BertForClassification,
    "bert_body": Bert,
    "vit": ViT,
    "vit_colour": ViT,
    "vit_one_patch": ViT,
}
# Llama and the Qwens; more about them in test_pretrained_decoders.py.
DECODERS = sorted(path.name for path in FOLDER.iterdir() if path.name.startswith(("llama", "qwen")))
KINDS.update(dict.fromkeys(DECODERS, DecoderLM))
# More about them in test_pretrained_marian.py.
TRANSLATORS = sorted(path.name for path in FOLDER.iterdir() if path.name.startswith("marian"))
KINDS.update(dict.fromkeys(TRANSLATORS, Marian))


def expected(case):
    with np.load(FOLDER / case / "expected.npz") as file:
        return dict(file)


def group(arrays, prefix):
    return {n[len(prefix) :]: array for n, array in arrays.items() if n.startswith(prefix)}


def run(case, model, inputs):
    """What the model returns for a case's inputs, in the order of the file's outputs."""
    tensors = [
        Tensor(array.astype(np.int32) if array.dtype == np.int64 else array)
        for array in inputs.values()
    ]
    if case == "gpt2_body":
        return [model.decode(*tensors)[0]]
    outputs = model(*tensors)
    if case == "bert_body":
        return [outputs, model.pool(outputs)]
    return outputs if isinstance(outputs, tuple) else [outputs]


def test_every_golden_folder_is_compared():
    assert {path.name for path in FOLDER.iterdir()} == set(KINDS)
    families = ("llama", "qwen2", "qwen3", "marian")
    assert all(sum(name.startswith(f) for name in KINDS) >= 8 for f in families)
    # Everyone who copies the project gets them.
    assert sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()) < 1.6e6


@pytest.mark.parametrize("case", KINDS)
def test_agrees_with_transformers(case):
    model, arrays = from_pretrained(FOLDER / case), expected(case)
    assert type(model) is KINDS[case]
    assert not model.training
    made, wanted = run(case, model, group(arrays, "input.")), group(arrays, "output.")
    assert len(made) == len(wanted)
    for ours, theirs in zip(made, wanted.values()):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.asnumpy(), theirs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("gpt2", CachedGPT),
        ("gpt2_odd", CachedGPT),
        ("gpt2_distilled", CachedGPT),
        ("gpt2_distilled", PlainGPT),
        ("gpt2_deep_relu", CachedGPT),
        ("gpt2_odd", PlainGPT),  # slow; that both agree is tested in test_sampling.py
    ],
)
def test_greedy_generation_is_that_of_transformers(case, kind):
    arrays = expected(case)
    prompts = [array.tolist() for array in group(arrays, "prompt.").values()]
    texts = [array.tolist() for array in group(arrays, "tokens.").values()]
    # Else a model that repeats one token would pass.
    assert all(len(set(text)) > 3 for text in texts)
    # All prompts at once, though their lengths differ; transformers had them one by one.
    assert generate(kind(from_pretrained(FOLDER / case)), prompts, len(texts[0])) == texts


def test_without_segments_they_are_all_0():
    model, ids = from_pretrained(FOLDER / "bert"), Tensor(np.array([[3, 4, 5]], np.int32))
    for one, other in zip(model(ids), model(ids, Tensor(np.zeros((1, 3), np.int32)))):
        np.testing.assert_array_equal(one.asnumpy(), other.asnumpy())


# Tokenizers


@pytest.mark.parametrize("case", ["gpt2", "bert", "qwen2"])
def test_a_tokenizer_gives_the_ids_of_transformers(case):
    assert_ids(case, tokenizer_from_pretrained(FOLDER / case))


def assert_ids(case, tokenizer):
    arrays = expected(case)
    texts, ids = group(arrays, "text."), group(arrays, "ids.")
    assert len(texts) == len(ids) == 4
    for n, text in texts.items():
        encoded = tokenizer.encode(str(text)).ids
        assert encoded == ids[n].tolist()
        if case != "bert":  # bytes: nothing is lost
            assert tokenizer.decode(encoded) == str(text)


def test_a_pair_for_bert_has_segments():
    encoded = tokenizer_from_pretrained(FOLDER / "bert").encode("The dog", "ten dogs")
    assert encoded.tokens == ["[CLS]", "the", "dog", "[SEP]", "ten", "dog", "##s", "[SEP]"]
    assert encoded.type_ids == [0, 0, 0, 0, 1, 1, 1, 1]


def test_the_older_files_of_gpt2(change):
    folder = with_older_files(change("gpt2"))
    assert_ids("gpt2", tokenizer_from_pretrained(folder))
    (folder / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match=r"holds no merges\.txt; expected tokenizer\.json"):
        tokenizer_from_pretrained(folder)
    (folder / "vocab.json").write_text("{", encoding="utf-8")
    (folder / "merges.txt").write_text("", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"cannot read the tokenizer vocab\.json, merges"):
        tokenizer_from_pretrained(folder)


def test_the_older_file_of_bert(change):
    folder = with_older_files(change("bert"))
    assert_ids("bert", tokenizer_from_pretrained(folder))
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}', encoding="utf-8")
    tokenizer = tokenizer_from_pretrained(folder)
    assert tokenizer.encode("The the").tokens == ["[CLS]", "[UNK]", "the", "[SEP]"]
    (folder / "vocab.txt").write_text("[UNK]\nthe\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"the vocabulary has no \[CLS\]"):
        tokenizer_from_pretrained(folder)


def test_folders_without_a_tokenizer_that_fits(change):
    with pytest.raises(CheckpointError, match="reads no text and has no tokenizer"):
        tokenizer_from_pretrained(FOLDER / "vit")
    with pytest.raises(CheckpointError, match=r"holds no vocab\.txt; expected tokenizer\.json"):
        tokenizer_from_pretrained(FOLDER / "bert_odd")
    folder = change("gpt2", {"vocab_size": 250})
    with pytest.raises(
        CheckpointError, match=r"has ids up to 269, but config.* embeddings for 250"
    ):
        tokenizer_from_pretrained(folder)


# What stands beside a tokenizer


def write(folder, name, fields):
    """Write fields into a JSON file of a folder, over those that it has."""
    path = folder / name
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps({**old, **fields}), encoding="utf-8")


def with_older_files(folder):
    """The folder with its tokenizer in the older files."""
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "tokenizer.json").unlink()
    if model["type"] == "BPE":
        (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
        merges = "".join(f"{' '.join(merge)}\n" for merge in model["merges"])
        (folder / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    else:
        lines = sorted(model["vocab"], key=model["vocab"].get)
        (folder / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def as_it_is(folder):
    return folder


ORIGINS = pytest.mark.parametrize("origin", [as_it_is, with_older_files])


@pytest.mark.parametrize("case", ["gpt2", "bert"])
def test_nothing_is_cut_and_nothing_filled_up(case, change):
    """tokenizer.json keeps what its maker last did with a batch, and that is no part of it."""
    folder = change(case)
    truncation = {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    padding = {
        "strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip
    write(folder, "tokenizer.json", {"truncation": truncation, "padding": padding})
    assert_ids(case, tokenizer_from_pretrained(folder))


@ORIGINS
@pytest.mark.parametrize("value", [True, False])
def test_add_prefix_space(value, origin, change):
    folder = origin(change("gpt2"))
    write(folder, "tokenizer_config.json", {"add_prefix_space": value})
    tokenizer, plain = tokenizer_from_pretrained(folder), tokenizer_from_pretrained(FOLDER / "gpt2")
    for text in ("The dog", "two  dogs,", "狗"):
        expected = plain.encode(" " * value + text).ids
        assert tokenizer.encode(text).ids == expected


@ORIGINS
@pytest.mark.parametrize(("begins", "ends"), [(True, False), (False, True), (True, True)])
def test_add_bos_token_and_add_eos_token(begins, ends, origin, change):
    folder = origin(change("gpt2"))
    write(folder, "tokenizer_config.json", {"add_bos_token": begins, "add_eos_token": ends})
    tokenizer, plain = tokenizer_from_pretrained(folder), tokenizer_from_pretrained(FOLDER / "gpt2")
    end = plain.token_to_id("<|endoftext|>")
    one, other = (plain.encode(text).ids for text in ("The dog", "two dogs"))
    one, other = ([end] * begins + ids + [end] * ends for ids in (one, other))
    assert tokenizer.encode("The dog").ids == one
    pair = tokenizer.encode("The dog", "two dogs")
    assert pair.ids == one + other
    assert pair.type_ids == [0] * len(one) + [1] * len(other)


@ORIGINS
def test_the_begin_is_the_token_that_the_folder_names(origin, change):
    folder = origin(change("gpt2"))
    write(
        folder, "tokenizer_config.json", {"add_bos_token": True, "bos_token": {"content": "Ġthe"}}
    )
    tokenizer = tokenizer_from_pretrained(folder)
    assert tokenizer.encode("dog").tokens == ["Ġthe", "dog"]


@ORIGINS
@pytest.mark.parametrize(
    ("settings", "text", "tokens"),
    [
        ({}, "The 狗在", ["the", "狗", "在"]),
        ({"do_lower_case": False}, "The the", ["[UNK]", "the"]),
        ({"tokenize_chinese_chars": False}, "狗 狗在", ["狗", "[UNK]"]),
        ({"strip_accents": False}, "thé the", ["[UNK]", "the"]),
        ({"do_lower_case": False, "strip_accents": True}, "thé The", ["the", "[UNK]"]),
    ],
)
def test_the_settings_of_bert(settings, text, tokens, origin, change):
    folder = origin(change("bert"))
    write(folder, "tokenizer_config.json", settings)
    found = tokenizer_from_pretrained(folder).encode(text).tokens
    assert found == ["[CLS]", *tokens, "[SEP]"]


def test_a_setting_counts_more_than_tokenizer_json(change):
    folder = change("bert")
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["normalizer"]["lowercase"] = False
    write(folder, "tokenizer.json", tokenizer)
    # Here do_lower_case is true, as in the folder of bert-base-uncased.
    found = tokenizer_from_pretrained(folder).encode("THE").tokens
    assert found == ["[CLS]", "the", "[SEP]"]


@ORIGINS
@pytest.mark.parametrize("case", ["gpt2", "bert"])
def test_added_tokens(case, origin, change):
    folder = origin(change(case))
    size = tokenizer_from_pretrained(folder).get_vocab_size()
    write(folder, "added_tokens.json", {"<Two>": size + 1, "<one>": size})
    write(folder, "special_tokens_map.json", {"additional_special_tokens": ["<Two>"]})
    tokenizer = tokenizer_from_pretrained(folder)
    found = tokenizer.encode("the<one>dog <Two>")
    assert [i for i in found.ids if i >= size] == [size, size + 1]
    text = tokenizer.decode(found.ids)
    assert "<one>" in text
    assert "<Two>" not in text  # special: left out


@ORIGINS
def test_added_tokens_of_the_newer_kind(origin, change):
    folder = origin(change("bert"))
    size = tokenizer_from_pretrained(folder).get_vocab_size()
    token = {"content": "<b>", "lstrip": True, "normalized": False, "special": True}
    write(folder, "tokenizer_config.json", {"added_tokens_decoder": {str(size): token}})
    found = tokenizer_from_pretrained(folder).encode("the  <b> dog")
    assert found.ids[2] == size
    assert found.offsets[2] == (3, 8)  # lstrip: the spaces before it are its own


@ORIGINS
def test_added_tokens_that_cannot_have_their_ids(origin, change):
    folder = origin(change("bert"))
    size = tokenizer_from_pretrained(folder).get_vocab_size()
    for wrong, id_ in (({"<one>": size + 1}, size), ({"the": 0}, 5)):
        (folder / "added_tokens.json").write_text(json.dumps(wrong), encoding="utf-8")
        said = refused(folder, tokenizer_from_pretrained)
        assert f"the added token {next(iter(wrong))!r} should have the id" in said
        assert f"but has {id_}" in said
    write(folder, "added_tokens.json", {"the": 5, "<many>": size})
    write(folder, "config.json", {"vocab_size": size})
    assert f"has ids up to {size}" in refused(folder, tokenizer_from_pretrained)


def test_a_gpt2_with_the_tokenizer_of_bert(change):
    """As the Chinese GPT-2 of UER has it: the files say which tokenizer it is, not the model."""
    folder = with_older_files(change("bert"))
    write(folder, "config.json", {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})
    assert_ids("bert", tokenizer_from_pretrained(folder))
    write(folder, "tokenizer_config.json", {"tokenizer_class": None})
    assert "holds no vocab.json and no merges.txt" in refused(folder, tokenizer_from_pretrained)
    write(folder, "config.json", {"tokenizer_class": "BertTokenizerFast"})
    assert_ids("bert", tokenizer_from_pretrained(folder))


@pytest.mark.parametrize(
    ("case", "settings", "words"),
    [
        ("bert", {"do_basic_tokenize": False}, "do_basic_tokenize is False; expected True"),
        ("bert", {"never_split": ["the"]}, "never_split is ['the']; expected an empty list"),
        ("bert", {"do_lower_case": "no"}, "do_lower_case is 'no'; expected true or false"),
        ("bert", {"tokenizer_class": 1}, "tokenizer_class is 1; expected a text"),
        ("bert", {"tokenizer_class": "BertJapaneseTokenizer"}, "names the class 'BertJapanese"),
        ("bert", {"added_tokens_decoder": {"x": {}}}, "added_tokens_decoder names 'x'"),
        ("bert", {"added_tokens_decoder": {"1": {}}}, "content is missing"),
        ("gpt2", {"add_bos_token": True, "bos_token": "<s>"}, "the vocabulary has no <s>"),
        ("gpt2", {"bos_token": {}}, "bos_token is {}; expected a text, or an object"),
    ],
)
def test_settings_that_cannot_be_followed(case, settings, words, change):
    folder = with_older_files(change(case))
    write(folder, "tokenizer_config.json", settings)
    assert words in refused(folder, tokenizer_from_pretrained)


def test_settings_that_tokenizer_json_has_no_place_for(change):
    folder = change("gpt2")
    write(folder, "tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}})
    said = refused(folder, tokenizer_from_pretrained)
    assert "sets add_prefix_space, but the pre_tokenizer has no ByteLevel" in said
    # It may stand inside a sequence, as in Qwen's files.
    split = {"type": "Split", "pattern": {"Regex": "\\d"}, "behavior": "Isolated", "invert": False}
    steps = [split, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}]
    write(folder, "tokenizer.json", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}})
    write(folder, "tokenizer_config.json", {"add_prefix_space": True})
    assert tokenizer_from_pretrained(folder).encode("the").tokens == ["Ġthe"]


@ORIGINS
@pytest.mark.parametrize("case", ["gpt2", "bert"])
def test_no_setting_brings_another_error(case, origin, change):
    folder = origin(change(case))
    kind = FAMILIES[case].tokenizer
    table = [*kind.settings, "tokenizer_class", "added_tokens_decoder", "additional_special_tokens"]
    count = hostile_answers(folder, "tokenizer_config.json", table, tokenizer_from_pretrained)
    assert count > 0.6 * len(table) * len(HOSTILE)
    count = hostile_answers(folder, "config.json", ["vocab_size"], tokenizer_from_pretrained)
    assert count >= len(HOSTILE) - 1
    write(folder, "special_tokens_map.json", {})
    hostile_answers(folder, "special_tokens_map.json", kind.settings, tokenizer_from_pretrained)
    for name in ("added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"):
        (folder / name).write_text("[" * 100_000, encoding="utf-8")
        assert f"cannot read {folder / name}" in refused(folder, tokenizer_from_pretrained)
        (folder / name).unlink()


# Folders that differ from those that transformers writes today, and are right all the same


def assert_same(case, folder):
    arrays = expected(case)
    made = run(case, from_pretrained(folder), group(arrays, "input."))
    for ours, theirs in zip(made, group(arrays, "output.").values()):
        np.testing.assert_allclose(ours.asnumpy(), theirs, rtol=0, atol=TOLERANCE)


def test_the_layout_of_the_published_gpt2(change):
    def published(tensors):
        tensors = {n.replace("transformer.", ""): tensor for n, tensor in tensors.items()}
        tensors["h.0.attn.bias"] = np.tril(np.ones((1, 1, 40, 40), np.float32))
        tensors["h.1.attn.masked_bias"] = np.array(-1e4, np.float32)
        tensors["lm_head.weight"] = tensors["wte.weight"].copy()
        return tensors

    removed = {"n_inner": "remove", "scale_attn_weights": "remove", "architectures": "remove"}
    assert_same("gpt2", change("gpt2", removed, published))


def test_the_layout_of_the_published_bert(change):
    def published(tensors):
        for name in list(tensors):
            if "LayerNorm" in name:
                old = name.replace("weight", "gamma").replace("bias", "beta")
                tensors[old] = tensors.pop(name)
        tensors["bert.embeddings.position_ids"] = np.arange(12)[None]
        tensors["cls.predictions.decoder.weight"] = tensors[
            "bert.embeddings.word_embeddings.weight"
        ].copy()
        return tensors

    # Its config.json names one head, its file holds both.
    folder = change("bert", {"architectures": ["BertForMaskedLM"]}, published)
    assert_same("bert", folder)


def test_half_precision_is_read_as_float32(change):
    def halved(tensors):
        return {name: tensor.astype(np.float16) for name, tensor in tensors.items()}

    model = from_pretrained(change("vit", tensors=halved))
    exact = from_pretrained(FOLDER / "vit")
    for one, other in zip(model.get_parameters(), exact.get_parameters()):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-3, atol=1e-6)


# Padding


@pytest.mark.parametrize(
    ("said", "pad_id"), [({}, -1), ({"pad_token_id": "remove"}, -1), ({"pad_token_id": 5}, 5)]
)
def test_padding_of_gpt2_is_what_config_json_names_and_else_no_token(said, pad_id, change):
    model = from_pretrained(change("gpt2", said))
    assert model.pad_id == pad_id
    ids = np.array([[7, 0, 9, 0, 3]], np.int32)
    inputs = Tensor(ids[:, :-1])
    logits = model(inputs).asnumpy().astype(np.float64)[0]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    # Two of the four labels are 0, which is "!" in the published GPT-2: all four count.
    total, count = token_objective(model, (inputs, Tensor(ids[:, 1:])))
    assert float(count.asnumpy()) == 4
    expected = -log_p[range(4), ids[0, 1:]].sum()
    assert float(total.asnumpy()) == pytest.approx(expected, rel=1e-5)
    labels = Tensor(np.array([[0, 9, pad_id, pad_id]], np.int32))
    total, count = token_objective(model, (inputs, labels))
    assert float(count.asnumpy()) == 2
    assert float(total.asnumpy()) == pytest.approx(-log_p[0, 0] - log_p[1, 9], rel=1e-5)


@pytest.mark.parametrize("pad_id", [None, -1])
def test_a_bert_without_padding_sees_every_token(pad_id, change):
    ids = Tensor(np.array([[0, 5, 6, 0], [7, 0, 0, 8]], np.int32))
    everything = Tensor(np.ones((2, 1, 1, 4), bool))
    wanted = from_pretrained(FOLDER / "bert_body")(ids, mask=everything).asnumpy()
    model = from_pretrained(change("bert_body", {"pad_token_id": pad_id}))
    np.testing.assert_array_equal(model(ids).asnumpy(), wanted)
    assert model.config.pad_id == -1


def test_a_bert_that_says_nothing_of_padding_has_that_of_transformers(change):
    assert from_pretrained(change("bert", {"pad_token_id": "remove"})).config.pad_id == 0
    assert from_pretrained(FOLDER / "bert_odd").config.pad_id == 7


# Folders that are refused


def test_every_wrong_tensor_is_named(change):
    def damaged(tensors):
        for n in range(12):
            tensors[f"stray.{n}"] = np.zeros(2, np.float32)
        del tensors["transformer.h.1.mlp.c_fc.bias"]
        del tensors["transformer.wpe.weight"]
        tensors["transformer.h.0.attn.c_attn.weight"] = np.zeros((48, 16), np.float32)
        tensors["transformer.ln_f.bias"] = np.zeros(15, np.float32)
        return tensors

    said = refused(change("gpt2", tensors=damaged))
    for n in range(12):
        assert f"stray.{n} is unexpected" in said
    assert "transformer.h.1.mlp.c_fc.bias is missing" in said
    assert "transformer.wpe.weight is missing" in said
    assert "transformer.h.0.attn.c_attn.weight has shape (48, 16), expected (16, 48)" in said
    assert "transformer.ln_f.bias has shape (15,), expected (16,)" in said


def test_sizes_that_do_not_fit_the_weights(change):
    said = refused(change("vit", {"patch_size": 4}))
    assert "patch_embeddings.projection.weight has shape (16, 1, 2, 2)" in said
    assert "expected (16, 1, 4, 4)" in said
    assert "position_embeddings has shape (1, 17, 16), expected (1, 5, 16)" in said


def test_a_missing_head_is_named(change):
    def headless(tensors):
        return {n: tensor for n, tensor in tensors.items() if "seq_relationship" not in n}

    assert "cls.seq_relationship.weight is missing" in refused(change("bert", tensors=headless))


def test_the_weights_of_another_architecture(change):
    folder = change("gpt2")
    shutil.copy(FOLDER / "vit" / "model.safetensors", folder)
    said = refused(folder)
    assert "holds no tensor of a gpt2 model" in said
    assert "classifier.bias" in said


@pytest.mark.parametrize(
    ("case", "fields", "words"),
    [
        (
            "gpt2",
            {"model_type": "mamba"},
            "of type 'mamba'; expected one of gpt2, bert, distilbert, marian, vit",
        ),
        ("gpt2", {"model_type": "remove"}, "of type None"),
        ("gpt2", {"model_type": []}, "model_type is []; expected a text"),
        ("gpt2", {"architectures": 1}, "architectures is 1; expected a list of texts"),
        ("gpt2", {"architectures": [1]}, "architectures is [1]; expected a list of texts"),
        ("gpt2", {"architectures": ["GPT2DoubleHeadsModel"]}, "a GPT2DoubleHeadsModel; expected"),
        (
            "gpt2",
            {"scale_attn_by_inverse_layer_idx": True},
            "expected False: only this is supported",
        ),
        ("gpt2", {"tie_word_embeddings": False}, "expected True: only this is supported"),
        ("gpt2", {"n_embd": "remove"}, "n_embd is missing; expected a whole number of at least 1"),
        ("gpt2", {"n_embd": None}, "n_embd is None; expected a whole number of at least 1"),
        ("gpt2", {"n_embd": True}, "n_embd is True; expected a whole number"),
        ("gpt2", {"n_inner": 0}, "n_inner is 0; expected a whole number of at least 1, or null"),
        ("gpt2", {"layer_norm_epsilon": "1"}, "layer_norm_epsilon is '1'; expected a number in"),
        ("gpt2", {"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon is nan; expected"),
        ("gpt2", {"resid_pdrop": 1}, "resid_pdrop is 1; expected a number in [0, 1)"),
        ("gpt2", {"pad_token_id": 273}, "pad_token_id is 273; expected 0 … 272, or null"),
        ("gpt2", {"activation_function": []}, "activation_function is []; expected one of relu"),
        ("gpt2", {"n_head": 3}, "d_model 16 is not divisible by num_heads 3"),
        ("gpt2", {"activation_function": "swish"}, "activation_function is 'swish'"),
        (
            "bert",
            {"position_embedding_type": "relative_key"},
            "expected 'absolute': only this is supported",
        ),
        ("bert", {"vocab_size": "many"}, "vocab_size is 'many'"),
        ("bert_classification", {"id2label": 5}, "id2label is 5; expected an object that names"),
        ("bert_classification", {"id2label": {}}, "id2label is {}; expected an object that names"),
        ("vit", {"id2label": []}, "id2label is []; expected an object that names"),
        ("vit", {"patch_size": 3}, "size 8 cannot be cut into patches of size 3"),
        ("vit", {"qkv_bias": False}, "expected True: only this is supported"),
    ],
)
def test_a_configuration_that_is_not_understood(case, fields, words, change):
    said = refused(change(case, fields))
    assert "config.json" in said
    assert words in said


# What may stand in a field of a file that someone else wrote.
HOSTILE = (
    None, True, -1, 0, 0.5, 1e308, 10**30, float("nan"), float("-inf"), "", "1", "\ud800", [], [[]],
    [1], {}, {"0": {}}, {"content": 1},
)  # fmt: skip


def hostile_answers(folder, name, table, read):
    """Give each field of a file each hostile value; returns how many folders were refused."""
    path = folder / name
    before = path.read_text(encoding="utf-8")
    fields, count = json.loads(before), 0
    for field in table:
        for value in HOSTILE:
            path.write_text(json.dumps({**fields, field: value}), encoding="utf-8")
            try:
                read(folder)
            except CheckpointError:
                count += 1
    path.write_text(before, encoding="utf-8")
    return count


@pytest.mark.parametrize(
    "case",
    [
        "gpt2_body",
        "bert_classification",
        "vit_one_patch",
        "llama",
        "qwen2",
        "qwen3",
        "marian",
        "distilbert",
    ],
)
def test_no_value_of_a_field_brings_another_error(case, change):
    table = [*FAMILIES[case.split("_")[0]].fields, "model_type", "architectures"]
    refusals = hostile_answers(change(case), "config.json", table, from_pretrained)
    assert refusals > 0.8 * len(table) * len(HOSTILE)


@pytest.mark.parametrize(
    ("case", "field"),
    [
        ("gpt2", "n_layer"),
        ("bert", "num_hidden_layers"),
        ("distilbert", "n_layers"),
        ("marian", "encoder_layers"),
        ("marian", "decoder_layers"),
        ("vit", "num_hidden_layers"),
    ],
)
def test_more_layers_than_tensors_are_not_looked_for(case, field, change):
    said = refused(change(case, {field: 10**30}))
    assert f"{field} is 1000000000" in said
    assert "fewer than one for each layer" in said


@pytest.mark.parametrize(
    ("case", "field", "words"),
    [
        ("gpt2", "vocab_size", "wte.weight has shape (273, 16), expected (1000000000000000, 16)"),
        ("gpt2", "n_positions", "wpe.weight has shape (40, 16), expected (1000000000000000, 16)"),
        ("gpt2", "n_inner", "h.0.mlp.c_fc.weight has shape (16, 64), expected (16, 10000000000000"),
        ("bert", "hidden_size", "LayerNorm.weight has shape (16,), expected (1000000000000000,)"),
        ("vit", "image_size", "position_embeddings has shape (1, 17, 16), expected (1, 25000000"),
        ("bert_classification", "num_labels", "classifier.bias has shape (5,), expected (1000000"),
    ],
)
def test_sizes_are_compared_with_the_file_before_anything_is_built(case, field, words, change):
    """Of a size like this not even one row fits into memory."""
    assert words in refused(change(case, {"id2label": None, field: 10**15}))


@pytest.mark.parametrize("classes", ["remove", None, [], ["BertModel"]])
def test_a_classifier_of_nobody_knows_what_is_refused(classes, change):
    """BERT's heads for texts and for single tokens have the same names and shapes."""
    said = refused(change("bert_classification", {"architectures": classes}))
    assert "classifier.weight" in said
    assert "expected BertForSequenceClassification there" in said


def test_without_architectures_the_body_and_the_other_heads_are_told_apart(change):
    for case in ("bert_body", "bert_masked_lm", "bert", "vit", "gpt2_body"):
        assert type(from_pretrained(change(case, {"architectures": "remove"}))) is KINDS[case]


def test_an_untied_head_is_refused(change):
    def untied(tensors):
        return {**tensors, "lm_head.weight": tensors["transformer.wte.weight"] + np.float32(1)}

    assert "lm_head.weight differs from" in refused(change("gpt2", tensors=untied))


def test_values_that_are_not_finite_are_refused(change):
    def broken(tensors):
        tensors["vit.layernorm.bias"][3] = np.nan
        return tensors

    assert "vit.layernorm.bias has values that are not finite" in refused(
        change("vit", tensors=broken)
    )


def test_weights_that_are_no_float_numbers_are_refused(change):
    def whole(tensors):
        return {**tensors, "vit.layernorm.bias": np.ones(16, np.int8)}

    assert "vit.layernorm.bias holds I8; expected float" in refused(change("vit", tensors=whole))


def test_a_weight_under_its_old_name_and_its_new_one_is_refused(change):
    def doubled(tensors):
        name = "bert.embeddings.LayerNorm"
        return {**tensors, f"{name}.gamma": tensors[f"{name}.weight"]}

    said = refused(change("bert", tensors=doubled))
    assert "holds both bert.embeddings.LayerNorm." in said


def test_a_name_that_would_reach_the_terminal_is_refused(change):
    def coloured(tensors):
        return {**tensors, "\x1b[31m": np.ones(1, np.float32)}

    assert r"holds '\x1b[31m'; expected names" in refused(change("vit", tensors=coloured))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "tf_model.h5", "gpt2.pt"])
def test_a_pickle_is_not_read(name, change):
    folder = change("gpt2")
    (folder / "model.safetensors").rename(folder / name)
    said = refused(folder)
    assert name in said
    assert "Pickles are not read" in said
    assert "take the model.safetensors" in said


def test_beside_a_pickle_safetensors_are_read(change):
    folder = change("gpt2")
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    assert_same("gpt2", folder)


def test_a_file_that_is_not_there(change, tmp_path):
    assert f"there is no folder {tmp_path / 'none'}" in refused(tmp_path / "none")
    assert "holds no config.json" in refused(tmp_path)
    folder = change("gpt2")
    (folder / "model.safetensors").unlink()
    assert refused(folder).endswith("holds no model.safetensors")


def test_a_damaged_file(change):
    folder = change("gpt2")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "damaged or truncated" in refused(folder)
    (folder / "model.safetensors").write_bytes(whole)
    for wrong in ("{", "[1]", "\x00", "[" * 100_000, '{"n_embd": 1' + "0" * 10_000 + "}"):
        (folder / "config.json").write_text(wrong, encoding="utf-8")
        assert "cannot read" in refused(folder)
