"""Recipes: what ``step_llm train`` uses for a corpus unless an option says otherwise.

They were chosen by validation loss and BLEU; docs/results.md has what each reaches, and in which
time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from step_llm.data.buckets import BUCKETS

__all__ = ["RECIPES", "Recipe", "recipe_for"]


@dataclass(frozen=True)
class Recipe:
    """Model, vocabulary and training settings that go together.

    Args:
        preset: of ``TransformerConfig``.
        tokens: "bpe" or "word".
        vocab_size: of the vocabulary that both languages share, as in ``Tokenizer.train``.
        model: further fields of ``TransformerConfig``.
        training: fields of ``TrainingConfig``.
    """

    preset: str
    tokens: str
    vocab_size: int
    model: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)


# The paper's ingredients, as lesson 05 tells them.
_MULTI30K = Recipe(
    preset="tiny",
    tokens="bpe",
    vocab_size=5000,
    model={"dropout": 0.1, "norm": "pre"},
    training={
        "epochs": 20,
        "batch_tokens": 2400,
        "buckets": BUCKETS,
        "warmup_steps": 400,
        "peak_learning_rate": 3e-3,
        "average": 5,
        "save_every": 250,
    },
)


def _changed(model: dict, training: dict) -> Recipe:
    return replace(
        _MULTI30K,
        model={**_MULTI30K.model, **model},
        training={**_MULTI30K.training, **training},
    )


RECIPES = {
    "mini": Recipe(
        preset="tiny",
        tokens="bpe",
        vocab_size=2000,
        model={"dropout": 0.1, "norm": "pre"},
        training={
            "epochs": 5,
            "batch_tokens": 1200,
            "buckets": (10, 14, 26),
            "warmup_steps": 200,
            "peak_learning_rate": 3e-3,
            "average": 3,
            "save_every": 200,
        },
    ),
    "multi30k": _MULTI30K,
    # A first translator in a quarter of an hour on two cores.
    "multi30k-fast": _changed({"positions": "rotary"}, {"epochs": 8, "average": 3}),
    # What an hour on two cores can buy. R-Drop reads a batch twice: batches are half as large.
    "multi30k-best": _changed(
        {"positions": "rotary", "dropout": 0.2},
        {"epochs": 24, "r_drop": 3.0, "batch_tokens": 1200},
    ),
}


def recipe_for(corpus: str) -> Recipe:
    """The recipe of a named corpus; a corpus of your own gets Multi30k's."""
    return RECIPES.get(corpus, RECIPES["multi30k"])
