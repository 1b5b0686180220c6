"""The sizes of a Transformer, in one frozen and validated place.

``Config`` is what the configurations of all models have in common.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

from step_llm.models.fields import check_fields, is_whole
from step_llm.nn.activations import ACTIVATIONS
from step_llm.nn.attention import BIASES
from step_llm.nn.positions import POSITION_SCHEMES
from step_llm.nn.residual import NORMS

__all__ = ["PRESETS", "Config", "TransformerConfig"]

_PRESET_SIZES = ("d_model", "num_encoder_layers", "num_decoder_layers", "d_ff", "num_heads")
PRESETS = {
    "tiny": (128, 4, 4, 256, 4),
    "small": (256, 3, 3, 512, 8),
    "base": (512, 6, 6, 2048, 8),
}

_CHOICES = {
    "positions": POSITION_SCHEMES,
    "norm": NORMS,
    "tied_embeddings": ("none", "output", "all"),
    "activation": tuple(ACTIVATIONS),
    "biases": BIASES,
}
_RULES = {
    **{
        name: (choices.__contains__, f"one of {', '.join(choices)}")
        for name, choices in _CHOICES.items()
    },
    "dropout": (lambda value: 0.0 <= value < 1.0, "a share in [0, 1)"),
    "norm_epsilon": (lambda value: value > 0.0, "more than 0"),
}
# Where a whole number may be less than 1: −1, no token is padding; 0, there is none.
_LEAST = {"pad_id": -1, "sliding_window": 0, "full_layers": 0, "num_segments": 0}


_LAYER_SIZES = ("d_model", "num_heads", "d_ff", "dropout", "norm", "activation", "norm_epsilon")


class Config:
    """What frozen dataclasses of sizes share: one validation, and the way to JSON and back.

    Those of models made of encoder and decoder layers have what ``layer_sizes`` names.
    """

    def __post_init__(self):
        # Resolved, not compared as text: a subclass in a notebook writes int, not "int".
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = _LEAST.get(field.name, 1)
            if hints[field.name] is int and not (is_whole(value) and value >= least):
                raise ValueError(
                    f"{field.name} is {value!r}; expected a whole number of at least {least}"
                )
            if hints[field.name] is bool and not isinstance(value, bool):
                raise ValueError(f"{field.name} is {value!r}; expected True or False")
            is_number = isinstance(value, Real) and not isinstance(value, bool)
            if hints[field.name] is float and not is_number:
                raise ValueError(f"{field.name} is {value!r}; expected a number")
        has_own_width = hasattr(self, "d_head")  # then a head need not be a share of d_model
        if hasattr(self, "num_heads") and not has_own_width and self.d_model % self.num_heads:
            raise ValueError(
                f"d_model {self.d_model} is not divisible by num_heads {self.num_heads}; "
                "expected num_heads to be a divisor of d_model"
            )
        check_fields(vars(self), _RULES)
        is_tied = getattr(self, "tied_embeddings", "none") == "all"
        if is_tied and self.source_vocab_size != self.target_vocab_size:
            raise ValueError(
                'tied_embeddings="all" needs one vocabulary for both sides, but their sizes are '
                f"{self.source_vocab_size} and {self.target_vocab_size}"
            )

    @property
    def layer_sizes(self) -> dict:
        """What each layer of the model takes, see ``EncoderLayer``."""
        return {name: getattr(self, name) for name in _LAYER_SIZES}

    def to_dict(self) -> dict:
        """The fields as a dictionary, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict):
        """Back from ``to_dict``.

        Raises:
            ValueError: a field that is unknown or missing.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - known)
        if unknown:
            raise ValueError(
                f"unknown fields {unknown} in the configuration; expected {sorted(known)}"
            )
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"the configuration is incomplete: {error}") from None


@dataclass(frozen=True)
class TransformerConfig(Config):
    """Everything that decides the shape of a Transformer's weights, and its dropout.

    Args:
        source_vocab_size, target_vocab_size: number of token ids on each side.
        d_model: D, width of the model.
        num_heads: H; must divide d_model.
        num_encoder_layers, num_decoder_layers: depth of each stack.
        d_ff: inner width of the feed-forward layers.
        dropout: share of each sub-layer's output set to zero in training, in [0, 1).
        positions: "sinusoidal", "learned" or "rotary".
        max_length: the number of learned positions; the other schemes have no limit.
        norm: "post" (LayerNorm after the residual sum, the paper) or "pre" (before the sub-layer).
        tied_embeddings: "none"; "output" (target embedding = output projection); "all" (source
            embedding too, the paper's section 3.4; both sides then share one vocabulary).
        activation: between the feed-forward layers: "relu" (the paper), "gelu",
            "gelu_tanh" or "silu".
        norm_epsilon: ε of every LayerNorm.

    Raises:
        ValueError: a size below 1, d_model not divisible by num_heads, an odd head width with
            rotary positions, dropout outside [0, 1), norm_epsilon not above 0, an unknown choice,
            or tied_embeddings="all" with vocabularies of different size.

    Presets: ``TransformerConfig.preset("tiny" | "small" | "base", …)``; "base" is the base model
    of Vaswani et al. 2017, table 3.
    """

    source_vocab_size: int
    target_vocab_size: int
    d_model: int = 128
    num_heads: int = 4
    num_encoder_layers: int = 4
    num_decoder_layers: int = 4
    d_ff: int = 256
    dropout: float = 0.1
    positions: str = "sinusoidal"
    max_length: int = 256
    norm: str = "post"
    tied_embeddings: str = "none"
    activation: str = "relu"
    norm_epsilon: float = 1e-5

    is_scaled: ClassVar[bool] = True  # the embeddings, by √D

    @property
    def position_limit(self) -> int | None:
        """The longest sequence that the model can read; None is no limit."""
        return self.max_length if self.positions == "learned" else None

    def __post_init__(self):
        super().__post_init__()
        if self.positions == "rotary" and (self.d_model // self.num_heads) % 2:
            raise ValueError(
                f"rotary positions turn pairs of coordinates, but the head width "
                f"d_model / num_heads = {self.d_model // self.num_heads} is odd"
            )

    @classmethod
    def preset(
        cls, name: str, source_vocab_size: int, target_vocab_size: int, **changes
    ) -> TransformerConfig:
        """A configuration of a named size; ``changes`` replace single fields.

        Raises:
            ValueError: an unknown preset, or values that do not fit together.
        """
        if name not in PRESETS:
            raise ValueError(f"preset is {name!r}; expected one of {', '.join(PRESETS)}")
        sizes = dict(zip(_PRESET_SIZES, PRESETS[name]))
        return cls(source_vocab_size, target_vocab_size, **{**sizes, **changes})
