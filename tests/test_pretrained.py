"""Real weights: the library against folders that transformers wrote, and what from_pretrained says.

The folders and what transformers computes from them: `tests/golden/make_huggingface.py`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor
from safetensors.numpy import load_file, save_file

from step_llm.decoding.language import CachedGPT, PlainGPT
from step_llm.decoding.sampling import generate
from step_llm.models.bert import Bert, BertForClassification, BertForMaskedLM, BertForPreTraining
from step_llm.models.gpt import GPT
from step_llm.models.pretrained import from_pretrained, tokenizer_from_pretrained
from step_llm.models.vit import ViT
from step_llm.models.weights import CheckpointError

FOLDER = Path(__file__).resolve().parent / "golden" / "huggingface"
TOLERANCE = 1e-4
KINDS = {
    "gpt2": GPT,
    "gpt2_odd": GPT,
    "gpt2_deep_relu": GPT,
    "gpt2_body": GPT,
    "bert": BertForPreTraining,
    "bert_odd": BertForPreTraining,
    "bert_masked_lm": BertForMaskedLM,
    "bert_classification": BertForClassification,
    "bert_body": Bert,
    "vit": ViT,
    "vit_colour": ViT,
    "vit_one_patch": ViT,
}


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
    assert sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()) < 1e6


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


@pytest.mark.parametrize("case", ["gpt2", "bert"])
def test_a_tokenizer_gives_the_ids_of_transformers(case):
    assert_ids(case, tokenizer_from_pretrained(FOLDER / case))


def assert_ids(case, tokenizer):
    arrays = expected(case)
    texts, ids = group(arrays, "text."), group(arrays, "ids.")
    assert len(texts) == len(ids) == 4
    for n, text in texts.items():
        encoded = tokenizer.encode(str(text)).ids
        assert encoded == ids[n].tolist()
        if case == "gpt2":  # bytes: nothing is lost
            assert tokenizer.decode(encoded) == str(text)


def test_a_pair_for_bert_has_segments():
    encoded = tokenizer_from_pretrained(FOLDER / "bert").encode("The dog", "ten dogs")
    assert encoded.tokens == ["[CLS]", "the", "dog", "[SEP]", "ten", "dog", "##s", "[SEP]"]
    assert encoded.type_ids == [0, 0, 0, 0, 1, 1, 1, 1]


def test_the_older_files_of_gpt2(change):
    folder = change("gpt2")
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "".join(f"{' '.join(merge)}\n" for merge in model["merges"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    assert_ids("gpt2", tokenizer_from_pretrained(folder))
    (folder / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match=r"holds no merges\.txt; expected tokenizer\.json"):
        tokenizer_from_pretrained(folder)
    (folder / "vocab.json").write_text("{", encoding="utf-8")
    (folder / "merges.txt").write_text("", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"cannot read the tokenizer vocab\.json, merges"):
        tokenizer_from_pretrained(folder)


def test_the_older_file_of_bert(change):
    folder = change("bert")
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = vocabulary["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    lines = sorted(vocabulary, key=vocabulary.get)
    (folder / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
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
    with pytest.raises(CheckpointError, match="has 270 tokens, but config"):
        tokenizer_from_pretrained(folder)


# Folders that differ from those that transformers writes today, and are right all the same


@pytest.fixture
def change(tmp_path):
    """A copy of a golden folder with its fields and tensors changed."""

    def copy(case, fields=None, tensors=None):
        folder = tmp_path / case
        shutil.copytree(FOLDER / case, folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config.update(fields or {})
        config = {name: value for name, value in config.items() if value != "remove"}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        if tensors is not None:
            old = load_file(folder / "model.safetensors")
            save_file(tensors(old), folder / "model.safetensors")
        return folder

    return copy


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


# Folders that are refused


def refused(folder):
    with pytest.raises(CheckpointError) as error:
        from_pretrained(folder)
    return str(error.value)


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
        ("gpt2", {"model_type": "llama"}, "of type 'llama'; expected one of gpt2, bert, vit"),
        ("gpt2", {"model_type": "remove"}, "of type None"),
        ("gpt2", {"architectures": ["GPT2DoubleHeadsModel"]}, "a GPT2DoubleHeadsModel; expected"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "only False is supported"),
        ("gpt2", {"tie_word_embeddings": False}, "only True is supported"),
        ("gpt2", {"n_embd": "remove"}, "n_embd is missing"),
        ("gpt2", {"n_head": 3}, "d_model 16 is not divisible by num_heads 3"),
        ("gpt2", {"activation_function": "swish"}, "activation_function is 'swish'"),
        ("bert", {"position_embedding_type": "relative_key"}, "only 'absolute' is supported"),
        ("bert", {"vocab_size": "many"}, "vocab_size is 'many'"),
        ("vit", {"patch_size": 3}, "size 8 cannot be cut into patches of size 3"),
        ("vit", {"qkv_bias": False}, "only True is supported"),
    ],
)
def test_a_configuration_that_is_not_understood(case, fields, words, change):
    said = refused(change(case, fields))
    assert "config.json" in said
    assert words in said


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
    (folder / "model.safetensors.index.json").write_text("{}", encoding="utf-8")
    assert "split over several files" in refused(folder)


def test_a_damaged_file(change):
    folder = change("gpt2")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "damaged or truncated" in refused(folder)
    (folder / "model.safetensors").write_bytes(whole)
    for wrong in ("{", "[1]", "\x00"):
        (folder / "config.json").write_text(wrong, encoding="utf-8")
        assert "cannot read" in refused(folder)
