"""One vector for a whole sentence, from the vectors of its tokens.

Letters: B batch, T length, D model width.
"""

from __future__ import annotations

from mindspore import ops

from step_llm.nn._checks import check_shape

__all__ = ["mean_pooling", "sentence_embeddings"]


def mean_pooling(hidden, is_real):
    r"""The mean of a text's hidden vectors, without its padding.

    Formula: m = Σ_t r_t h_t / max(Σ_t r_t, 1), where r_t is 1 for a token and 0 for padding.

    Args:
        hidden: (B, T, D), what an encoder makes of ids.
        is_real: (B, T) Boolean, True for a token ([CLS] and [SEP] are tokens), False for padding.

    Returns:
        (B, D); of a row without any token, zeros.

    Raises:
        ValueError: an ``is_real`` that is not (B, T).

    Source: Reimers & Gurevych 2019, "Sentence-BERT: Sentence Embeddings using Siamese
    BERT-Networks", section 3.
    """
    check_shape("is_real", is_real.shape, hidden.shape[:2])
    weights = ops.cast(is_real, hidden.dtype).expand_dims(-1)  # (B, T, 1)
    # Not multiplied by 0: what stands in the padding may be no number at all.
    total = ops.where(is_real.expand_dims(-1), hidden, ops.zeros_like(hidden)).sum(axis=1)
    return total / ops.maximum(weights.sum(axis=1), 1.0)


def sentence_embeddings(hidden, is_real):
    r"""Vectors of length 1 for whole sentences: the product of two is the cosine of their angle.

    Formula: s = m / max(‖m‖₂, 1e-12), m the mean of ``mean_pooling``.

    Args:
        hidden, is_real: as ``mean_pooling`` takes them.

    Returns:
        (B, D).

    Raises:
        ValueError: as ``mean_pooling``.

    Source: Reimers & Gurevych 2019; the models of sentence-transformers that end in "Normalize".
    """
    mean = mean_pooling(hidden, is_real)
    length = ops.sqrt((mean * mean).sum(axis=-1, keepdims=True))
    return mean / ops.maximum(length, 1e-12)
