"""GPT-2: ``modeling_gpt2.py`` of github.com/huggingface/transformers."""

from __future__ import annotations

from functools import partial

from step_llm.models.gpt import GPT, GPTConfig
from step_llm.models.pretrained import fields as field
from step_llm.models.pretrained.family import (
    ACTIVATIONS,
    Family,
    Plan,
    Source,
    inside,
    norm,
    pad_id_of,
)
from step_llm.models.pretrained.tokenizer_kinds import BYTE_LEVEL

__all__ = ["FAMILY"]


def _plan(fields, prefix, names, classes):
    config = GPTConfig(
        vocab_size=fields["vocab_size"],
        d_model=fields["n_embd"],
        num_heads=fields["n_head"],
        num_layers=fields["n_layer"],
        d_ff=fields["n_inner"] or 4 * fields["n_embd"],
        dropout=fields["resid_pdrop"],
        max_length=fields["n_positions"],
        activation=ACTIVATIONS[fields["activation_function"]],
        norm_epsilon=fields["layer_norm_epsilon"],
    )
    return Plan(partial(GPT, config, pad_id=pad_id_of(fields)), _sources(config, prefix))


def _sources(config, prefix):
    width = config.d_model
    sources = {
        "embedding.weight": Source(f"{prefix}wte.weight", (config.vocab_size, width)),
        "positions.weight": Source(f"{prefix}wpe.weight", (config.max_length, width)),
        **norm("layers.final_norm", f"{prefix}ln_f", width),
    }
    layer = _layer(width, config.d_ff)
    for n in range(config.num_layers):
        sources.update(inside(f"layers.layers.{n}", f"{prefix}h.{n}", layer))
    return sources


def _layer(width, inner):
    return {
        **norm("attention_residual.norm", "ln_1", width),
        **_conv("self_attention.query_projection", "attn.c_attn", width, 3 * width, 0),
        **_conv("self_attention.key_projection", "attn.c_attn", width, 3 * width, 1),
        **_conv("self_attention.value_projection", "attn.c_attn", width, 3 * width, 2),
        **_conv("self_attention.output_projection", "attn.c_proj", width, width),
        **norm("feed_forward_residual.norm", "ln_2", width),
        **_conv("feed_forward.inner", "mlp.c_fc", width, inner),
        **_conv("feed_forward.outer", "mlp.c_proj", inner, width),
    }


def _conv(ours, theirs, inputs, outputs, third=None):
    """Weight and bias of a "Conv1D": a dense layer, or a third of one, that is transposed."""
    return {
        f"{ours}.weight": Source(f"{theirs}.weight", (inputs, outputs), third, True),
        f"{ours}.bias": Source(f"{theirs}.bias", (outputs,), third),
    }


FAMILY = Family(
    classes=("GPT2LMHeadModel", "GPT2Model"),
    fields={
        "vocab_size": field.size(),
        "n_embd": field.size(),
        "n_head": field.size(),
        "n_layer": field.depth(),
        "n_inner": field.size(None),
        "n_positions": field.size(),
        "activation_function": field.one_of(ACTIVATIONS),
        "resid_pdrop": field.share(0.1),
        "layer_norm_epsilon": field.epsilon(1e-5),
        "pad_token_id": field.token_id(None),
        "scale_attn_weights": field.only(True),
        "scale_attn_by_inverse_layer_idx": field.only(False),
        "add_cross_attention": field.only(False),
        "tie_word_embeddings": field.only(True),
    },
    plan=_plan,
    prefix="transformer.",
    tokenizer=BYTE_LEVEL,
    ignored=r"\.attn\.(masked_)?bias$",  # the causal mask
    copies={"lm_head.weight": "wte.weight"},
    old_names={},
)
