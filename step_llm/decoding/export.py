"""A trained translator as a folder of CTranslate2, an engine that serves Transformers.

The engine knows the paper's model under names of its own: its attention layers hold their
LayerNorm, and queries, keys and values are one matrix. What it computes is the same.

Letters: D model width, S source length, V vocabulary.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from step_llm.data.vocabulary import BOS_ID, EOS_ID, UNK_ID, TokenizerPair
from step_llm.decoding.exported import SETTINGS, engine
from step_llm.models.transformer import Transformer
from step_llm.models.weights import check_finite, weights_of, write_json
from step_llm.nn.positions import sinusoidal_encoding
from step_llm.runtime.files import new_folder

__all__ = ["export_ctranslate2", "refuse_if_there"]

# Sinusoidal positions have no end, but the engine reads them from a table. A translation has at
# most 2 S + 10 tokens, so this is enough for sources of about 500.
_POSITIONS = 1024
_ACTIVATIONS = {"relu": "RELU", "gelu": "GELU", "gelu_tanh": "GELUTanh", "silu": "SWISH"}
_QUERY_KEY_VALUE = ("query", "key", "value")


def export_ctranslate2(
    model: Transformer, tokenizers: TokenizerPair, folder: str | Path, is_int8: bool = False
) -> Path:
    """Write a model and its tokenizers as a folder that ``ExportedTranslator`` loads.

    Args:
        model: what was trained.
        tokenizers: its tokenizers.
        folder: where; nothing may be there. It appears under its name only when it is complete.
        is_int8: whether matrices and embeddings are stored as whole numbers of 8 bits, each row
            with a factor of its own: a quarter of the bytes.

    Returns:
        the folder.

    Raises:
        ImportError: CTranslate2 is not installed.
        ValueError: a model that is no ``Transformer``, weights that are not finite, or something
            that is there already.
        OSError: the folder cannot be written. Then nothing is left there.
    """
    engine()
    if type(model) is not Transformer:
        raise ValueError(
            f"a {type(model).__name__} cannot be exported to CTranslate2; expected a Transformer "
            "that translates"
        )
    weights = weights_of(model)
    check_finite(f"{folder} is not written", weights)
    spec = _specification(model.config, weights)
    spec.register_source_vocabulary(tokenizers.source.pieces())
    spec.register_target_vocabulary(tokenizers.target.pieces())
    pieces = tokenizers.target.pieces()
    spec.config.unk_token, spec.config.eos_token = pieces[UNK_ID], pieces[EOS_ID]
    spec.config.bos_token = spec.config.decoder_start_token = pieces[BOS_ID]
    spec.config.add_source_eos = True
    spec.config.layer_norm_epsilon = model.config.norm_epsilon
    spec.validate()
    spec.optimize(quantization="int8" if is_int8 else None)
    settings = {
        "longest_source": _longest_source(model.config),
        "most_tokens": model.config.position_limit,
        "weights": "int8" if is_int8 else "float32",
    }
    refuse_if_there(folder)
    with new_folder(Path(folder)) as partial:
        spec.save(str(partial))
        tokenizers.save(partial)
        write_json(partial / SETTINGS, settings)
    return Path(folder)


def refuse_if_there(folder: str | Path) -> None:
    """Raise a ValueError where something has the name already."""
    if os.path.lexists(folder):
        raise ValueError(f"{folder} is there already; remove it, or export under another name")


def _longest_source(config):
    """The most tokens of a source, its end token included, or None where there is no limit."""
    if config.positions == "sinusoidal":
        return (_POSITIONS - 10) // 2
    return config.position_limit


def _specification(config, weights):
    """The engine's description of the model, with its weights."""
    from ctranslate2 import specs

    options = {
        "pre_norm": config.norm == "pre",
        "activation": getattr(specs.Activation, _ACTIVATIONS[config.activation]),
    }
    if config.positions == "rotary":  # coordinates (i, i + Dk/2) are a pair, not neighbours
        options.update(rotary_dim=config.d_model // config.num_heads, rotary_interleave=False)
    encoder = specs.TransformerEncoderSpec(config.num_encoder_layers, config.num_heads, **options)
    decoder = specs.TransformerDecoderSpec(config.num_decoder_layers, config.num_heads, **options)
    target_table = weights["target_embedding.weight"]  # (V, D)
    encoder.embeddings[0].weight = weights.get("source_embedding.weight", target_table)
    decoder.embeddings.weight = target_table
    decoder.projection.weight = weights.get("output_weight", target_table)
    for name, side, stack in (("encoder", "source", encoder), ("decoder", "target", decoder)):
        stack.scale_embeddings = config.is_scaled
        if config.positions == "sinusoidal":
            table = sinusoidal_encoding(_POSITIONS, config.d_model).asnumpy()
            stack.position_encodings.encodings = table
        elif config.positions == "learned":
            stack.position_encodings.encodings = weights[f"{side}_positions.weight"]
        if config.norm == "pre":
            _fill_norm(stack.layer_norm, weights, f"{name}.final_norm")
        for place, layer in enumerate(stack.layer):
            _fill_layer(layer, weights, f"{name}.layers.{place}.", has_memory=name == "decoder")
    return specs.TransformerSpec(encoder, decoder)


def _fill_layer(layer, weights, path, has_memory):
    """One layer of the engine's encoder or decoder, from the weights under a path."""
    own = layer.self_attention
    attention = f"{path}self_attention."
    _fill_linear(own.linear[0], weights, *(f"{attention}{n}_projection" for n in _QUERY_KEY_VALUE))
    _fill_linear(own.linear[1], weights, f"{attention}output_projection")
    _fill_norm(
        own.layer_norm, weights, f"{path}{'self' if has_memory else 'attention'}_residual.norm"
    )
    if has_memory:
        cross, attention = layer.attention, f"{path}cross_attention."
        query, *key_value = (f"{attention}{name}_projection" for name in _QUERY_KEY_VALUE)
        _fill_linear(cross.linear[0], weights, query)
        _fill_linear(cross.linear[1], weights, *key_value)
        _fill_linear(cross.linear[2], weights, f"{attention}output_projection")
        _fill_norm(cross.layer_norm, weights, f"{path}cross_residual.norm")
    _fill_linear(layer.ffn.linear_0, weights, f"{path}feed_forward.inner")
    _fill_linear(layer.ffn.linear_1, weights, f"{path}feed_forward.outer")
    _fill_norm(layer.ffn.layer_norm, weights, f"{path}feed_forward_residual.norm")


def _fill_linear(linear, weights, *paths):
    """One matrix for several projections, their outputs one after another."""
    linear.weight = np.concatenate([weights[f"{path}.weight"] for path in paths])
    linear.bias = np.concatenate([weights[f"{path}.bias"] for path in paths])


def _fill_norm(norm, weights, path):
    norm.gamma, norm.beta = weights[f"{path}.gamma"], weights[f"{path}.beta"]
