"""Text in, text out: a model with its tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mindspore import Tensor

from step_llm.data.batches import padded
from step_llm.data.vocabulary import TokenizerPair
from step_llm.decoding.decoders import PlainDecoder, cached_decoder, special_ids
from step_llm.decoding.search import beam_search, check_search, greedy_search
from step_llm.evaluation.explorer import AttentionMap
from step_llm.nn._modes import without_dropout

__all__ = ["Attention", "Translator"]

# Sources are padded to 16, 32, 64, 128 …: few lengths, since each is one more shape to compile.
_SHORTEST = 16
# Sources padded to more than this go in smaller batches, so that memory does not grow without end.
_FULL_BATCH = 64
_FULL_BEAM = 16  # and so do those of larger beams
# Tokens of a sentence. The memory of attention grows with its square: of 20,000 no machine has it.
_LONGEST = 4096


class Attention(NamedTuple):
    """Where the model looked in the source while it wrote each token of the translation.

    Args:
        source_tokens, target_tokens: the labels, each with the end token.
        weights: (T, S), mean over the heads of one layer; row t is where the model looked when it
            wrote target token t. Each row sums to 1.
    """

    source_tokens: list[str]
    target_tokens: list[str]
    weights: np.ndarray


class Translator:
    """Translate sentences.

    Compiled code is kept in this object: make one for the life of the model. Its weights may change
    between calls, in training for example.

    Args:
        model: a ``Transformer``, a ``Marian`` or a ``RecurrentTranslator``.
        tokenizers: its ``TokenizerPair``, or what ``tokenizer_from_pretrained`` gives for a Marian.
        use_cache: False decodes without cache and without compiling, slowly, to compare.

    Raises:
        ValueError: vocabularies larger than the model's embeddings.

    A recurrent model has a state in place of a cache; what is said of the cache holds for it too.
    """

    def __init__(self, model, tokenizers: TokenizerPair, use_cache: bool = True):
        config = model.config
        if not hasattr(config, "source_vocab_size"):
            raise ValueError(
                f"a {type(model).__name__} is no translator; expected a model with a source and a "
                "target"
            )
        for side in ("source", "target"):
            known, size = len(getattr(tokenizers, side)), getattr(config, f"{side}_vocab_size")
            if known > size:
                raise ValueError(
                    f"the {side} tokenizer has {known} tokens, but the model has embeddings for "
                    f"{size}; expected the tokenizers it was trained with"
                )
        self.model = model
        self.tokenizers = tokenizers
        self.special = special_ids(model)
        self.decoder = cached_decoder(model) if use_cache else PlainDecoder(model)

    def translate(
        self,
        sentences: Sequence[str],
        beam_size: int = 1,
        length_penalty: float = 0.6,
        batch_size: int = 64,
    ) -> list[str]:
        """One translation for each sentence, in their order.

        A line without text gives an empty translation. A translation has at most 2 S + 10 tokens,
        S the tokens of its source (with learned positions at most as many as there are).

        Args:
            sentences: any number, each of at most 4,096 tokens; not one string.
            beam_size: 1 is greedy search.
            length_penalty: α of ``search.length_penalty``; greedy search has no use for it.
            batch_size: how many sentences are translated at once.

        Raises:
            ValueError: a single string, a batch_size below 1, what ``beam_search`` refuses, or a
                sentence that is too long or longer than the learned positions.
        """
        if isinstance(sentences, str):
            raise ValueError("sentences is one string; expected a list of them")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected at least 1")
        check_search(beam_size, length_penalty)
        sources = [self._encode(sentence) for sentence in sentences]
        waiting = sorted(
            (n for n, ids in enumerate(sources) if ids), key=lambda n: len(sources[n]), reverse=True
        )
        batch_size = min(batch_size, _doubled(1, len(waiting)))
        translations = [""] * len(sources)
        while waiting:  # The longest first; each batch is completed with the next shorter ones.
            length = self._padded_length(len(sources[waiting[0]]))
            rows = min(batch_size * _FULL_BATCH // length, batch_size * _FULL_BEAM // beam_size)
            rows = max(1, min(batch_size, rows))
            batch, waiting = waiting[:rows], waiting[rows:]
            # Always as many rows, to compile no other shape; rows of padding cost no steps.
            source = padded([sources[n] for n in batch], rows, length, self.special.pad)
            for n, ids in zip(batch, self._search(source, beam_size, length_penalty)):
                translations[n] = self.tokenizers.target.decode(ids)
        return translations

    def attention(
        self, sentence: str, beam_size: int = 1, length_penalty: float = 0.6, layer: int = -1
    ) -> Attention:
        """Translate one sentence and return the cross-attention of one decoder layer.

        Args:
            sentence, beam_size, length_penalty: as in ``translate``.
            layer: which decoder layer; −1 is the last.

        Raises:
            ValueError: a sentence without text, a model without attention, or what ``translate``
                refuses.
        """
        cross = self.attention_maps(sentence, None, beam_size, length_penalty)[0]
        return Attention(cross.keys, cross.queries, cross.weights[layer].mean(axis=0))

    def attention_maps(
        self,
        sentence: str,
        target: str | None = None,
        beam_size: int = 1,
        length_penalty: float = 0.6,
    ) -> list[AttentionMap]:
        """All attention of one sentence and its translation, in every layer and head.

        Args:
            sentence, beam_size, length_penalty: as in ``translate``.
            target: the translation that the decoder reads; None stands for the model's own.

        Returns:
            cross-attention, the decoder's causal self-attention, the encoder's self-attention; of a
            recurrent model the first alone.

        Raises:
            ValueError: as ``attention``.
        """
        source = self._encode(sentence)
        if not source:
            raise ValueError("the sentence has no text; expected at least one word")
        if target is None:
            length = self._padded_length(len(source))
            batch = padded([source], 1, length, self.special.pad)
            (ids,) = self._search(batch, beam_size, length_penalty)
        else:
            ids = self.tokenizers.target.encode(target)
        with without_dropout(self.model):
            memory, mask, encoder = self.model.encode(Tensor(np.array([source], np.int32)))
            read = Tensor(np.array([[self.special.bos, *ids]], np.int32))
            causal, cross = self.model.decode(read, memory, mask)[1:3]
        if not cross:
            raise ValueError("this model has no attention; it reads one vector of the sentence")
        source = [self.tokenizers.source.token(token) for token in source]
        read = [self.tokenizers.target.token(token) for token in [self.special.bos, *ids]]
        written = [self.tokenizers.target.token(token) for token in [*ids, self.special.eos]]
        kinds = (
            ("cross-attention", written, source, cross,
             "Decoder: to write a token, it looks at the source."),
            ("causal self-attention", read, read, causal,
             "Decoder: a token looks at itself and those before it."),
            ("self-attention", source, source, encoder, "Encoder: a token looks at the source."),
        )  # fmt: skip
        return [
            AttentionMap(name, queries, keys, np.stack([w.asnumpy()[0] for w in layers]), text)
            for name, queries, keys, layers, text in kinds
            if layers
        ]

    def _encode(self, sentence):
        ids = self.tokenizers.source.encode(sentence)
        if len(ids) >= _LONGEST:
            raise ValueError(
                f"the sentence {sentence[:30]!r}… has {len(ids):,} tokens; expected less than "
                f"{_LONGEST:,}: split it"
            )
        return [*ids, self.special.eos] if ids else []

    def _padded_length(self, length):
        # Where even the sentence is too long, the positions themselves say so.
        return max(length, int(self._limited(_doubled(_SHORTEST, length))))

    def _limited(self, length):
        """At most as many as the model has positions."""
        limit = self.model.config.position_limit
        return length if limit is None else np.minimum(length, limit)

    def _search(self, source, beam_size, length_penalty):
        max_length = self._limited(2 * (source != self.special.pad).sum(axis=1) + 10)
        if beam_size == 1:
            found = greedy_search(self.decoder, source, max_length)
        else:
            beams = beam_search(self.decoder, source, beam_size, max_length, length_penalty)
            found = [hypotheses[0] for hypotheses in beams]
        return [hypothesis.ids for hypothesis in found]


def _doubled(start, at_least):
    while start < at_least:
        start *= 2
    return start
