"""The golden models of MarianMT: in what each differs from the smallest one.

All have random weights; together they have every tying of embeddings and head that is supported,
scaled and unscaled embeddings, four activations, several numbers of heads, an odd width, encoders
deeper than decoders and the other way round, and special ids at either end of the vocabulary.
"""

from __future__ import annotations

# Sources of different lengths are translated together.
SOURCES = (3, 7, 1)
NEW_TOKENS = 14
SIZES = {
    "vocab_size": 31, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 12,
    "decoder_ffn_dim": 12, "max_position_embeddings": 16, "activation_function": "swish",
    "scale_embedding": True, "pad_token_id": 30, "decoder_start_token_id": 30, "eos_token_id": 0,
    "forced_eos_token_id": None,
}  # fmt: skip


def depths(encoder, decoder):
    return {"encoder_layers": encoder, "decoder_layers": decoder}


def heads(count):
    return {"encoder_attention_heads": count, "decoder_attention_heads": count}


def inner(width):
    return {"encoder_ffn_dim": width, "decoder_ffn_dim": width}


def split(target_size, is_tied):
    """An embedding for each side, with vocabularies of two sizes."""
    return {
        "share_encoder_decoder_embeddings": False, "decoder_vocab_size": target_size,
        "tie_word_embeddings": is_tied,
    }  # fmt: skip


# name: (seed, what differs; of the seeds, one whose texts are not all alike)
CASES = {
    "marian": (84, {}),
    "marian_like_opus": (2, {"scale": 1.0, "d_model": 12, **heads(3), **depths(2, 2), **inner(16)}),
    "marian_deep_encoder": (101, {**depths(3, 1), "activation_function": "relu", **heads(1)}),
    "marian_deep_decoder": (44, {
        "scale": 1.0, **depths(1, 3), "activation_function": "gelu", **heads(4),
    }),
    "marian_unscaled": (23, {"scale_embedding": False, "activation_function": "gelu_new"}),
    "marian_odd": (21, {"d_model": 9, **heads(3), **inner(5), "vocab_size": 35}),
    "marian_split": (1, {"scale": 1.0, **split(33, True), **depths(1, 2)}),
    "marian_untied": (31, {**split(32, False), "d_model": 10, **heads(5)}),
    "marian_other_ids": (181, {
        "pad_token_id": 3, "decoder_start_token_id": 1, "eos_token_id": 2, "dropout": 0.3,
        "activation_function": "relu", **depths(2, 1),
    }),
}  # fmt: skip
