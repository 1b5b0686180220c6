"""Llama, Qwen2 and Qwen3: ``modeling_llama.py``, ``modeling_qwen2.py`` and ``modeling_qwen3.py`` of
github.com/huggingface/transformers.
"""

from __future__ import annotations

from functools import partial

from step_llm.models.decoder_lm import DecoderLM, DecoderLMConfig
from step_llm.models.pretrained import fields as field
from step_llm.models.pretrained.family import Family, Plan, Source, inside, pad_id_of
from step_llm.models.pretrained.fields import Field, read_fields, shown
from step_llm.models.pretrained.tokenizer_kinds import ONE_FILE
from step_llm.nn.initial import ZeroWeights

__all__ = ["LLAMA", "QWEN2", "QWEN3"]

_IS_1 = Field((int, float), lambda value: value == 1, "1: only this is supported", 1, True)
_LENGTH = Field((int,), lambda value: 0 < value < 10**12, "a number of positions", None, True)
# What an object of rotary positions may hold. Older files name it rope_scaling, with the base
# beside it; newer ones rope_parameters, with the base inside.
_ROTARY = {
    "rope_type": field.text(),
    "type": field.text(),
    "rope_theta": field.number(),
    "factor": field.number(),
    "low_freq_factor": field.number(),
    "high_freq_factor": field.number(),
    "original_max_position_embeddings": _LENGTH,
    "partial_rotary_factor": _IS_1,
}


def _plan(biases, has_head_norm, fields, prefix, names, classes):
    d_model, num_heads = fields["hidden_size"], fields["num_attention_heads"]
    if fields["head_dim"] is None and d_model % num_heads:
        raise ValueError(
            f"hidden_size {d_model} is not divisible by num_attention_heads {num_heads}, and there "
            "is no head_dim"
        )
    window, full_layers = _window(fields)
    base, scaling = _rotary(fields)
    config = DecoderLMConfig(
        vocab_size=fields["vocab_size"],
        d_model=d_model,
        num_heads=num_heads,
        num_kv_heads=fields["num_key_value_heads"] or num_heads,
        d_head=fields["head_dim"] or d_model // num_heads,
        num_layers=fields["num_hidden_layers"],
        d_ff=fields["intermediate_size"],
        max_length=fields["max_position_embeddings"],
        norm_epsilon=fields["rms_norm_eps"],
        rotary_base=base,
        rotary_scaling=scaling,
        biases="all" if fields.get("attention_bias") else biases,
        has_head_norm=has_head_norm,
        sliding_window=window,
        full_layers=full_layers,
        is_tied=bool(fields["tie_word_embeddings"]),
    )
    make = partial(DecoderLM, config, pad_id=pad_id_of(fields), initial=ZeroWeights())
    return Plan(make, _sources(config, prefix))


def _rotary(fields):
    """Base and scaling of the positions, wherever config.json has them.

    Raises:
        ValueError: a scaling that is not supported, or two places that contradict each other.
    """
    given = [name for name in ("rope_scaling", "rope_parameters") if fields[name]]
    if len(given) == 2 and fields[given[0]] != fields[given[1]]:
        raise ValueError("rope_scaling and rope_parameters differ; expected one of them")
    inner = fields[given[0]] if given else {}
    kind = inner.get("rope_type", inner.get("type", "default"))
    if kind not in ("default", "linear", "llama3"):
        raise ValueError(
            f"{given[0]} has the type {shown(kind)}; expected default, linear or llama3: only "
            "these are supported"
        )
    unknown = sorted(set(inner) - set(_ROTARY))
    if unknown:
        raise ValueError(
            f"{given[0]} has the field {shown(unknown[0])}; expected only {', '.join(_ROTARY)}"
        )
    inner = read_fields(inner, _ROTARY)
    base = _one("rope_theta", inner, fields) or 10000.0
    length = _one("original_max_position_embeddings", inner, fields)
    if kind == "default":
        return base, ()
    names = ("factor",) if kind == "linear" else ("factor", "low_freq_factor", "high_freq_factor")
    for name in names:
        if inner[name] is None:
            raise ValueError(f"{given[0]} of type {kind} has no {name}; expected a number above 0")
    numbers = tuple(inner[name] for name in names)
    if kind == "llama3":
        numbers = (*numbers, length or fields["max_position_embeddings"])
    return base, (kind, *numbers)


def _one(name, inner, outer):
    """A value that may stand in either of two places, or in both if it is the same."""
    values = {place[name] for place in (inner, outer) if place[name] is not None}
    if len(values) > 1:
        raise ValueError(
            f"{name} is {outer[name]}, and {inner[name]} among the rotary positions; expected one"
        )
    return values.pop() if values else None


