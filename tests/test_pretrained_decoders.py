"""Llama, Qwen2 and Qwen3 from their folders: greedy texts, several files, and what is refused.

Their logits are compared with transformers' in test_pretrained.py, like those of every folder.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor
from safetensors.numpy import load_file, save_file

from step_llm.decoding.language import CachedGPT
from step_llm.decoding.sampling import generate
from step_llm.models.pretrained import from_pretrained, tokenizer_from_pretrained
from step_llm.models.weights import CheckpointError
from step_llm.nn.cache import with_room
from tests.support.golden_folders import FOLDER, refused

CASES = sorted(path.name for path in FOLDER.iterdir() if path.name.startswith(("llama", "qwen")))
TOLERANCE = 1e-4
INDEX = "model.safetensors.index.json"


def arrays_of(case):
    with np.load(FOLDER / case / "expected.npz") as file:
        return dict(file)


def texts_of(case):
    """The prompts, and the tokens with which transformers continues each."""
    arrays = arrays_of(case)
    groups = [[arrays[f"{kind}.{n}"].tolist() for n in range(2)] for kind in ("prompt", "tokens")]
    # Else a model that repeats one token would pass.
    assert all(len(set(tokens)) > 3 for tokens in groups[1])
    return groups


def logits_of(folder, case):
    ids = Tensor(arrays_of(case)["input.ids"].astype(np.int32))
    return from_pretrained(folder)(ids).asnumpy()


def assert_same(case, folder):
    logits = arrays_of(case)["output.logits"]
    np.testing.assert_allclose(logits_of(folder, case), logits, rtol=0, atol=TOLERANCE)


# Greedy texts


@pytest.mark.parametrize("case", CASES)
def test_greedy_tokens_are_those_of_transformers(case):
    """With the text so far read at once, and with a cache: the best token at every place."""
    model = from_pretrained(FOLDER / case)
    for prompt, tokens in zip(*texts_of(case)):
        ids, length = np.array([[*prompt, *tokens]], np.int32), len(prompt)
        hidden, _, cache = model.decode(Tensor(ids[:, :-1]))
        logits = model.project(hidden).asnumpy()[0, length - 1 :]
        assert logits.argmax(-1).tolist() == tokens
        hidden, _, cache = model.decode(Tensor(ids[:, :length]))
        cache = with_room(cache, ids.shape[1])
        found = [model.project(hidden).asnumpy()[:, -1]]
        for t in range(length, ids.shape[1] - 1):
            position = Tensor(np.array([t], np.int32))
            x, masks, rotation = model.place(Tensor(ids[:, t]), position, ids.shape[1])
            hidden, _, cache = model.layers(x, masks, rotation, cache, position)
            found.append(model.project(hidden).asnumpy()[:, 0])
        np.testing.assert_allclose(np.concatenate(found), logits, rtol=0, atol=1e-5)


# One of each family: what is compiled is what the test above ran, at every one of the cases.
COMPILED = ("llama_3", "qwen2_window_above", "qwen3_window_above")


@pytest.mark.parametrize("case", COMPILED)
def test_compiled_generation_is_that_of_transformers(case):
    """Both prompts at once, though their lengths differ; transformers had them one by one."""
    prompts, texts = texts_of(case)
    assert generate(CachedGPT(from_pretrained(FOLDER / case)), prompts, len(texts[0])) == texts


# Folders that differ from those that transformers writes today, and are right all the same


def older_rotary(fields):
    """Base and scaling as they stood before transformers 5."""
    inner = dict(fields.pop("rope_parameters"))
    base = inner.pop("rope_theta")
    if inner["rope_type"] == "default":
        return {**fields, "rope_theta": base, "rope_scaling": None}
    return {**fields, "rope_theta": base, "rope_scaling": inner}


@pytest.mark.parametrize("case", ["llama_3", "llama_3_wide", "qwen2", "qwen3_linear"])
@pytest.mark.parametrize("is_oldest", [False, True])
def test_the_older_place_of_the_rotary_positions(case, is_oldest, change):
    folder = change(case)
    path = folder / "config.json"
    fields = older_rotary(json.loads(path.read_text(encoding="utf-8")))
    if is_oldest and fields["rope_scaling"]:
        fields["rope_scaling"]["type"] = fields["rope_scaling"].pop("rope_type")
    path.write_text(json.dumps(fields), encoding="utf-8")
    assert_same(case, folder)


def test_both_places_of_the_rotary_positions_if_they_agree(change):
    base, inner = 5e5, {"rope_theta": 5e5, "rope_type": "default"}
    one = change("llama", {"rope_theta": base, "rope_parameters": inner})
    logits = logits_of(one, "llama")
    assert np.abs(logits - arrays_of("llama")["output.logits"]).max() > 1e-2  # its own is 10,000
    shutil.rmtree(one)
    other = change("llama", {"rope_theta": base, "rope_parameters": "remove"})
    np.testing.assert_array_equal(logits_of(other, "llama"), logits)


def test_fields_that_older_files_lack(change):
    removed = dict.fromkeys(
        ("attention_bias", "mlp_bias", "head_dim", "rope_parameters", "rms_norm_eps", "hidden_act",
         "pad_token_id", "architectures"), "remove",
    )  # fmt: skip
    assert_same("llama", change("llama", removed))


def test_the_oldest_llamas_keep_the_frequencies_of_each_layer(change):
    def with_frequencies(tensors):
        name = "model.layers.1.self_attn.rotary_emb.inv_freq"
        return {**tensors, name: np.ones(3, np.float32)}

    assert_same("llama", change("llama", tensors=with_frequencies))


def test_a_body_alone_with_a_tied_head(change):
    def body(tensors):
        return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}

    assert_same("llama", change("llama", {"architectures": ["LlamaModel"]}, body))


def test_a_tied_head_may_be_there_twice(change):
    def doubled(tensors):
        return {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].copy()}

    assert_same("llama", change("llama", tensors=doubled))


def test_layer_types_without_max_window_layers_and_the_other_way_round(change):
    for case in ("qwen2_window_above", "qwen3_window"):
        for name in ("layer_types", "max_window_layers"):
            # Where both are missing, max_window_layers is 28: no layer here would have a window.
            folder = change(case, {name: "remove"})
            assert_same(case, folder)
            shutil.rmtree(folder)


def test_a_window_that_is_switched_off(change):
    settings = {"use_sliding_window": False, "layer_types": "remove"}
    folder = change("qwen2_window", settings)
    assert from_pretrained(folder).config.sliding_window == 0
    windowed = arrays_of("qwen2_window")["output.logits"]
    logits = logits_of(folder, "qwen2_window")
    np.testing.assert_allclose(logits[:, :4], windowed[:, :4], rtol=0, atol=TOLERANCE)
    assert np.abs(logits[:, 4:] - windowed[:, 4:]).max() > 1e-2


def test_bfloat16_is_read_exactly(change):
    """1 + 2⁻⁷, −2⁻¹³³ (below float32's normal numbers) and 3·10³⁸ are numbers of bfloat16."""
    folder = change("qwen2")
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    entry = json.loads(whole[8 : 8 + length])["model.norm.weight"]
    assert entry["dtype"] == "BF16"
    begin = 8 + length + entry["data_offsets"][0]
    halves = np.array([0x3F81, 0x8001, 0x7F62], "<u2").tobytes()
    path.write_bytes(whole[:begin] + halves + whole[begin + 6 :])
    scale = from_pretrained(folder).layers.final_norm.gamma.asnumpy()[:3]
    assert scale[0] == 1.0078125
    assert scale[1] == -(2.0**-133)
    assert scale[2] == np.float32(3.0040553e38)
    path.write_bytes(whole[:begin] + b"\x80\x7f" + whole[begin + 2 :])  # ∞
    assert "model.norm.weight has values that are not finite" in refused(folder)


# Several files


def index_of(folder):
    return json.loads((folder / INDEX).read_text(encoding="utf-8"))


def with_index(folder, index):
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")
    return folder


def test_one_file_goes_before_several(change):
    folder = change("llama_shards")
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(path))
        path.unlink()
    save_file(tensors, folder / "model.safetensors")
    assert_same("llama_shards", folder)


