"""The configuration: what it refuses, its presets, and the way to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_llm.models.config import PRESETS, TransformerConfig
from step_llm.models.fields import check_fields, is_number, is_whole
from step_llm.nn.positions import POSITION_SCHEMES

SIZES = (
    "source_vocab_size",
    "target_vocab_size",
    "d_model",
    "num_heads",
    "num_encoder_layers",
    "num_decoder_layers",
    "d_ff",
    "max_length",
)


def config(**changes):
    return TransformerConfig(**{"source_vocab_size": 11, "target_vocab_size": 13, **changes})


def test_every_field_is_tested_here():
    others = {
        "dropout", "positions", "norm", "tied_embeddings", "activation", "norm_epsilon",
    }  # fmt: skip
    assert {field.name for field in dataclasses.fields(TransformerConfig)} == set(SIZES) | others


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", [0, -1, 2.0, "4", None])
def test_a_size_is_a_whole_number_of_at_least_1(name, value):
    with pytest.raises(ValueError, match=f"^{name} is ") as error:
        config(**{name: value})
    assert repr(value) in str(error.value)
    assert "at least 1" in str(error.value)


@pytest.mark.parametrize("name", SIZES)
def test_a_size_of_1_is_enough(name):
    changes = {"d_model": 1, "num_heads": 1} if name == "d_model" else {name: 1}
    assert getattr(config(**changes), name) == 1


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="d_model 128 is not divisible by num_heads 3"):
        config(num_heads=3)


def test_rotary_positions_need_an_even_head_width():
    with pytest.raises(ValueError, match=r"d_model / num_heads = 3 is odd"):
        config(d_model=12, num_heads=4, positions="rotary")
    config(d_model=12, num_heads=4, positions="sinusoidal")
    config(d_model=12, num_heads=3, positions="rotary")


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5, float("nan")])
def test_dropout_is_a_share(dropout):
    with pytest.raises(ValueError, match=f"dropout is {dropout}"):
        config(dropout=dropout)


@pytest.mark.parametrize("epsilon", [0.0, -1e-5, float("nan")])
def test_epsilon_is_above_0(epsilon):
    with pytest.raises(ValueError, match=f"norm_epsilon is {epsilon}; expected more than 0"):
        config(norm_epsilon=epsilon)


def test_only_learned_positions_have_an_end():
    limits = [config(positions=p, max_length=9).position_limit for p in POSITION_SCHEMES]
    assert limits == [None, 9, None]


def test_dropout_may_be_0():
    assert config(dropout=0.0).dropout == 0.0


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("positions", ("sinusoidal", "learned", "rotary")),
        ("activation", ("relu", "gelu", "gelu_tanh")),
        ("norm", ("post", "pre")),
        ("tied_embeddings", ("none", "output", "all")),
    ],
)
def test_choices(name, choices):
    for choice in choices:
        assert getattr(config(**{name: choice, "target_vocab_size": 11}), name) == choice
    for wrong in ("Post", "", "alibi", None):
        with pytest.raises(ValueError, match=f"^{name} is ") as error:
            config(**{name: wrong})
        assert repr(wrong) in str(error.value)
        assert ", ".join(choices) in str(error.value)


def test_one_table_for_both_languages_needs_one_vocabulary():
    with pytest.raises(ValueError, match="11 and 13"):
        config(tied_embeddings="all")
    config(tied_embeddings="output")


def test_a_configuration_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config().d_model = 256


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("tiny", (128, 4, 4, 256, 4)),
        ("small", (256, 3, 3, 512, 8)),
        ("base", (512, 6, 6, 2048, 8)),
    ],
)
def test_presets(name, sizes):
    preset = TransformerConfig.preset(name, 11, 13)
    assert (preset.source_vocab_size, preset.target_vocab_size) == (11, 13)
    assert (
        preset.d_model,
        preset.num_encoder_layers,
        preset.num_decoder_layers,
        preset.d_ff,
        preset.num_heads,
    ) == sizes


def test_every_preset_is_tested_here():
    assert set(PRESETS) == {"tiny", "small", "base"}


def test_a_preset_takes_changes():
    changed = TransformerConfig.preset("tiny", 11, 13, d_ff=64, norm="pre")
    assert changed == config(d_ff=64, norm="pre")


def test_changes_to_a_preset_are_validated():
    with pytest.raises(ValueError, match="num_heads 5"):
        TransformerConfig.preset("tiny", 11, 13, num_heads=5)


def test_an_unknown_preset_is_named():
    with pytest.raises(ValueError, match="preset is 'huge'; expected one of tiny, small, base"):
        TransformerConfig.preset("huge", 11, 13)


@given(
    sizes=st.fixed_dictionaries({name: st.integers(1, 50) for name in SIZES if name != "d_model"}),
    width=st.integers(1, 8),
    dropout=st.floats(0, 0.99),
    positions=st.sampled_from(["sinusoidal", "learned", "rotary"]),
    norm=st.sampled_from(["post", "pre"]),
    tied=st.sampled_from(["none", "output"]),
)
def test_to_json_and_back(sizes, width, dropout, positions, norm, tied):
    one = TransformerConfig(
        **sizes,
        d_model=2 * width * sizes["num_heads"],
        dropout=dropout,
        positions=positions,
        norm=norm,
        tied_embeddings=tied,
    )
    assert TransformerConfig.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_an_unknown_field_is_named():
    with pytest.raises(ValueError, match=r"unknown fields \['width'\]") as error:
        TransformerConfig.from_dict({**config().to_dict(), "width": 3})
    assert "d_model" in str(error.value)


def test_a_missing_field_is_named():
    fields = config().to_dict()
    del fields["target_vocab_size"]
    with pytest.raises(ValueError, match="target_vocab_size"):
        TransformerConfig.from_dict(fields)


def test_wrong_values_are_refused_on_the_way_back():
    with pytest.raises(ValueError, match="num_heads 3"):
        TransformerConfig.from_dict({**config().to_dict(), "num_heads": 3})


# ------------------------------------------------------------------ tables of what fields may be


RULES = {"step": (is_whole, "a whole number"), "loss": (is_number, "a number")}


@pytest.mark.parametrize(
    ("values", "what", "needed", "words"),
    [
        ({"step": 1.5}, "", (), "step is 1.5; expected a whole number"),
        ({"step": True}, "state", (), "state.step is True; expected a whole number"),
        ({"loss": float("nan")}, "", (), "loss is nan; expected a number"),
        ({"loss": False}, "", (), "loss is False; expected a number"),
        ({"loss": "2"}, "state", ("step",), "state.step is missing"),
        ([], "state", (), "state is []; expected an object"),
    ],
)
def test_a_field_that_breaks_its_rule_is_named(values, what, needed, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        check_fields(values, RULES, what, needed)


def test_fields_without_a_rule_and_those_that_may_be_missing_pass():
    check_fields({"step": 3, "loss": 2, "word": None}, RULES, needed=("step",))
    check_fields({}, RULES)
