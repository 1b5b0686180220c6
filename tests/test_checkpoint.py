"""Checkpoints: what is written comes back, and what is damaged or cannot be written is named.

Kills of real training runs: test_cli.py.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, nn
from safetensors.numpy import load_file, save_file

from step_llm.data.vocabulary import train_tokenizers
from step_llm.models.gpt import GPT, GPTConfig
from step_llm.models.recurrent import CELLS
from step_llm.models.registry import ARCHITECTURES, architecture_of
from step_llm.models.weights import CheckpointError, weights_of
from step_llm.training import checkpoint
from step_llm.training.checkpoint import load_model, load_weights, read_state, save_checkpoint
from step_llm.training.run_folder import find_checkpoint, read_run, write_run
from step_llm.training.step import TrainStep
from tests.support.small_models import model_for, small_models

GERMAN = ["ein hund läuft .", "eine frau sitzt ."]
ENGLISH = ["a dog runs .", "a woman sits ."]
STATE = {
    "run": "a1",
    "training": {
        "step": 1, "epoch": 1, "batch": 0, "seconds": 2.5, "skipped": 0, "loss_scale": [2.0, 7],
        "history": [
            {
                "epoch": 1, "step": 1, "train_loss": 3.0, "validation_loss": 2.5,
                "validation_bleu": 7.0, "seconds": 2.5,
            }
        ],
    },
    "config": {"epochs": 3, "buckets": [8]},
    "notes": {"word": "über"},
}  # fmt: skip


class Killed(BaseException):
    """Like a kill, nothing in the library catches it, so nothing is tidied up."""


@pytest.fixture(scope="module", params=[True, False], ids=["shared", "two vocabularies"])
def tokenizers(request):
    return train_tokenizers(GERMAN, ENGLISH, kind="word", min_freq=1, shared=request.param)


def optimizer_for(model):
    return nn.Adam(model.trainable_params(), learning_rate=1e-3, beta1=0.9, beta2=0.98, eps=1e-9)


@pytest.fixture(scope="module")
def original(tokenizers, tmp_path_factory):
    """A run folder with one checkpoint, and the model in it. Tests change copies of it."""
    run = tmp_path_factory.mktemp("run")
    model = model_for(tokenizers, seed=1)
    optimizer = optimizer_for(model)
    for number, moment in enumerate(optimizer.moment1):
        moment.set_data(Tensor(np.full(moment.shape, number + 1, np.float32)))
    folder = run / "checkpoints" / "step-0000001"
    save_checkpoint(folder, model, tokenizers, optimizer, STATE)
    write_run(run, {"last": "checkpoints/step-0000001", "best": "checkpoints/step-0000001"})
    return run, model, optimizer


@pytest.fixture
def run(original, tmp_path):
    shutil.copytree(original[0], tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def folder(run):
    return run / "checkpoints" / "step-0000001"


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_saved_comes_back(run, folder, original, tokenizers):
    _, model, optimizer = original
    loaded, loaded_tokenizers = load_model(run)
    assert loaded.config == model.config
    assert not loaded.training
    assert loaded_tokenizers.shared == tokenizers.shared
    for text, a, b in (
        (GERMAN[0], tokenizers.source, loaded_tokenizers.source),
        (ENGLISH[0], tokenizers.target, loaded_tokenizers.target),
    ):
        assert a.encode(text) == b.encode(text)
    for name, value in weights_of(model).items():
        np.testing.assert_array_equal(weights_of(loaded)[name], value)
    assert read_state(folder, "training", "config", "notes") == STATE

    other = model_for(tokenizers, seed=2)
    other_optimizer = optimizer_for(other)
    load_weights(folder, other, other_optimizer)
    for name in ("moment1", "moment2"):
        for a, b in zip(getattr(optimizer, name), getattr(other_optimizer, name)):
            np.testing.assert_array_equal(a.asnumpy(), b.asnumpy())
    assert other_optimizer.moment1[1].asnumpy().ravel()[0] == 2.0


def test_a_checkpoint_is_a_folder_of_plain_files(folder, tokenizers):
    names = {"model.safetensors", "optimizer.safetensors", "config.json", "state.json"}
    if tokenizers.shared:
        names.add("tokenizer.json")
    else:
        names.update(("tokenizer.source.json", "tokenizer.target.json"))
    assert {path.name for path in folder.iterdir()} == names
    weights = load_file(str(folder / "model.safetensors"))
    assert all(value.dtype == np.float32 for value in weights.values())
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["d_model"] == 8


def test_a_run_gives_its_best_or_its_last(run, folder):
    assert find_checkpoint(folder) == folder
    write_run(run, {"last": "checkpoints/a", "best": "checkpoints/b"})
    assert find_checkpoint(run) == run / "checkpoints" / "b"
    assert find_checkpoint(run, "last") == run / "checkpoints" / "a"


def test_a_checkpoint_is_never_written_over(folder, tokenizers):
    before = content(folder)
    refused(
        save_checkpoint, folder, model_for(tokenizers), tokenizers,
        match="step-0000001 is there already; remove it, or save under another name",
    )  # fmt: skip
    assert content(folder) == before
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_other_weights_can_be_saved_in_place_of_the_models_own(tmp_path, tokenizers):
    model = model_for(tokenizers)
    weights = {name: value + 1 for name, value in weights_of(model).items()}
    save_checkpoint(tmp_path / "mean", model, tokenizers, weights=weights)
    for name, value in load_file(str(tmp_path / "mean" / "model.safetensors")).items():
        np.testing.assert_array_equal(value, weights[name])


def test_a_model_that_reads_no_text_has_no_tokenizer(tokenizers, tmp_path):
    model, (image,) = small_models(tokenizers)["vit"]
    folder = save_checkpoint(tmp_path / "vit", model.set_train(False), None)
    loaded, none = load_model(folder)
    assert none is None
    np.testing.assert_array_equal(loaded(image).asnumpy(), model(image).asnumpy())
    assert not [path for path in folder.iterdir() if "tokenizer" in path.name]


def test_one_tokenizer_is_both_sides(tokenizers, tmp_path):
    model, _ = small_models(tokenizers)["gpt"]
    _, pair = load_model(save_checkpoint(tmp_path / "gpt", model, tokenizers.source))
    assert pair.shared
    assert pair.source.encode(GERMAN[0]) == tokenizers.source.encode(GERMAN[0])


@pytest.mark.parametrize("name", ["transformer", "gru", "neural_lm", "gpt"])
def test_what_fills_a_batch_is_saved_with_the_model(name, tokenizers, tmp_path):
    """GPT-2 has no such token, and what it is cannot be told from its sizes."""
    model, inputs = small_models(tokenizers)[name]
    model.pad_id = 5
    loaded, _ = load_model(save_checkpoint(tmp_path / name, model.set_train(False), tokenizers))
    assert loaded.pad_id == 5
    np.testing.assert_array_equal(loaded(*inputs).asnumpy(), model(*inputs).asnumpy())
    fields = json.loads((tmp_path / name / "config.json").read_text(encoding="utf-8"))
    for value, expected in (("5", "pad_id is '5'; expected a whole number"), (None, None)):
        fields["pad_id"] = value
        (tmp_path / name / "config.json").write_text(json.dumps(fields), encoding="utf-8")
        if expected:
            refused(load_model, tmp_path / name, match=expected)
    del fields["pad_id"]  # as an older version saved it
    (tmp_path / name / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    assert load_model(tmp_path / name)[0].pad_id == 0


# ------------------------------------------------------------------- every kind of model


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_kind_of_model_is_saved_loaded_and_computes_the_same(name, tokenizers, tmp_path):
    models = small_models(tokenizers)
    assert set(models) == set(ARCHITECTURES)
    model, inputs = models[name]
    save_checkpoint(tmp_path / name, model.set_train(False), tokenizers)
    loaded, _ = load_model(tmp_path / name)
    assert type(loaded) is type(model)
    assert architecture_of(loaded) == name
    assert loaded.config == model.config
    before, after = model(*inputs), loaded(*inputs)
    if not isinstance(before, tuple):
        before, after = (before,), (after,)
    for a, b in zip(before, after):
        assert np.abs(a.asnumpy()).max() > 0
        np.testing.assert_array_equal(a.asnumpy(), b.asnumpy())


@pytest.mark.parametrize("name", ["transformer", *CELLS, "neural_lm", "gpt", "decoder_lm"])
def test_the_ids_of_padding_and_begin_are_saved(name, tokenizers, tmp_path):
    model, _ = small_models(tokenizers)[name]
    assert load_again(tmp_path / "plain", model, tokenizers).pad_id == 0
    model.pad_id = -1  # as a published GPT-2 has it
    if name == "neural_lm":
        model.bos_id = 3
    loaded = load_again(tmp_path / "other", model, tokenizers)
    assert (loaded.pad_id, getattr(loaded, "bos_id", 3)) == (-1, 3)
    # Checkpoints from before have no such fields.
    path = tmp_path / "other" / "config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    for field in ("pad_id", "bos_id"):
        fields.pop(field, None)
    path.write_text(json.dumps(fields), encoding="utf-8")
    loaded, _ = load_model(tmp_path / "other")
    assert (loaded.pad_id, getattr(loaded, "bos_id", 1)) == (0, 1)
    path.write_text(json.dumps({**fields, "pad_id": "0"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="pad_id is '0'; expected a whole number"):
        load_model(tmp_path / "other")


def load_again(folder, model, tokenizers):
    loaded, _ = load_model(save_checkpoint(folder, model, tokenizers))
    return loaded


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (None, "the configuration is incomplete: num_classes is missing"),
        (0, "num_classes is 0; expected a whole number of at least 1"),
        (2.5, "num_classes is 2.5; expected a whole number"),
        (4, r"classifier.weight has shape \(3, 8\), expected \(4, 8\)"),
    ],
)
def test_a_classifier_with_another_number_of_classes(classes, words, tokenizers, tmp_path):
    model, _ = small_models(tokenizers)["bert_classification"]
    folder = save_checkpoint(tmp_path / "classifier", model, tokenizers)
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert fields.pop("num_classes") == 3
    if classes is not None:
        fields["num_classes"] = classes
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(CheckpointError, match=words):
        load_model(folder)


# ------------------------------------------------------------------- killed, or out of space


def test_killed_at_any_moment_the_run_keeps_its_last_checkpoint(run, tokenizers, monkeypatch):
    """Die at the first change on the disk, then at the second, and so on to the end."""
    before = content(run)
    new = run / "checkpoints" / "step-0000002"
    model = model_for(tokenizers, seed=4)
    calls = []

    def dying(function, at):
        def wrapper(*args, **kwargs):
            calls.append(function)
            if len(calls) == at:
                raise Killed
            return function(*args, **kwargs)

        return wrapper

    moment = 0
    while True:
        moment += 1
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "save_file", dying(save_file, moment))
            patch.setattr(os, "fsync", dying(os.fsync, moment))
            patch.setattr(os, "replace", dying(os.replace, moment))
            for name in ("mkdir", "rename", "write_text"):
                patch.setattr(Path, name, dying(getattr(Path, name), moment))
            try:
                save_checkpoint(new, model, tokenizers, optimizer_for(model), {"step": 2})
                write_run(run, {"last": "checkpoints/step-0000002"})
            except Killed:
                pass
            else:
                break
        after = content(run)
        assert {path: after[path] for path in before} == before
        load_model(run)
        if new.exists():  # then all of it
            assert read_state(new) == {"step": 2}
            load_weights(new, model, optimizer_for(model))
            shutil.rmtree(new)
    assert moment > 12
    assert find_checkpoint(run, "last") == new


@contextmanager
def no_file_longer_than(size):
    """The system then refuses to write on, as it does on a full disk, also to root."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 1000, 6000])
