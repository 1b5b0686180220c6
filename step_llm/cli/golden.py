"""The golden files: outputs and gradients that PyTorch computed from the same weights and inputs.

``tests/golden/make_golden.py`` writes them; they are compared by the tests, and by
``python -m step_llm check`` on a learner's device.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from step_llm.models.config import TransformerConfig
from step_llm.nn.attention import MultiHeadAttention
from step_llm.nn.decoder import Decoder, DecoderLayer
from step_llm.nn.encoder import Encoder, EncoderLayer
from step_llm.nn.masks import combine_masks
from step_llm.runtime.files import shipped
from step_llm.runtime.graph_mode import compiled
from step_llm.training.loss import label_smoothed_cross_entropy

__all__ = ["CASES", "GOLDEN", "MODES", "TOLERANCE", "measure", "read"]

GOLDEN = shipped("tests/golden")
TOLERANCE = 1e-5  # of the largest value of each tensor


# Our name of a weight: PyTorch's name, and which third of it (None: the whole).
ATTENTION = {
    "query_projection.weight": ("in_proj_weight", 0),
    "key_projection.weight": ("in_proj_weight", 1),
    "value_projection.weight": ("in_proj_weight", 2),
    "query_projection.bias": ("in_proj_bias", 0),
    "key_projection.bias": ("in_proj_bias", 1),
    "value_projection.bias": ("in_proj_bias", 2),
    "output_projection.weight": ("out_proj.weight", None),
    "output_projection.bias": ("out_proj.bias", None),
}
FEED_FORWARD = {
    "inner.weight": ("linear1.weight", None),
    "inner.bias": ("linear1.bias", None),
    "outer.weight": ("linear2.weight", None),
    "outer.bias": ("linear2.bias", None),
}
NORM = {"gamma": ("weight", None), "beta": ("bias", None)}


def inside(ours, theirs, names):
    """The same names one level up: inside ``ours`` here, inside ``theirs`` in PyTorch."""
    return {
        f"{ours}.{name}": (f"{theirs}.{their_name}" if theirs else their_name, third)
        for name, (their_name, third) in names.items()
    }


ENCODER_LAYER = {
    **inside("self_attention", "self_attn", ATTENTION),
    **inside("feed_forward", "", FEED_FORWARD),
    **inside("attention_residual.norm", "norm1", NORM),
    **inside("feed_forward_residual.norm", "norm2", NORM),
}
DECODER_LAYER = {
    **inside("self_attention", "self_attn", ATTENTION),
    **inside("cross_attention", "multihead_attn", ATTENTION),
    **inside("feed_forward", "", FEED_FORWARD),
    **inside("self_residual.norm", "norm1", NORM),
    **inside("cross_residual.norm", "norm2", NORM),
    **inside("feed_forward_residual.norm", "norm3", NORM),
}


def stack_names(num_layers, norm):
    names = {}
    for i in range(num_layers):
        names.update(inside(f"encoder.layers.{i}", f"encoder.layers.{i}", ENCODER_LAYER))
        names.update(inside(f"decoder.layers.{i}", f"decoder.layers.{i}", DECODER_LAYER))
    if norm == "pre":
        names.update(inside("encoder.final_norm", "encoder.norm", NORM))
        names.update(inside("decoder.final_norm", "decoder.norm", NORM))
    return names


# A compiled gradient wants a fixed number of arguments. So every network here takes three float
# inputs and two masks, whichever of them it has a use for (the others are None), and returns a
# tuple.


class SelfAttention(MultiHeadAttention):
    def construct(self, x, two, three, mask, other_mask):
        return super().construct(x, x, x, mask, None, True)


class CrossAttention(MultiHeadAttention):
    def construct(self, query, key, value, mask, other_mask):
        return super().construct(query, key, value, mask, None, True)


class GoldenEncoderLayer(EncoderLayer):
    def construct(self, x, two, three, mask, other_mask):
        return super().construct(x, mask)[:1]


class GoldenDecoderLayer(DecoderLayer):
    def construct(self, x, memory, three, self_mask, memory_mask):
        return super().construct(x, memory, self_mask, memory_mask)[:1]


class Stacks(nn.Cell):
    """What nn.Transformer is: encoder and decoder, without embeddings and output projection."""

    def __init__(self, config):
        super().__init__()
        sizes = config.layer_sizes
        self.encoder = Encoder([EncoderLayer(**sizes) for _ in range(config.num_encoder_layers)])
        self.decoder = Decoder([DecoderLayer(**sizes) for _ in range(config.num_decoder_layers)])

    def construct(self, source, target, _, self_mask, source_mask):
        memory, _, _ = self.encoder(source, source_mask)
        output, _, _, _ = self.decoder(target, memory, self_mask, source_mask)
        return (output,)


class Loss(nn.Cell):
    def __init__(self, labels, label_smoothing, pad_id):
        super().__init__()
        self.labels = labels
        self.label_smoothing = label_smoothing
        self.pad_id = pad_id

    def construct(self, logits, two, three, mask, other_mask):
        total, count = label_smoothed_cross_entropy(
            logits, self.labels, self.label_smoothing, self.pad_id
        )
        return total, total / count


class Measured(nn.Cell):
    """A network's outputs, with the gradients of its float inputs and of its weights."""

    def __init__(self, network, inputs):
        super().__init__()
        self.network = network
        self.positions = tuple(range(1, 1 + inputs))
        weights = network.trainable_params()
        self.weights = ms.ParameterTuple(weights) if weights else None

    def total(self, cotangent, one, two, three, mask, other_mask):
        outputs = self.network(one, two, three, mask, other_mask)
        return (outputs[0] * cotangent).sum(), outputs

    def construct(self, cotangent, one, two, three, mask, other_mask):
        measure = ms.value_and_grad(self.total, self.positions, self.weights, has_aux=True)
        return measure(cotangent, one, two, three, mask, other_mask)


