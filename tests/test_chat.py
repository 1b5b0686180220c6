"""Streaming and conversations, with small random models: in this process, and in a terminal."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from step_llm.cli import commands
from step_llm.decoding.conversation import Conversation
from step_llm.decoding.language import CachedGPT, PlainGPT, PrefixModel
from step_llm.decoding.sampling import Sampling, generate, generate_tokens
from step_llm.decoding.streaming import stream, text_pieces
from step_llm.models.decoder_lm import DecoderLM, DecoderLMConfig
from step_llm.models.gpt import GPT, GPTConfig

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = (
    "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)


def byte_tokenizer():
    """Every byte is a token of its own: most characters of other languages are split."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>", "<stop>"])
    return tokenizer


def piece_tokenizer():
    """Pieces of words, as in Llama 2: the first of a text loses its space; bytes in need."""
    tokens = ["<unk>", *(f"<0x{n:02X}>" for n in range(256)), "▁", "▁a", "b", "▁狗", "."]
    vocabulary = {token: n for n, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


BYTES, PIECES = byte_tokenizer(), piece_tokenizer()
END, STOP = 256, 257
SIZES = {"vocab_size": 258, "d_model": 16, "num_heads": 2, "num_layers": 2, "max_length": 64}
KINDS = {
    "gpt": lambda: GPT(GPTConfig(d_ff=32, dropout=0.5, **SIZES), seed=1),
    "decoder_lm": lambda: DecoderLM(
        DecoderLMConfig(num_kv_heads=1, d_head=8, d_ff=24, dropout=0.5, **SIZES), seed=1
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def decoder(request):
    return CachedGPT(KINDS[request.param]())


# Pieces of text


@pytest.mark.parametrize("text", ["The dog", "Ein Hund läuft – 狗在跑。 🐕", "🐕🐕", "", "\ufffd!"])
def test_no_piece_ends_inside_a_character(text):
    ids = BYTES.encode(text).ids
    pieces = list(text_pieces(BYTES, ids))
    assert "".join(pieces) == text
    assert pieces == [c for c in text if c != "\ufffd"] or "\ufffd" in text


def test_a_piece_comes_as_soon_as_it_is_whole():
    """Nothing is held back that could be shown: before the next token is asked for, it is there."""
    seen = []

    def tokens():
        for number, token in enumerate(BYTES.encode("a狗b").ids):
            assert len(seen) == (0, 1, 1, 1, 2)[number]
            yield token

    for piece in text_pieces(BYTES, tokens()):
        seen.append(piece)
    assert seen == ["a", "狗", "b"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 257), max_size=30))
def test_the_pieces_of_any_bytes_are_their_text(ids):
    """Also where the bytes are no characters."""
    pieces = list(text_pieces(BYTES, ids))
    assert "".join(pieces) == BYTES.decode(ids)
    assert all(pieces)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(257, 261) | st.characters(exclude_categories=["Cs"]), max_size=20))
def test_the_pieces_of_words_and_characters_are_their_text(parts):
    """Whole pieces of words, and characters of one byte after another."""
    ids = []
    for part in parts:
        is_character = isinstance(part, str)
        ids += [1 + byte for byte in part.encode("utf-8")] if is_character else [part]
    assert "".join(text_pieces(PIECES, ids)) == PIECES.decode(ids)


@pytest.mark.parametrize("sampling", [None, Sampling(2.0, top_p=0.9, seed=3)])
@pytest.mark.parametrize("end", [None, END, (END, STOP, 65)])
def test_the_stream_is_what_generate_writes(decoder, sampling, end):
    prompt = BYTES.encode("Ein Hund").ids
    (wanted,) = generate(decoder, [prompt], 12, sampling, end)
    assert list(generate_tokens(decoder, prompt, 12, sampling, end)) == wanted
    pieces = stream(decoder, BYTES, "Ein Hund", 12, sampling, end)
    assert "".join(pieces) == BYTES.decode(wanted)
    if end is None:
        plain = stream(PlainGPT(decoder.model), BYTES, prompt, 12, sampling)
        assert "".join(plain) == BYTES.decode(wanted)


def spoken(texts):
    """A model that says these bytes after any prompt, then the second of two tokens that end."""
    script = [*BYTES.encode(texts).ids, STOP]
    start = []

    def log_probs(prefixes):
        start.append(len(prefixes[0])) if not start else None
        values = np.full((1, 258), -10.0)
        values[0, script[(len(prefixes[0]) - start[0]) % len(script)]] = 0.0
        return values

    return PrefixModel(log_probs, 40)