def test_a_missing_file_of_several(change):
    folder = change("qwen3_shards")
    (folder / "model-00002-of-00004.safetensors").unlink()
    said = refused(folder)
    assert "holds no model-00002-of-00004.safetensors, of the 4 files that" in said
    assert "no model-00001" not in said


@pytest.mark.parametrize(
    "file",
    ["../model.safetensors", "/tmp/model.safetensors", "a/model.safetensors", "..\\m.safetensors",
     "C:m.safetensors", "model.bin", "", "..", 3, None, "\x1b[31m.safetensors"],
)  # fmt: skip
def test_an_index_that_names_a_file_elsewhere(file, change):
    folder = change("llama_shards")
    save_file({"x": np.ones(1, np.float32)}, folder.parent / "model.safetensors")
    index = index_of(folder)
    index["weight_map"]["model.norm.weight"] = file
    said = refused(with_index(folder, index))
    assert f"names the file {file!r}; expected the names of safetensors files in the same" in said


@pytest.mark.parametrize("places", ["remove", None, {}, [], "model.safetensors"])
def test_an_index_without_places(places, change):
    folder = change("llama_shards")
    with_index(folder, {} if places == "remove" else {"weight_map": places})
    assert "expected an object that names the file of each tensor" in refused(folder)


def test_an_index_that_cannot_be_read(change):
    folder = change("llama_shards")
    for wrong in ("{", "[]", "[" * 100_000):
        (folder / INDEX).write_text(wrong, encoding="utf-8")
        assert f"cannot read {folder / INDEX}" in refused(folder)