def _window(fields):
    """The sliding window (0 is none), and how many layers at the beginning do not have it.

    Raises:
        ValueError: layers whose order or number is not supported.
    """
    window = fields.get("sliding_window") if fields.get("use_sliding_window") else None
    kinds, num_layers = fields.get("layer_types"), fields["num_hidden_layers"]
    if kinds is None:
        full = min(fields["max_window_layers"], num_layers) if window else num_layers
        kinds = ["full_attention"] * full + ["sliding_attention"] * (num_layers - full)
    full = next((n for n, kind in enumerate(kinds) if kind != "full_attention"), len(kinds))
    wanted = ["full_attention"] * full + ["sliding_attention"] * (len(kinds) - full)
    if kinds != wanted or len(kinds) != num_layers:
        raise ValueError(
            f"layer_types is {shown(kinds)}; expected {num_layers} texts, first full_attention and "
            "then sliding_attention: only this is supported"
        )
    if full < num_layers and window is None:
        raise ValueError(
            "layer_types has sliding_attention, but use_sliding_window is not true, or "
            "sliding_window is null"
        )
    return (window, full) if full < num_layers else (0, 0)


def _sources(config, prefix):
    table = (config.vocab_size, config.d_model)
    sources = {
        "embedding.weight": Source(f"{prefix}embed_tokens.weight", table),
        **_scale("layers.final_norm", f"{prefix}norm", config.d_model),
    }
    if not config.is_tied:
        sources["output_weight"] = Source("lm_head.weight", table)
    layer = _layer(config)
    for n in range(config.num_layers):
        sources.update(inside(f"layers.layers.{n}", f"{prefix}layers.{n}", layer))
    return sources


def _layer(config):
    width, inner, d_head = config.d_model, config.d_ff, config.d_head
    queries, keys = config.num_heads * d_head, config.num_kv_heads * d_head
    has_bias, is_last_biased = config.biases != "none", config.biases == "all"
    sources = {
        **_scale("attention_norm", "input_layernorm", width),
        **_linear("self_attention.query", "self_attn.q", width, queries, has_bias),
        **_linear("self_attention.key", "self_attn.k", width, keys, has_bias),
        **_linear("self_attention.value", "self_attn.v", width, keys, has_bias),
        **_linear("self_attention.output", "self_attn.o", queries, width, is_last_biased),
        **_scale("feed_forward_norm", "post_attention_layernorm", width),
        "feed_forward.gate.weight": Source("mlp.gate_proj.weight", (inner, width)),
        "feed_forward.up.weight": Source("mlp.up_proj.weight", (inner, width)),
        "feed_forward.down.weight": Source("mlp.down_proj.weight", (width, inner)),
    }
    if config.has_head_norm:
        sources.update(_scale("self_attention.query_norm", "self_attn.q_norm", d_head))
        sources.update(_scale("self_attention.key_norm", "self_attn.k_norm", d_head))
    return sources


def _linear(ours, theirs, inputs, outputs, has_bias):
    sources = {f"{ours}_projection.weight": Source(f"{theirs}_proj.weight", (outputs, inputs))}
    if has_bias:
        sources[f"{ours}_projection.bias"] = Source(f"{theirs}_proj.bias", (outputs,))
    return sources


def _scale(ours, theirs, width):
    """The scale of an RMSNorm."""
    return {f"{ours}.gamma": Source(f"{theirs}.weight", (width,))}


# The defaults are those of transformers.
_FIELDS = {
    "vocab_size": field.size(),
    "hidden_size": field.size(),
    "intermediate_size": field.size(),
    "num_hidden_layers": field.depth(),
    "num_attention_heads": field.size(),
    "num_key_value_heads": field.size(None),
    "head_dim": field.size(None),
    "hidden_act": Field(
        (str,), lambda value: value in ("silu", "swish"), "'silu': only this is supported", "silu"
    ),
    "max_position_embeddings": _LENGTH._replace(default=2048, is_nullable=False),
    "rms_norm_eps": field.epsilon(1e-6),
    "tie_word_embeddings": field.flag(),
    "pad_token_id": field.token_id(None),
    "rope_theta": field.number(),
    "rope_scaling": field.object_(),
    "rope_parameters": field.object_(),
    "original_max_position_embeddings": _LENGTH,
    "partial_rotary_factor": _IS_1,
    "quantization_config": field.only(None),
}
_QWEN_FIELDS = {
    **_FIELDS,
    "num_key_value_heads": field.size(None)._replace(default=32),
    "max_position_embeddings": _LENGTH._replace(default=32768, is_nullable=False),
    "use_sliding_window": field.flag(),
    "sliding_window": field.size(None)._replace(default=4096),
    "max_window_layers": Field((int,), lambda value: value >= 0, "a whole number", 28),
    "layer_types": field.texts(),
    "use_mrope": field.only(False),  # positions of pictures, in a relative of Qwen2
}


def _family(name, fields, biases, has_head_norm=False):
    return Family(
        classes=(f"{name}ForCausalLM", f"{name}Model"),
        fields=fields,
        plan=partial(_plan, biases, has_head_norm),
        prefix="model.",
        tokenizer=ONE_FILE,
        ignored=r"\.rotary_emb\.inv_freq$",  # the frequencies, in older files
        copies={"lm_head.weight": "embed_tokens.weight"},
        old_names={},
    )


LLAMA = _family(
    "Llama",
    {**_FIELDS, "attention_bias": field.flag(), "mlp_bias": field.only(False)},
    biases="none",
)
QWEN2 = _family("Qwen2", _QWEN_FIELDS, biases="qkv")
QWEN3 = _family(
    "Qwen3",
    {**_QWEN_FIELDS, "head_dim": field.size(128), "attention_bias": field.flag()},
    biases="none",
    has_head_norm=True,
)