def test_without_space_the_earlier_checkpoints_stay(run, folder, tokenizers, size):
    before = content(run)
    model = model_for(tokenizers)
    with (
        no_file_longer_than(size),
        pytest.raises(CheckpointError, match=r"step-0000002.*earlier checkpoints are untouched"),
    ):
        save_checkpoint(folder.with_name("step-0000002"), model, tokenizers, optimizer_for(model))
    assert content(run) == before
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_without_space_the_run_file_stays(run):
    before = content(run)
    with no_file_longer_than(10), pytest.raises(CheckpointError, match=r"cannot write .*run\.json"):
        write_run(run, {"last": "checkpoints/step-0000002"})
    assert content(run) == before


def test_a_rename_that_fails_leaves_nothing(run, folder, tokenizers, monkeypatch):
    before = content(run)
    rename = Path.rename

    def refuse(self, target):
        if ".partial-" in self.name:
            raise PermissionError(13, "Permission denied", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(CheckpointError, match="Permission denied"):
        save_checkpoint(folder.with_name("step-0000002"), model_for(tokenizers), tokenizers)
    assert content(run) == before


def test_a_folder_that_cannot_be_written(tmp_path, tokenizers):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint .*file/step"):
        save_checkpoint(tmp_path / "file" / "step", model_for(tokenizers), tokenizers)
    with pytest.raises(CheckpointError, match=r"cannot write .*run\.json"):
        write_run(tmp_path / "nowhere", {})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_not_saved(run, folder, tokenizers, value):
    before = content(run)
    model = model_for(tokenizers)
    bad = model.target_embedding.weight.asnumpy().copy()
    bad[1, 2] = value
    model.target_embedding.weight.set_data(Tensor(bad))
    with pytest.raises(CheckpointError, match=r"embedding\.weight has values that are not finite"):
        save_checkpoint(folder, model, tokenizers)
    assert content(run) == before


# --------------------------------------------------------------------- damaged, or another's


def refused(function, *args, match):
    """The function raises a CheckpointError that is one line."""
    with pytest.raises(CheckpointError, match=match) as caught:
        function(*args)
    assert "\n" not in str(caught.value)


def test_weights_of_another_shape_are_named_and_nothing_changes(folder, tokenizers):
    wider = model_for(tokenizers, d_ff=16)
    before = weights_of(wider)
    refused(load_weights, folder, wider, match=r"inner.*has shape \(8, 8\), expected \(16, 8\)")
    deeper = model_for(tokenizers, num_encoder_layers=2)
    refused(load_weights, folder, deeper, match=r"encoder\.layers\.1\.\S+ is missing.*more")
    unlike = model_for(tokenizers, norm="pre")
    refused(load_weights, folder, unlike, match=r"final_norm\.\S+ is missing")
    for name, value in before.items():
        np.testing.assert_array_equal(weights_of(wider)[name], value)


def test_a_weight_too_many_is_named(folder, tokenizers):
    weights = load_file(str(folder / "model.safetensors"))
    save_file({**weights, "stranger": np.zeros(2)}, str(folder / "model.safetensors"))
    refused(load_model, folder, match="stranger is unexpected")


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated_tensors(folder, tokenizers, file, share):
    path = folder / file
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    model = model_for(tokenizers)
    before = weights_of(model)
    args = (folder, model, optimizer_for(model))
    refused(load_weights, *args, match=f"{file} is damaged or truncated")
    for name, value in before.items():
        np.testing.assert_array_equal(weights_of(model)[name], value)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer"])
def test_a_missing_file_is_named(folder, tokenizers, file):
    if file == "tokenizer":
        file = "tokenizer.json" if tokenizers.shared else "tokenizer.target.json"
    (folder / file).unlink()
    refused(load_model, folder, match="tokenizer" if "tokenizer" in file else ".")
    if file == "model.safetensors":
        refused(load_weights, folder, model_for(tokenizers), match="there is no .*not complete")


def test_a_missing_optimizer_is_no_obstacle_to_translating(folder, tokenizers):
    (folder / "optimizer.safetensors").unlink()
    load_model(folder)
    model = model_for(tokenizers)
    refused(load_weights, folder, model, optimizer_for(model), match="there is no .*optimizer")


DAMAGE = ["", "{", "[]", "null", '{"d_model": null}', '{"no": 1}', b"\xff\xfe".decode("latin-1")]


@pytest.mark.parametrize("text", DAMAGE)
def test_a_damaged_configuration(folder, text):
    (folder / "config.json").write_text(text, encoding="latin-1")
    refused(load_model, folder, match="cannot read the checkpoint")


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_damaged_json_beside_it(run, folder, text):
    for name in ("tokenizer.json", "tokenizer.source.json"):
        if (folder / name).exists():
            (folder / name).write_text(text, encoding="utf-8")
            refused(load_model, folder, match=name)
    (folder / "state.json").write_text(text, encoding="utf-8")
    refused(read_state, folder, match="cannot read the checkpoint")
    (run / "run.json").write_text(text, encoding="utf-8")
    refused(load_model, run, match=r"cannot read .*run\.json")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("training", [], r"training is \[\]; expected an object"),
        ("training", None, "training is None; expected an object"),
        ("training", {}, r"training\.step is missing"),
        ("config", 5, "config is 5; expected an object"),
        ("config", {"epochs": "3"}, "epochs is '3'; expected a whole number"),
        ("config", {"rotations": 3}, "rotations is no option of training; was it written by a new"),
        ("notes", [], r"notes is \[\]; expected an object"),
        ("training.step", -1, r"training\.step is -1; expected a whole number"),
        ("training.step", "1", r"training\.step is '1'; expected a whole number"),
        ("training.epoch", True, r"training\.epoch is True; expected a whole number"),
        ("training.batch", 0.5, r"training\.batch is 0\.5; expected a whole number"),
        ("training.seconds", None, r"training\.seconds is None; expected a number"),
        ("training.seconds", float("nan"), r"training\.seconds is nan; expected a number"),
        ("training.skipped", [], r"training\.skipped is \[\]; expected a whole number"),
        ("training.loss_scale", 5, r"training\.loss_scale is 5; expected a scale and a whole"),
        ("training.loss_scale", [0.0, 1], r"training\.loss_scale is \[0\.0, 1\]; expected a scale"),
        ("training.history", {}, r"training\.history is \{\}; expected a list"),
        ("training.history", [5], r"training\.history\[0\] is 5; expected an object"),
        ("training.history", [{}], r"training\.history\[0\]\.epoch is missing"),
    ],
)
def test_a_field_of_another_kind_is_named(folder, field, value, words):
    state = json.loads(json.dumps(STATE))
    *outer, name = field.split(".")
    (state[outer[0]] if outer else state)[name] = value
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    refused(read_state, folder, match=rf"step-0000001: state\.json: {words}")


