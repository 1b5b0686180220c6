"""Real weights: GPT-2, BERT and ViT from the folders that Hugging Face's transformers writes.

A folder holds ``config.json`` and ``model.safetensors``, and for GPT-2 and BERT the tokenizer's
files. Its tensors have other names there, and some another layout; the tables in this module say
which is which.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
from mindspore import Tensor, nn
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from step_llm.models.bert import (
    Bert,
    BertConfig,
    BertForClassification,
    BertForMaskedLM,
    BertForPreTraining,
)
from step_llm.models.gpt import GPT, GPTConfig
from step_llm.models.vit import ViT, ViTConfig
from step_llm.models.weights import CheckpointError, match_tensors, read_json, read_tensors

__all__ = ["from_pretrained", "tokenizer_from_pretrained"]

_WEIGHTS = "model.safetensors"
# What other programs write: pickles, which run whatever code their maker put in, and TensorFlow's.
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")

_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}


class _Source(NamedTuple):
    """Where one of our weights is found in the file.

    Args:
        name: of the tensor in the file.
        third: which third of it, along our first axis; None is the whole.
        is_transposed: the file holds (inputs, outputs), as GPT-2's "Conv1D" does.
        shape: in the file, where it has other axes than ours.
    """

    name: str
    third: int | None = None
    is_transposed: bool = False
    shape: tuple | None = None

    def expected(self, shape):
        """The shape in the file of a weight that has this shape here."""
        if self.shape is not None:
            return self.shape
        if self.third is not None:
            shape = (3 * shape[0], *shape[1:])
        return shape[::-1] if self.is_transposed else shape

    def value(self, tensor, shape):
        """Our weight, of this shape, out of the file's tensor."""
        if self.is_transposed:
            tensor = tensor.T
        if self.third is not None:
            tensor = np.split(tensor, 3)[self.third]
        return np.ascontiguousarray(tensor.reshape(shape), np.float32)


class _Architecture(NamedTuple):
    """How one model type is read.

    Args:
        classes: the classes of transformers whose folders are understood.
        build: from config.json's fields and the file's tensors to our model.
        sources: from our model and the prefix to each weight's ``_Source``.
        prefix: stands before the body's names, except in files of the body alone.
        settings: fields of config.json that must have these values, if they are there.
        ignored: a pattern of tensors that hold no weights.
        copies: tensors that may be there a second time: the copy's name, and the original's.
    """

    classes: tuple
    build: Callable
    sources: Callable
    prefix: str
    settings: dict
    ignored: str
    copies: dict


def from_pretrained(folder: str | Path) -> nn.Cell:
    """Read a GPT-2, BERT or ViT model from a folder in Hugging Face's layout.

    Args:
        folder: holds ``config.json`` and ``model.safetensors``.

    Returns:
        the model, with dropout off: a ``GPT`` for GPT2LMHeadModel and GPT2Model; for BertModel a
        ``Bert``, else with the heads that config.json names or that the file holds
        ``BertForPreTraining``, ``BertForMaskedLM`` or ``BertForClassification``; a ``ViT`` for
        ViTForImageClassification.

    Raises:
        CheckpointError: a file that is missing or damaged, weights as a pickle only (which would
            run whatever code it holds), another architecture, a setting that this library has not,
            or tensors that are missing, unexpected or of another shape, every one named.

    Source of the layouts: github.com/huggingface/transformers, ``modeling_gpt2.py``,
    ``modeling_bert.py``, ``modeling_vit.py``.
    """
    folder = Path(folder)
    fields = _read_fields(folder)
    architecture = _architecture_of(folder, fields)
    _check_weights(folder)
    path = folder / _WEIGHTS
    found = _tensors(path, architecture)
    try:
        model = architecture.build(fields, found)
    except ValueError as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from error
    prefix = architecture.prefix
    if not any(name.startswith(prefix) for name in found):
        prefix = ""
    weights = dict(model.parameters_and_names())
    sources = architecture.sources(model, prefix)
    wanted = {
        source.name: np.broadcast_to(np.float32(0), source.expected(tuple(weights[name].shape)))
        for name, source in sources.items()
    }
    if not set(wanted) & set(found):
        raise CheckpointError(
            f"{path} holds no tensor of a {fields['model_type']} model, but for example "
            f"{min(found, default='none at all')}; expected the weights that belong to config.json"
        )
    match_tensors(path, found, wanted, shown=None)
    for name, source in sources.items():
        parameter = weights[name]
        parameter.set_data(Tensor(source.value(found[source.name], tuple(parameter.shape))))
    model.set_train(False)
    return model


