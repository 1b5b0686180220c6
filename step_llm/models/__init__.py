"""Whole models: the Transformer, what came before it, and what grew out of it."""
