"""BERT: ``modeling_bert.py`` of github.com/huggingface/transformers."""

from __future__ import annotations

from functools import partial

from step_llm.models.bert import (
    Bert,
    BertConfig,
    BertForClassification,
    BertForMaskedLM,
    BertForPreTraining,
)
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
    pad_id_of,
)
from step_llm.models.pretrained.tokenizer_kinds import WORD_PIECE

__all__ = ["FAMILY"]


def _plan(fields, prefix, names, classes):
    config = BertConfig(
        vocab_size=fields["vocab_size"],
        d_model=fields["hidden_size"],
        num_heads=fields["num_attention_heads"],
        num_layers=fields["num_hidden_layers"],
        d_ff=fields["intermediate_size"],
        dropout=fields["hidden_dropout_prob"],
        max_length=fields["max_position_embeddings"],
        num_segments=fields["type_vocab_size"],
        pad_id=pad_id_of(fields),
        activation=ACTIVATIONS[fields["hidden_act"]],
        norm_epsilon=fields["layer_norm_eps"],
    )
    kind = _kind(names, classes)
    body = _body(config, prefix)
    if kind is not BertForMaskedLM:
        body.update(dense("pooler", f"{prefix}pooler.dense", config.d_model, config.d_model))
    if kind is Bert:
        return Plan(partial(Bert, config), body)
    sources = {f"bert.{name}": source for name, source in body.items()}
    if kind is BertForClassification:
        num_classes = num_classes_of(fields)
        sources.update(dense("classifier", "classifier", config.d_model, num_classes))
        return Plan(partial(BertForClassification, config, num_classes), sources)
    sources.update(_masked_lm_head(config.vocab_size, config.d_model))
    if kind is BertForPreTraining:
        sources.update(dense("next_sentence_head", "cls.seq_relationship", config.d_model, 2))
    return Plan(partial(kind, config), sources)


def _kind(names, classes):
    """Which of our classes it is.

    Published files may hold more heads than config.json names: it says which head was used last.
    """
    heads = {name.rsplit(".", 1)[0] for name in names}
    if "cls.seq_relationship" in heads or "BertForPreTraining" in classes:
        return BertForPreTraining
    if "cls.predictions" in heads or "BertForMaskedLM" in classes:
        return BertForMaskedLM
    if "BertForSequenceClassification" in classes:
        return BertForClassification
    if "classifier" in heads:
        raise ValueError(
            "architectures does not name the head whose weights are classifier.weight and "
            "classifier.bias, which may classify texts or single tokens; expected "
            "BertForSequenceClassification there, if it classifies texts"
        )
    return Bert


def _body(config, prefix):
    width = config.d_model
    embeddings = f"{prefix}embeddings"
    positions = f"{embeddings}.position_embeddings.weight"
    segments = f"{embeddings}.token_type_embeddings.weight"
    sources = {
        "embedding.weight": Source(
            f"{embeddings}.word_embeddings.weight", (config.vocab_size, width)
        ),
        "positions.weight": Source(positions, (config.max_length, width)),
        "segments.weight": Source(segments, (config.num_segments, width)),
        **norm("embedding_norm", f"{embeddings}.LayerNorm", width),
    }
    layer = _layer(width, config.d_ff)
    for n in range(config.num_layers):
        sources.update(inside(f"encoder.layers.{n}", f"{prefix}encoder.layer.{n}", layer))
    return sources


def _layer(width, inner):
    return {
        **dense("self_attention.query_projection", "attention.self.query", width, width),
        **dense("self_attention.key_projection", "attention.self.key", width, width),
        **dense("self_attention.value_projection", "attention.self.value", width, width),
        **dense("self_attention.output_projection", "attention.output.dense", width, width),
        **norm("attention_residual.norm", "attention.output.LayerNorm", width),
        **dense("feed_forward.inner", "intermediate.dense", width, inner),
        **dense("feed_forward.outer", "output.dense", inner, width),
        **norm("feed_forward_residual.norm", "output.LayerNorm", width),
    }


def _masked_lm_head(vocab_size, width):
    return {
        "masked_lm_head.bias": Source("cls.predictions.bias", (vocab_size,)),
        **dense("masked_lm_head.transform", "cls.predictions.transform.dense", width, width),
        **norm("masked_lm_head.norm", "cls.predictions.transform.LayerNorm", width),
    }


FAMILY = Family(
    classes=(
        "BertForPreTraining",
        "BertForMaskedLM",
        "BertForSequenceClassification",
        "BertModel",
    ),
    fields={
        "vocab_size": field.size(),
        "hidden_size": field.size(),
        "num_attention_heads": field.size(),
        "num_hidden_layers": field.depth(),
        "intermediate_size": field.size(),
        "max_position_embeddings": field.size(),
        "type_vocab_size": field.size(),
        "hidden_act": field.one_of(ACTIVATIONS),
        "hidden_dropout_prob": field.share(0.1),
        "layer_norm_eps": field.epsilon(1e-12),
        "pad_token_id": field.token_id(0),
        "id2label": field.classes(),
        "num_labels": field.size(2),
        "position_embedding_type": field.only("absolute"),
        "is_decoder": field.only(False),
        "add_cross_attention": field.only(False),
        "tie_word_embeddings": field.only(True),
    },
    plan=_plan,
    prefix="bert.",
    tokenizer=WORD_PIECE,
    ignored=r"embeddings\.(position|token_type)_ids$",
    copies={
        "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    # Files from before 2019 name the weights of a LayerNorm as the paper does.
    old_names={
        r"LayerNorm\.gamma$": "LayerNorm.weight",
        r"LayerNorm\.beta$": "LayerNorm.bias",
    },
)