def tokenizer_from_pretrained(folder: str | Path) -> Engine:
    """Read the tokenizer of a GPT-2 or BERT folder.

    Args:
        folder: holds ``config.json``, and ``tokenizer.json`` or the older files: ``vocab.json`` and
            ``merges.txt`` of GPT-2, ``vocab.txt`` of BERT.

    Returns:
        a tokenizer of the ``tokenizers`` library: ``encode(text).ids``, ``decode(ids)``. For BERT
        ``encode(first, second)`` gives a pair with its segments in ``type_ids``; [CLS] and [SEP]
        are put in.

    Raises:
        CheckpointError: a file that is missing or damaged, a model without tokenizer, or one whose
            embeddings are fewer than the tokenizer's tokens.
    """
    folder = Path(folder)
    fields = _read_fields(folder)
    _architecture_of(folder, fields)
    kind = fields["model_type"]
    if kind not in _TOKENIZERS:
        raise CheckpointError(f"{folder} holds a {kind}, which reads no text and has no tokenizer")
    names, build = _TOKENIZERS[kind]
    if (folder / "tokenizer.json").is_file():
        names, build = ("tokenizer.json",), _engine_of_one_file
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder} holds no {' and no '.join(missing)}; expected tokenizer.json, or "
            f"{' and '.join(names)}"
        )
    try:
        engine = build(folder, *(str(folder / name) for name in names))
    except Exception as error:  # The library raises a bare Exception for a damaged file.
        raise CheckpointError(
            f"cannot read the tokenizer {', '.join(names)} in {folder}: {error}"
        ) from error
    if engine.get_vocab_size() > fields.get("vocab_size", 0):
        raise CheckpointError(
            f"{folder}: the tokenizer has {engine.get_vocab_size()} tokens, but config.json says "
            f"that the model has embeddings for {fields.get('vocab_size')}"
        )
    return engine


def _engine_of_one_file(_, path):
    return Engine.from_file(path)


def _gpt2_engine(_, vocabulary, merges):
    engine = Engine(models.BPE.from_file(vocabulary, merges))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    if engine.token_to_id("<|endoftext|>") is not None:
        engine.add_special_tokens(["<|endoftext|>"])
    return engine


def _bert_engine(folder, vocabulary):
    settings = folder / "tokenizer_config.json"
    settings = read_json(settings) if settings.is_file() else {}
    engine = Engine(models.WordPiece.from_file(vocabulary, unk_token="[UNK]"))
    special = {name: engine.token_to_id(name) for name in ("[CLS]", "[SEP]", "[MASK]", "[PAD]")}
    for name, number in special.items():
        if number is None:
            raise ValueError(f"the vocabulary has no {name}")
    engine.normalizer = normalizers.BertNormalizer(
        lowercase=settings.get("do_lower_case", True), strip_accents=settings.get("strip_accents")
    )
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece()
    engine.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, special[name]) for name in ("[CLS]", "[SEP]")],
    )
    engine.add_special_tokens([*special, "[UNK]"])
    return engine


# model type: the older files, and what makes a tokenizer of them
_TOKENIZERS = {
    "gpt2": (("vocab.json", "merges.txt"), _gpt2_engine),
    "bert": (("vocab.txt",), _bert_engine),
}


def _read_fields(folder):
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {folder}")
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no config.json; expected a folder of transformers")
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error


