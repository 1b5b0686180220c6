"""GPT: what a position sees, the cache, the first weights. Parity: test_pretrained.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mindspore import Tensor

from step_llm.models.gpt import GPT, GPTConfig
from step_llm.nn.cache import with_room

SIZES = {"d_model": 12, "num_heads": 3, "num_layers": 2, "d_ff": 20, "max_length": 9}
IDS = np.array([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]], np.int32)


def gpt(seed=1, **changes):
    return GPT(GPTConfig(**{"vocab_size": 11, **SIZES, **changes}), seed=seed)


def logits_of(cell, ids):
    return cell(Tensor(ids)).asnumpy()


def test_no_position_sees_its_future(in_mode):
    model = in_mode(gpt().set_train(False))
    before = logits_of(model, IDS)
    assert before.shape == (2, 6, 11)
    for place in (2, 5):
        ids = IDS.copy()
        ids[:, place] = (ids[:, place] + 1) % 11
        after = logits_of(model, ids)
        np.testing.assert_array_equal(after[:, :place], before[:, :place])
        assert (after[:, place:] != before[:, place:]).any(axis=-1).all()


def test_the_order_of_the_tokens_matters():
    model = gpt().set_train(False)
    swapped = IDS[:, [1, 0, 2, 3, 4, 5]]
    assert not np.allclose(logits_of(model, IDS)[:, -1], logits_of(model, swapped)[:, -1])


def test_a_start_and_steps_are_the_whole_text_at_once():
    """Two texts, of 2 and 3 tokens at first, in a cache with room for 6."""
    model = gpt().set_train(False)
    whole = model.decode(Tensor(IDS))[0].asnumpy()
    hidden, _, cache = model.decode(Tensor(IDS[:, :3]))
    np.testing.assert_allclose(hidden.asnumpy(), whole[:, :3], atol=1e-6)
    cache = with_room(cache, 6)
    assert [layer[0].shape for layer in cache] == [(2, 3, 6, 4)] * 2
    places = np.array([2, 3], np.int32)  # the first text's third token is written over
    while places.max() < 6:
        tokens, position = Tensor(IDS[np.arange(2), places]), Tensor(places)
        x, mask, _ = model.place(tokens, position, 6)
        hidden, _, cache = model.layers(x, mask, None, cache, position)
        expected = whole[np.arange(2), places]
        np.testing.assert_allclose(hidden.asnumpy()[:, 0], expected, atol=1e-6)
        places = places + 1


def test_the_first_weights():
    model = gpt(vocab_size=300, d_model=48, num_heads=4, d_ff=192, num_layers=3)
    for name, parameter in model.parameters_and_names():
        values = parameter.asnumpy()
        if name.endswith(("bias", "beta")):
            assert (values == 0).all()
        elif name.endswith("gamma"):
            assert (values == 1).all()
        else:
            # What ends one of the 6 residual branches begins smaller.
            ends = name.endswith(("output_projection.weight", "outer.weight"))
            deviation = 0.02 / math.sqrt(6) if ends else 0.02
            assert values.std() == pytest.approx(deviation, rel=0.06), name
            assert abs(values.mean()) < deviation / 10, name


def test_the_seed_decides_the_weights():
    one, same, other = logits_of(gpt(3), IDS), logits_of(gpt(3), IDS), logits_of(gpt(4), IDS)
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_the_number_of_weights_is_gpt2s():
    """124,439,808 of the published small model, counted on a smaller one by the same rule."""

    def count(vocab, positions, width, layers):
        layer = 4 * width * width + 4 * width + 8 * width * width + 5 * width + 4 * width
        return vocab * width + positions * width + layers * layer + 2 * width

    assert count(50257, 1024, 768, 12) == 124_439_808
    model = gpt(d_ff=48)
    assert sum(p.size for p in model.get_parameters()) == count(11, 9, 12, 2)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (np.zeros((1, 10), np.int32), "length 10 is longer than the 9 learned positions"),
        (np.zeros(4, np.int32), r"ids has shape \(4,\); expected \(B, T\)"),
    ],
)
def test_ids_that_are_refused(ids, words):
    with pytest.raises(ValueError, match=words):
        gpt()(Tensor(ids))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_heads": 5}, "d_model 12 is not divisible by num_heads 5"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"activation": "swish"}, "activation is 'swish'; expected one of relu, gelu, gelu_tanh"),
        ({"norm_epsilon": 0.0}, "norm_epsilon is 0.0; expected more than 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_sizes_that_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        gpt(**changes)
