"""Real weights, from the folders that transformers writes.

GPT-2, BERT, DistilBERT, ViT, MarianMT, Llama and Qwen.

``folder`` reads the model, ``weight_files`` its numbers, ``tokenizer`` the tokenizer. What is
particular to a family of models stands in a module of its own; ``families`` lists them.
"""

from step_llm.models.pretrained.folder import from_pretrained
from step_llm.models.pretrained.tokenizer import tokenizer_from_pretrained

__all__ = ["from_pretrained", "tokenizer_from_pretrained"]
