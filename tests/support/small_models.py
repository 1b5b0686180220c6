"""For each architecture that a checkpoint can hold, a model of a few numbers."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor

from step_llm.models.bert import (
    BertConfig,
    BertForClassification,
    BertForMaskedLM,
    BertForPreTraining,
)
from step_llm.models.config import TransformerConfig
from step_llm.models.decoder_lm import DecoderLM, DecoderLMConfig
from step_llm.models.gpt import GPT, GPTConfig
from step_llm.models.marian import Marian, MarianConfig
from step_llm.models.neural_lm import NeuralLM, NeuralLMConfig
from step_llm.models.recurrent import CELLS, RecurrentConfig, RecurrentTranslator
from step_llm.models.transformer import Transformer
from step_llm.models.vit import ViT, ViTConfig

SIZES = {"d_model": 8, "num_heads": 2, "d_ff": 8, "num_encoder_layers": 1, "num_decoder_layers": 1}
SMALL = {"d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 8}


def model_for(tokenizers, seed=0, **changes):
    tied = "all" if tokenizers.shared else "none"
    fields = {**SIZES, "tied_embeddings": tied, **changes}
    config = TransformerConfig(len(tokenizers.source), len(tokenizers.target), **fields)
    return Transformer(config, seed=seed)


def small_models(tokenizers):
    """For each architecture a model with random weights, and what it reads."""
    sizes = len(tokenizers.source), len(tokenizers.target)
    size = sizes[0]  # a model of one language goes by the first
    ids = Tensor(np.array([[1, 4, 5, 2], [1, 5, 2, 0]], np.int32))
    bert = BertForPreTraining(BertConfig(size + 1, **SMALL, max_length=6), seed=3)
    # A fine-tuned model: another head on the body of the pre-trained one.
    classifier = BertForClassification(bert.config, 3, bert.bert, seed=4)
    image = Tensor(np.random.default_rng(5).normal(size=(2, 1, 4, 4)).astype(np.float32))
    return {
        "transformer": (model_for(tokenizers, seed=1), (ids, ids)),
        **{
            cell: (RecurrentTranslator(RecurrentConfig(*sizes, cell=cell, d_model=8)), (ids, ids))
            for cell in CELLS
        },
        "neural_lm": (NeuralLM(NeuralLMConfig(size, 3, 8, 16), seed=1), (ids,)),
        "gpt": (GPT(GPTConfig(size, **SMALL, max_length=6), seed=2), (ids,)),
        "decoder_lm": (
            DecoderLM(
                DecoderLMConfig(size, **SMALL, d_head=6, rotary_scaling=("linear", 2.0)), seed=8
            ),
            (ids,),
        ),
        "marian": (
            Marian(
                MarianConfig(size, len(tokenizers.target), 12, 2, 1, 1, 16, tied_embeddings="none"),
                pad_id=0,
                bos_id=0,
                eos_id=3,
                seed=9,
            ),
            (ids, ids),
        ),
        "bert_pretraining": (bert, (ids,)),
        "bert_masked_lm": (BertForMaskedLM(bert.config, seed=6), (ids,)),
        "bert_classification": (classifier, (ids,)),
        "vit": (ViT(ViTConfig(4, 2, 5, channels=1, **SMALL), seed=7), (image,)),
    }
