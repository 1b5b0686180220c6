"""Golden values: what PyTorch computes for the components that this library builds itself.

    python tests/golden/make_golden.py            write the .npz files beside this script
    python tests/golden/make_golden.py --check    compute them again and compare with the files

Made with torch==2.13.0 on the CPU, in float32. It needs torch and NumPy alone, never MindSpore;
`tests/test_golden.py` compares the library with the files.

Every file holds arrays under these names:

    weight.<name>           a weight of the PyTorch module, under PyTorch's name
    input.<name>            a float input
    mask.<name>             Boolean, True = may attend, in a shape that broadcasts to (B, H, T, S)
    output.<name>           an output
    cotangent               fixed random factors in the shape of the first output
    gradient.input.<name>   the gradient of sum(first output × cotangent), by input and by weight
    gradient.weight.<name>
    size.<name>             a whole number the other arrays do not show
"""

from __future__ import annotations

import sys
from pathlib import Path

import command
import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).resolve().parent

# No two axes alike, so that a swap of two cannot pass unseen; Dk = 8 makes √Dk irrational.
BATCH, HEADS, TARGETS, SOURCES = 3, 2, 5, 7
D_MODEL, D_FF, LAYERS = 16, 24, 2
TARGET_LENGTHS, SOURCE_LENGTHS = (5, 3, 4), (4, 7, 1)
VOCABULARY, PAD = 13, 0

# Another processor sums in another order: results may move by a few units in the last place.
# Weights, inputs and masks do not depend on it and must be equal bit for bit.
TOLERANCE = 3e-6
EXACT = ("weight.", "input.", "mask.", "cotangent", "size.")


def padding(lengths, width):
    """(B, 1, 1, width), True at real tokens."""
    return (np.arange(width) < np.array(lengths)[:, None])[:, None, None, :]


def causal(length):
    """(1, 1, length, length), True on and below the diagonal."""
    return np.tril(np.ones((length, length), bool))[None, None]


def forbidden(mask):
    """Our mask as PyTorch wants it: without the axes it does not have, and True = masked out."""
    mask = mask[:, 0, 0] if mask.shape[-2] == 1 else mask[0, 0]
    return torch.from_numpy(~mask)


def fill(module, rng):
    """Random weights. PyTorch's own initial biases are 0 and its LayerNorms 1: they hide errors."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            values = rng.normal(0.0, 0.25, tuple(weight.shape))
            if "norm" in name and name.endswith("weight"):
                values = 1.0 + values
            weight.copy_(torch.from_numpy(values.astype(np.float32)))
    return module


def record(module, inputs, masks, run, rng, dtype=torch.float32):
    """One file's arrays: the weights, what went in, what came out, and the gradients."""
    module = module.to(dtype)
    tensors = {
        name: torch.from_numpy(array).to(dtype).requires_grad_() for name, array in inputs.items()
    }
    outputs = run(module, tensors, {name: forbidden(mask) for name, mask in masks.items()})
    first = next(iter(outputs.values()))
    cotangent = rng.normal(size=tuple(first.shape)).astype(np.float32)
    weights = dict(module.named_parameters())
    gradients = torch.autograd.grad(
        (first * torch.from_numpy(cotangent).to(dtype)).sum(),
        [*tensors.values(), *weights.values()],
    )
    arrays = {f"weight.{name}": weight for name, weight in weights.items()}
    arrays.update({f"input.{name}": array for name, array in inputs.items()})
    arrays.update({f"mask.{name}": mask for name, mask in masks.items()})
    arrays.update({f"output.{name}": output for name, output in outputs.items()})
    arrays["cotangent"] = cotangent
    names = [f"input.{name}" for name in tensors] + [f"weight.{name}" for name in weights]
    arrays.update({f"gradient.{name}": gradient for name, gradient in zip(names, gradients)})
    arrays["size.num_heads"] = np.array(HEADS)
    return {
        name: array.detach().numpy() if torch.is_tensor(array) else array
        for name, array in arrays.items()
    }


def normal(rng, length):
    return rng.normal(size=(BATCH, length, D_MODEL)).astype(np.float32)


