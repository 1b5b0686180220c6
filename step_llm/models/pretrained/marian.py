"""MarianMT: ``modeling_marian.py`` of github.com/huggingface/transformers."""

from __future__ import annotations

from functools import partial

from step_llm.models.marian import Marian, MarianConfig
from step_llm.models.pretrained import fields as field
from step_llm.models.pretrained.family import (
    ACTIVATIONS,
    Family,
    Plan,
    Source,
    dense,
    inside,
    norm,
    pad_id_of,
)
from step_llm.models.pretrained.fields import Field
from step_llm.models.pretrained.sentence_pieces import SENTENCE_PIECES

__all__ = ["FAMILY"]

_ACTIVATIONS = {**ACTIVATIONS, "swish": "silu", "silu": "silu"}
# transformers' defaults are the ids of its first published Marian.
_TOKEN = Field((int,), lambda value: value >= 0, "a token id")


def _plan(fields, prefix, names, classes):
    _check_pairs(fields)
    tied = _tied(fields)
    source_size = fields["vocab_size"]
    target_size = fields["decoder_vocab_size"] or source_size
    for name in ("decoder_start_token_id", "eos_token_id"):
        if fields[name] >= target_size:
            raise ValueError(f"{name} is {fields[name]}; expected 0 … {target_size - 1}")
    config = MarianConfig(
        source_vocab_size=source_size,
        target_vocab_size=target_size,
        d_model=fields["d_model"],
        num_heads=fields["encoder_attention_heads"],
        num_encoder_layers=fields["encoder_layers"],
        num_decoder_layers=fields["decoder_layers"],
        d_ff=fields["encoder_ffn_dim"],
        dropout=fields["dropout"],
        max_length=fields["max_position_embeddings"],
        tied_embeddings=tied,
        activation=_ACTIVATIONS[fields["activation_function"]],
        is_scaled=bool(fields["scale_embedding"]),
    )
    make = partial(
        Marian,
        config,
        pad_id=pad_id_of(fields),
        bos_id=fields["decoder_start_token_id"],
        eos_id=fields["eos_token_id"],
    )
    return Plan(make, _sources(config, prefix))


def _check_pairs(fields):
    """Encoder and decoder may differ in depth alone.

    Raises:
        ValueError: sizes of the two that differ.
    """
    for name in ("attention_heads", "ffn_dim"):
        one, other = fields[f"encoder_{name}"], fields[f"decoder_{name}"]
        if one != other:
            raise ValueError(
                f"encoder_{name} is {one} and decoder_{name} {other}; expected the same: only this "
                "is supported"
            )


def _tied(fields):
    """Which matrices are one and the same, see ``TransformerConfig``.

    Raises:
        ValueError: a shared embedding with a head of its own, or of two sizes.
    """
    is_head_tied = fields["tie_word_embeddings"] is not False
    if fields["share_encoder_decoder_embeddings"] is False:
        return "output" if is_head_tied else "none"
    if not is_head_tied:
        raise ValueError(
            "tie_word_embeddings is False, but share_encoder_decoder_embeddings is not; expected "
            "both, or True for the first: only this is supported"
        )
    if fields["decoder_vocab_size"] not in (None, fields["vocab_size"]):
        raise ValueError(
            f"decoder_vocab_size is {fields['decoder_vocab_size']} and vocab_size "
            f"{fields['vocab_size']}; expected the same, since the embeddings are shared"
        )
    return "all"


def _sources(config, prefix):
    width, target_size = config.d_model, config.target_vocab_size
    sources = {"output_bias": Source("final_logits_bias", (1, target_size))}
    if config.tied_embeddings == "all":
        sources["target_embedding.weight"] = Source(f"{prefix}shared.weight", (target_size, width))
    else:
        for ours, theirs, size in (
            ("source", "encoder", config.source_vocab_size),
            ("target", "decoder", target_size),
        ):
            table = Source(f"{prefix}{theirs}.embed_tokens.weight", (size, width))
            sources[f"{ours}_embedding.weight"] = table
    if config.tied_embeddings == "none":
        sources["output_weight"] = Source("lm_head.weight", (target_size, width))
    encoder_layer = {
        **_attention("self_attention", "self_attn", width),
        **norm("attention_residual.norm", "self_attn_layer_norm", width),
        **_feed_forward(width, config.d_ff),
    }
    decoder_layer = {
        **_attention("self_attention", "self_attn", width),
        **norm("self_residual.norm", "self_attn_layer_norm", width),
        **_attention("cross_attention", "encoder_attn", width),
        **norm("cross_residual.norm", "encoder_attn_layer_norm", width),
        **_feed_forward(width, config.d_ff),
    }
    for n in range(config.num_encoder_layers):
        sources.update(inside(f"encoder.layers.{n}", f"{prefix}encoder.layers.{n}", encoder_layer))
    for n in range(config.num_decoder_layers):
        sources.update(inside(f"decoder.layers.{n}", f"{prefix}decoder.layers.{n}", decoder_layer))
    return sources


def _attention(ours, theirs, width):
    return {
        **dense(f"{ours}.query_projection", f"{theirs}.q_proj", width, width),
        **dense(f"{ours}.key_projection", f"{theirs}.k_proj", width, width),
        **dense(f"{ours}.value_projection", f"{theirs}.v_proj", width, width),
        **dense(f"{ours}.output_projection", f"{theirs}.out_proj", width, width),
    }


def _feed_forward(width, inner):
    return {
        **dense("feed_forward.inner", "fc1", width, inner),
        **dense("feed_forward.outer", "fc2", inner, width),
        # Of the layer, not of the stack: post-norm has none there.
        **norm("feed_forward_residual.norm", "final_layer_norm", width),
    }


FAMILY = Family(
    classes=("MarianMTModel",),
    fields={
        "vocab_size": field.size(),
        "decoder_vocab_size": field.size(None),
        "d_model": field.size(),
        "encoder_layers": field.depth(),
        "decoder_layers": field.depth(),
        "encoder_attention_heads": field.size(),
        "decoder_attention_heads": field.size(),
        "encoder_ffn_dim": field.size(),
        "decoder_ffn_dim": field.size(),
        "max_position_embeddings": field.size(),
        "activation_function": field.one_of(_ACTIVATIONS),
        "dropout": field.share(0.1),
        "scale_embedding": field.flag(),
        "share_encoder_decoder_embeddings": field.flag(),
        "tie_word_embeddings": field.flag(),
        "pad_token_id": field.token_id(58100),
        "decoder_start_token_id": _TOKEN._replace(default=58100),
        "eos_token_id": _TOKEN._replace(default=0),
        # What the configurations of before 2021 say, as far as it would change what is computed.
        "normalize_before": field.only(False),
        "normalize_embedding": field.only(False),
        "add_final_layer_norm": field.only(False),
        "add_bias_logits": field.only(False),
        "static_position_embeddings": field.only(True),
        "is_encoder_decoder": field.only(True),
    },
    plan=_plan,
    prefix="model.",
    tokenizer=SENTENCE_PIECES,
    ignored=r"\.embed_positions\.weight$",  # sines and cosines
    copies={
        "model.encoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_tokens.weight": "model.shared.weight",
        "lm_head.weight": ("model.shared.weight", "model.decoder.embed_tokens.weight"),
    },
    old_names={},
)
