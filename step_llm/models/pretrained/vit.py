"""ViT: ``modeling_vit.py`` of github.com/huggingface/transformers."""

from __future__ import annotations

from functools import partial

from step_llm.models.pretrained import fields as field
from step_llm.models.pretrained.family import (
    ACTIVATIONS,
    Family,
    Plan,
    Source,
    dense,
    inside,
    norm,
    num_classes_of,
)
from step_llm.models.vit import ViT, ViTConfig

__all__ = ["FAMILY"]


def _plan(fields, prefix, names, classes):
    config = ViTConfig(
        image_size=fields["image_size"],
        patch_size=fields["patch_size"],
        num_classes=num_classes_of(fields),
        channels=fields["num_channels"],
        d_model=fields["hidden_size"],
        num_heads=fields["num_attention_heads"],
        num_layers=fields["num_hidden_layers"],
        d_ff=fields["intermediate_size"],
        dropout=fields["hidden_dropout_prob"],
        activation=ACTIVATIONS[fields["hidden_act"]],
        norm_epsilon=fields["layer_norm_eps"],
    )
    return Plan(partial(ViT, config), _sources(config, prefix))


def _sources(config, prefix):
    width = config.d_model
    kernel = (width, config.channels, config.patch_size, config.patch_size)
    patches = f"{prefix}embeddings.patch_embeddings.projection"
    sources = {
        "class_token": Source(f"{prefix}embeddings.cls_token", (1, 1, width)),
        "positions.weight": Source(
            f"{prefix}embeddings.position_embeddings", (1, config.num_patches + 1, width)
        ),
        "patches.projection.weight": Source(f"{patches}.weight", kernel),
        "patches.projection.bias": Source(f"{patches}.bias", (width,)),
        **norm("encoder.final_norm", f"{prefix}layernorm", width),
        **dense("classifier", "classifier", width, config.num_classes),
    }
    layer = _layer(width, config.d_ff)
    for n in range(config.num_layers):
        sources.update(inside(f"encoder.layers.{n}", f"{prefix}encoder.layer.{n}", layer))
    return sources


def _layer(width, inner):
    return {
        **norm("attention_residual.norm", "layernorm_before", width),
        **dense("self_attention.query_projection", "attention.attention.query", width, width),
        **dense("self_attention.key_projection", "attention.attention.key", width, width),
        **dense("self_attention.value_projection", "attention.attention.value", width, width),
        **dense("self_attention.output_projection", "attention.output.dense", width, width),
        **norm("feed_forward_residual.norm", "layernorm_after", width),
        **dense("feed_forward.inner", "intermediate.dense", width, inner),
        **dense("feed_forward.outer", "output.dense", inner, width),
    }


FAMILY = Family(
    classes=("ViTForImageClassification",),
    fields={
        "image_size": field.size(),
        "patch_size": field.size(),
        "num_channels": field.size(3),
        "id2label": field.classes(),
        "num_labels": field.size(2),
        "hidden_size": field.size(),
        "num_attention_heads": field.size(),
        "num_hidden_layers": field.depth(),
        "intermediate_size": field.size(),
        "hidden_act": field.one_of(ACTIVATIONS),
        "hidden_dropout_prob": field.share(0.0),
        "layer_norm_eps": field.epsilon(1e-12),
        "qkv_bias": field.only(True),
    },
    plan=_plan,
    prefix="vit.",
    tokenizer=None,
    ignored=r"^$",
    copies={},
    old_names={},
)