def attention(seed, *, cross=False, is_causal=False, padded=False, dtype=torch.float32):
    rng = np.random.default_rng(seed)
    module = fill(nn.MultiheadAttention(D_MODEL, HEADS, batch_first=True), rng)
    if cross:
        inputs = {
            "query": normal(rng, TARGETS),
            "key": normal(rng, SOURCES),
            "value": normal(rng, SOURCES),
        }
    else:
        inputs = {"x": normal(rng, SOURCES)}
    masks = {}
    if padded:
        masks["padding"] = padding(SOURCE_LENGTHS, SOURCES)
    if is_causal:
        masks["causal"] = causal(SOURCES)

    def run(module, tensors, masks):
        query, key, value = tensors.values() if cross else [tensors["x"]] * 3
        output, weights = module(
            query, key, value, masks.get("padding"), True, masks.get("causal"), False
        )
        return {"output": output, "weights": weights}

    return record(module, inputs, masks, run, rng, dtype)


def encoder_layer(norm):
    return nn.TransformerEncoderLayer(
        D_MODEL, HEADS, D_FF, dropout=0.0, batch_first=True, norm_first=norm == "pre"
    )


def decoder_layer(norm):
    return nn.TransformerDecoderLayer(
        D_MODEL, HEADS, D_FF, dropout=0.0, batch_first=True, norm_first=norm == "pre"
    )


def encoder(seed, *, norm, dtype=torch.float32):
    rng = np.random.default_rng(seed)

    def run(module, tensors, masks):
        return {"output": module(tensors["x"], src_key_padding_mask=masks["padding"])}

    return record(
        fill(encoder_layer(norm), rng),
        {"x": normal(rng, SOURCES)},
        {"padding": padding(SOURCE_LENGTHS, SOURCES)},
        run,
        rng,
        dtype,
    )


def target_masks():
    return {
        "causal": causal(TARGETS),
        "target_padding": padding(TARGET_LENGTHS, TARGETS),
        "source_padding": padding(SOURCE_LENGTHS, SOURCES),
    }


def decoder(seed, *, norm, dtype=torch.float32):
    rng = np.random.default_rng(seed)

    def run(module, tensors, masks):
        output = module(
            tensors["x"],
            tensors["memory"],
            tgt_mask=masks["causal"],
            tgt_key_padding_mask=masks["target_padding"],
            memory_key_padding_mask=masks["source_padding"],
        )
        return {"output": output}

    return record(
        fill(decoder_layer(norm), rng),
        {"x": normal(rng, TARGETS), "memory": normal(rng, SOURCES)},
        target_masks(),
        run,
        rng,
        dtype,
    )


def transformer(seed, *, norm, dtype=torch.float32):
    rng = np.random.default_rng(seed)
    # Left to itself nn.Transformer ends both stacks in a LayerNorm; the paper's post-norm has none.
    ends = [nn.LayerNorm(D_MODEL) if norm == "pre" else None for _ in range(2)]
    module = nn.Transformer(
        D_MODEL,
        HEADS,
        custom_encoder=nn.TransformerEncoder(
            encoder_layer(norm), LAYERS, norm=ends[0], enable_nested_tensor=False
        ),
        custom_decoder=nn.TransformerDecoder(decoder_layer(norm), LAYERS, norm=ends[1]),
        batch_first=True,
    )

    def run(module, tensors, masks):
        output = module(
            tensors["source"],
            tensors["target"],
            tgt_mask=masks["causal"],
            src_key_padding_mask=masks["source_padding"],
            tgt_key_padding_mask=masks["target_padding"],
            memory_key_padding_mask=masks["source_padding"],
        )
        return {"output": output}

    return record(
        fill(module, rng),
        {"source": normal(rng, SOURCES), "target": normal(rng, TARGETS)},
        target_masks(),
        run,
        rng,
        dtype,
    )


