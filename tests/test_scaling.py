"""The arithmetic of docs/scaling.md, against numbers worked out by hand, and the page itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from step_llm.course.scaling import (
    EXAMPLE,
    GIB,
    LAYOUTS,
    ONE_SERVER,
    Decoder,
    Layout,
    Machine,
    needs,
    table,
)

ROOT = Path(__file__).resolve().parents[1]
# Small enough to be worked out by hand.
SMALL = Decoder(d_model=10, num_layers=4, d_ff=20, vocab_size=50, length=8)
SLOW = Machine(flops=1e6, near=1e5, far=1e4, memory=1)


def test_weights():
    assert EXAMPLE.parameters == 6_738_415_616  # what LLaMA-7B has
    assert SMALL.parameters == 4 * (400 + 600 + 20) + 1000 + 10


def test_one_device():
    need = needs(SMALL, Layout(sequences=6), SLOW)
    assert (need.weights, need.optimizer) == (4 * 5090, 12 * 5090)
    assert need.activations == 4 * 34 * 80
    # Each of 4 layers multiplies two matrices of 8 × 8 and 8 × 10 in a sequence, three times.
    assert SMALL.attention_operations * 8 == 3 * 4 * 2 * (2 * 8 * 8 * 10)
    assert need.compute == pytest.approx((6 * 5090 + 12 * 4 * 8 * 10) * 48 / 1e6)
    assert need.tensor == need.data == need.bubble == 0
    assert need.seconds == need.compute
    assert need.memory == 16 * 5090 + 4 * 34 * 80


def test_each_cut():
    """Two copies, two devices a layer, two stages; sharded and recomputed."""
    layout = Layout(2, 2, 2, shards_optimizer=True, recomputes=True, sequences=6)
    assert layout.devices == 8
    assert layout.micro_batches == 3
    need = needs(SMALL, layout, SLOW)
    own = 5090 / 4
    assert (need.weights, need.optimizer) == (4 * own, 6 * own)
    assert need.activations == 2 * 2 * 80 + 17 * 80  # 2 layers, 2 sequences, 2 · 80 / 2 bytes each
    assert need.compute == pytest.approx((8 * 5090 + 16 * 4 * 8 * 10) / 4 * 24 / 1e6)
    # Each of 2 sends the whole message: 6 messages, 160 bytes, 2 layers, 3 sequences.
    assert need.tensor == pytest.approx(6 * 160 * 2 * 3 / 1e5)
    assert need.data == pytest.approx(2 * own / 1e4)
    assert need.bubble == 1 / 4
    assert need.seconds == pytest.approx((need.compute + need.tensor) / 0.75 + need.data)


def test_copies_share_the_sequences_evenly():
    with pytest.raises(ValueError, match="6 sequences for 4 copies; expected a multiple"):
        Layout(data=4, sequences=6)


def test_the_page_shows_what_the_module_computes():
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert table() in page
    assert table(ONE_SERVER, Machine(far=Machine.near)) in page
    assert f"{EXAMPLE.parameters:,} weights" in page
    assert f"{LAYOUTS['64 copies'].devices} of {Machine().memory // GIB} GiB" in page


def test_what_the_page_reads_from_the_table():
    found = {name: needs(EXAMPLE, layout, Machine()) for name, layout in LAYOUTS.items()}
    one, copies, sharded, again = list(found.values())[:4]
    assert one.optimizer > one.weights + one.activations
    assert copies.memory > Machine().memory > sharded.memory
    assert sharded.data == copies.data
    assert again.compute == pytest.approx(sharded.compute * 4 / 3)
    share = EXAMPLE.attention_operations / (6 * EXAMPLE.parameters)
    assert (round(share, 2), round(share / 2, 2)) == (0.16, 0.08)
    tenfold = Decoder(d_model=8192, num_layers=80, d_ff=28672, vocab_size=32000, length=4096)
    assert tenfold.parameters > 9 * EXAMPLE.parameters
    best = Layout(data=64, shards_optimizer=True, recomputes=True)
    assert needs(tenfold, best, Machine()).memory > Machine().memory
    cut = Layout(data=2, tensor=8, pipeline=4, shards_optimizer=True, recomputes=True)
    assert needs(tenfold, cut, Machine()).memory < Machine().memory