def _architecture_of(folder, fields):
    model_type = fields.get("model_type")
    if model_type not in _ARCHITECTURES:
        raise CheckpointError(
            f"{folder / 'config.json'} describes a model of type {model_type!r}; expected one of "
            f"{', '.join(_ARCHITECTURES)}"
        )
    architecture = _ARCHITECTURES[model_type]
    for name in fields.get("architectures") or ():
        if name not in architecture.classes:
            raise CheckpointError(
                f"{folder / 'config.json'} describes a {name}; expected one of "
                f"{', '.join(architecture.classes)}"
            )
    for name, value in architecture.settings.items():
        if fields.get(name, value) != value:
            raise CheckpointError(
                f"{folder / 'config.json'}: {name} is {fields[name]!r}; only {value!r} is supported"
            )
    return architecture


def _check_weights(folder):
    if (folder / _WEIGHTS).is_file():
        return
    if (folder / f"{_WEIGHTS}.index.json").is_file():
        raise CheckpointError(
            f"the weights in {folder} are split over several files; expected one {_WEIGHTS}"
        )
    others = sorted(path.name for pattern in _OTHER_WEIGHTS for path in folder.glob(pattern))
    if others:
        raise CheckpointError(
            f"{folder} holds {others[0]}, but no {_WEIGHTS}. Pickles are not read, because they "
            f"run whatever code is in them: take the {_WEIGHTS} of the same model, or let "
            "transformers write one with save_pretrained"
        )
    raise CheckpointError(f"{folder} holds no {_WEIGHTS}")


def _tensors(path, architecture):
    """The file's tensors under their present names, without buffers and copies."""
    found = {}
    for name, tensor in read_tensors(path).items():
        # Files from before 2019 name the weights of a LayerNorm as the paper does.
        name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
        name = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
        if not re.search(architecture.ignored, name):
            found[name] = tensor
    for copy, original in architecture.copies.items():
        original = next((name for name in found if name.endswith(original)), None)
        if copy in found and original is not None:
            if not np.array_equal(found[copy], found[original]):
                raise CheckpointError(
                    f"{path}: {copy} differs from {original}; only models that tie them are "
                    "supported"
                )
            del found[copy]
    for name, tensor in found.items():
        if not np.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} has values that are not finite")
    return found


def _field(fields, name):
    if name not in fields:
        raise ValueError(f"{name} is missing")
    return fields[name]


