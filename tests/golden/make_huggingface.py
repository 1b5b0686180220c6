"""Golden models: folders that the transformers library writes, and what it computes from them.

    python tests/golden/make_huggingface.py            write the folders under huggingface/
    python tests/golden/make_huggingface.py --check    make them again and compare

Made with torch==2.13.0 on the CPU and transformers==5.23.0, in float32. It needs neither MindSpore
nor a network: the configurations are small, the weights random. `tests/test_pretrained.py` compares
the library with the folders.

Every folder holds config.json and model.safetensors (or several such files with an index), as
save_pretrained writes them, and expected.npz:

    input.<name>     what the model is called with
    output.<name>    what it returns
    prompt.<n>       a prompt, and the tokens with which the model's own greedy generation
    tokens.<n>       continues it (or a sentence, and its translation)
    text.<n>         a text, and
    ids.<n>          the ids that the folder's tokenizer makes of it, where it has one
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import command
import decoders
import numpy as np
import torch
import transformers
import translators
from safetensors.torch import load_file
from tokenizers.pre_tokenizers import ByteLevel

FOLDER = Path(__file__).resolve().parent / "huggingface"

# Another processor sums in another order. Weights and inputs must be equal bit for bit.
TOLERANCE = 3e-6
# Two candidates nearer than this could change places; then the seed is a bad one.
MARGIN = 1e-3


def fill(model, seed):
    """Random weights. The library's own initial biases are 0 and LayerNorms 1: they hide errors."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            values = rng.normal(0.0, 0.25, tuple(weight.shape))
            if "norm" in name.lower() or ".ln_" in name:
                values += 1.0 if name.endswith("weight") else 0.0
            weight.copy_(torch.from_numpy(values.astype(np.float32)))
    return model.eval()


def arrays_of(inputs, outputs):
    arrays = {f"input.{name}": array for name, array in inputs.items()}
    arrays.update({f"output.{name}": output.numpy() for name, output in outputs.items()})
    return arrays


def greedy(model, seed, rng, prompts, new_tokens):
    """Prompts of these lengths, and the tokens with which the model continues them."""
    arrays = {}
    for n, length in enumerate(prompts):
        prompt = rng.integers(0, model.config.vocab_size, (1, length))
        text = model.generate(
            torch.from_numpy(prompt),
            attention_mask=torch.ones((1, length), dtype=torch.long),
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
        )
        best = model(text[:, :-1]).logits[0, length - 1 :].topk(2).values
        margin = float((best[:, 0] - best[:, 1]).min())
        assert margin > MARGIN, f"seed {seed}: the margin of prompt {n} is {margin:.1e}"
        kinds = len(set(text[0, length:].tolist()))
        assert kinds > 3, f"seed {seed}: the text of prompt {n} has {kinds} different tokens"
        arrays[f"prompt.{n}"] = prompt[0]
        arrays[f"tokens.{n}"] = text[0, length:].numpy()
    return arrays


def gpt2(seed, *, prompts, new_tokens, body=False, **sizes):
    config = transformers.GPT2Config(bos_token_id=None, eos_token_id=None, **sizes)
    kind = transformers.GPT2Model if body else transformers.GPT2LMHeadModel
    model = fill(kind(config), seed)
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, config.vocab_size, (3, config.n_positions))
    result = model(torch.from_numpy(ids))
    if body:
        return model, arrays_of({"ids": ids}, {"hidden": result.last_hidden_state})
    arrays = arrays_of({"ids": ids}, {"logits": result.logits})
    return model, {**arrays, **greedy(model, seed, rng, prompts, new_tokens)}