def test_an_epoch_without_a_measure_is_named(folder):
    state = json.loads(json.dumps(STATE))
    del state["training"]["history"][0]["validation_bleu"]
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    refused(read_state, folder, match=r"training\.history\[0\] has no measure of validation")


def test_a_needed_field_that_is_missing_is_named(folder):
    (folder / "state.json").write_text("{}", encoding="utf-8")
    assert read_state(folder) == {}
    refused(read_state, folder, "training", "config", match="training, config is missing")
    (folder / "state.json").write_text("[" * 100_000, encoding="utf-8")
    refused(read_state, folder, match=r"state\.json")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("last", 5, "last is 5; expected checkpoints/NAME"),
        ("best", "/etc", "best is '/etc'; expected checkpoints/NAME"),
        ("best", "checkpoints/..", "best is .*; expected checkpoints/NAME"),
        ("average", ["a"], r"average is \['a'\]; expected checkpoints/NAME"),
        ("run", "", "run is ''; expected the run's name"),
        ("run", 7, "run is 7; expected the run's name"),
        ("best_value", "7", "best_value is '7'; expected a number"),
        ("wurst", 7, "it has an unknown field 'wurst'"),
    ],
)
def test_a_run_file_with_a_field_of_another_kind(run, field, value, words):
    content = {**read_run(run), field: value}
    (run / "run.json").write_text(json.dumps(content), encoding="utf-8")
    refused(read_run, run, match=rf"cannot read .*run\.json: {words}")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_loaded(folder, value):
    weights = load_file(str(folder / "model.safetensors"))
    name = sorted(weights)[0]
    weights[name].ravel()[0] = value
    save_file(weights, str(folder / "model.safetensors"))
    refused(load_model, folder, match=rf"model\.safetensors: {name} has values that are not finite")


