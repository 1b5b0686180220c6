"""Modes of a model: for a while, dropout is off."""

from __future__ import annotations

from contextlib import contextmanager


@contextmanager
def without_dropout(model):
    """Dropout off inside; afterwards the model is as it was."""
    was_training = model.training
    model.set_train(False)
    try:
        yield
    finally:
        model.set_train(was_training)
