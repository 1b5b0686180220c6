"""The families of models that are understood, by the "model_type" of their config.json."""

from __future__ import annotations

from step_llm.models.pretrained import bert, gpt2, vit

__all__ = ["FAMILIES"]

FAMILIES = {
    "gpt2": gpt2.FAMILY,
    "bert": bert.FAMILY,
    "vit": vit.FAMILY,
}
