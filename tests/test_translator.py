"""Text in, text out: order, empty lines, long lines, unknown words, and what is compiled."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor

from step_llm.data.vocabulary import train_tokenizers
from step_llm.decoding.translator import Translator
from step_llm.models.config import TransformerConfig
from step_llm.models.transformer import Transformer

GERMAN = ["ein hund läuft im gras .", "eine frau sitzt .", "zwei kinder spielen mit einem ball ."]
ENGLISH = ["a dog runs in the grass .", "a woman sits .", "two children play with a ball ."]


def translator_for(tokenizers, **changes):
    sizes = {"d_model": 16, "num_heads": 2, "d_ff": 16, "num_encoder_layers": 1}
    config = TransformerConfig(
        len(tokenizers.source), len(tokenizers.target), num_decoder_layers=2, **sizes, **changes
    )
    model = Transformer(config, seed=5)
    # Token v calls for v + 5 most of all: initial weights would repeat one token for ever.
    embedding = 3 * model.target_embedding.weight.asnumpy()
    model.target_embedding.weight.set_data(Tensor(embedding))
    output = 2 * model.output_weight.asnumpy() + np.roll(embedding, 5, axis=0)
    model.output_weight.set_data(Tensor(output))
    return Translator(model, tokenizers)


@pytest.fixture(scope="module")
def tokenizers():
    return train_tokenizers(GERMAN, ENGLISH, kind="word", min_freq=1, shared=False)


@pytest.fixture(scope="module")
def translator(tokenizers):
    return translator_for(tokenizers)


def test_each_line_has_its_translation_whatever_its_neighbours(translator):
    lines = [GERMAN[2], "", GERMAN[0], "  \t ", GERMAN[1], GERMAN[2]]
    translations = translator.translate(lines, batch_size=4)
    assert len(translations) == len(lines)
    assert translations[1] == translations[3] == ""
    assert translations[0] == translations[5] != ""
    for line, translation in zip(lines, translations):
        assert translator.translate([line], batch_size=4) == [translation]


def test_beam_search_keeps_the_order_too(translator):
    lines = [GERMAN[2], "", GERMAN[1]]
    together = translator.translate(lines, beam_size=3, length_penalty=1.0)
    assert together[1] == ""
    assert translator.translate(lines[::-1], beam_size=3, length_penalty=1.0) == together[::-1]


def test_nothing_to_translate(translator):
    assert translator.translate([]) == []
    assert translator.translate(["", "\n", "\u3000"]) == ["", "", ""]


def test_unknown_words_do_not_stop_it(translator):
    (translation,) = translator.translate(["ein 龍 läuft 🙂 xyz \ud800"])
    assert isinstance(translation, str)


def test_a_sentence_of_any_length(translator):
    long = " ".join(["hund"] * 300)
    translations = translator.translate([GERMAN[1], long], batch_size=4)
    assert len(translations) == 2
    assert len(translations[1].split()) <= 2 * 301 + 10
    assert translations[0] == translator.translate([GERMAN[1]], batch_size=4)[0]


@pytest.mark.parametrize("call", ["translate", "attention_maps"])
def test_a_sentence_that_no_memory_holds_is_refused(translator, call):
    """The memory of attention grows with its square."""
    text = "hund " * 5000
    with pytest.raises(ValueError, match=r"'hund .* has 5,000 tokens; expected less"):
        getattr(translator, call)([text] if call == "translate" else text)


def test_a_sentence_beyond_learned_positions_is_refused(tokenizers):
    translator = translator_for(tokenizers, positions="learned", max_length=20)
    (fits,) = translator.translate([" ".join(["hund"] * 19)])
    assert len(fits.split()) <= 20
    with pytest.raises(ValueError, match="longer than the 20 learned positions"):
        translator.translate([" ".join(["hund"] * 20)])


def test_each_shape_is_compiled_once(translator):
    def compiled():
        cells = (translator.decoder._start, translator.decoder._step)
        return sum(len(cell.compile_cache) for cell in cells)

    translator.translate(GERMAN, batch_size=4)
    count = compiled()
    assert count > 0
    lines = [*GERMAN, *GERMAN, *GERMAN]
    for number in range(4, 10):
        translator.translate(lines[:number], batch_size=4)
    assert compiled() == count


def test_without_the_cache_the_translations_are_the_same(tokenizers, translator):
    plain = Translator(translator.model, tokenizers, use_cache=False)
    lines = ["hund ."]
    assert plain.translate(lines) == translator.translate(lines)


def test_attention_of_a_translation(translator):
    source, target, weights = translator.attention(GERMAN[0])
    assert source == [*GERMAN[0].split(), "<EOS>"]
    assert " ".join(target[:-1]) == translator.translate([GERMAN[0]])[0]
    assert target[-1] == "<EOS>"
    assert weights.shape == (len(target), len(source))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-5)
    first_layer = translator.attention(GERMAN[0], layer=0).weights
    assert not np.allclose(weights, first_layer)
    with pytest.raises(ValueError, match="no text"):
        translator.attention(" ")


def test_attention_maps_are_those_of_every_layer_and_head(translator):
    cross, causal, own = translator.attention_maps(GERMAN[0])
    source, target, weights = translator.attention(GERMAN[0])
    assert (cross.keys, cross.queries) == (source, target)
    assert cross.weights.shape == (2, 2, len(target), len(source))
    np.testing.assert_array_equal(cross.weights[-1].mean(axis=0), weights)
    assert causal.queries == causal.keys == ["<BOS>", *target[:-1]]
    assert causal.weights.shape == (2, 2, len(target), len(target))
    assert (np.triu(causal.weights, 1) == 0).all()
    assert own.queries == own.keys == source
    assert own.weights.shape == (1, 2, len(source), len(source))
    for one in (cross, causal, own):
        np.testing.assert_allclose(one.weights.sum(axis=-1), 1.0, atol=1e-5)


def test_attention_maps_of_a_translation_that_is_given(translator):
    cross = translator.attention_maps(GERMAN[0], ENGLISH[0])[0]
    assert cross.queries == [*ENGLISH[0].split(), "<EOS>"]


def test_wrong_arguments_are_named(tokenizers, translator):
    with pytest.raises(ValueError, match="expected a list"):
        translator.translate("ein hund")
    with pytest.raises(ValueError, match="batch_size is 0"):
        translator.translate(GERMAN, batch_size=0)
    with pytest.raises(ValueError, match="beam_size is 0"):
        translator.translate(GERMAN, beam_size=0)
    config = TransformerConfig(5, 5, d_model=8, num_heads=2)
    with pytest.raises(ValueError, match="embeddings for 5"):
        Translator(Transformer(config), tokenizers)
