"""Real weights, from the folders that transformers writes.

GPT-2, BERT, DistilBERT, ViT, MarianMT, Llama and Qwen.

``folder`` reads the model, ``weight_files`` its numbers, ``tokenizer`` the tokenizer,
``chat_template`` how a conversation is written for it. What is
particular to a family of models stands in a module of its own; ``families`` lists them.
"""

from step_llm.models.pretrained.chat_template import (
    ChatTemplate,
    ChatTemplateError,
    chat_template_from_pretrained,
    end_ids_from_pretrained,
)
from step_llm.models.pretrained.folder import from_pretrained
from step_llm.models.pretrained.tokenizer import tokenizer_from_pretrained

__all__ = [
    "ChatTemplate", "ChatTemplateError", "chat_template_from_pretrained", "end_ids_from_pretrained",
    "from_pretrained", "tokenizer_from_pretrained",
]  # fmt: skip