def test_several_tokens_may_end_a_text():
    for end in ((END, STOP), [STOP], STOP, np.array([STOP])):
        assert "".join(stream(spoken("狗!"), BYTES, "?", 30, end_id=end)) == "狗!"
    assert len(list(generate_tokens(spoken("狗!"), [1], 30))) == 30


def test_dropout_comes_back_and_errors_come_at_once():
    model = KINDS["gpt"]()
    model.set_train()
    pieces = stream(CachedGPT(model), BYTES, "a", 5)
    next(pieces)
    assert not model.training
    pieces.close()
    del pieces
    assert model.training
    for wrong, told in ((("", 5), "a prompt is empty"), (("a", 0), "expected at least 1"),
                        (("a" * 65, 1), "has 65 tokens, but the model has 64")):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            stream(CachedGPT(model), BYTES, *wrong)


# Conversations


class Template:
    """As ``ChatTemplate``, without a process."""

    def render(self, messages):
        self.seen = [dict(message) for message in messages]
        return "".join(f"<{m['role'][0]}>{m['content']}" for m in messages) + "<a>"


def test_a_conversation_remembers():
    template = Template()
    conversation = Conversation(spoken("狗!"), BYTES, template, (END, STOP), system="S")
    assert list(conversation.say("Hi")) == ["狗", "!"]
    expected = [("system", "S"), ("user", "Hi"), ("assistant", "狗!")]
    assert [tuple(message.values()) for message in conversation.messages] == expected
    conversation.decoder = spoken("yes")
    assert "".join(conversation.say("And?")) == "yes"
    assert [tuple(m.values()) for m in template.seen] == [*expected, ("user", "And?")]
    conversation.restart()
    assert [tuple(message.values()) for message in conversation.messages] == expected[:1]


def test_an_answer_that_is_left_is_remembered_as_far_as_it_came():
    conversation = Conversation(spoken("dogs"), BYTES, Template(), (STOP,))
    answer = conversation.say("Hi")
    assert next(answer) + next(answer) == "do"
    answer.close()
    assert conversation.messages[-1] == {"role": "assistant", "content": "do"}


def test_a_conversation_and_the_context():
    conversation = Conversation(spoken("a" * 50), BYTES, Template(), (STOP,))
    told = "the conversation has 42 tokens, but the model's context has 40; shorten the message"
    with pytest.raises(ValueError, match=told):
        conversation.say("x" * 36)
    assert conversation.messages == []
    # Where little room is left, the answer is short.
    assert "".join(conversation.say("x" * 30)) == "a" * 5
    with pytest.raises(ValueError, match="the conversation has"):
        conversation.say("y")
    assert len(conversation.messages) == 2


def test_a_model_that_knows_no_conversations(decoder):
    conversation = Conversation(decoder, BYTES, None, (), max_new_tokens=4)
    first = "".join(conversation.say("Ein "))
    (wanted,) = generate(decoder, [BYTES.encode("Ein ").ids], 4)
    assert first == BYTES.decode(wanted)
    second = "".join(conversation.say("x"))
    (wanted,) = generate(decoder, [BYTES.encode(f"Ein {first}x").ids], 4)
    assert second == BYTES.decode(wanted)
    with pytest.raises(ValueError, match="has no chat template, so it takes no system message"):
        Conversation(decoder, BYTES, None, (), system="S")


def test_each_answer_has_a_seed_of_its_own(decoder):
    def answers(seed):
        sampling = Sampling(5.0, seed=seed)
        conversation = Conversation(decoder, BYTES, None, (), sampling=sampling, max_new_tokens=9)
        first = "".join(conversation.say("a"))
        conversation.restart()
        return first, "".join(conversation.say("a"))

    assert answers(1) == answers(1)
    assert answers(1) != answers(2)


# The command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random Qwen2 with bytes as tokens, as a published folder has it."""
    path = tmp_path_factory.mktemp("model") / "qwen"
    path.mkdir()
    config = {
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 258,
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 4096,
        "tie_word_embeddings": True, "eos_token_id": END,
    }  # fmt: skip
    rng, layer = np.random.default_rng(0), "model.layers.0"
    shapes = {
        "model.embed_tokens.weight": (258, 16), "model.norm.weight": (16,),
        f"{layer}.input_layernorm.weight": (16,),
        f"{layer}.post_attention_layernorm.weight": (16,),
        f"{layer}.self_attn.q_proj.weight": (16, 16), f"{layer}.self_attn.q_proj.bias": (16,),
        f"{layer}.self_attn.k_proj.weight": (8, 16), f"{layer}.self_attn.k_proj.bias": (8,),
        f"{layer}.self_attn.v_proj.weight": (8, 16), f"{layer}.self_attn.v_proj.bias": (8,),
        f"{layer}.self_attn.o_proj.weight": (16, 16),
        f"{layer}.mlp.gate_proj.weight": (24, 16), f"{layer}.mlp.up_proj.weight": (24, 16),
        f"{layer}.mlp.down_proj.weight": (16, 24),
    }  # fmt: skip
    weights = {n: rng.normal(0, 0.3, shape).astype(np.float32) for n, shape in shapes.items()}
    weights["model.embed_tokens.weight"][END] = 0.0  # it never ends by itself
    save_file(weights, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config))
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    BYTES.save(str(path / "tokenizer.json"))
    return path