def loss(seed, *, smoothing, dtype=torch.float32):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 3.0, (BATCH, TARGETS, VOCABULARY)).astype(np.float32)
    labels = rng.integers(1, VOCABULARY, (BATCH, TARGETS))
    labels[~padding(TARGET_LENGTHS, TARGETS)[:, 0, 0]] = PAD
    x = torch.from_numpy(logits).to(dtype).requires_grad_()
    rows, targets = x.reshape(-1, VOCABULARY), torch.from_numpy(labels).reshape(-1)
    options = {"ignore_index": PAD, "label_smoothing": smoothing}
    total = nn.functional.cross_entropy(rows, targets, reduction="sum", **options)
    mean = nn.functional.cross_entropy(rows, targets, reduction="mean", **options)
    (gradient,) = torch.autograd.grad(total, [x])
    return {
        "input.logits": logits,
        "input.labels": labels,
        "input.label_smoothing": np.array(smoothing),
        "output.sum": total.detach().numpy(),
        "output.mean": mean.detach().numpy(),
        "gradient.input.logits": gradient.numpy(),
        "size.pad_id": np.array(PAD),
    }


CASES = {
    "attention_self_padding": (attention, 1, {"padded": True}),
    "attention_cross": (attention, 2, {"cross": True}),
    "attention_cross_padding": (attention, 3, {"cross": True, "padded": True}),
    "attention_causal": (attention, 4, {"is_causal": True}),
    "attention_causal_padding": (attention, 5, {"is_causal": True, "padded": True}),
    "encoder_layer_post": (encoder, 6, {"norm": "post"}),
    "encoder_layer_pre": (encoder, 7, {"norm": "pre"}),
    "decoder_layer_post": (decoder, 8, {"norm": "post"}),
    "decoder_layer_pre": (decoder, 9, {"norm": "pre"}),
    "transformer_post": (transformer, 10, {"norm": "post"}),
    "transformer_pre": (transformer, 11, {"norm": "pre"}),
    "loss_plain": (loss, 12, {"smoothing": 0.0}),
    "loss_smoothed": (loss, 13, {"smoothing": 0.1}),
}


def make(name, dtype=torch.float32):
    function, seed, options = CASES[name]
    return function(seed, dtype=dtype, **options)


def distance(one, other):
    """The largest difference, measured against the largest value: relative, tensor by tensor."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(np.abs(one - other).max() / np.abs(other).max())


def difference(made, stored):
    """What differs first between two files' arrays, as a sentence; None if they agree."""
    if sorted(made) != sorted(stored):
        return f"holds other arrays: {sorted(set(made) ^ set(stored))}"
    for name, new in made.items():
        old = stored[name]
        if new.shape != old.shape or new.dtype != old.dtype:
            return f"{name} is {old.dtype} {old.shape}; made again {new.dtype} {new.shape}"
        if name.startswith(EXACT):
            if not np.array_equal(new, old):
                return f"{name} is not the same as made again"
        # Not «> TOLERANCE»: NaN must fail.
        elif not distance(new, old) <= TOLERANCE:
            return f"{name} is off by {distance(new, old):.1e}, more than {TOLERANCE:.0e}"
    return None


def check(folder):
    """Compute every file again; returns the exit status, 1 at the first difference."""
    extra = sorted({path.stem for path in folder.glob("*.npz")} - set(CASES))
    if extra:
        print(f"{extra[0]}.npz: no case of this script makes it")
        return 1
    for name in CASES:
        path = folder / f"{name}.npz"
        if not path.exists():
            print(f"{path.name}: missing; run this script without --check")
            return 1
        with np.load(path) as file:
            wrong = difference(make(name), dict(file))
        if wrong:
            print(f"{path.name}: {wrong}")
            return 1
    print(f"{len(CASES)} golden files agree with torch {torch.__version__}")
    return 0


def write(folder):
    for name in CASES:
        arrays, precise = make(name), make(name, torch.float64)
        path = folder / f"{name}.npz"
        np.savez_compressed(path, **arrays)
        # How far float32 itself is from the truth: no tolerance can be tighter than this.
        results = [name for name in arrays if not name.startswith(EXACT)]
        rounding = max(distance(arrays[result], precise[result]) for result in results)
        print(f"{path.name}: {path.stat().st_size} bytes, rounding of float32 {rounding:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(command.run("files", FOLDER, check, write))