def _activation(fields, name):
    activation = fields.get(name)
    if activation not in _ACTIVATIONS:
        raise ValueError(f"{name} is {activation!r}; expected one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[activation]


def _inside(ours, theirs, sources):
    """The same sources one level up: inside ``ours`` here, inside ``theirs`` in the file."""
    return {
        f"{ours}.{name}": source._replace(name=f"{theirs}.{source.name}")
        for name, source in sources.items()
    }


def _dense(ours, theirs, third=None, is_transposed=False):
    """Weight and bias of a dense layer."""
    return {
        f"{ours}.{kind}": _Source(f"{theirs}.{kind}", third, is_transposed)
        for kind in ("weight", "bias")
    }


def _norm(ours, theirs):
    """Scale and shift of a LayerNorm."""
    return {
        f"{ours}.gamma": _Source(f"{theirs}.weight"),
        f"{ours}.beta": _Source(f"{theirs}.bias"),
    }


# GPT-2


def _build_gpt2(fields, _):
    width = _field(fields, "n_embd")
    return GPT(
        GPTConfig(
            vocab_size=_field(fields, "vocab_size"),
            d_model=width,
            num_heads=_field(fields, "n_head"),
            num_layers=_field(fields, "n_layer"),
            d_ff=fields.get("n_inner") or 4 * width,
            dropout=fields.get("resid_pdrop", 0.1),
            max_length=_field(fields, "n_positions"),
            activation=_activation(fields, "activation_function"),
            norm_epsilon=fields.get("layer_norm_epsilon", 1e-5),
        )
    )


_GPT2_LAYER = {
    **_norm("attention_residual.norm", "ln_1"),
    **_dense("self_attention.query_projection", "attn.c_attn", 0, True),
    **_dense("self_attention.key_projection", "attn.c_attn", 1, True),
    **_dense("self_attention.value_projection", "attn.c_attn", 2, True),
    **_dense("self_attention.output_projection", "attn.c_proj", None, True),
    **_norm("feed_forward_residual.norm", "ln_2"),
    **_dense("feed_forward.inner", "mlp.c_fc", None, True),
    **_dense("feed_forward.outer", "mlp.c_proj", None, True),
}


def _gpt2_sources(model, prefix):
    sources = {
        "embedding.weight": _Source(f"{prefix}wte.weight"),
        "positions.weight": _Source(f"{prefix}wpe.weight"),
        **_norm("layers.final_norm", f"{prefix}ln_f"),
    }
    for layer in range(model.config.num_layers):
        sources.update(_inside(f"layers.layers.{layer}", f"{prefix}h.{layer}", _GPT2_LAYER))
    return sources


# BERT


def _build_bert(fields, found):
    config = BertConfig(
        vocab_size=_field(fields, "vocab_size"),
        d_model=_field(fields, "hidden_size"),
        num_heads=_field(fields, "num_attention_heads"),
        num_layers=_field(fields, "num_hidden_layers"),
        d_ff=_field(fields, "intermediate_size"),
        dropout=fields.get("hidden_dropout_prob", 0.1),
        max_length=_field(fields, "max_position_embeddings"),
        num_segments=_field(fields, "type_vocab_size"),
        pad_id=fields.get("pad_token_id") or 0,
        activation=_activation(fields, "hidden_act"),
        norm_epsilon=fields.get("layer_norm_eps", 1e-12),
    )
    # Published files may hold more heads than config.json names: it says which head was used last.
    kinds = set(fields.get("architectures") or ())
    heads = {name.rsplit(".", 1)[0] for name in found}
    has_masked_lm = "cls.predictions" in heads or "BertForMaskedLM" in kinds
    if "cls.seq_relationship" in heads or "BertForPreTraining" in kinds:
        return BertForPreTraining(config)
    if has_masked_lm:
        return BertForMaskedLM(config)
    if "classifier" in heads or "BertForSequenceClassification" in kinds:
        return BertForClassification(config, _num_classes(fields))
    return Bert(config)


def _num_classes(fields):
    names = fields.get("id2label")
    return len(names) if names is not None else fields.get("num_labels", 2)


_BERT_LAYER = {
    **_dense("self_attention.query_projection", "attention.self.query"),
    **_dense("self_attention.key_projection", "attention.self.key"),
    **_dense("self_attention.value_projection", "attention.self.value"),
    **_dense("self_attention.output_projection", "attention.output.dense"),
    **_norm("attention_residual.norm", "attention.output.LayerNorm"),
    **_dense("feed_forward.inner", "intermediate.dense"),
    **_dense("feed_forward.outer", "output.dense"),
    **_norm("feed_forward_residual.norm", "output.LayerNorm"),
}
_BERT_HEADS = {
    "masked_lm_head.bias": _Source("cls.predictions.bias"),
    **_dense("masked_lm_head.transform", "cls.predictions.transform.dense"),
    **_norm("masked_lm_head.norm", "cls.predictions.transform.LayerNorm"),
    **_dense("next_sentence_head", "cls.seq_relationship"),
    **_dense("classifier", "classifier"),
}


def _bert_sources(model, prefix):
    embeddings = f"{prefix}embeddings"
    sources = {
        "embedding.weight": _Source(f"{embeddings}.word_embeddings.weight"),
        "positions.weight": _Source(f"{embeddings}.position_embeddings.weight"),
        "segments.weight": _Source(f"{embeddings}.token_type_embeddings.weight"),
        **_norm("embedding_norm", f"{embeddings}.LayerNorm"),
        **_dense("pooler", f"{prefix}pooler.dense"),
    }
    for layer in range(model.config.num_layers):
        theirs = f"{prefix}encoder.layer.{layer}"
        sources.update(_inside(f"encoder.layers.{layer}", theirs, _BERT_LAYER))
    if not isinstance(model, Bert):
        sources = {f"bert.{name}": source for name, source in sources.items()}
    sources.update(_BERT_HEADS)
    ours = dict(model.parameters_and_names())
    return {name: source for name, source in sources.items() if name in ours}


# ViT


def _build_vit(fields, _):
    return ViT(
        ViTConfig(
            image_size=_field(fields, "image_size"),
            patch_size=_field(fields, "patch_size"),
            num_classes=_num_classes(fields),
            channels=fields.get("num_channels", 3),
            d_model=_field(fields, "hidden_size"),
            num_heads=_field(fields, "num_attention_heads"),
            num_layers=_field(fields, "num_hidden_layers"),
            d_ff=_field(fields, "intermediate_size"),
            dropout=fields.get("hidden_dropout_prob", 0.0),
            activation=_activation(fields, "hidden_act"),
            norm_epsilon=fields.get("layer_norm_eps", 1e-12),
        )
    )


_VIT_LAYER = {
    **_norm("attention_residual.norm", "layernorm_before"),
    **_dense("self_attention.query_projection", "attention.attention.query"),
    **_dense("self_attention.key_projection", "attention.attention.key"),
    **_dense("self_attention.value_projection", "attention.attention.value"),
    **_dense("self_attention.output_projection", "attention.output.dense"),
    **_norm("feed_forward_residual.norm", "layernorm_after"),
    **_dense("feed_forward.inner", "intermediate.dense"),
    **_dense("feed_forward.outer", "output.dense"),
}


def _vit_sources(model, prefix):
    config = model.config
    kernel = (config.d_model, config.channels, config.patch_size, config.patch_size)
    positions = (1, config.num_patches + 1, config.d_model)
    patches = f"{prefix}embeddings.patch_embeddings.projection"
    sources = {
        "class_token": _Source(f"{prefix}embeddings.cls_token"),
        "positions.weight": _Source(f"{prefix}embeddings.position_embeddings", shape=positions),
        "patches.projection.weight": _Source(f"{patches}.weight", shape=kernel),
        "patches.projection.bias": _Source(f"{patches}.bias"),
        **_norm("encoder.final_norm", f"{prefix}layernorm"),
        **_dense("classifier", "classifier"),
    }
    for layer in range(config.num_layers):
        theirs = f"{prefix}encoder.layer.{layer}"
        sources.update(_inside(f"encoder.layers.{layer}", theirs, _VIT_LAYER))
    return sources


_ARCHITECTURES = {
    "gpt2": _Architecture(
        classes=("GPT2LMHeadModel", "GPT2Model"),
        build=_build_gpt2,
        sources=_gpt2_sources,
        prefix="transformer.",
        settings={
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
            "tie_word_embeddings": True,
        },
        ignored=r"\.attn\.(masked_)?bias$",  # the causal mask
        copies={"lm_head.weight": "wte.weight"},
    ),
    "bert": _Architecture(
        classes=(
            "BertForPreTraining", "BertForMaskedLM", "BertForSequenceClassification", "BertModel",
        ),
        build=_build_bert,
        sources=_bert_sources,
        prefix="bert.",
        settings={
            "position_embedding_type": "absolute",
            "is_decoder": False,
            "add_cross_attention": False,
            "tie_word_embeddings": True,
        },
        ignored=r"embeddings\.(position|token_type)_ids$",
        copies={
            "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    ),
    "vit": _Architecture(
        classes=("ViTForImageClassification",),
        build=_build_vit,
        sources=_vit_sources,
        prefix="vit.",
        settings={"qkv_bias": True},
        ignored=r"^$",
        copies={},
    ),
}  # fmt: skip
