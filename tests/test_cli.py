"""The command line: whole runs on a small corpus, real kills, and a line for each mistake.

Commands that train or decode run as `python -m step_llm`, in a process of their own; mistakes that
are found before that are made within this process. One run of two epochs serves all who read.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mindspore import nn
from safetensors.numpy import load_file

from step_llm.cli import commands as cli
from step_llm.cli import demo, evaluate, resume, train, translate
from step_llm.cli.parser import make_parser
from step_llm.data.batches import encode_pairs
from step_llm.data.corpus import DataError, read_parallel
from step_llm.data.vocabulary import train_tokenizers
from step_llm.models.config import TransformerConfig
from step_llm.models.transformer import Transformer
from step_llm.training.checkpoint import load_model, save_checkpoint
from step_llm.training.config import TrainingConfig
from step_llm.training.run_folder import find_checkpoint, read_run, write_run
from step_llm.training.schedule import warmup_learning_rate
from step_llm.training.translation import translation_trainer

ROOT = Path(__file__).resolve().parents[1]
MULTI30K = ROOT.parent / "shared" / "multi30k"
PNG = b"\x89PNG\r\n\x1a\n"
# Without dropout, so that a resumed run can be compared with one that nobody killed.
OPTIONS = (
    "--epochs 2 --preset tiny --dropout 0 --batch-tokens 200 --average 2 --warmup-steps 20 "
    "--peak-learning-rate 3e-3 --vocab-size 900"
).split()
slow = pytest.mark.slow


def environment(**changes):
    kept = {name: value for name, value in os.environ.items() if name != "GLOG_v"}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **changes}


def step_llm(*arguments, stdin="", folder=None, **changes):
    """Runs `python -m step_llm` to its end. stdin is text or bytes."""
    done = subprocess.run(
        [sys.executable, "-m", "step_llm", *map(str, arguments)],
        input=stdin if isinstance(stdin, bytes) else stdin.encode("utf-8"),
        capture_output=True,
        cwd=folder,
        env=environment(**changes),
        timeout=600,
    )
    done.stdout, done.stderr = done.stdout.decode("utf-8"), done.stderr.decode("utf-8", "replace")
    return done


def succeeded(*arguments, **options):
    done = step_llm(*arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def mistake(capfd, *arguments):
    """Runs a command in this process that has to fail as mistakes do; returns the one line."""
    capfd.readouterr()
    try:
        status = cli.main([str(argument) for argument in arguments])
    except SystemExit as stopped:  # the parser's own way
        status = stopped.code
    error = capfd.readouterr().err
    assert status == 2
    assert error.startswith("step_llm")
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    return error


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """200, 15 and 20 short pairs of the embedded corpus: they fit in one bucket, one shape."""
    folder = tmp_path_factory.mktemp("corpus")
    text = read_parallel(ROOT / "data" / "mini", "train")
    pairs = [p for p in zip(text.source, text.target) if max(len(s.split()) for s in p) <= 6]
    tokenizer = train_tokenizers(*zip(*pairs), vocab_size=900).source
    pairs = [p for p in pairs if max(len(tokenizer.encode(s)) for s in p) <= 9]
    splits = {"train": pairs[:200], "val": pairs[200:215], "test": pairs[215:235]}
    splits["test"][3] = ("", "a sentence without a source .")
    for split, chosen in splits.items():
        for language, side in zip(("de", "en"), zip(*chosen)):
            text = "".join(line + "\n" for line in side)
            (folder / f"{split}.{language}").write_text(text, encoding="utf-8")
    assert len(splits["test"]) == 20
    return folder


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """A run folder, and what its training printed."""
    out = tmp_path_factory.mktemp("trained") / "run"
    return out, succeeded("train", "--corpus", corpus, "--out", out, *OPTIONS)


@pytest.fixture
def run(corpus, tmp_path):
    """A run folder as training leaves it, with a model that was never trained."""
    text = read_parallel(corpus, "train")
    tokenizers = train_tokenizers(text.source, text.target, vocab_size=300)
    size = len(tokenizers.source)
    config = TransformerConfig.preset("tiny", size, size, tied_embeddings="all")
    fields = dataclasses.asdict(TrainingConfig(batch_tokens=200, buckets=(12, 64)))
    notes = {
        "corpus": str(corpus), "source": "de", "target": "en",
        "preset": "tiny", "tokens": "bpe", "vocab_size": 300,
    }  # fmt: skip
    stands = {"step": 7, "epoch": 0, "batch": 7, "seconds": 1.0, "history": [], "skipped": 0}
    state = {"training": stands, "config": fields, "notes": notes}
    folder = tmp_path / "run" / "checkpoints" / "step-0000007"
    save_checkpoint(folder, Transformer(config), tokenizers, state=state)
    write_run(tmp_path / "run", dict.fromkeys(("last", "best"), "checkpoints/step-0000007"))
    return tmp_path / "run"


def entries(run, event="step"):
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


def per_epoch(run):
    return sum(entry["epoch"] == 1 for entry in entries(run))


# ------------------------------------------------------------------------------------- whole runs


@slow
def test_train_tells_what_it_does(trained):
    out, printed = trained
    assert "train: 200 sentence pairs\n" in printed
    assert "val: 15 sentence pairs\n" in printed
    assert f"{per_epoch(out)} batches an epoch in 1 shapes" in printed
    assert printed.count("validation BLEU") == 3  # two epochs and the average
    assert f"\ndone: {out}, best checkpoint {read_run(out)['best']}\n" in printed
    assert printed.endswith(f"\nnext: python -m step_llm evaluate {out}\n")
    assert (out / "history.png").read_bytes().startswith(PNG)
    assert [entry["step"] for entry in entries(out)] == list(range(1, 2 * per_epoch(out) + 1))
    assert entries(out)[-1]["loss"] < entries(out)[0]["loss"] - 1.0


@slow
def test_evaluate_prints_one_json_object(trained, corpus):
    result = json.loads(succeeded("evaluate", trained[0], "--json"))
    assert 0.0 <= result["bleu"] <= 100.0
    assert 0.0 <= result["chrf"] <= 100.0
    assert result["sentences"] == 20  # the one without a source too
    assert result["sentences_per_second"] > 0.0
    assert "nrefs:1|case:lc" in result["signature"]
    assert result["signature"] != result["chrf_signature"]
    assert result["corpus"] == str(corpus)
    assert (result["split"], result["beam_size"], result["length_penalty"]) == ("test", 5, 0.6)


@slow
def test_evaluate_for_people(trained, corpus):
    printed = succeeded("evaluate", trained[0], "--corpus", corpus, "--split", "val", "--beam", "1")
    assert "BLEU" in printed
    assert "chrF" in printed
    assert printed.count("on 15 sentences (nrefs:1") == 2
    assert "sentences per second" in printed


@slow
def test_translate_keeps_the_lines_of_standard_input(trained):
    lines = "Ein Mann singt.\n\nZwei Hunde laufen.\r\n \t\nein 龍 🙂"
    printed = succeeded("translate", trained[0], "--beam", "2", stdin=lines)
    translations = printed.split("\n")
    assert len(translations) == 6
    assert translations[1] == translations[3] == translations[5] == ""
    assert translations[0]
    assert translations[2]


@slow
def test_translate_arguments_and_show_attention(trained, tmp_path):
    picture = tmp_path / "attention.png"
    command = ("translate", trained[0], "Ein Mann singt.", "--beam", "1")
    printed = succeeded(*command, "--show-attention", picture)
    assert printed.count("\n") == 1
    assert picture.read_bytes().startswith(PNG)
    assert [path.name for path in tmp_path.iterdir()] == ["attention.png"]
    page = tmp_path / "attention.html"
    assert succeeded(*command, "--show-attention", page) == printed
    assert "<title>" in page.read_text(encoding="utf-8")
    assert len([*tmp_path.iterdir()]) == 2


@slow
def test_translate_refuses_what_is_not_utf8(trained):
    done = step_llm("translate", trained[0], stdin=b"Ein Hund.\nEine Stra\xdfe.\n")
    assert done.returncode == 2
    assert done.stderr.startswith("step_llm: error: standard input is not UTF-8: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@slow
def test_a_recurrent_translator_from_training_to_translation(corpus, tmp_path, capsys):
    """The same commands; the checkpoint says what it is, and a resumed run stays what it was."""
    out = tmp_path / "run"
    options = ("--corpus", corpus, "--out", out, *OPTIONS)
    printed = succeeded("train", *options, "--arch", "lstm", "--no-attention")
    assert printed.count("validation BLEU") == 3
    assert entries(out)[-1]["loss"] < entries(out)[0]["loss"] - 1.0
    fields = json.loads((find_checkpoint(out) / "config.json").read_text(encoding="utf-8"))
    assert (fields["arch"], fields["cell"], fields["has_attention"]) == ("lstm", "lstm", False)
    again = ("train", "--corpus", corpus, "--out", out, "--resume")
    for option, told in (
        (("--attention",), "--attention is True, but the run in {} stores False; "),
        (("--arch", "gru"), "--arch is gru, but the run in {} stores lstm; "),
        (("--preset", "small"), "--preset is small, but the run in {} stores tiny; "),
        (("--norm", "pre"), "--norm is pre, but the run in {} stores none; "),
    ):
        assert told.format(out) in mistake(capsys, *again, *option)
    assert cli.main(["info", str(out)]) == 0
    assert "\nlstm, " in capsys.readouterr().out
    result = json.loads(succeeded("evaluate", out, "--json", "--beam", "2"))
    assert result["sentences"] == 20
    done = step_llm("translate", out, "Ein Mann singt.", "--show-attention", tmp_path / "a.png")
    assert done.returncode == 2
    assert "this model has no attention" in done.stderr


@slow
def test_info_about_a_run(trained, capsys):
    assert cli.main(["info", str(trained[0])]) == 0
    printed = capsys.readouterr().out
    assert str(find_checkpoint(trained[0])) in printed
    assert "d_model=128" in printed
    assert "tokens: bpe" in printed
    assert "epoch 2: training loss" in printed


def test_info(capsys):
    assert cli.main(["info"]) == 0
    printed = capsys.readouterr().out
    assert "MindSpore" in printed
    assert "CPU cores" in printed
    assert f"corpus mini: {ROOT / 'data' / 'mini'}" in printed
    assert "corpus multi30k: " in printed


# ------------------------------------------------------------------------------------------ kills


def killed(out, corpus, when):
    """Trains until ``when()`` is true, and kills the process that very moment."""
    command = ["train", "--corpus", corpus, "--out", out, "--resume", "--save-every", 2, *OPTIONS]
    output = out.with_suffix(".log")
    with open(output, "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "step_llm", *map(str, command)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
        try:
            deadline = time.monotonic() + 300
            while not when():
                assert process.poll() is None, output.read_text(encoding="utf-8")
                assert time.monotonic() < deadline
                time.sleep(0.001)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert process.returncode == -signal.SIGKILL
    return output.read_text(encoding="utf-8")


@slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a signal of POSIX systems")
def test_killed_again_and_again_a_run_ends_as_if_nothing_had_been(trained, corpus, tmp_path):
    uninterrupted, out = trained[0], tmp_path / "run"
    log, checkpoints = out / "log.jsonl", out / "checkpoints"

    def is_saving():
        """While the second checkpoint, or a later one, is being written aside."""
        return "last" in read_run(out) and any(
            name.startswith(".step-") for name in os.listdir(checkpoints)
        )

    def finished_step(step):
        return lambda: log.exists() and f'"step": {step},' in log.read_text(encoding="utf-8")

    killed(out, corpus, out.exists)
    assert "last" not in read_run(out)
    # Some updates, but perhaps no checkpoint yet: then they are all made again.
    printed = killed(out, corpus, finished_step(1))
    assert "no checkpoint yet: training starts from the beginning" in printed
    killed(out, corpus, is_saving)
    saved = find_checkpoint(out, "last")
    load_model(saved)
    printed = killed(out, corpus, finished_step(per_epoch(uninterrupted) + 2))
    assert f"going on after step {int(saved.name[-7:])}\n" in printed
    saved = find_checkpoint(out, "last")
    printed = succeeded("resume", out)
    assert f"going on after step {int(saved.name[-7:])}\n" in printed

    steps = entries(out)
    assert [entry["step"] for entry in steps] == list(range(1, len(entries(uninterrupted)) + 1))
    assert [entry["epoch"] for entry in steps] == [e["epoch"] for e in entries(uninterrupted)]
    for entry in steps:
        assert entry["learning_rate"] == warmup_learning_rate(entry["step"], 20, 3e-3)
    assert [entry["epoch"] for entry in entries(out, "epoch")] == [1, 2]
    assert len(entries(out, "average")) == 1
    assert (out / "history.png").read_bytes().startswith(PNG)
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]

    for a, b in zip(steps, entries(uninterrupted)):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
    weights, expected = (
        load_file(str(find_checkpoint(folder, "last") / "model.safetensors"))
        for folder in (out, uninterrupted)
    )
    assert set(weights) == set(expected)
    for name, value in weights.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6, err_msg=name)


@slow
def test_a_run_that_diverges_says_at_which_step_and_rate(corpus, tmp_path):
    out = tmp_path / "run"
    command = ("train", "--corpus", corpus, "--out", out, "--batch-tokens", 200)
    done = step_llm(
        *command, "--peak-learning-rate", "1e30", "--warmup-steps", 1, "--save-every", 1
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = find_checkpoint(out, "last")
    step = int(last.name[-7:]) + 1
    line = done.stderr.splitlines()[-1]
    rate = warmup_learning_rate(step, 1, 1e30)
    assert line.startswith("step_llm: error: the loss is ")
    assert f" at step {step} with learning rate {rate:.2e}; " in line
    assert line.endswith(f"The last good checkpoint is checkpoints/{last.name}")
    model, _ = load_model(last)
    assert all(np.isfinite(p.asnumpy()).all() for p in model.get_parameters())


# --------------------------------------------------------------------------------------- mistakes


def test_help_is_complete_and_imports_no_mindspore():
    program = (
        "import contextlib, io, json, sys\n"
        "from step_llm.cli import commands as cli\n"
        "texts = {}\n"
        "for name in ('', 'fetch', 'train', 'resume', 'evaluate', 'translate', 'info', 'check',\n"
        "             'demo'):\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as text:\n"
        "        try:\n"
        "            cli.main([*name.split(), '--help'])\n"
        "        except SystemExit as stopped:\n"
        "            assert stopped.code == 0\n"
        "    texts[name] = text.getvalue()\n"
        "heavy = {'mindspore', 'numpy', 'matplotlib', 'tokenizers', 'step_llm.cli.train'}\n"
        "assert not heavy & set(sys.modules)\n"
        "print(json.dumps(texts))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=environment(COLUMNS="100")
    )
    assert done.returncode == 0, done.stderr.decode()
    texts = json.loads(done.stdout)
    commands = [name for name in texts if name]
    assert all(f"    {name} " in texts[""] for name in commands)
    search = ["--beam", "--length-penalty", "--batch-size", "--device"]
    options = {
        "fetch": ["--mirror", "--out"],
        "train": [
            "--corpus", "--out", "--resume", "--arch", "--attention", "--no-attention", "--preset",
            "--epochs", "--seed", "--device", "--source", "--target", "--tokens", "--vocab-size",
            "--positions", "--norm", "--dropout", "--batch-tokens", "--peak-learning-rate",
            "--warmup-steps", "--cooldown", "--label-smoothing", "--r-drop", "--patience",
            "--average", "--save-every", "--precision", "--accumulate", "--recipe",
            "--shapes",
        ],
        "resume": ["--epochs", "--device"],
        "evaluate": ["--corpus", "--split", "--json", *search],
        "translate": ["--show-attention", *search],
        "info": [],
        "check": ["--out", "--steps", "--device", "--lesson"],
        "demo": ["--corpus", "--fast", "--mirror", "--out", "--device"],
    }  # fmt: skip
    assert sorted(options) == sorted(commands)
    for name, expected in options.items():
        lines = texts[name].splitlines()
        for option in [*expected, "-h, --help"]:
            assert any(line.startswith(f"  {option}") for line in lines), (name, option)
        # No option beyond those above.
        shown = {line.split()[0] for line in lines if line.startswith("  --")}
        assert shown == set(expected)


@pytest.mark.parametrize(
    ("option", "module", "table"),
    [
        ("arch", "step_llm.cli.train", "TRANSLATORS"),
        ("preset", "step_llm.models.config", "PRESETS"),
        ("preset", "step_llm.models.recurrent", "RECURRENT_PRESETS"),
        ("positions", "step_llm.nn.positions", "POSITION_SCHEMES"),
        ("precision", "step_llm.training.precision", "PRECISIONS"),
    ],
)
def test_the_help_names_what_there_is_to_choose(option, module, table):
    """It must not import these modules, so it holds the names once more, in prose."""
    train = make_parser()._subparsers._group_actions[0].choices["train"]
    (text,) = (action.help for action in train._actions if action.dest == option)
    names = re.split(r", | or ", text.split(";")[0].split(": ")[-1])
    assert tuple(names) == tuple(getattr(importlib.import_module(module), table))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fly",), "invalid choice: 'fly'"),
        (("train", "--corpus", "mini"), "required: --out"),
        (("train", "--corpus", "mini", "--out", "x", "--epochs", "many"), "invalid int value"),
        (("train", "--corpus", "mini", "--out", ""), "--out: expected a name, not an empty one"),
        (("train", "--corpus", " ", "--out", "x"), "--corpus: expected a name"),
        (("evaluate",), "required: DIR"),
        (("evaluate", ""), "DIR: expected a name"),
        (("fetch", "--out", ""), "--out: expected a name"),
        (("resume",), "required: RUN"),
        (("resume", "a", "--seed", "1"), "unrecognized arguments: --seed 1"),
        (("translate",), "required: DIR"),
        (("translate", "a", "--beem", "1", "Satz"), "unrecognized arguments: --beem 1"),
        (
            ("translate", "a", "--length-penalty", "nan"),
            "it is nan; expected a number from 0 to 10",
        ),
        (("translate", "a", "--length-penalty", "1e308"), "it is 1e308; expected a number"),
        (("evaluate", "a", "--length-penalty", "-1"), "it is -1; expected a number from 0 to 10"),
        (("evaluate", "a", "--length-penalty", "much"), "it is much; expected a number"),
        (("info", "a", "b"), "unrecognized arguments: b"),
    ],
)
def test_wrong_usage_is_one_line(capfd, arguments, words):
    assert words in mistake(capfd, *arguments)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--epochs", 0), "epochs is 0; expected at least 1"),
        (("--dropout", 1), "dropout is 1.0; expected a share in [0, 1)"),
        (("--dropout", "nan"), "dropout is nan"),
        (("--peak-learning-rate", 0), "peak_learning_rate is 0.0; expected more than 0"),
        (("--label-smoothing", 1), "label_smoothing is 1.0"),
        (("--r-drop", -1), "r_drop is -1.0; expected at least 0"),
        (("--batch-tokens", 10), "batch_tokens is 10; needs at least 64"),
        (("--vocab-size", 0), "vocab_size is 0"),
        (("--vocab-size", 10), "vocab_size is 10; expected at least"),
        (("--patience", -1), "patience is -1"),
        (("--source", "fr"), "train.fr"),
        (("--arch", "tree"), "--arch is 'tree'; expected one of transformer, rnn, lstm, gru"),
        (("--arch", "gpt"), "--arch is 'gpt'; expected one of transformer, rnn"),
        (("--preset", "huge"), "preset is 'huge'; expected one of tiny, small, base"),
        (("--tokens", "syllable"), "'syllable'"),
        (("--positions", "none"), "positions is 'none'; expected one of sinusoidal, learned"),
        (("--norm", "mid"), "norm is 'mid'; expected one of post, pre"),
        (("--precision", "int8"), "precision is 'int8'; expected one of float32"),
        (("--device", "TPU"), "--device is 'TPU'; expected CPU, GPU or Ascend"),
    ],
)
def test_values_out_of_range(capfd, corpus, tmp_path, options, words):
    out = tmp_path / "run"
    assert words in mistake(capfd, "train", "--corpus", corpus, "--out", out, *options)
    assert not read_run(out)


def test_a_corpus_that_is_not_there(capfd, tmp_path):
    error = mistake(capfd, "train", "--corpus", tmp_path / "no", "--out", tmp_path / "run")
    assert f"there is no file {tmp_path / 'no' / 'train.de'}" in error
    assert "one of mini, multi30k" in error
    assert not (tmp_path / "run").exists()


def test_multi30k_before_it_was_fetched(capfd, tmp_path, monkeypatch):
    monkeypatch.setenv("STEP_LLM_DATA", str(tmp_path))
    error = mistake(capfd, "train", "--corpus", "multi30k", "--out", tmp_path / "run")
    assert "python -m step_llm fetch" in error


def test_a_folder_that_is_no_run(capfd, tmp_path):
    for command in (("evaluate",), ("translate",), ("info",)):
        for folder in (tmp_path, tmp_path / "nowhere"):
            error = mistake(capfd, *command, folder)
            assert f"{folder} holds no checkpoint; expected a folder that" in error


def test_an_empty_run_folder_is_refused(capfd, corpus):
    """It would be the current folder."""
    error = mistake(capfd, "train", "--corpus", corpus, "--out", "")
    assert "--out: expected a name, not an empty one" in error


def test_a_run_folder_that_cannot_be_made(capfd, corpus, tmp_path):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        error = mistake(capfd, "train", "--corpus", corpus, "--out", out)
        assert f"cannot write to the run folder {out}" in error


def test_a_run_is_never_overwritten(capfd, corpus, run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    error = mistake(capfd, "train", "--corpus", corpus, "--out", run)
    assert (
        f"already holds a training run; go on with it by `python -m step_llm resume {run}" in error
    )
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("option", "stored"),
    [
        (("--preset", "small"), "tiny"),
        (("--dropout", 0.3), 0.1),
        (("--norm", "pre"), "post"),
        (("--positions", "rotary"), "sinusoidal"),
        (("--tokens", "word"), "bpe"),
        (("--vocab-size", 77), 300),
        (("--batch-tokens", 300), 200),
        (("--peak-learning-rate", 0.01), None),
        (("--warmup-steps", 5), 400),
        (("--label-smoothing", 0.2), 0.1),
        (("--r-drop", 3.0), 0.0),
        (("--save-every", 3), 200),
        (("--seed", 5), 0),
        (("--source", "fr"), "de"),
        (("--precision", "float16"), "float32"),
        (("--arch", "lstm"), "transformer"),
        (("--attention",), "none"),
        (("--recipe", "mini"), "none"),
        (("--shapes", 2), "none"),
    ],
)
def test_a_resumed_run_keeps_its_recipe(capfd, corpus, run, option, stored):
    error = mistake(capfd, "train", "--corpus", corpus, "--out", run, "--resume", *option)
    value = option[1] if option[1:] else True
    assert (
        f"{option[0]} is {value}, but the run in {run} stores {stored}; leave the option" in error
    )
    assert f"or use `python -m step_llm resume {run}`" in error


@pytest.fixture
def jobs(monkeypatch):
    """In place of training: the jobs that would have been carried out."""
    done = []
    for module in (train, resume):
        monkeypatch.setattr(module, "carry_out", lambda job, *rest: done.append((job, *rest)))
    return done


@pytest.fixture
def french(corpus, run):
    """The run as one from French to English, with a seed of its own."""
    path = find_checkpoint(run) / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    state["notes"]["source"] = "fr"
    state["config"].update(seed=7, epochs=3)
    path.write_text(json.dumps(state), encoding="utf-8")
    for split in ("train", "val"):
        shutil.copy(corpus / f"{split}.de", corpus / f"{split}.fr")
    yield run
    for split in ("train", "val"):
        (corpus / f"{split}.fr").unlink()


def test_a_run_goes_on_with_its_own_languages_and_seed(french, corpus, jobs):
    for command in (
        ("resume", french),
        ("train", "--corpus", corpus, "--out", french, "--resume"),
        ("train", "--corpus", corpus, "--out", french, "--resume", "--source", "fr", "--seed", 7),
    ):
        assert cli.main([str(word) for word in command]) == 0
        job, folder = jobs.pop()[:2]
        assert folder == french
        assert (job.notes["source"], job.notes["target"]) == ("fr", "en")
        assert job.text.name == str(corpus / "train")
        assert (job.config.seed, job.config.epochs, job.config.batch_tokens) == (7, 3, 200)


def test_what_resume_may_change(capfd, french, corpus, jobs):
    assert cli.main(["resume", str(french), "--epochs", "9"]) == 0
    assert jobs.pop()[0].config.epochs == 9
    assert "epochs is 0; expected at least 1" in mistake(capfd, "resume", french, "--epochs", 0)
    error = mistake(capfd, "train", "--corpus", corpus, "--out", french, "--resume", "--seed", 8)
    assert f"--seed is 8, but the run in {french} stores 7" in error
    assert not jobs


def test_a_corpus_folder_may_have_moved(french, corpus, jobs, tmp_path):
    moved = shutil.copytree(corpus, tmp_path / "moved")
    command = ["train", "--corpus", str(moved), "--out", str(french), "--resume"]
    assert cli.main(command) == 0
    assert jobs.pop()[0].notes["corpus"] == str(moved)


def dropout_seeds(job):
    """Of each dropout layer, as MindSpore has fixed it; (0, 0) is another one in each process."""
    layers = (cell for _, cell in job.model.cells_and_names() if isinstance(cell, nn.Dropout))
    seeds = [(layer.dropout.Seed0, layer.dropout.Seed1) for layer in layers]
    assert seeds
    return seeds


def test_the_seed_is_dropouts_too(corpus, jobs, run, tmp_path):
    def found(*words):
        assert cli.main([str(word) for word in words]) == 0
        return dropout_seeds(jobs.pop()[0])

    new = ("train", "--corpus", corpus, "--vocab-size", "300", "--out", tmp_path / "new", "--seed")
    first = found(*new, 5)
    assert (0, 0) not in first
    assert len(set(first)) == len(first)
    assert found(*new, 5) == first
    assert not set(found(*new, 6)) & set(first)
    assert found("resume", run) == found("resume", run) != first


def test_a_relative_corpus_is_found_from_another_folder(corpus, jobs, tmp_path, monkeypatch):
    monkeypatch.chdir(corpus.parent)
    command = ["train", "--corpus", corpus.name, "--out", str(tmp_path / "run")]
    assert cli.main([*command, "--vocab-size", "300"]) == 0
    assert jobs.pop()[0].notes["corpus"] == str(corpus)


def test_a_recipe_is_chosen_by_its_name_and_options_go_before_it(capfd, corpus, jobs, tmp_path):
    command = ["train", "--corpus", str(corpus), "--vocab-size", "300"]
    wanted = {"multi30k": (20, 0.0, "sinusoidal"), "multi30k-best": (24, 3.0, "rotary")}
    for name, (epochs, r_drop, positions) in wanted.items():
        assert cli.main([*command, "--recipe", name, "--out", str(tmp_path / name)]) == 0
        job = jobs.pop()[0]
        assert (job.config.epochs, job.config.r_drop) == (epochs, r_drop)
        assert (job.model.config.positions, job.notes["recipe"]) == (positions, name)
        assert job.notes["vocab_size"] == 300
    words = ["--recipe", "multi30k-best", "--arch", "lstm", "--out", str(tmp_path / "lstm")]
    assert cli.main([*command, *words]) == 0  # which has no positions to choose
    assert jobs.pop()[0].config.r_drop == 3.0
    words = ["--recipe", "multi30k-fast", "--shapes", "3", "--out", str(tmp_path / "small")]
    assert cli.main([*command, *words]) == 0
    job = jobs.pop()[0]
    assert (job.config.buckets, job.notes["shapes"]) == ((16, 25, 64), 3)
    error = mistake(capfd, *command, "--shapes", "0", "--out", tmp_path / "none")
    assert "the most lengths of batches are 0; expected at least 1" in error
    error = mistake(capfd, *command, "--recipe", "quick", "--out", tmp_path / "none")
    assert "--recipe is 'quick'; expected one of mini, multi30k, multi30k-fast, " in error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config": None}, "state.json"),
        ({"config": {"colour": 3}}, "colour"),
        ({"config": {"epochs": 0}}, "epochs is 0; expected at least 1"),
        ({"notes": []}, "state.json"),
        ({"notes": {}}, "does not name its corpus; go on with `python -m step_llm train"),
    ],
)
def test_a_state_that_does_not_say_how_to_go_on(capfd, run, change, words):
    path = find_checkpoint(run) / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**state, **change}), encoding="utf-8")
    error = mistake(capfd, "resume", run)
    assert words in error
    assert str(path.parent) in error


def test_only_a_run_goes_on(capfd, run, tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere", find_checkpoint(run)):
        assert f"{folder} holds no training run; expected" in mistake(capfd, "resume", folder)


def test_a_recurrent_model_has_options_of_its_own(capfd, corpus, tmp_path):
    command = ("train", "--corpus", corpus, "--out", tmp_path / "run", "--vocab-size", 300)
    for option in (("--norm", "pre"), ("--positions", "rotary")):
        error = mistake(capfd, *command, "--arch", "gru", *option)
        assert f"{option[0]} has no meaning with --arch gru; leave the option out" in error
    error = mistake(capfd, *command, "--attention")
    assert "--attention has no meaning with --arch transformer" in error


def test_a_resumed_run_keeps_its_corpus(capfd, corpus, run):
    error = mistake(capfd, "train", "--corpus", "mini", "--out", run, "--resume")
    assert f"--corpus is mini, but the run in {run} stores {corpus}" in error


def test_a_damaged_checkpoint(capfd, corpus, run):
    model = find_checkpoint(run) / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-100])
    for command in (
        ("evaluate", run),
        ("info", run),
        ("resume", run),
        ("train", "--corpus", corpus, "--out", run, "--resume"),
    ):
        assert "model.safetensors is damaged or truncated" in mistake(capfd, *command)
    (run / "run.json").write_text("{", encoding="utf-8")
    assert "run.json" in mistake(capfd, "translate", run, "Ein Hund.")


def test_a_split_or_search_that_cannot_be(capfd, run):
    assert "nothing.de" in mistake(capfd, "evaluate", run, "--split", "nothing")
    assert "beam_size is 0" in mistake(capfd, "translate", run, "Ein Hund.", "--beam", 0)
    assert "batch_size is 0" in mistake(capfd, "translate", run, "Ein Hund.", "--batch-size", 0)
    picture = ("--show-attention", "a.png")
    assert "exactly one" in mistake(capfd, "translate", run, *picture)
    assert "exactly one" in mistake(capfd, "translate", run, "Ein Hund.", "Zwei Hunde.", *picture)


@pytest.mark.parametrize(
    "words",
    ["DIR --beam 1 a b", "DIR a --beam 1 b", "DIR a b --beam 1", "--beam 1 DIR a b"],
)
def test_sentences_and_options_in_any_order(words):
    options = make_parser().parse_args(["translate", *words.split()])
    assert (options.folder, options.beam, options.sentences) == ("DIR", 1, ["a", "b"])


def test_a_closed_standard_input(capfd, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)  # what Python makes of `<&-`
    assert "standard input is closed; give the sentences" in mistake(capfd, "translate", run)


def test_a_device_that_is_not_there(run):
    done = step_llm("evaluate", run, "--device", "Ascend", "--beam", "1")
    if done.returncode == 0:
        pytest.skip("this machine has an Ascend device")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "step_llm: error: --device is Ascend, but MindSpore finds none here; present: "
    )
    assert done.stderr.count("\n") == 1


def test_the_full_traceback_for_those_who_ask(tmp_path, monkeypatch):
    monkeypatch.setenv("STEP_LLM_DEBUG", "1")
    with pytest.raises(ValueError, match="holds no checkpoint"):
        cli.main(["info", str(tmp_path)])


# ------------------------------------------------------------------------------ fetching, and demo


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No public source, and the named corpora in a folder of their own."""
    monkeypatch.setenv("MULTI30K_SOURCES", "")
    monkeypatch.delenv("MULTI30K_MIRROR", raising=False)
    monkeypatch.setenv("STEP_LLM_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "mirror").mkdir()
    return tmp_path


def test_fetching_from_a_mirror_that_lacks_the_files(offline, capfd):
    assert cli.main(["fetch", "--mirror", str(offline / "mirror")]) == 2
    error = capfd.readouterr().err
    assert "train.de" in error
    assert "Traceback" not in error


def test_demo_takes_the_embedded_corpus_where_nothing_can_be_fetched(offline, capfd, monkeypatch):
    done = []
    for module in (train, evaluate, translate):
        monkeypatch.setattr(module, "run", lambda options: done.append((options.command, options)))
    mirror, out = str(offline / "mirror"), str(offline / "run")
    assert cli.main(["demo", "--mirror", mirror, "--out", out]) == 0
    assert [name for name, _ in done] == ["train", "evaluate", "translate"]
    trained, evaluated, translated = (options for _, options in done)
    assert (trained.corpus, trained.out, trained.resume) == ("mini", out, True)
    assert (evaluated.folder, evaluated.split) == (out, "test")
    assert len(translated.sentences) == 3
    assert "the embedded corpus serves instead" in capfd.readouterr().out

    done.clear()
    assert cli.main(["demo", "--corpus", "multi30k", "--mirror", mirror]) == 2
    assert not done
    assert capfd.readouterr().err.endswith("Multi30k could not be fetched; see above\n")


@pytest.mark.parametrize(("options", "name"), [([], "best"), (["--fast"], "fast")])
def test_demo_trains_multi30k_by_its_best_recipe_or_its_fast_one(options, name, monkeypatch):
    done = []
    monkeypatch.setattr(demo, "run_fetcher", lambda options: 0)
    for module in (train, evaluate, translate):
        monkeypatch.setattr(module, "run", done.append)
    assert cli.main(["demo", *options]) == 0
    assert (done[0].corpus, done[0].recipe) == ("multi30k", f"multi30k-{name}")
    assert Path(done[0].out) == Path("runs", f"multi30k-{name}")


def test_demo_stops_at_the_first_command_that_fails(offline, capfd, monkeypatch):
    monkeypatch.setattr(train, "run", lambda options: 2)
    monkeypatch.setattr(evaluate, "run", lambda options: pytest.fail("there is no model"))
    assert cli.main(["demo", "--corpus", "mini"]) == 2


@slow
@pytest.mark.skipif(not MULTI30K.is_dir(), reason="no copy of Multi30k beside the project")
@pytest.mark.skipif(not all(map(shutil.which, ("bash", "wget"))), reason="no bash or no wget")
def test_multi30k_from_a_mirror_to_translations(offline, capfd):
    """Fetch all of it, train some steps on a part of it, evaluate on a part of its test set."""
    assert cli.main(["fetch", "--mirror", str(MULTI30K)]) == 0
    whole = offline / "data" / "multi30k"
    assert len(read_parallel(whole, "train")) == 29_000
    assert len(read_parallel(whole, "val")) == 1014
    assert len(read_parallel(whole, "test")) == 1000
    part, out = offline / "part", offline / "run"
    part.mkdir()
    for split, count in (("train", 300), ("val", 50), ("test", 50)):
        for language in ("de", "en"):
            lines = (whole / f"{split}.{language}").read_bytes().split(b"\n")[:count]
            (part / f"{split}.{language}").write_bytes(b"\n".join(lines) + b"\n")

    text, validation_text = read_parallel(part, "train"), read_parallel(part, "val")
    tokenizers = train_tokenizers(text.source, text.target, vocab_size=1000)
    size = len(tokenizers.source)
    model = Transformer(
        TransformerConfig(
            size, size, d_model=32, num_heads=2, d_ff=64, num_encoder_layers=1,
            num_decoder_layers=1, tied_embeddings="all",
        )
    )  # fmt: skip
    training, validation = (encode_pairs(t, tokenizers, 64) for t in (text, validation_text))
    config = TrainingConfig(
        epochs=2, batch_tokens=1024, buckets=(64,), warmup_steps=20, peak_learning_rate=5e-3
    )
    trainer = translation_trainer(
        model, tokenizers, training, validation, validation_text, config, out, progress=False
    )
    history = trainer.fit()
    assert history[1]["validation_loss"] < history[0]["validation_loss"] < np.log(size)
    capfd.readouterr()
    command = ["evaluate", str(out), "--corpus", str(part), "--beam", "1", "--json"]
    assert cli.main(command) == 0
    assert json.loads(capfd.readouterr().out)["sentences"] == 50


# ------------------------------------------------------------------------------ finding one's way


def test_no_word_at_all_shows_the_commands(capsys):
    assert cli.main([]) == 0
    assert "translate sentences given as arguments" in " ".join(capsys.readouterr().out.split())


def test_each_command_has_an_example_that_it_takes():
    parser = make_parser()
    (commands,) = (action for action in parser._actions if action.dest == "command")
    for name, command in commands.choices.items():
        example = command.epilog.removeprefix("Example: python -m step_llm ")
        assert parser.parse_args(shlex.split(example)).command == name
    assert "--preset tiny --tokens bpe" in commands.choices["train"].format_help()


def test_a_split_that_is_not_there_is_told_beside_those_that_are(tmp_path):
    for name in ("train.de", "train.en", "val.de"):
        (tmp_path / name).write_text("a\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"no file .*dev\.de; the folder has train, val$"):
        read_parallel(tmp_path, "dev")


def test_translating_in_a_terminal_says_what_is_waited_for(monkeypatch, capsys):
    """And answers each line at once."""
    lines = iter(["Ein Hund.\n", "\n", "Eine Katze.\n"])
    monkeypatch.setattr(translate.sys, "stdin", type("T", (), {
        "isatty": lambda self: True, "__iter__": lambda self: lines,
    })())  # fmt: skip
    monkeypatch.setattr(translate, "use_device", lambda device: None)
    monkeypatch.setattr(translate, "load_model", lambda folder: ())
    monkeypatch.setattr(translate, "Translator", lambda: None)
    monkeypatch.setattr(translate, "translated", lambda _, texts, __: [t.upper() for t in texts])
    translate.run(SimpleNamespace(device=None, show_attention=None, folder="x", sentences=()))
    printed = capsys.readouterr()
    assert printed.out == "EIN HUND.\nEINE KATZE.\n"
    assert "Type a sentence and Enter; Ctrl-D ends." in printed.err
