"""Chat templates: from a conversation to the one text that a model was trained on.

A folder brings its own, in ``chat_template.jinja`` or in tokenizer_config.json. Qwen's, for
example, writes ``<|im_start|>user\\nHello<|im_end|>\\n`` for each message (ChatML).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

from step_llm.models.pretrained.fields import (
    checked_fields,
    read_optional,
    shown,
    token,
    token_id,
)
from step_llm.models.pretrained.tokenizer_kinds import content_of
from step_llm.models.weights import CheckpointError

__all__ = [
    "ChatTemplate", "ChatTemplateError", "chat_template_from_pretrained", "end_ids_from_pretrained",
]  # fmt: skip

_PROCESS = "step_llm.models.template_process"
_START = 60.0  # seconds until the process has begun; a busy machine is given time
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")
_MOST = 2**20  # characters of a template; Llama 3's has 4,000, the longest known 20,000


class ChatTemplateError(ValueError):
    """A template that is wrong, does what it must not, or does not take these messages."""


class ChatTemplate:
    """A Jinja template that writes conversations.

    It runs in a process of its own, in Jinja's sandbox, with a bound on time, memory and length,
    since whoever published a model decides what is in it.

    Args:
        source: the template.
        values: what it may ask for besides the messages: the special tokens, by name.
        timeout: the seconds that one rendering, or compiling it, may take.

    Raises:
        ChatTemplateError: a template that cannot be compiled.

    Source: jinja.palletsprojects.com; ``chat_template_utils.py`` of
    github.com/huggingface/transformers, with which the texts agree.
    """

    def __init__(self, source: str, values: dict | None = None, timeout: float = 5.0):
        if len(source) > _MOST:
            raise ChatTemplateError(
                f"the chat template has {len(source)} characters; expected at most {_MOST}"
            )
        self.source = source
        self.values = dict(values or {})
        self.timeout = timeout
        self._process = None
        self._lock = threading.Lock()
        with self._lock:
            self._start()

    def render(
        self,
        messages: Sequence[dict],
        add_generation_prompt: bool = True,
        tools: Sequence[dict] | None = None,
        settings: dict | None = None,
    ) -> str:
        """The text of a conversation.

        Args:
            messages: objects with a "role" (system, user, assistant) and a text as "content".
            add_generation_prompt: end with the beginning of an answer, for the model to go on.
            tools: descriptions of functions that the model may call, as JSON Schema.
            settings: values of a template's own, ``{"enable_thinking": False}`` of Qwen3's.

        Raises:
            ChatTemplateError: messages that are none, or the template refuses; a template that
                takes too long, needs too much memory, writes too much, or reads what it must not.
        """
        for message in messages:
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                raise ChatTemplateError(
                    f"a message is {shown(message)}; expected an object with a text as role"
                )
        request = {
            **self.values,
            "messages": list(messages),
            "tools": None if tools is None else list(tools),
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            **(settings or {}),
        }
        try:
            line = json.dumps(request)
        except (TypeError, ValueError, RecursionError) as error:
            raise ChatTemplateError(
                f"the messages cannot be written as JSON ({error}); expected texts, numbers, lists "
                "and objects"
            ) from error
        with self._lock:
            if self._process is None:
                self._start()
            return self._ask(line + "\n", self.timeout)

    def _start(self):
        # It finds what this process finds, wherever that was started.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        environment["PYTHONIOENCODING"] = "utf-8"
        self._process = subprocess.Popen(
            [sys.executable, "-m", _PROCESS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            encoding="utf-8",
            # Ctrl-C is for this process.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows' form
        )
        self._stop = weakref.finalize(self, _stop, self._process)
        self._ask("", _START)
        self._ask(json.dumps(self.source) + "\n", self.timeout)  # Jinja computes constants here

    def _ask(self, text, seconds):
        """The answer to a line; whatever happens, no process is left that does not listen."""
        is_late = threading.Event()
        process = self._process

        def stop():
            is_late.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        answer = ""
        try:
            process.stdin.write(text)
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            pass  # it has ended; what it was that ended it is told below
        finally:
            timer.cancel()
            if not answer.endswith("\n"):  # stopped, also by an interrupt
                self._process = None
                self._stop()
        if not answer.endswith("\n"):
            raise ChatTemplateError(
                f"the chat template did not finish within {seconds:g} s; it may loop without end"
                if is_late.is_set()
                else "the process of the chat template ended; it may have taken too much memory, "
                "or jinja2 is not installed"
            )
        answer = json.loads(answer)
        if "error" in answer:
            raise ChatTemplateError(f"the chat template fails: {answer['error']}")
        return answer["text"]


def _stop(process):
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            pipe.close()
    process.wait()


def chat_template_from_pretrained(folder: str | Path) -> ChatTemplate | None:
    """Read the chat template of a folder in Hugging Face's layout.

    Args:
        folder: may hold ``chat_template.jinja``, or ``tokenizer_config.json`` with a
            "chat_template": a text, or a list of named ones, of which "default" is taken.

    Returns:
        the template with the folder's special tokens; None where the folder has none, as that of
        a model that was not trained on conversations.

    Raises:
        CheckpointError: a file that is damaged, or a template that is no text.
        ChatTemplateError: a template that cannot be compiled.
    """
    folder = Path(folder)
    config = folder / "tokenizer_config.json"
    fields = read_optional(config)
    values = checked_fields(config, fields, dict.fromkeys(_SPECIAL, token()))
    values = {name: content_of(value) for name, value in values.items() if value is not None}
    source = fields.get("chat_template")
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            source = file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cannot read {file}: {error}") from error
    if isinstance(source, list):
        named = {t.get("name"): t.get("template") for t in source if isinstance(t, dict)}
        source = named.get("default", source)
    if source is None:
        return None
    if not isinstance(source, str):
        raise CheckpointError(
            f"{config}: chat_template is {shown(source)}; expected a text, or a list of objects "
            'with name and template, "default" among them'
        )
    return ChatTemplate(source, values)


def end_ids_from_pretrained(folder: str | Path) -> tuple[int, ...]:
    """The ids that end a text of the folder's model: of generation_config.json, else config.json.

    Raises:
        CheckpointError: a file that is damaged, or an eos_token_id that is none.
    """
    for name in ("generation_config.json", "config.json"):
        path = Path(folder) / name
        ids = read_optional(path).get("eos_token_id")
        ids = ids if isinstance(ids, list) else [ids]
        table = {"eos_token_id": token_id(None)}
        ids = [checked_fields(path, {"eos_token_id": one}, table)["eos_token_id"] for one in ids]
        ids = [one for one in ids if one is not None]
        if ids:
            return tuple(ids)
    return ()