def test_an_index_of_another_model(change):
    folder = change("llama_shards")
    index = index_of(folder)
    places = index["weight_map"]
    first = places["model.embed_tokens.weight"]
    other = next(file for file in places.values() if file != first)
    places["model.embed_tokens.weight"] = other
    said = refused(with_index(folder, index))
    assert f"holds model.embed_tokens.weight, but {INDEX} has it in {other}" in said
    del places["model.embed_tokens.weight"]
    said = refused(with_index(folder, index))
    assert f"holds model.embed_tokens.weight, but {INDEX} does not name it" in said
    places.update({"model.embed_tokens.weight": first, "model.layers.9.x": first})
    said = refused(with_index(folder, index))
    assert f"{first} lacks 'model.layers.9.x', which {INDEX} has in it" in said


def test_a_damaged_file_of_several(change):
    folder = change("llama_shards")
    path = folder / "model-00003-of-00004.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    assert f"{path} is damaged or truncated" in refused(folder)


def test_pickles_in_several_files_are_not_read(change):
    folder = change("llama_shards")
    for path in folder.glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    (folder / INDEX).rename(folder / "pytorch_model.bin.index.json")
    assert "Pickles are not read" in refused(folder)


# Settings


def rope(kind, **numbers):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, **numbers}}


LLAMA3 = {
    "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "fields", "words"),
    [
        ("llama", {"model_type": "mistral"}, "of type 'mistral'; expected one of gpt2"),
        ("qwen3", {"model_type": "qwen3_moe"}, "of type 'qwen3_moe'; expected one of gpt2"),
        ("llama", {"architectures": ["LlamaForSequenceClassification"]}, "expected one of Llama"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu'; expected 'silu': only this"),
        ("llama", {"mlp_bias": True}, "mlp_bias is True; expected False: only this"),
        (
            "qwen2",
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            "quantization_config is {'bits': 4, 'quant_method': 'gptq'}; expected None: only this",
        ),
        (
            "qwen2",
            rope("yarn", factor=4.0),
            "rope_parameters has the type 'yarn'; expected default",
        ),
        ("llama", rope("dynamic", factor=4.0), "has the type 'dynamic'; expected default, linear"),
        ("llama", rope("longrope"), "has the type 'longrope'"),
        ("llama", rope(["yarn"]), "has the type ['yarn']"),
        ("llama", rope("linear"), "rope_parameters of type linear has no factor"),
        ("llama", rope("linear", factor=0), "factor is 0; expected a number above 0"),
        ("llama", rope("llama3", factor=8.0), "of type llama3 has no low_freq_factor"),
        (
            "llama",
            rope("llama3", **{**LLAMA3, "low_freq_factor": 4.0}),
            "low_freq_factor of the rotary positions is 4.0; expected less than",
        ),
        ("llama", rope("default", mrope_section=[1, 2]), "has the field 'mrope_section'"),
        ("llama", {"rope_parameters": {"full_attention": {}}}, "has the field 'full_attention'"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5; expected 1"),
        ("llama", rope("default", partial_rotary_factor=0.5), "partial_rotary_factor is 0.5"),
        ("llama", {"rope_theta": 5e5}, "rope_theta is 500000.0, and 10000.0 among the rotary"),
        (
            "llama",
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            "rope_scaling and rope_parameters differ",
        ),
        (
            "llama",
            {"original_max_position_embeddings": 8, **rope("llama3", **LLAMA3)},
            "original_max_position_embeddings is 8, and 16 among",
        ),
        ("qwen2", {"use_mrope": True}, "use_mrope is True; expected False: only this"),
        ("qwen2", {"layer_types": ["full_attention"]}, "expected 2 texts, first full_attention"),
        (
            "qwen2_window_above",
            {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
            "layer_types is ['sliding_attention', 'full_attention', 'sliding_attention']; expected",
        ),
        ("qwen3", {"layer_types": ["linear_attention"] * 2}, "and then sliding_attention: only"),
        ("qwen3", {"layer_types": ["sliding_attention"] * 2}, "but use_sliding_window is not true"),
        ("qwen2_window", {"sliding_window": None}, "or sliding_window is null"),
        ("qwen2", {"num_key_value_heads": 3}, "num_heads 2 is not divisible by num_kv_heads 3"),
        ("qwen2", {"num_attention_heads": 3}, "hidden_size 8 is not divisible by num_attention_h"),
        ("llama", {"head_dim": 5}, "turn pairs of coordinates: d_head 5 is odd"),
        ("llama", {"rms_norm_eps": 0}, "rms_norm_eps is 0; expected a number in (0, 1)"),
        ("llama", {"rope_theta": -1.0}, "rope_theta is -1.0; expected a number above 0"),
        ("llama", {"head_dim": 10**15}, "q_proj.weight has shape (12, 12), expected (2000000000"),
        ("llama", {"hidden_size": 10**15}, "norm.weight has shape (12,), expected (1000000000000"),
        ("llama", {"num_hidden_layers": 10**30}, "fewer than one for each layer"),
    ],
)
def test_a_setting_that_is_not_supported_is_named(case, fields, words, change):
    said = refused(change(case, fields))
    assert words in said
    assert str(Path(case)) in said


HOSTILE = (None, True, -1, 0, 1e308, 10**30, float("nan"), float("inf"), "", [], [1], {}, {"a": 1})


def test_no_number_of_the_rotary_positions_brings_another_error(change):
    folder = change("llama_3")
    path = folder / "config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    rotary, accepted = fields["rope_parameters"], []
    for name in rotary:
        for value in HOSTILE:
            changed = {**fields, "rope_parameters": {**rotary, name: value}}
            path.write_text(json.dumps(changed), encoding="utf-8")
            with contextlib.suppress(CheckpointError):
                from_pretrained(folder)
                accepted.append((name, value))
    # Where these are missing they have a default.
    assert accepted == [("original_max_position_embeddings", None), ("rope_theta", None)]


def test_biases_and_norms_that_config_json_does_not_announce(change):
    assert "q_proj.bias is unexpected" in refused(change("llama_biased", {"attention_bias": False}))
    assert "o_proj.bias is missing" in refused(change("qwen3", {"attention_bias": True}))
    folder = change("qwen3_untied", {"tie_word_embeddings": True})
    assert "lm_head.weight differs from model.embed_tokens.weight" in refused(folder)
    folder = change("llama", {"tie_word_embeddings": False})
    assert "lm_head.weight is missing" in refused(folder)


def test_the_weights_of_another_family(change):
    folder = change("qwen3", {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]})
    said = refused(folder)
    assert "self_attn.q_norm.weight is unexpected" in said
    assert "self_attn.q_proj.bias is missing" in said


# Tokenizers


def test_llama_and_qwen_have_their_tokenizer_in_one_file(change):
    folder = change("qwen2")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text("{}", encoding="utf-8")
    (folder / "merges.txt").write_text("", encoding="utf-8")
    said = refused(folder, tokenizer_from_pretrained)
    assert "names the class 'Qwen2Tokenizer' and holds no tokenizer.json" in said
    (folder / "tokenizer_config.json").unlink()
    said = refused(folder, tokenizer_from_pretrained)
    assert said.endswith("holds no tokenizer.json; expected tokenizer.json")
