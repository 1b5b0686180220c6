"""The models that a checkpoint can hold, by the name that its config.json gives them."""

from __future__ import annotations

from step_llm.models.bert import (
    BertConfig,
    BertForClassification,
    BertForMaskedLM,
    BertForPreTraining,
)
from step_llm.models.config import TransformerConfig
from step_llm.models.decoder_lm import DecoderLM, DecoderLMConfig
from step_llm.models.fields import is_whole
from step_llm.models.gpt import GPT, GPTConfig
from step_llm.models.marian import Marian, MarianConfig
from step_llm.models.neural_lm import NeuralLM, NeuralLMConfig
from step_llm.models.recurrent import CELLS, RecurrentConfig, RecurrentTranslator
from step_llm.models.transformer import Transformer
from step_llm.models.vit import ViT, ViTConfig
from step_llm.nn.initial import InitialWeights

__all__ = ["ARCHITECTURES", "architecture_of", "build", "describe"]

# name: (the class of the configuration, the class of the model)
ARCHITECTURES = {
    "transformer": (TransformerConfig, Transformer),
    "marian": (MarianConfig, Marian),
    **dict.fromkeys(CELLS, (RecurrentConfig, RecurrentTranslator)),
    "neural_lm": (NeuralLMConfig, NeuralLM),
    "gpt": (GPTConfig, GPT),
    "decoder_lm": (DecoderLMConfig, DecoderLM),
    "bert_pretraining": (BertConfig, BertForPreTraining),
    "bert_masked_lm": (BertConfig, BertForMaskedLM),
    "bert_classification": (BertConfig, BertForClassification),
    "vit": (ViTConfig, ViT),
}
# What a class takes beside the configuration, with what it was before checkpoints named it (None:
# they always did). The model has each as an attribute.
_FURTHER = {
    "bert_classification": {"num_classes": None},
    "neural_lm": {"pad_id": 0, "bos_id": 1},
    "marian": {"pad_id": None, "bos_id": None, "eos_id": None},
    **{name: {"pad_id": 0} for name in ("transformer", *CELLS, "gpt", "decoder_lm")},
}
_VOCABULARIES = ("vocab_size", "source_vocab_size", "target_vocab_size")


def architecture_of(model) -> str:
    """A model's name in ``ARCHITECTURES``; of a class that is not there, the class's own name."""
    if isinstance(model, RecurrentTranslator):
        return model.config.cell
    for name, (_, kind) in ARCHITECTURES.items():
        if type(model) is kind:
            return name
    return type(model).__name__


def describe(model) -> dict:
    """A model's architecture, sizes and padding, for JSON; ``build`` makes an equal model of it."""
    name = architecture_of(model)
    further = {field: getattr(model, field) for field in _FURTHER.get(name, {})}
    return {"arch": name, **model.config.to_dict(), **further}


def build(fields: dict, initial: InitialWeights | None = None):
    """A model with new weights, from what ``describe`` said of another.

    Args:
        fields: what ``describe`` said.
        initial: draws the weights.

    Raises:
        ValueError: an unknown architecture, or a field that is unknown, missing or out of range;
            and what ``initial`` refuses.
    """
    fields = dict(fields)
    # Checkpoints from before there were several architectures do not name theirs.
    name = fields.pop("arch", "transformer")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ValueError(
            f"its architecture is {name!r}; expected one of {', '.join(ARCHITECTURES)} "
            "(make the model yourself, and read its weights with load_weights)"
        )
    further = {}
    for field, default in _FURTHER.get(name, {}).items():
        value = fields.pop(field, default)
        if value is None:
            raise ValueError(f"the configuration is incomplete: {field} is missing")
        if not is_whole(value):
            raise ValueError(f"{field} is {value!r}; expected a whole number")
        further[field] = value
    config_class, model_class = ARCHITECTURES[name]
    config = config_class.from_dict(fields)
    sizes = [getattr(config, field) for field in _VOCABULARIES if hasattr(config, field)]
    for field, value in further.items():
        if field.endswith("_id") and not -1 <= value < max(sizes):
            raise ValueError(f"{field} is {value}; expected −1 for none, or 0 … {max(sizes) - 1}")
    return model_class(config, **further, initial=initial)
