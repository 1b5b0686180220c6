"""The families of models that are understood, by the "model_type" of their config.json."""

from __future__ import annotations

from step_llm.models.pretrained import bert, decoder_lm, distilbert, gpt2, marian, vit

__all__ = ["FAMILIES"]

FAMILIES = {
    "gpt2": gpt2.FAMILY,
    "bert": bert.FAMILY,
    "distilbert": distilbert.FAMILY,
    "marian": marian.FAMILY,
    "vit": vit.FAMILY,
    "llama": decoder_lm.LLAMA,
    "qwen2": decoder_lm.QWEN2,
    "qwen3": decoder_lm.QWEN3,
}
