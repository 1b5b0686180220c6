"""step_llm: the Transformer's components on MindSpore, and a translator built from them."""
