"""Exported translators: the numbers and tokens of our own, and nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, ops

from step_llm.cli import commands as cli
from step_llm.data.vocabulary import BOS_ID, EOS_ID, PAD_ID, train_tokenizers
from step_llm.decoding import exported
from step_llm.decoding.decoders import CachedDecoder
from step_llm.decoding.export import export_ctranslate2
from step_llm.decoding.exported import INSTALL_CTRANSLATE2, ExportedTranslator
from step_llm.decoding.mindir import MindIRDecoder, export_mindir
from step_llm.decoding.search import beam_search, greedy_search
from step_llm.models.config import TransformerConfig
from step_llm.models.recurrent import RecurrentConfig, RecurrentTranslator
from step_llm.models.transformer import Transformer
from step_llm.models.weights import CheckpointError
from step_llm.training.checkpoint import save_checkpoint

ROOT = Path(__file__).resolve().parents[1]
GERMAN = ["ein hund läuft im gras .", "eine frau sitzt .", "zwei kinder spielen mit einem ball ."]
ENGLISH = ["a dog runs in the grass .", "a woman sits .", "two children play with a ball ."]
# Each choice of a configuration at least once.
KINDS = {
    "paper": {"norm": "post", "tied_embeddings": "all"},
    "pre-norm": {"norm": "pre", "tied_embeddings": "none", "activation": "gelu"},
    "learned": {"norm": "pre", "tied_embeddings": "output", "positions": "learned",
                "activation": "silu"},
    "rotary": {"norm": "post", "positions": "rotary", "activation": "gelu_tanh",
               "norm_epsilon": 1e-3},
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizers():
    return train_tokenizers(GERMAN, ENGLISH, kind="word", min_freq=1)


def model_of(tokenizers, seed=3, **changes):
    size = len(tokenizers.source)
    sizes = {"d_model": 16, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 2}
    fields = {**sizes, "d_ff": 24, "max_length": 20, **changes}
    model = Transformer(TransformerConfig(size, size, **fields), seed=seed)
    model.set_train(False)
    return model


@pytest.fixture(scope="module")
def model(tokenizers):
    """A model that writes sentences of several lengths, and neither padding nor a second begin."""
    model = model_of(tokenizers, seed=4, norm="pre", num_decoder_layers=1)
    # With β = 1 a hidden vector h has h · 1 = D, since the mean of LayerNorm's output is 0: what is
    # added to a row of the projection raises or lowers that token's logit whatever h is.
    model.decoder.final_norm.beta.set_data(Tensor(np.ones(16, np.float32)))
    table = 3 * model.output_weight.asnumpy()
    table[[PAD_ID, BOS_ID]] -= 3.0
    table[EOS_ID] += 0.4
    model.output_weight.set_data(Tensor(table))
    return model


@pytest.fixture(scope="module")
def sources(tokenizers):
    rng = np.random.default_rng(1)
    return [rng.integers(4, len(tokenizers.source), 7).tolist() for _ in range(12)]


def with_end(sources):
    return np.array([[*source, EOS_ID] for source in sources], np.int32)


# CTranslate2


@pytest.fixture(scope="module")
def engine():
    return pytest.importorskip("ctranslate2")


@pytest.fixture(scope="module")
def folder(engine, model, tokenizers, tmp_path_factory):
    return export_ctranslate2(model, tokenizers, tmp_path_factory.mktemp("export") / "out")


@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_are_the_models(engine, tokenizers, tmp_path, kind):
    model = model_of(tokenizers, **KINDS[kind])
    rng = np.random.default_rng(0)
    for _, parameter in model.parameters_and_names():  # no weight is 0 or 1 any more
        noise = 0.2 * rng.normal(size=parameter.shape)
        parameter.set_data(Tensor((parameter.asnumpy() + noise).astype(np.float32)))
    translator = ExportedTranslator(export_ctranslate2(model, tokenizers, tmp_path / "out"))
    source = rng.integers(4, len(tokenizers.source), (3, 6)).astype(np.int32)
    source[:, 5], source[0, 3:] = EOS_ID, [EOS_ID, PAD_ID, PAD_ID]
    target = rng.integers(4, len(tokenizers.target), (3, 10)).astype(np.int32)
    target[:, 0] = BOS_ID
    logits = model(Tensor(source), Tensor(target[:, :-1]))
    expected = ops.log_softmax(logits, -1).asnumpy()
    expected = np.take_along_axis(expected, target[:, 1:, None], 2)[:, :, 0]
    pieces = tokenizers.source.pieces()
    scores = translator.engine.score_batch(
        [[pieces[token] for token in row if token > EOS_ID] for row in source],
        [[pieces[token] for token in row[1:]] for row in target],
    )
    found = [score.log_probs[:9] for score in scores]  # the tenth is that of the end
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_tokens_are_those_of_our_searches(model, folder, sources):
    decoder, translator = CachedDecoder(model), ExportedTranslator(folder)
    limits = np.full(len(sources), 2 * 8 + 10)
    ours = greedy_search(decoder, with_end(sources), limits)
    found = translator.search(sources)
    assert [hypothesis.ids for hypothesis in found] == [hypothesis.ids for hypothesis in ours]
    assert len({len(hypothesis.ids) for hypothesis in ours}) > 3
    assert {hypothesis.is_finished for hypothesis in ours} == {True, False}
    for one, other in zip(found, ours):
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-3)
    ours = beam_search(decoder, with_end(sources), 3, limits, length_penalty=0.6)
    found = translator.search(sources, beam_size=3)
    assert [hypothesis.ids for hypothesis in found] == [best.ids for (best,) in ours]
    for one, (other,) in zip(found, ours):
        assert one.score == pytest.approx(other.score, abs=1e-3)


def test_neighbours_and_batches_change_nothing(folder, sources):
    translator = ExportedTranslator(folder)
    mixed = [sources[0], [], sources[1][:2], sources[2], sources[3][:1]]
    for beam_size in (1, 3):
        together = translator.search(mixed, beam_size)
        assert together[1].ids == ()
        alone = [translator.search([source], beam_size)[0] for source in mixed]
        assert [one.ids for one in together] == [one.ids for one in alone]
        in_pairs = translator.search(mixed, beam_size, batch_size=2)
        assert [one.ids for one in together] == [one.ids for one in in_pairs]


def test_a_translation_ends_at_its_own_limit(engine, tokenizers, model, tmp_path):
    endless = model_of(tokenizers, **KINDS["learned"])
    endless.decoder.final_norm.beta.set_data(Tensor(np.ones(16, np.float32)))
    table = endless.target_embedding.weight.asnumpy()
    table[EOS_ID] -= 5.0
    endless.target_embedding.weight.set_data(Tensor(table))
    translator = ExportedTranslator(export_ctranslate2(endless, tokenizers, tmp_path / "out"))
    for beam_size in (1, 3):
        found = translator.search([[5], [5, 6, 7, 8, 9, 10]], beam_size)
        # 2 S + 10, and at most as many as there are learned positions.
        assert [len(hypothesis.ids) for hypothesis in found] == [14, 20]
        assert not any(hypothesis.is_finished for hypothesis in found)


def test_sentences_go_in_and_come_out(folder, tokenizers):
    translator = ExportedTranslator(folder, threads=1)
    lines = [GERMAN[2], "", GERMAN[0], " \t "]
    found = translator.translate(lines, beam_size=2)
    assert found[1] == found[3] == ""
    assert found[0] != "" != found[2]
    (ids,) = translator.search([tokenizers.source.encode(lines[0])], beam_size=2)
    assert found[0] == tokenizers.target.decode(ids.ids)
    assert translator.translate([]) == []


def test_int8_is_smaller_and_translates(engine, tokenizers, tmp_path):
    model = model_of(tokenizers, d_model=64, d_ff=128)
    folders = [
        export_ctranslate2(model, tokenizers, tmp_path / name, is_int8=name == "int8")
        for name in ("float32", "int8")
    ]
    sizes = [(folder / "model.bin").stat().st_size for folder in folders]
    # The table of positions stays as it is.
    assert sizes[1] - 2**10 * 64 * 4 < 0.3 * (sizes[0] - 2**10 * 64 * 4)
    for folder in folders:
        assert ExportedTranslator(folder).translate(GERMAN)[0]


def test_a_service_needs_no_mindspore(folder):
    script = (
        "import sys\n"
        "from step_llm import ExportedTranslator\n"
        f"print(ExportedTranslator({str(folder)!r}).translate([{GERMAN[0]!r}]))\n"
        "assert 'mindspore' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_engine_alone_reads_the_folder(engine, folder, tokenizers):
    """Without this library: pieces of the tokenizer go in, the engine adds the end."""
    text = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["tokenizer"]
    from tokenizers import Tokenizer as Engine

    pieces = Engine.from_str(json.dumps(text)).encode(" " + GERMAN[0]).tokens
    options = {"beam_size": 1, "max_decoding_length": 2 * (len(pieces) + 1) + 10}
    (result,) = engine.Translator(str(folder)).translate_batch([pieces], **options)
    (ours,) = ExportedTranslator(folder).translate([GERMAN[0]])
    assert "".join(result.hypotheses[0]).strip() == ours


def test_what_cannot_be_exported_is_refused(engine, tokenizers, tmp_path):
    size = len(tokenizers.source)
    recurrent = RecurrentTranslator(RecurrentConfig(size, size, cell="gru"))
    for export in (export_ctranslate2, export_mindir):
        with pytest.raises(ValueError, match="RecurrentTranslator cannot be exported"):
            export(recurrent, tokenizers, tmp_path / "out")
    model = model_of(tokenizers)
    (tmp_path / "there").mkdir()
    for export in (export_ctranslate2, export_mindir):
        with pytest.raises(ValueError, match="there is there already"):
            export(model, tokenizers, tmp_path / "there")
    weight = model.target_embedding.weight.asnumpy()
    model.target_embedding.weight.set_data(Tensor(np.full_like(weight, np.nan)))
    with pytest.raises(
        ValueError, match=r"target_embedding\.weight has values that are not finite"
    ):
        export_ctranslate2(model, tokenizers, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_failure_leaves_nothing(engine, tokenizers, tmp_path, monkeypatch):
    def fail(self, folder):
        raise OSError("no space left")

    monkeypatch.setattr(type(tokenizers), "save", fail)
    for export in (export_ctranslate2, export_mindir):
        with pytest.raises(OSError, match="no space left"):
            export(model_of(tokenizers), tokenizers, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_reader_names_what_is_wrong(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="step_llm export"):
        ExportedTranslator(tmp_path)
    (tmp_path / "step_llm.json").write_text("{}")
    with pytest.raises(ValueError, match="damaged"):
        ExportedTranslator(tmp_path)
    translator = ExportedTranslator(folder)
    with pytest.raises(ValueError, match="one string"):
        translator.translate("ein hund")
    with pytest.raises(ValueError, match="beam_size is 0"):
        translator.translate(["ein hund"], beam_size=0)
    with pytest.raises(ValueError, match="length_penalty is -1"):
        translator.translate(["ein hund"], length_penalty=-1)
    with pytest.raises(ValueError, match="positions for 507"):
        translator.translate(["hund " * 600])


def test_without_the_package_the_error_has_the_command(tokenizers, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(exported, "find_spec", lambda name: None)
    with pytest.raises(ImportError) as error:
        export_ctranslate2(model_of(tokenizers), tokenizers, tmp_path / "out")
    assert INSTALL_CTRANSLATE2 in str(error.value)
    lines = (ROOT / "requirements-serve.txt").read_text(encoding="utf-8").splitlines()
    assert INSTALL_CTRANSLATE2.split("'")[1] in lines
    arguments = ["export", str(tmp_path), "--to", "ctranslate2", str(tmp_path / "out")]
    assert cli.main(arguments) == 2
    assert INSTALL_CTRANSLATE2 in capsys.readouterr().err


# MindIR


@pytest.mark.slow
def test_the_graphs_give_the_models_numbers_and_tokens(model, tokenizers, sources, tmp_path):
    export_mindir(model, tokenizers, tmp_path / "out", rows=6, source_length=9, room=12)
    graphs, decoder = MindIRDecoder(tmp_path / "out"), CachedDecoder(model)
    source = with_end(sources[:2])
    outputs = []
    for one in (graphs, decoder):
        with one.running():
            state, tokens = one.start(source, 3)
            first, state = one.step(state, tokens)
            tokens, parents = np.array([4, 5, 6, 7, 8, 9], np.int32), np.array([0, 0, 2, 3, 3, 5])
            second, _ = one.step(state, tokens, parents.astype(np.int32))
        outputs.append((first, second))
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=0, atol=1e-5)
    found, ours = (beam_search(one, source, 3, 12, length_penalty=0.6) for one in (graphs, decoder))
    assert [best.ids for (best,) in found] == [best.ids for (best,) in ours]
    (one,), (other,) = (greedy_search(one, source[:1], 12) for one in (graphs, decoder))
    assert one.ids == other.ids
    with pytest.raises(ValueError, match=r"3 with beam size 3|\(3, 8\) with beam size 3"):
        graphs.start(with_end(sources[:3]), 3)


def test_sizes_that_no_graph_can_have(tokenizers, tmp_path):
    model = model_of(tokenizers, **KINDS["learned"])
    with pytest.raises(ValueError, match="room is 21; expected 1 to 20, the learned positions"):
        export_mindir(model, tokenizers, tmp_path / "out", source_length=20, room=21)
    with pytest.raises(ValueError, match="rows is 0"):
        export_mindir(model, tokenizers, tmp_path / "out", rows=0, source_length=20, room=20)
    with pytest.raises(CheckpointError, match="cannot read the exported model"):
        MindIRDecoder(tmp_path)


# The command


def test_the_command_writes_both(engine, tokenizers, tmp_path, capsys):
    save_checkpoint(tmp_path / "model", model_of(tokenizers), tokenizers)
    for kind, options in (("ctranslate2", ["--int8"]), ("mindir", ["--rows", "1", "--room", "8"])):
        out = tmp_path / kind
        arguments = ["export", str(tmp_path / "model"), "--to", kind, str(out), *options]
        assert cli.main(arguments) == 0
        assert f"{out}: {kind}" in capsys.readouterr().out
        assert (out / "tokenizer.json").is_file()
        assert cli.main(arguments) == 2
        assert "is there already" in capsys.readouterr().err
    assert MindIRDecoder(tmp_path / "mindir").max_length == 8
    for options, told in (
        (["mindir", "--int8"], "--int8"),
        (["ctranslate2", "--room", "8"], "--room"),
    ):
        arguments = ["export", str(tmp_path / "model"), "--to", options[0], str(tmp_path / "new")]
        assert cli.main([*arguments, *options[1:]]) == 2
        assert told in capsys.readouterr().err
        assert not (tmp_path / "new").exists()
