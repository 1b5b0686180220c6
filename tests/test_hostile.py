"""Damaged and hostile run folders: a command does its work, or says in one line what is wrong.

Nothing is trained or searched here. `make test-attack` tries what this file takes a share of.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from step_llm.cli.terminal import one_line, visible
from step_llm.data.vocabulary import Tokenizer, train_tokenizers
from step_llm.models.pretrained import tokenizer_from_pretrained
from step_llm.models.registry import ARCHITECTURES
from step_llm.models.weights import CheckpointError
from step_llm.training.checkpoint import load_model, read_state, save_checkpoint
from tests.support.attacks import (
    COMMANDS,
    ENGLISH,
    GERMAN,
    STEP,
    answer,
    copy_of,
    damages,
    fault,
    hostile_contents,
    make_run,
    within,
    without_computing,
    wrong_values,
)
from tests.support.golden_folders import changed_copy, refused
from tests.support.small_models import small_models

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes, devices and limits")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("original") / "run")


@pytest.fixture
def attacked(run, tmp_path, monkeypatch):
    """Tries some attacks, each on a copy of the run with one command; returns what went wrong."""

    def attack(attacks):
        faults = []
        with without_computing(monkeypatch):
            for (name, change), command in attacks:
                copy = copy_of(run, tmp_path / "run")
                change(copy)
                if found := fault(copy, command):
                    faults.append(f"{name}: {found}")
        return faults

    return attack


def in_turn(attacks, share=1):
    """One command for each attack, and of the attacks a share."""
    attacks = [*attacks][::share]
    return zip(attacks, COMMANDS * len(attacks))


def test_the_run_itself_serves_every_command(attacked):
    assert not attacked([(("nothing", lambda copy: None), command) for command in COMMANDS])


def test_a_damaged_file_is_told_in_one_line(run, attacked):
    attacks = [*damages(run)]
    assert len(attacks) == 7 * 14
    assert not attacked(in_turn(attacks))


def test_a_field_with_a_wrong_value_is_told_in_one_line(run, attacked):
    attacks = [*wrong_values(run)]
    assert len(attacks) > 1000
    # Of five, which is prime to the eighteen values and the four commands.
    assert not attacked(in_turn(attacks, 5))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_configuration_brings_no_other_error(name, tmp_path):
    pair = train_tokenizers(GERMAN, ENGLISH, kind="word", min_freq=1)
    model, _ = small_models(pair)[name]
    path = save_checkpoint(tmp_path / "model", model, pair) / "config.json"
    attacks = [*hostile_contents(json.loads(path.read_text(encoding="utf-8")))][::5]
    assert refusals(lambda: load_model(path.parent), path, attacks) > 0.7 * len(attacks)


def refusals(read, path, attacks):
    """How many contents of a file are refused; each error has to name the file, or its folder."""
    errors = []
    for _, text in attacks:
        path.write_text(text, encoding="utf-8")
        with within(20):
            try:
                read()
            except ValueError as error:
                errors.append(str(error))
    assert all(str(path.parent) in error for error in errors)
    return len(errors)


def test_a_tokenizer_brings_no_other_error(tmp_path):
    path = tmp_path / "tokenizer.json"
    Tokenizer.train(GERMAN, vocab_size=60, min_freq=1).save(path)
    attacks = [*hostile_contents(json.loads(path.read_text(encoding="utf-8")))][::7]
    assert len(attacks) > 700
    assert refusals(lambda: Tokenizer.load(path), path, attacks) > 0.7 * len(attacks)


# ---------------------------------------------------------------------------------- sizes and types


@pytest.fixture
def checkpoint(run, tmp_path):
    return copy_of(run, tmp_path / "run") / STEP


def rewrite(folder, name, change):
    """Change the tensors of a checkpoint's file."""
    save_file(change(load_file(folder / name)), folder / name)


def said(folder):
    with within(20), pytest.raises(CheckpointError) as error:
        load_model(folder)
    return str(error.value)


