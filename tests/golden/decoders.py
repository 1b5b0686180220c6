"""The golden models of Llama, Qwen2 and Qwen3: in what each differs from the smallest one.

At least eight of a family. All have random weights; together they have tied and untied heads, one
head of keys and values, some and as many as of queries, widths of heads that are not the model's
share, several bases and scalings of the rotary positions, several ε, sliding windows in all and in
some layers, biases, three types of numbers, and several files.
"""

from __future__ import annotations

# Prompts of different lengths are continued together, and fit into a cache's first 32 places.
PROMPTS = (1, 9)
NEW_TOKENS = 20
SIZES = {
    "vocab_size": 37, "hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 32,
}  # fmt: skip


def rotary(base, kind="default", **numbers):
    return {"rope_theta": base, "rope_type": kind, **numbers}


def llama3(base, factor, low, high, length):
    return rotary(
        base, "llama3", factor=factor, low_freq_factor=low, high_freq_factor=high,
        original_max_position_embeddings=length,
    )  # fmt: skip


def window(size, first):
    return {"use_sliding_window": True, "sliding_window": size, "max_window_layers": first}


# name: (seed, what differs)
LLAMA = {
    "llama": (19, {"tie_word_embeddings": True}),
    "llama_untied": (2, {"num_attention_heads": 3, "num_key_value_heads": 3, "pad_token_id": 5}),
    "llama_3": (1, {
        "num_attention_heads": 6, "num_key_value_heads": 2, "tie_word_embeddings": True,
        "rope_parameters": llama3(5e5, 8.0, 1.0, 4.0, 16), "stored": "bfloat16",
    }),
    "llama_3_wide": (1, {
        "head_dim": 10, "rope_parameters": llama3(100.0, 2.5, 0.5, 2.0, 24), "rms_norm_eps": 1e-3,
    }),
    "llama_linear": (1, {
        "hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2,
        "rope_parameters": rotary(1e4, "linear", factor=3.0), "stored": "float16",
    }),
    "llama_deep": (8, {
        "hidden_size": 8, "num_hidden_layers": 5, "head_dim": 2, "rope_parameters": rotary(50.0),
        "stored": "float16", "tie_word_embeddings": True,
    }),
    "llama_biased": (9, {"attention_bias": True, "rms_norm_eps": 0.1, "stored": "bfloat16"}),
    "llama_shards": (1, {"num_key_value_heads": 2, "intermediate_size": 31}),
}  # fmt: skip

QWEN2 = {
    "qwen2": (5, {"vocab_size": 273, "hidden_size": 8, "tie_word_embeddings": True,
                  "rope_parameters": rotary(1e6), "stored": "bfloat16"}),
    "qwen2_untied": (1, {"num_attention_heads": 3, "num_key_value_heads": 3}),
    "qwen2_grouped": (1, {
        "hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 3,
        "rms_norm_eps": 1e-5, "stored": "float16",
    }),
    "qwen2_window": (1, window(4, 0)),
    "qwen2_window_above": (3, {
        **window(3, 1), "num_hidden_layers": 3, "tie_word_embeddings": True, "stored": "bfloat16",
    }),
    "qwen2_linear": (2, {"rope_parameters": rotary(1e6, "linear", factor=4.0), "head_dim": 8}),
    "qwen2_llama3": (4, {
        "rope_parameters": llama3(1e4, 4.0, 1.0, 4.0, 20), "hidden_size": 8, "num_hidden_layers": 4,
        "rms_norm_eps": 1e-2, "stored": "float16",
    }),
    "qwen2_shards": (1, {"num_key_value_heads": 2, "stored": "bfloat16", **window(31, 1)}),
}  # fmt: skip

QWEN3 = {
    "qwen3": (6, {"head_dim": 8, "tie_word_embeddings": True, "rope_parameters": rotary(1e6),
                  "stored": "bfloat16"}),
    "qwen3_untied": (1, {"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 6}),
    "qwen3_narrow": (1, {
        "hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 2,
        "pad_token_id": 36, "rms_norm_eps": 1e-5, "stored": "float16",
    }),
    "qwen3_window": (1, {**window(5, 0), "head_dim": 4, "num_hidden_layers": 3}),
    "qwen3_window_above": (19, {
        **window(2, 1), "head_dim": 8, "tie_word_embeddings": True, "stored": "bfloat16",
    }),
    "qwen3_linear": (1, {"rope_parameters": rotary(1e6, "linear", factor=2.0), "head_dim": 6}),
    "qwen3_biased": (2, {
        "rope_parameters": llama3(1e4, 4.0, 1.0, 4.0, 20), "hidden_size": 9, "head_dim": 4,
        "num_attention_heads": 4, "attention_bias": True, "rms_norm_eps": 1e-2, "stored": "float16",
    }),
    "qwen3_shards": (1, {"num_key_value_heads": 2, "head_dim": 8, "stored": "bfloat16"}),
}  # fmt: skip

CASES = {
    name: (seed, {"family": family, **options})
    for family, cases in (("Llama", LLAMA), ("Qwen2", QWEN2), ("Qwen3", QWEN3))
    for name, (seed, options) in cases.items()
}
SHARDS = {"llama_shards": "6KB", "qwen2_shards": "2KB", "qwen3_shards": "2KB"}
