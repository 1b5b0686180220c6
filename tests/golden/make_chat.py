"""Golden conversations: what transformers' apply_chat_template makes of them.

    python tests/golden/make_chat.py            write chat/expected.json
    python tests/golden/make_chat.py --check    make it again and compare

Made with transformers==5.24.0. The templates beside it were written for this project after the
documented format (ChatML) and in the two ways that Qwen2.5 and Qwen3 use it; the third has the
settings of Jinja (trim_blocks, lstrip_blocks) decide over every line. `tests/test_chat_template.py`
compares the library with the texts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import command
import transformers
from tokenizers import Tokenizer, models

FOLDER = Path(__file__).resolve().parent / "chat"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


SYSTEM = {"role": "system", "content": "Antworte kurz. 请简短回答。"}
LOOK_UP = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks a <word> up & says «what» it means",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
}
CALL = {"type": "function", "function": {"name": "look_up", "arguments": {"word": "狗"}}}
# name: the arguments of apply_chat_template
CONVERSATIONS = {
    "one question": {"messages": [user("What is a dog?")]},
    "no prompt": {"messages": [user("Hi"), assistant("Hello.")], "add_generation_prompt": False},
    "system": {"messages": [SYSTEM, user("  spaces \n and lines \n\n")]},
    "turns": {
        "messages": [
            SYSTEM, user("1 + 1?"), assistant("<think>\nEasy.\n</think>\n\n2"), user("And 2 < 3?"),
            assistant("Yes & no", reasoning_content="\nHm.\n"), user(""), assistant(""),
            user("🐕 äöü \\ \" ' {{ messages }} {% for %}"), assistant("ok"), user("end"),
        ]
    },
    "thought last": {
        "messages": [user("1 + 1?"), assistant("<think>\nEasy.\n</think>\n\n2")],
        "add_generation_prompt": False,
    },
    "no thinking": {"messages": [user("Hi")], "settings": {"enable_thinking": False}},
    "thinking": {"messages": [user("Hi")], "settings": {"enable_thinking": True}},
    "tools": {"messages": [user("What is 狗?")], "tools": [LOOK_UP, LOOK_UP]},
    "calls": {
        "messages": [
            SYSTEM, user("What is 狗?"), assistant("", tool_calls=[CALL, CALL]),
            {"role": "tool", "content": "dog"}, {"role": "tool", "content": "hound"},
            assistant("A dog."),
        ],
        "tools": [LOOK_UP],
    },
    "system alone": {"messages": [SYSTEM]},
}  # fmt: skip


def texts():
    """The text of each conversation, by each template."""
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), **TOKENS
    )
    made = {}
    for path in sorted(FOLDER.glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        for name, arguments in CONVERSATIONS.items():
            settings = {"add_generation_prompt": True, **arguments}
            settings.update(settings.pop("settings", {}))
            made[f"{path.stem}: {name}"] = tokenizer.apply_chat_template(
                settings.pop("messages"), chat_template=source, tokenize=False, **settings
            )
    return made


def check(folder):
    """Make every text again; returns the exit status, 1 at the first difference."""
    stored = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    made = texts()
    if stored["conversations"] != CONVERSATIONS or stored["tokens"] != TOKENS:
        print("expected.json: holds other conversations; run this script without --check")
        return 1
    for name in sorted({*made, *stored["texts"]}):
        if made.get(name) != stored["texts"].get(name):
            print(f"{name}: {stored['texts'].get(name)!r}; made again {made.get(name)!r}")
            return 1
    print(f"{len(made)} golden conversations agree with transformers {transformers.__version__}")
    return 0


def write(folder):
    content = {"tokens": TOKENS, "conversations": CONVERSATIONS, "texts": texts()}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (folder / "expected.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    sys.exit(command.run("conversations", FOLDER, check, write))
