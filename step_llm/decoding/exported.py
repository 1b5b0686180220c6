"""Translate with an exported model: a folder of CTranslate2 and its tokenizers.

Nothing here needs MindSpore: a service installs CTranslate2, NumPy and tokenizers.

Letters: K beam size, S source length.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from step_llm.data.vocabulary import BOS_ID, EOS_ID, PAD_ID, TokenizerPair
from step_llm.decoding.hypothesis import Hypothesis, length_penalty

__all__ = ["INSTALL_CTRANSLATE2", "SETTINGS", "ExportedTranslator", "engine"]

INSTALL_CTRANSLATE2 = "pip install 'ctranslate2>=4.6.3,<5'"
# What the export has to say beyond the engine's own configuration.
SETTINGS = "step_llm.json"
# A sentence's beam goes on until so many times K hypotheses have ended. Ours goes on until no open
# one can win; on Multi30k 1, 2 and 4 found the same.
_PATIENCE = 2
# The engine divides a score by length^α; with this α by 1. (0 would make it stop at the first end.)
_NO_PENALTY = 1e-30


def engine():
    """The package ``ctranslate2``.

    Raises:
        ImportError: it is not installed; the message has the command.
    """
    if find_spec("ctranslate2") is None:
        raise ImportError(f"CTranslate2 is not installed; install it: {INSTALL_CTRANSLATE2}")
    import ctranslate2

    return ctranslate2


class ExportedTranslator:
    """Translate sentences with an exported model, as ``Translator`` does with the model itself.

    Greedy search gives the tokens of ``greedy_search``. Beam search has the length rule and the
    length penalty of ``beam_search``, and one difference: where a hypothesis has ended, the engine
    fills its place in the beam with the next best at once, ours at the next step.

    Args:
        folder: what ``export_ctranslate2`` has written.
        threads: of the engine; 0 leaves the number to it.
        device: "cpu" or "cuda".

    Raises:
        ImportError: CTranslate2 is not installed.
        FileNotFoundError: no exported model in the folder.
        ValueError: a damaged file.
    """

    def __init__(self, folder: str | Path, threads: int = 0, device: str = "cpu"):
        folder = Path(folder)
        path = folder / SETTINGS
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no {path}; expected a folder that `step_llm export` has made"
            )
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
            self._longest_source = settings["longest_source"]
            self._most_tokens = settings["most_tokens"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged: {error!r}; export the model again") from error
        self.tokenizers = TokenizerPair.load(folder)
        self.engine = engine().Translator(str(folder), device=device, intra_threads=threads)
        self._source_pieces = self.tokenizers.source.pieces()
        pieces = self.tokenizers.target.pieces()
        self._ids = {piece: token_id for token_id, piece in enumerate(pieces)}
        self._never = [[pieces[PAD_ID]], [pieces[BOS_ID]]]

    def translate(
        self,
        sentences: Sequence[str],
        beam_size: int = 1,
        length_penalty: float = 0.6,
        batch_size: int = 64,
    ) -> list[str]:
        """One translation for each sentence, in their order; see ``Translator.translate``.

        Raises:
            ValueError: a single string, a size below 1, a negative length penalty, or a sentence
                longer than the positions that were exported.
        """
        if isinstance(sentences, str):
            raise ValueError("sentences is one string; expected a list of them")
        sources = [self.tokenizers.source.encode(sentence) for sentence in sentences]
        found = self.search(sources, beam_size, length_penalty, batch_size)
        return [self.tokenizers.target.decode(hypothesis.ids) for hypothesis in found]

    def search(
        self,
        sources: Sequence[Sequence[int]],
        beam_size: int = 1,
        length_penalty: float = 0.6,
        batch_size: int = 64,
        max_length: int | None = None,
    ) -> list[Hypothesis]:
        """The best hypothesis for each source.

        Args:
            sources: lists of ids, without the end token; an empty one gives an empty hypothesis.
            beam_size, length_penalty, batch_size: as ``translate``.
            max_length: the most tokens of a translation, the end token included; None stands for
                the rule of ``translate``.

        Raises:
            ValueError: as ``translate``.
        """
        sizes = {"beam_size": beam_size, "batch_size": batch_size, "max_length": max_length}
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise ValueError(f"{name} is {size}; expected at least 1")
        if not 0 <= length_penalty < float("inf"):
            raise ValueError(f"length_penalty is {length_penalty}; expected at least 0")
        found = [Hypothesis((), 0.0, 0.0, True)] * len(sources)
        limits = [self._most(len(ids) + 1, max_length) for ids in sources]
        waiting = sorted((n for n, ids in enumerate(sources) if len(ids)), key=limits.__getitem__)
        while waiting:  # the longest first: a batch is as wide as its longest source
            batch, waiting = waiting[-batch_size:], waiting[:-batch_size]
            rows = [[self._source_pieces[token] for token in sources[n]] for n in batch]
            best = self._best(rows, [limits[n] for n in batch], beam_size, length_penalty)
            for n, hypothesis in zip(batch, best):
                found[n] = hypothesis
        return found

    def _most(self, length, most=None):
        """The most tokens of a translation of so many tokens, both with their end token."""
        if self._longest_source is not None and length > self._longest_source:
            raise ValueError(
                f"a sentence has {length} tokens; this model was exported with positions for "
                f"{self._longest_source}: shorten it"
            )
        most = 2 * length + 10 if most is None else most
        return most if self._most_tokens is None else min(most, self._most_tokens)

    def _best(self, rows, limits, beam_size, alpha):
        """The best hypothesis for each row of pieces; limits are the most tokens of each."""
        most = max(limits)
        several = {}
        if beam_size > 1:
            several = {"patience": _PATIENCE, "num_hypotheses": _PATIENCE * beam_size}
        results = self.engine.translate_batch(
            rows, beam_size=beam_size, length_penalty=_NO_PENALTY, max_decoding_length=most,
            min_decoding_length=0, max_input_length=0, suppress_sequences=self._never,
            return_end_token=True, return_scores=True, **several,
        )  # fmt: skip
        for row, limit, result in zip(rows, limits, results):
            ended, cut = [], []
            for pieces, log_prob in zip(result.hypotheses, result.scores):
                ids = tuple(self._ids[piece] for piece in pieces)
                score = log_prob / length_penalty(len(ids), alpha if beam_size > 1 else 0.0)
                if ids[-1] == EOS_ID and len(ids) <= limit:
                    ended.append(Hypothesis(ids[:-1], log_prob, score, True))
                elif len(ids) == limit:
                    cut.append(Hypothesis(ids, log_prob, score, False))
            if ended or cut:
                yield max(ended or cut, key=lambda hypothesis: hypothesis.score)
            else:  # what was open at this row's own limit, the search for all has not kept
                yield from self._best([row], [limit], beam_size, alpha)