@pytest.mark.parametrize("size", [10**4, 10**9, 10**30])
@pytest.mark.parametrize(
    "names",
    [
        ("d_model",),
        ("d_ff",),
        ("source_vocab_size", "target_vocab_size"),
        ("num_encoder_layers",),
        ("num_decoder_layers",),
        ("d_model", "num_heads"),
    ],
)
def test_sizes_beyond_the_file_are_refused_before_they_cost_memory(checkpoint, names, size):
    path = checkpoint / "config.json"
    fields = {**json.loads(path.read_text(encoding="utf-8")), **dict.fromkeys(names, size)}
    path.write_text(json.dumps(fields), encoding="utf-8")
    text = said(checkpoint)
    assert "model.safetensors does not fit the model: " in text
    assert "asks for more or larger tensors" in text or "has shape" in text


@pytest.mark.parametrize("kind", ["int32", "int64", "uint8", "bool"])
def test_weights_of_another_kind_of_number_are_refused(checkpoint, kind):
    rewrite(checkpoint, "model.safetensors", lambda d: {n: v.astype(kind) for n, v in d.items()})
    assert f"holds {kind}; expected float32" in said(checkpoint)


@pytest.mark.parametrize("kind", ["float16", "float64"])
def test_weights_of_another_precision_are_read(checkpoint, kind):
    before, _ = load_model(checkpoint)
    rewrite(checkpoint, "model.safetensors", lambda d: {n: v.astype(kind) for n, v in d.items()})
    after, _ = load_model(checkpoint)
    for one, other in zip(before.get_parameters(), after.get_parameters()):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-3, atol=1e-4)


def test_a_weight_that_overflows_is_refused(checkpoint):
    rewrite(
        checkpoint, "model.safetensors", lambda d: {n: v * np.float64(1e300) for n, v in d.items()}
    )
    assert "has values that are not finite" in said(checkpoint)


def test_numbers_of_a_type_that_numpy_has_not(checkpoint):
    path = checkpoint / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    for entry in header.values():
        entry["dtype"] = "F8_E4M3"
        entry["data_offsets"] = [place // 4 for place in entry["data_offsets"]]
    header = json.dumps(header).encode()
    end = max(entry["data_offsets"][1] for entry in json.loads(header).values())
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(end))
    assert "NumPy has not" in said(checkpoint)


@pytest.mark.parametrize("name", ["\x1b[31mred", "x" * 1000])
def test_a_tensors_name_cannot_reach_the_terminal(checkpoint, name):
    rewrite(checkpoint, "model.safetensors", lambda d: {**d, name: np.zeros(1, np.float32)})
    text = said(checkpoint)
    assert "expected names that can be printed" in text
    assert text.isprintable()
    assert len(text) < 600


def test_a_file_longer_than_any_of_its_kind_is_not_read(checkpoint):
    os.truncate(checkpoint / "config.json", 1 << 40)  # it has holes, and takes no room
    assert "config.json has 1,099,511,627,776 bytes; expected at most" in said(checkpoint)


def test_all_files_of_a_checkpoint_have_one_mode(checkpoint):
    assert len({path.stat().st_mode for path in checkpoint.iterdir()}) == 1


def test_a_corpus_that_has_shrunk_is_told(run, tmp_path, monkeypatch):
    copy = copy_of(run, tmp_path / "run")
    path = copy / STEP / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    state["training"]["batch"] = 9
    path.write_text(json.dumps(state), encoding="utf-8")
    with without_computing(monkeypatch):
        status, text = answer(copy, "resume")
    assert status == 2
    assert "batch in state.json is 9, but an epoch has 1; expected the text that" in text


@pytest.mark.parametrize("kind", ["pipe", "link", "dangling link", "folder"])
def test_a_log_that_is_no_file_is_refused(run, tmp_path, kind):
    copy, target = copy_of(run, tmp_path / "run"), tmp_path / "precious"
    log = copy / "log.jsonl"
    log.unlink()
    if kind == "pipe":
        os.mkfifo(log)
    elif kind == "folder":
        log.mkdir()
    else:
        log.symlink_to(target)
    if kind == "link":
        target.write_text("keep me")
    status, text = answer(copy, "resume")
    assert status == 2
    assert f"{log} is no file of this run; remove it" in text
    assert not target.exists() or target.read_text() == "keep me"


