"""The pictures: real PNG files with the curves and the weights that they claim to show."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from step_llm.evaluation.plots import plot_attention, plot_heads, plot_history

HISTORY = [
    {"epoch": 1, "train_loss": 5.0, "validation_loss": 4.5, "validation_bleu": 2.0},
    {"epoch": 2, "train_loss": 4.0, "validation_loss": 4.0, "validation_bleu": 11.0},
    {"epoch": 3, "train_loss": 3.0, "validation_loss": 3.9, "validation_bleu": 9.0},
]


def png_size(path):
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def test_history_has_both_losses_and_bleu(tmp_path):
    path = tmp_path / "history.png"
    path.write_bytes(b"an older picture")
    figure = plot_history(HISTORY, path)
    width, height = png_size(path)
    assert width > height > 300
    assert [p.name for p in tmp_path.iterdir()] == ["history.png"]
    losses, bleu = figure.axes
    for line, name in zip(losses.lines, ("train_loss", "validation_loss")):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(line.get_ydata(), [entry[name] for entry in HISTORY])
    np.testing.assert_array_equal(bleu.lines[0].get_ydata(), [2.0, 11.0, 9.0])
    assert "nats" in losses.get_ylabel()
    assert "BLEU" in bleu.get_ylabel()


def test_history_of_one_epoch(tmp_path):
    plot_history(HISTORY[:1], tmp_path / "history.png")
    png_size(tmp_path / "history.png")


def test_attention_has_each_token_and_weight(tmp_path):
    weights = np.array([[0.2, 0.8], [0.5, 0.5], [1.0, 0.0]])
    figure = plot_attention(
        ["▁hund", "<EOS>"], ["▁a", "▁dog", "<EOS>"], weights, tmp_path / "a.png"
    )
    png_size(tmp_path / "a.png")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["▁hund", "<EOS>"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["▁a", "▁dog", "<EOS>"]
    np.testing.assert_array_equal(axes.images[0].get_array(), weights)


def test_weights_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 3\); expected \(T, S\) = \(3, 2\)"):
        plot_attention(["a", "b"], ["c", "d", "e"], np.zeros((2, 3)))


def test_a_picture_that_cannot_be_written_leaves_nothing_aside(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OSError, match=r"folder\.png"):
        plot_history(HISTORY, tmp_path / "folder.png")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


def test_every_head_has_its_picture(tmp_path):
    weights = np.random.default_rng(0).random((2, 3, 4, 5))
    figure = plot_heads(weights, tmp_path / "heads.png")
    png_size(tmp_path / "heads.png")
    shown = [axes.images[0].get_array() for axes in figure.axes]
    np.testing.assert_array_equal(np.reshape(shown, weights.shape), weights)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["head 1", "head 2", "head 3"]
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["layer 1", "layer 2"]
    with pytest.raises(ValueError, match=r"shape \(4, 5\); expected \(L, H, T, S\)"):
        plot_heads(weights[0, 0])
