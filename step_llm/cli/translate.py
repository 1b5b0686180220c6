"""``translate``: sentences from the command line or from standard input."""

from __future__ import annotations

import sys

from step_llm.cli.terminal import visible
from step_llm.decoding.translator import Translator
from step_llm.evaluation.explorer import AttentionExplorer
from step_llm.evaluation.plots import plot_attention
from step_llm.runtime.device import use_device
from step_llm.runtime.graph_mode import graph_mode
from step_llm.training.checkpoint import load_model

__all__ = ["run", "translated"]


def run(options):
    use_device(options.device)
    if options.show_attention and len(options.sentences) != 1:
        raise ValueError("--show-attention draws one sentence; give exactly one as an argument")
    translator = Translator(*load_model(options.folder))
    if options.show_attention:
        _show_attention(translator, options)
    if not options.sentences and sys.stdin is not None and sys.stdin.isatty():
        _converse(translator, options)
        return
    _say(translated(translator, options.sentences or _standard_input(), options))


def _converse(translator, options):
    """Each line is translated when it has been typed; without a word, this looks like waiting."""
    end = "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D"
    print(f"Type a sentence and Enter; {end} ends.", file=sys.stderr, flush=True)
    for line in sys.stdin:
        if line.strip():
            _say(translated(translator, [line.strip()], options))


def _say(translations):
    for translation in translations:
        print(visible(translation))
    sys.stdout.flush()


def _show_attention(translator, options):
    """A page of every head if the file's name ends in .html; else a picture of the last layer."""
    (sentence,) = options.sentences
    search = {"beam_size": options.beam, "length_penalty": options.length_penalty}
    if options.show_attention.lower().endswith((".html", ".htm")):
        maps = translator.attention_maps(sentence, **search)
        AttentionExplorer(maps, title=sentence).save(options.show_attention)
    else:
        plot_attention(*translator.attention(sentence, **search), path=options.show_attention)


def _standard_input():
    if sys.stdin is None:  # closed by whoever started this process
        raise ValueError("standard input is closed; give the sentences as arguments")
    sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    try:
        return [line.rstrip("\r\n") for line in sys.stdin]
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input is not UTF-8: {error}") from None


def translated(translator, sentences, options):
    """The translations, searched as the options say."""
    with graph_mode():
        return translator.translate(
            list(sentences),
            beam_size=options.beam,
            length_penalty=options.length_penalty,
            batch_size=options.batch_size,
        )
