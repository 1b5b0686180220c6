"""The models that a checkpoint can hold, by the name that its config.json gives them."""

from __future__ import annotations

from step_llm.bert import BertConfig, BertForMaskedLM, BertForPreTraining
from step_llm.config import TransformerConfig
from step_llm.gpt import GPT, GPTConfig
from step_llm.neural_lm import NeuralLM, NeuralLMConfig
from step_llm.recurrent import CELLS, RecurrentConfig, RecurrentTranslator
from step_llm.transformer import Transformer
from step_llm.vit import ViT, ViTConfig

__all__ = ["ARCHITECTURES", "architecture_of"]

# name: (the class of the configuration, the class of the model)
ARCHITECTURES = {
    "transformer": (TransformerConfig, Transformer),
    **dict.fromkeys(CELLS, (RecurrentConfig, RecurrentTranslator)),
    "neural_lm": (NeuralLMConfig, NeuralLM),
    "gpt": (GPTConfig, GPT),
    "bert_pretraining": (BertConfig, BertForPreTraining),
    "bert_masked_lm": (BertConfig, BertForMaskedLM),
    "vit": (ViTConfig, ViT),
}


def architecture_of(model) -> str:
    """A model's name in ``ARCHITECTURES``; of a class that is not there, the class's own name."""
    if isinstance(model, RecurrentTranslator):
        return model.config.cell
    for name, (_, kind) in ARCHITECTURES.items():
        if type(model) is kind:
            return name
    return type(model).__name__