class CompiledMeasured(Measured):
    @compiled
    def construct(self, cotangent, one, two, three, mask, other_mask):
        measure = ms.value_and_grad(self.total, self.positions, self.weights, has_aux=True)
        return measure(cotangent, one, two, three, mask, other_mask)


def read(case):
    with np.load(GOLDEN / f"{case}.npz") as file:
        return dict(file)


def group(arrays, prefix):
    """The arrays under one prefix, in the order of the file, without the prefix."""
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def config_of(arrays, case, num_layers=1):
    inner = "encoder.layers.0.linear1.bias" if "transformer" in case else "linear1.bias"
    return TransformerConfig(
        source_vocab_size=1,
        target_vocab_size=1,
        d_model=arrays["cotangent"].shape[-1],
        num_heads=int(arrays["size.num_heads"]),
        num_encoder_layers=num_layers,
        num_decoder_layers=num_layers,
        d_ff=len(arrays[f"weight.{inner}"]),
        dropout=0.0,
        norm=case.split("_")[-1],
    )


def build(case, arrays):
    """Our network for a case, the names of its weights, and the masks it is called with."""
    masks = {name: Tensor(mask) for name, mask in group(arrays, "mask.").items()}
    if case.startswith("attention"):
        kind = CrossAttention if "cross" in case else SelfAttention
        cell = kind(arrays["cotangent"].shape[-1], int(arrays["size.num_heads"]))
        mask = combine_masks(masks.get("padding"), masks.get("causal"))
        return cell, ATTENTION, [] if mask is None else [mask]
    if case.startswith("encoder"):
        sizes = config_of(arrays, case).layer_sizes
        return GoldenEncoderLayer(**sizes), ENCODER_LAYER, [masks["padding"]]
    self_mask = combine_masks(masks["target_padding"], masks["causal"])
    both = [self_mask, masks["source_padding"]]
    if case.startswith("decoder"):
        sizes = config_of(arrays, case).layer_sizes
        return GoldenDecoderLayer(**sizes), DECODER_LAYER, both
    numbers = {int(name.split(".")[0]) for name in group(arrays, "weight.encoder.layers.")}
    num_layers = len(numbers)
    config = config_of(arrays, case, num_layers)
    return Stacks(config), stack_names(num_layers, config.norm), both


def load(cell, names, weights):
    """Put PyTorch's weights into our cell; every weight on both sides must be used."""
    ours = dict(cell.parameters_and_names())
    assert set(ours) == set(names)
    assert set(weights) == {their_name for their_name, _ in names.values()}
    for name, (their_name, third) in names.items():
        value = weights[their_name]
        if third is not None:
            value = np.split(value, 3)[third]
        assert ours[name].shape == value.shape, name
        ours[name].set_data(Tensor(value))


def packed(cell, names, gradients):
    """Our weights' gradients under PyTorch's names, thirds joined again."""
    positions = {id(weight): i for i, weight in enumerate(cell.trainable_params())}
    parts = {}
    for name, weight in cell.parameters_and_names():
        their_name, third = names[name]
        gradient = gradients[positions[id(weight)]].asnumpy()
        parts.setdefault(their_name, {})[third or 0] = gradient
    return {
        name: np.concatenate([thirds[i] for i in sorted(thirds)]) for name, thirds in parts.items()
    }


def distance(ours, theirs):
    """The largest difference, relative to the largest value of the tensor."""
    assert ours.shape == theirs.shape
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max()
    return float(difference / np.abs(theirs).max())


def filled(tensors, length):
    tensors = list(tensors)
    return tensors + [None] * (length - len(tensors))


def measure(case, kind):
    """The distance from PyTorch of every output and gradient of a case."""
    arrays = read(case)
    inputs = group(arrays, "input.")
    if case.startswith("loss"):
        labels = Tensor(inputs.pop("labels").astype(np.int32))
        cell = Loss(labels, float(inputs.pop("label_smoothing")), int(arrays["size.pad_id"]))
        names, masks, cotangent = {}, [], np.float32(1)
    else:
        cell, names, masks = build(case, arrays)
        load(cell, names, group(arrays, "weight."))
        cotangent = arrays["cotangent"]
    cell.set_train()  # the golden dropout is 0: training and use must agree
    (_, outputs), gradients = kind(cell, len(inputs))(
        Tensor(cotangent), *filled(map(Tensor, inputs.values()), 3), *filled(masks, 2)
    )
    of_inputs, of_weights = gradients if names else (gradients, ())
    if isinstance(of_inputs, Tensor):  # what MindSpore makes of a tuple of one
        of_inputs = (of_inputs,)
    made = {f"output.{name}": o for name, o in zip(group(arrays, "output."), outputs)}
    made.update({f"gradient.input.{name}": g for name, g in zip(inputs, of_inputs)})
    made = {name: tensor.asnumpy() for name, tensor in made.items()}
    if names:
        weights = packed(cell, names, of_weights)
        made.update({f"gradient.weight.{name}": array for name, array in weights.items()})
    expected = {name for name in arrays if name.startswith(("output.", "gradient."))}
    assert set(made) == expected
    return {name: distance(array, arrays[name]) for name, array in made.items()}


MODES = {"pynative": Measured, "compiled": CompiledMeasured}
CASES = (
    "attention_self_padding",
    "attention_cross",
    "attention_cross_padding",
    "attention_causal",
    "attention_causal_padding",
    "encoder_layer_post",
    "encoder_layer_pre",
    "decoder_layer_post",
    "decoder_layer_pre",
    "transformer_post",
    "transformer_pre",
    "loss_plain",
    "loss_smoothed",
)
