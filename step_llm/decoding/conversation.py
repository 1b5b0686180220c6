"""A conversation with a published model, which remembers what was said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from step_llm.decoding.language import CachedGPT
from step_llm.decoding.sampling import Sampling
from step_llm.decoding.streaming import stream
from step_llm.models.decoder_lm import DecoderLM
from step_llm.models.gpt import GPT
from step_llm.models.pretrained import (
    ChatTemplate,
    chat_template_from_pretrained,
    end_ids_from_pretrained,
    from_pretrained,
    tokenizer_from_pretrained,
)

__all__ = ["Conversation"]


class Conversation:
    """Messages and answers in turn.

    Each answer is made of the whole conversation, which a ``ChatTemplate`` writes as one text. With
    a model that was not trained on conversations there is none: it continues what stands there.

        conversation = Conversation.from_pretrained("Qwen2.5-0.5B-Instruct")
        for piece in conversation.say("What is attention?"):
            print(piece, end="", flush=True)

    Args:
        decoder: a ``StepDecoder`` of a language model.
        tokenizer: as ``tokenizer_from_pretrained`` returns it.
        template: how messages become a text; None puts them one behind the other.
        end_id: the tokens that end an answer.
        system: what the model is told before the first message; None leaves that to the template.
        sampling: how tokens are drawn; each answer has a seed of its own, counted from the one
            here. None takes the most probable token at every step.
        max_new_tokens: the most tokens of an answer.

    Raises:
        ValueError: a system message without a template.
    """

    def __init__(
        self,
        decoder,
        tokenizer,
        template: ChatTemplate | None,
        end_id: Sequence[int],
        system: str | None = None,
        sampling: Sampling | None = None,
        max_new_tokens: int = 512,
    ):
        if system is not None and template is None:
            raise ValueError(
                "the model has no chat template, so it takes no system message; begin the first "
                "message with it"
            )
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.template = template
        self.end_id = tuple(end_id)
        self.sampling = sampling
        self.max_new_tokens = max_new_tokens
        self.system = system
        self.messages = []
        self.restart()

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options) -> Conversation:
        """With the model, the tokenizer and the chat template of a folder.

        Args:
            folder: see ``from_pretrained``.
            options: system, sampling and max_new_tokens.

        Raises:
            ValueError: as ``from_pretrained`` and ``chat_template_from_pretrained``; a model that
                writes no text.
        """
        # What costs least is read first.
        template, end_id = chat_template_from_pretrained(folder), end_ids_from_pretrained(folder)
        tokenizer, model = tokenizer_from_pretrained(folder), from_pretrained(folder)
        if not isinstance(model, (GPT, DecoderLM)):
            raise ValueError(
                f"{folder} holds a {type(model).__name__}, which continues no text; expected a "
                "GPT-2, Llama, Qwen2 or Qwen3"
            )
        return cls(CachedGPT(model), tokenizer, template, end_id, **options)

    def restart(self) -> None:
        """Forget what was said, but for the system message."""
        self.messages = []
        if self.system is not None:
            self.messages.append({"role": "system", "content": self.system})

    def say(self, text: str) -> Iterator[str]:
        """Say something; the answer comes in pieces, as soon as each is known.

        The answer is remembered when the iterator ends. Of one that is left before, or stopped by
        an interrupt, what has come is.

        Raises:
            ValueError: a conversation that is longer than the model's context. The message does not
                count as said.
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        prompt = self._ids(messages)
        longest = self.decoder.max_length
        room = self.max_new_tokens
        if longest is not None:
            if len(prompt) > longest:
                raise ValueError(
                    f"the conversation has {len(prompt)} tokens, but the model's context has "
                    f"{longest}; shorten the message, or begin a new conversation"
                )
            room = min(room, longest - len(prompt) + 1)
        sampling = self.sampling
        if sampling is not None:
            sampling = replace(sampling, seed=sampling.seed + len(messages))
        pieces = stream(self.decoder, self.tokenizer, prompt, room, sampling, self.end_id)
        self.messages = messages
        return self._remembered(pieces)

    def _ids(self, messages):
        if self.template is None:
            return self.tokenizer.encode("".join(m["content"] for m in messages)).ids
        # The template writes the special tokens itself.
        text = self.template.render(messages)
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def _remembered(self, pieces):
        answer = {"role": "assistant", "content": ""}
        self.messages.append(answer)
        for piece in pieces:
            answer["content"] += piece
            yield piece
