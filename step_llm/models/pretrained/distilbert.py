"""DistilBERT: ``modeling_distilbert.py`` of github.com/huggingface/transformers.

A BERT with half the layers, and without segments and pooler.
"""

from __future__ import annotations

from functools import partial

from step_llm.models.bert import Bert, BertConfig, BertForMaskedLM
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
from step_llm.models.pretrained.tokenizer_kinds import WORD_PIECE

__all__ = ["FAMILY"]


def _plan(fields, prefix, names, classes):
    config = BertConfig(
        vocab_size=fields["vocab_size"],
        d_model=fields["dim"],
        num_heads=fields["n_heads"],
        num_layers=fields["n_layers"],
        d_ff=fields["hidden_dim"],
        dropout=fields["dropout"],
        max_length=fields["max_position_embeddings"],
        num_segments=0,
        pad_id=pad_id_of(fields),
        activation=ACTIVATIONS[fields["activation"]],
        norm_epsilon=1e-12,
    )
    body = _body(config, prefix)
    if "vocab_projector.bias" not in names and "DistilBertForMaskedLM" not in classes:
        return Plan(partial(Bert, config, has_pooler=False), body)
    sources = {f"bert.{name}": source for name, source in body.items()}
    sources["masked_lm_head.bias"] = Source("vocab_projector.bias", (config.vocab_size,))
    width = config.d_model
    sources.update(dense("masked_lm_head.transform", "vocab_transform", width, width))
    sources.update(norm("masked_lm_head.norm", "vocab_layer_norm", width))
    return Plan(partial(BertForMaskedLM, config), sources)


def _body(config, prefix):
    width, embeddings = config.d_model, f"{prefix}embeddings"
    words, positions = (f"{embeddings}.{kind}_embeddings.weight" for kind in ("word", "position"))
    sources = {
        "embedding.weight": Source(words, (config.vocab_size, width)),
        "positions.weight": Source(positions, (config.max_length, width)),
        **norm("embedding_norm", f"{embeddings}.LayerNorm", width),
    }
    layer = _layer(width, config.d_ff)
    for n in range(config.num_layers):
        sources.update(inside(f"encoder.layers.{n}", f"{prefix}transformer.layer.{n}", layer))
    return sources


def _layer(width, inner):
    return {
        **dense("self_attention.query_projection", "attention.q_lin", width, width),
        **dense("self_attention.key_projection", "attention.k_lin", width, width),
        **dense("self_attention.value_projection", "attention.v_lin", width, width),
        **dense("self_attention.output_projection", "attention.out_lin", width, width),
        **norm("attention_residual.norm", "sa_layer_norm", width),
        **dense("feed_forward.inner", "ffn.lin1", width, inner),
        **dense("feed_forward.outer", "ffn.lin2", inner, width),
        **norm("feed_forward_residual.norm", "output_layer_norm", width),
    }


FAMILY = Family(
    classes=("DistilBertForMaskedLM", "DistilBertModel"),
    fields={
        "vocab_size": field.size(),
        "dim": field.size(),
        "n_heads": field.size(),
        "n_layers": field.depth(),
        "hidden_dim": field.size(),
        "max_position_embeddings": field.size(),
        "activation": field.one_of(ACTIVATIONS),
        "dropout": field.share(0.1),
        "pad_token_id": field.token_id(0),
        "tie_word_embeddings": field.only(True),
    },
    plan=_plan,
    prefix="distilbert.",
    tokenizer=WORD_PIECE,
    ignored=r"embeddings\.position_ids$",
    copies={"vocab_projector.weight": "embeddings.word_embeddings.weight"},
    old_names={},
)
