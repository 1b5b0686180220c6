"""``chat``: a conversation with a published model, in a terminal."""

from __future__ import annotations

import contextlib
import sys

from step_llm.cli.terminal import one_line, visible
from step_llm.decoding.conversation import Conversation
from step_llm.decoding.sampling import Sampling
from step_llm.runtime.device import take_interrupts_back, use_device

__all__ = ["run"]

_HELP = "/new begins a new conversation, /exit ends the program; Ctrl-C ends an answer"


def run(options):
    if sys.stdin is None:  # closed by whoever started this process
        raise ValueError("standard input is closed; chat reads your messages from there")
    sampling = None
    if options.temperature != 0:
        sampling = Sampling(options.temperature, top_p=options.top_p, seed=options.seed)
    if options.max_tokens < 1:
        raise ValueError(f"--max-tokens is {options.max_tokens}; expected at least 1")
    use_device(options.device)
    conversation = Conversation.from_pretrained(
        options.folder,
        system=options.system,
        sampling=sampling,
        max_new_tokens=options.max_tokens,
    )
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        with contextlib.suppress(ImportError):  # lines can be edited, and earlier ones found
            import readline  # noqa: F401
        if conversation.template is None:
            print("The model was not trained on conversations: it continues what you write.")
        print(_HELP)
    else:
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    for message in _messages(is_terminal):
        if message == "/new":
            conversation.restart()
        elif message == "/help":
            print(_HELP)
        else:
            _answer(conversation, message, is_terminal)


def _messages(is_terminal):
    """What the user types, until /exit or the end of the input."""
    while True:
        try:
            take_interrupts_back()
            line = input("> " if is_terminal else "").strip()
        except EOFError:
            return
        except UnicodeDecodeError as error:
            raise ValueError(f"standard input is not UTF-8: {error}") from None
        except KeyboardInterrupt:
            if not is_terminal:
                raise
            print(f"\n{_HELP}")
            continue
        if line == "/exit":
            return
        if line:
            yield line


def _answer(conversation, message, is_terminal):
    try:
        for piece in conversation.say(message):
            print(visible(piece), end="", flush=True)
        print(flush=True)
    except KeyboardInterrupt:
        print(" …", flush=True)
    except ValueError as error:
        if not is_terminal:
            raise
        print(f"step_llm: error: {one_line(str(error))}", file=sys.stderr)