def test_a_vocabulary_of_another_size(folder, tokenizers):
    words = [*GERMAN, "noch drei wörter"]
    other = train_tokenizers(words, words, kind="word", min_freq=1, shared=tokenizers.shared)
    other.save(folder)
    refused(load_model, folder, match="the tokenizers have .* tokens, but the model was made for")


def test_a_folder_without_a_run(tmp_path, run):
    assert read_run(tmp_path) == {}
    refused(load_model, tmp_path, match="holds no checkpoint; expected a folder that")
    refused(load_model, tmp_path / "nowhere", match="holds no checkpoint")
    write_run(tmp_path, {"last": "checkpoints/step-0000002"})  # stopped in its first epoch
    refused(load_model, tmp_path, match="no best checkpoint yet; .*take its last one, .*0000002")
    write_run(run, {"best": "checkpoints/gone"})
    refused(load_model, run, match="gone")


def test_the_weights_that_were_taken_do_not_change_with_the_model():
    model = GPT(GPTConfig(20, d_model=8, num_heads=2, num_layers=1, d_ff=8, dropout=0.0))
    before = weights_of(model)
    kept = {name: value.copy() for name, value in before.items()}
    ids = np.array([[4, 5, 6, 7]], np.int32)
    TrainStep(model, nn.Adam(model.trainable_params(), 0.1))(0.1, (ids, ids + 1))
    assert any((value != kept[name]).any() for name, value in weights_of(model).items())
    for name, value in before.items():
        np.testing.assert_array_equal(value, kept[name])