def test_the_command_in_this_process(folder, monkeypatch, capsys):
    lines = iter(["Hallo", "", "/new", "/help", "Hallo", "/exit", "never"])
    monkeypatch.setattr("builtins.input", lambda prompt="": next(lines))
    monkeypatch.setattr(sys, "stdin", open(os.devnull, encoding="utf-8"))  # noqa: SIM115
    options = ["--temperature", "0", "--max-tokens", "12", "--device", "CPU", "--system", "S"]
    assert commands.main(["chat", str(folder), *options]) == 0
    printed = capsys.readouterr().out
    conversation = Conversation.from_pretrained(folder, system="S", max_new_tokens=12)
    answer = "".join(conversation.say("Hallo"))
    assert printed.count(f"{answer}\n") == 2  # the new conversation begins as the first one did
    assert "Ctrl-C ends an answer" in printed
    assert next(lines) == "never"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--temperature", "-1"), "temperature is -1.0; expected more than 0"),
        (("--top-p", "2"), "top_p is 2.0; expected a share"),
        (("--max-tokens", "0"), "--max-tokens is 0; expected at least 1"),
    ],
)
def test_options_out_of_range(folder, capsys, options, told):
    assert commands.main(["chat", str(folder), *options]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_folders_that_do_not_chat(folder, capsys, monkeypatch, tmp_path):
    golden = ROOT / "tests" / "golden" / "huggingface"
    for name, told in (("bert", "continues no text"), ("vit", "reads no text"), ("gone", "folder")):
        assert commands.main(["chat", str(golden / name), "--device", "CPU"]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
    # Where no terminal is, a message that is too long ends the program.
    monkeypatch.setattr("builtins.input", lambda prompt="": "x" * 4096)
    monkeypatch.setattr(sys, "stdin", open(os.devnull, encoding="utf-8"))  # noqa: SIM115
    assert commands.main(["chat", str(folder), "--device", "CPU"]) == 2
    error = capsys.readouterr().err
    assert "the conversation has 4102 tokens, but the model's context has 4096" in error


def read_some(terminal, seconds):
    """What comes from a terminal next; empty if nothing does for so long."""
    is_there = select.select([terminal], [], [], seconds)[0]
    return os.read(terminal, 65536).decode("utf-8", "replace") if is_there else ""


def read_until(terminal, mark, seconds=240):
    """What comes from a terminal, until the mark is in it."""
    text, end = "", time.monotonic() + seconds
    while mark not in text:
        assert time.monotonic() < end, text[-500:]
        text += read_some(terminal, 1.0)
    return text


def hear_ctrl_c():
    """A shell's background job, and so the tests in one, ignores it; what it starts would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_ctrl_c_ends_an_answer_and_not_the_program(folder):
    import pty

    terminal, other = pty.openpty()
    command = [sys.executable, "-m", "step_llm", "chat", str(folder), "--device", "CPU"]
    process = subprocess.Popen(
        [*command, "--max-tokens", "4000"],
        stdin=other, stdout=other, stderr=other, start_new_session=True,
        preexec_fn=hear_ctrl_c,
        env={**os.environ, "PYTHONPATH": str(ROOT), "GLOG_v": "3", "TERM": "dumb"},
    )  # fmt: skip
    os.close(other)
    try:
        read_until(terminal, "> ")
        os.write(terminal, b"Hallo\n")
        read_until(terminal, "Hallo\r\n")
        text = ""
        while len(text) < 100:  # the answer is under way
            text += os.read(terminal, 1000).decode("utf-8", "replace")
        process.send_signal(signal.SIGINT)
        read_until(terminal, "…\r\n> ")
        # Where nothing is being answered. What comes between the prompt and the reading after it
        # waits for the next key: so pressed again, as anybody would.
        text, start = "", time.monotonic()
        while "Ctrl-C ends an answer" not in text:
            assert time.monotonic() - start < 240, text
            process.send_signal(signal.SIGINT)
            text += read_some(terminal, seconds=5)
        os.write(terminal, b"x" * 3000 + b"\n")
        read_until(terminal, "> ")
        os.write(terminal, b"/exit\n")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