def test_names_in_a_state_are_texts(checkpoint):
    path = checkpoint / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    state["training"]["history"][0]["validation_bleu"] = "7"
    path.write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"history\[0\]\.validation_bleu is '7'; expected a"):
        read_state(checkpoint)


# --------------------------------------------------------------------- tokenizers of other people


def split_at(pattern):
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [step, BYTE_LEVEL]}}


def normalizer(*steps):
    return {"normalizer": {"type": "Sequence", "normalizers": list(steps)}}


def replace(content):
    return {"type": "Replace", "pattern": {"String": "a"}, "content": content}


BYTE_LEVEL = {
    "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True,
}  # fmt: skip
EXPONENTIAL = ["(?:(?:a|a)+)+$", "(a|aa)+$", r"(\w+\w+)+$", r"(\s+\s*)+[^\s!]", "(?=(a+)+$)b"]


def tokenizer_with(folder, changes):
    folder = changed_copy("gpt2", folder)
    path = folder / "tokenizer.json"
    fields = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps(fields), encoding="utf-8")
    return folder


@pytest.mark.parametrize("pattern", EXPONENTIAL)
def test_a_regular_expression_without_end_is_refused(pattern, tmp_path, capfd):
    """The tokenizers library panics over it, and prints a page."""
    folder = tokenizer_with(tmp_path / "gpt2", split_at(pattern))
    assert "it fails on a simple text: " in refused(folder, tokenizer_from_pretrained)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "steps",
    [
        [replace("a" * 1000)] * 6,
        [{"type": "Prepend", "prepend": "a" * 1_000_000}],
        [{"type": "NFC"}] * 20,
    ],
)
def test_a_normalizer_that_would_fill_the_memory_is_refused(steps, tmp_path):
    folder = tokenizer_with(tmp_path / "gpt2", normalizer(*steps))
    assert "single characters to put in" in refused(folder, tokenizer_from_pretrained)


def test_a_tokenizer_longer_than_any_is_not_read(tmp_path):
    folder = changed_copy("gpt2", tmp_path / "gpt2")
    os.truncate(folder / "tokenizer.json", 1 << 40)
    assert "tokenizer.json has 1,099,511,627,776 bytes" in refused(
        folder, tokenizer_from_pretrained
    )


def test_usual_normalizers_and_patterns_are_read(tmp_path):
    steps = [{"type": "Prepend", "prepend": "▁"}, {**replace("▁"), "pattern": {"String": " "}}]
    folder = tokenizer_with(tmp_path / "gpt2", {**split_at(r"\p{N}{1,3}"), **normalizer(*steps)})
    assert tokenizer_from_pretrained(folder).encode("the 1234").ids


@pytest.mark.parametrize("pattern", EXPONENTIAL)
def test_a_tokenizer_of_ours_has_our_regular_expression(checkpoint, pattern):
    path = checkpoint / "tokenizer.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    fields["tokenizer"]["pre_tokenizer"]["pattern"] = {"Regex": pattern}
    path.write_text(json.dumps(fields), encoding="utf-8")
    assert "it has a pre_tokenizer that this library never makes" in said(checkpoint)


# -------------------------------------------------------------------------------- what is printed


def test_a_text_gives_the_terminal_no_order():
    text = "Ein\x1b[31m Hund\x07\x9b2J\ud800 …\tläuft\n狗 🙂 e\u0301 \u200d"
    shown = visible(text)
    assert shown == "Ein\\x1b[31m Hund\\x07\\x9b2J\\ud800 …\tläuft\n狗 🙂 e\u0301 \u200d"


def test_a_message_is_one_line_of_a_bearable_length():
    assert one_line("a\n b\tc \x1b[0m\u202ed") == r"a b c \x1b[0m\u202ed"
    long = one_line("begin " + "x" * 10**6 + " end")
    assert long.startswith("begin xxx")
    assert long.endswith("xxx end")
    assert len(long) < 1600