def decoder(seed, *, family, stored="float32", **options):
    """Of Llama, Qwen2 or Qwen3; computed in float32 from weights as precise as the stored ones."""
    sizes = {**decoders.SIZES, "bos_token_id": None, "eos_token_id": None, **options}
    config = getattr(transformers, f"{family}Config")(**sizes)
    model = fill(getattr(transformers, f"{family}ForCausalLM")(config), seed)
    for weight in model.parameters():  # not model.to: it would round the angles of positions too
        weight.copy_(weight.to(getattr(torch, stored)))
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, config.vocab_size, (2, config.max_position_embeddings // 2))
    arrays = arrays_of({"ids": ids}, {"logits": model(torch.from_numpy(ids)).logits})
    arrays.update(greedy(model, seed, rng, decoders.PROMPTS, decoders.NEW_TOKENS))
    return model.to(getattr(torch, stored)), arrays


def marian(seed, *, scale=3.0, **options):
    config = transformers.MarianConfig(**{**translators.SIZES, **options})
    model = fill(transformers.MarianMTModel(config), seed)
    rng = np.random.default_rng(seed)
    # Else most texts repeat one token: the biases would decide, and the embedding that is the head.
    for weight in model.parameters():
        if weight.dim() == 2:
            weight.mul_(scale)
    signs = rng.choice([-1.0, 1.0], config.d_model).astype(np.float32)
    model.model.decoder.layers[-1].final_layer_norm.weight.mul_(torch.from_numpy(signs))
    for part in (model.model.encoder, model.model.decoder):  # sines, not weights
        part.embed_positions.weight.copy_(part.embed_positions.create_weight())
    bias = rng.normal(0.0, 0.5, tuple(model.final_logits_bias.shape)).astype(np.float32)
    model.final_logits_bias.copy_(torch.from_numpy(bias))
    pad_id, start = config.pad_token_id, config.decoder_start_token_id
    longest = max(translators.SOURCES)
    rows = (len(translators.SOURCES), longest)
    source = rng.integers(0, config.vocab_size, rows)
    source[source == pad_id] = config.eos_token_id
    source[np.arange(longest) >= np.array(translators.SOURCES)[:, None]] = pad_id
    target = rng.integers(0, config.decoder_vocab_size, (len(source), 9))
    target[:, 0] = start
    read = torch.from_numpy(source), torch.from_numpy((source != pad_id).astype(np.int64))
    result = model(*read, decoder_input_ids=torch.from_numpy(target))
    arrays = arrays_of({"source": source, "target": target}, {"logits": result.logits})
    for n, length in enumerate(translators.SOURCES):
        one = torch.from_numpy(source[n : n + 1, :length])
        text = model.generate(
            one, max_new_tokens=translators.NEW_TOKENS, do_sample=False, num_beams=1,
            suppress_tokens=sorted({pad_id, start}),
        )  # fmt: skip
        logits = model(one, decoder_input_ids=text[:, :-1]).logits[0]
        logits[:, [pad_id, start]] = -np.inf
        best = logits.topk(2).values
        margin = float((best[:, 0] - best[:, 1]).min())
        assert margin > MARGIN, f"seed {seed}: the margin of source {n} is {margin:.1e}"
        arrays[f"prompt.{n}"] = source[n, :length]
        arrays[f"tokens.{n}"] = text[0, 1:].numpy()
    texts = [tuple(arrays[f"tokens.{n}"].tolist()) for n in range(len(source))]
    kinds = max(len(set(text)) for text in texts)
    assert kinds > 3, f"seed {seed}: a text has at most {kinds} different tokens"
    assert len(set(texts)) > 1, f"seed {seed}: the texts are the same"
    ended = {config.eos_token_id in text for text in texts}
    assert len(ended) == 2, f"seed {seed}: all texts end, or none"
    return model, arrays


def distilbert(seed, *, kind, **sizes):
    config = transformers.DistilBertConfig(**sizes)
    model = fill(getattr(transformers, kind)(config), seed)
    rng = np.random.default_rng(seed)
    length = config.max_position_embeddings - 1
    ids = rng.integers(1, config.vocab_size, (3, length))
    ids[np.arange(length) >= np.array([length, 1, 4])[:, None]] = config.pad_token_id
    mask = torch.from_numpy((ids != config.pad_token_id).astype(np.int64))
    result = model(input_ids=torch.from_numpy(ids), attention_mask=mask)
    name = "last_hidden_state" if kind == "DistilBertModel" else "logits"
    return model, arrays_of({"ids": ids}, {name: result[name]})


def bert(seed, *, kind, **sizes):
    config = transformers.BertConfig(**sizes)
    model = fill(getattr(transformers, kind)(config), seed)
    rng = np.random.default_rng(seed)
    batch, length = 4, config.max_position_embeddings - 1
    ids = rng.integers(0, config.vocab_size, (batch, length))
    ids[ids == config.pad_token_id] = config.pad_token_id + 1
    lengths = np.array([length, 1, 5, length - 2])
    ids[np.arange(length) >= lengths[:, None]] = config.pad_token_id
    segments = rng.integers(0, config.type_vocab_size, (batch, length))
    result = model(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy((ids != config.pad_token_id).astype(np.int64)),
        token_type_ids=torch.from_numpy(segments),
    )
    outputs = {
        "BertForPreTraining": ("prediction_logits", "seq_relationship_logits"),
        "BertForMaskedLM": ("logits",),
        "BertForSequenceClassification": ("logits",),
        "BertModel": ("last_hidden_state", "pooler_output"),
    }
    return model, arrays_of(
        {"ids": ids, "segments": segments}, {name: result[name] for name in outputs[kind]}
    )


def vit(seed, **sizes):
    config = transformers.ViTConfig(**sizes)
    model = fill(transformers.ViTForImageClassification(config), seed)
    shape = (3, config.num_channels, config.image_size, config.image_size)
    images = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return model, arrays_of({"images": images}, {"logits": model(torch.from_numpy(images)).logits})


TEXTS = (
    "The dog is in the tent.",
    "two  dogs,\tand the dogs' tent!",
    "Ein Hund läuft – 狗在跑。 🐕",
    "",
)


def gpt2_tokenizer():
    """Bytes, and a few merges of them."""
    merges = "Ġ t;h e;Ġt he;d o;do g;Ġ dog;Ġdog s;i n;Ġ in;e n;Ġt en;Ġten t;Ã ¤".split(";")
    tokens = [*sorted(ByteLevel.alphabet()), *(m.replace(" ", "") for m in merges)]
    vocabulary = {token: number for number, token in enumerate([*tokens, "<|endoftext|>"])}
    return transformers.GPT2Tokenizer(
        vocab=vocabulary, merges=[tuple(merge.split()) for merge in merges]
    )


def bert_tokenizer():
    """A few words and pieces of words; what they cannot spell is unknown."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = "the dog ten two and is in a ein hund lau ##t ##s ##f . , ! ' – 狗 在".split()
    vocabulary = {token: number for number, token in enumerate([*special, *pieces])}
    return transformers.BertTokenizer(vocab=vocabulary)


def qwen2_tokenizer():
    """The bytes and merges of GPT-2's, after Qwen's own cut of the text."""
    other = json.loads(gpt2_tokenizer().backend_tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in other["merges"]]
    return transformers.Qwen2Tokenizer(vocab=other["vocab"], merges=merges)


TOKENIZERS = {"gpt2": gpt2_tokenizer, "bert": bert_tokenizer, "qwen2": qwen2_tokenizer}

CASES = {
    "gpt2": (gpt2, 1, {
        "vocab_size": 273, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40,
        "prompts": (1, 5, 12), "new_tokens": 20,
    }),
    "gpt2_odd": (gpt2, 1, {
        "vocab_size": 131, "n_embd": 30, "n_layer": 3, "n_head": 5, "n_positions": 19,
        "n_inner": 41, "layer_norm_epsilon": 1e-3, "prompts": (3, 8), "new_tokens": 12,
    }),
    "gpt2_deep_relu": (gpt2, 2, {
        "vocab_size": 17, "n_embd": 12, "n_layer": 6, "n_head": 1, "n_positions": 33,
        "activation_function": "relu", "prompts": (2, 1), "new_tokens": 32,
    }),
    "gpt2_body": (gpt2, 4, {
        "vocab_size": 23, "n_embd": 8, "n_layer": 1, "n_head": 4, "n_positions": 9,
        "activation_function": "gelu", "prompts": (), "new_tokens": 0, "body": True,
    }),
    "gpt2_distilled": (gpt2, 10, {
        "vocab_size": 19, "n_embd": 12, "n_layer": 1, "n_head": 3, "n_positions": 24,
        "prompts": (1, 6), "new_tokens": 16,
    }),
    "distilbert": (distilbert, 13, {
        "kind": "DistilBertForMaskedLM", "vocab_size": 37, "dim": 12, "n_layers": 2, "n_heads": 2,
        "hidden_dim": 20, "max_position_embeddings": 9,
    }),
    "distilbert_odd": (distilbert, 14, {
        "kind": "DistilBertForMaskedLM", "vocab_size": 29, "dim": 15, "n_layers": 1, "n_heads": 5,
        "hidden_dim": 7, "max_position_embeddings": 11, "activation": "relu",
        "sinusoidal_pos_embds": True,
    }),
    "distilbert_body": (distilbert, 15, {
        "kind": "DistilBertModel", "vocab_size": 23, "dim": 8, "n_layers": 3, "n_heads": 1,
        "hidden_dim": 16, "max_position_embeddings": 7,
    }),
    "bert": (bert, 5, {
        "kind": "BertForPreTraining", "vocab_size": 61, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 12,
    }),
    "bert_odd": (bert, 6, {
        "kind": "BertForPreTraining", "vocab_size": 137, "hidden_size": 21, "num_hidden_layers": 3,
        "num_attention_heads": 3, "intermediate_size": 37, "max_position_embeddings": 17,
        "type_vocab_size": 3, "pad_token_id": 7, "layer_norm_eps": 1e-3, "hidden_act": "gelu_new",
    }),
    "bert_masked_lm": (bert, 7, {
        "kind": "BertForMaskedLM", "vocab_size": 43, "hidden_size": 12, "num_hidden_layers": 4,
        "num_attention_heads": 1, "intermediate_size": 20, "max_position_embeddings": 9,
    }),
    "bert_classification": (bert, 8, {
        "kind": "BertForSequenceClassification", "vocab_size": 29, "hidden_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 16,
        "max_position_embeddings": 10, "num_labels": 5, "hidden_act": "relu",
    }),
    "bert_body": (bert, 9, {
        "kind": "BertModel", "vocab_size": 31, "hidden_size": 10, "num_hidden_layers": 2,
        "num_attention_heads": 5, "intermediate_size": 15, "max_position_embeddings": 8,
    }),
    "vit": (vit, 10, {
        "image_size": 8, "patch_size": 2, "num_channels": 1, "num_labels": 10, "hidden_size": 16,
        "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    }),
    "vit_colour": (vit, 11, {
        "image_size": 15, "patch_size": 5, "num_channels": 3, "num_labels": 7, "hidden_size": 27,
        "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 31,
        "layer_norm_eps": 1e-3, "hidden_act": "gelu_new",
    }),
    "vit_one_patch": (vit, 12, {
        "image_size": 4, "patch_size": 4, "num_channels": 2, "num_labels": 2, "hidden_size": 6,
        "num_hidden_layers": 5, "num_attention_heads": 1, "intermediate_size": 9,
    }),
    **{name: (decoder, seed, options) for name, (seed, options) in decoders.CASES.items()},
    **{name: (marian, seed, options) for name, (seed, options) in translators.CASES.items()},
}  # fmt: skip


def make(name, folder):
    """Write one folder."""
    function, seed, options = CASES[name]
    with torch.no_grad():
        model, arrays = function(seed, **options)
    model.save_pretrained(folder / name, max_shard_size=decoders.SHARDS.get(name, "1GB"))
    if name in TOKENIZERS:
        tokenizer = TOKENIZERS[name]()
        assert len(tokenizer) <= model.config.vocab_size
        tokenizer.save_pretrained(folder / name)
        for n, text in enumerate(TEXTS):
            arrays[f"text.{n}"] = np.array(text)
            arrays[f"ids.{n}"] = np.array(tokenizer(text)["input_ids"], np.int64)
    (folder / name / "generation_config.json").unlink(missing_ok=True)
    np.savez_compressed(folder / name / "expected.npz", **arrays)


def read(folder):
    """A folder's configuration and arrays, the weights among them."""
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    fields.pop("transformers_version")
    arrays = {}
    for path in sorted(folder.glob("*.safetensors")):  # NumPy has no bfloat16; nothing is lost
        arrays.update({f"weight.{n}": a.float().numpy() for n, a in load_file(path).items()})
    with np.load(folder / "expected.npz") as file:
        arrays.update(file)
    return fields, arrays


def difference(made, stored):
    """What differs first between two folders, as a sentence; None if they agree."""
    (new_fields, new), (old_fields, old) = read(made), read(stored)
    # Another release of transformers may write more fields, or fewer.
    for name in set(new_fields) & set(old_fields):
        if new_fields[name] != old_fields[name]:
            return f"config.json: {name} is {old_fields[name]}; made again {new_fields[name]}"
    if sorted(new) != sorted(old):
        return f"holds other arrays: {sorted(set(new) ^ set(old))}"
    for name in new:
        if new[name].shape != old[name].shape or new[name].dtype != old[name].dtype:
            return f"{name} has another shape or type than made again"
        if not name.startswith("output."):
            if not np.array_equal(new[name], old[name]):
                return f"{name} is not the same as made again"
            continue
        off = np.abs(new[name] - old[name]).max() / np.abs(old[name]).max()
        # Not «> TOLERANCE»: NaN must fail.
        if not off <= TOLERANCE:
            return f"{name} is off by {off:.1e}, more than {TOLERANCE:.0e}"
    return None


def check(folder):
    """Make every folder again; returns the exit status, 1 at the first difference."""
    extra = sorted({path.name for path in folder.iterdir()} - set(CASES))
    if extra:
        print(f"{extra[0]}: no case of this script makes it")
        return 1
    with tempfile.TemporaryDirectory() as made:
        for name in CASES:
            if not (folder / name / "expected.npz").is_file():
                print(f"{name}: missing; run this script without --check")
                return 1
            make(name, Path(made))
            wrong = difference(Path(made) / name, folder / name)
            if wrong:
                print(f"{name}: {wrong}")
                return 1
    print(f"{len(CASES)} golden models agree with transformers {transformers.__version__}")
    return 0


def write(folder):
    for name in CASES:
        make(name, folder)
        size = sum(path.stat().st_size for path in (folder / name).iterdir())
        print(f"{name}: {size} bytes")
    return 0


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return command.run("models", FOLDER, check, write)


if __name__ == "__main__":
    sys.exit(main())
