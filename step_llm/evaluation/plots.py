"""Pictures: the curves of a training run, and attention as a heat map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from step_llm.runtime.files import replacing

__all__ = ["plot_attention", "plot_heads", "plot_history"]


def plot_history(history: list[dict], path: str | Path | None = None) -> Figure:
    """Loss, and the measure of validation, over the epochs, side by side.

    Args:
        history: what ``Trainer.fit`` returns.
        path: also write the picture there (PNG), aside first and then renamed.

    Returns:
        the figure.
    """
    epochs = [entry["epoch"] for entry in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [e["train_loss"] for e in history], "o-", ms=3, label="training (smoothed)")
    left.plot(epochs, [e["validation_loss"] for e in history], "s-", ms=3, label="validation")
    left.set(xlabel="epoch", ylabel="loss (nats per token)", title="Loss")
    left.legend(frameon=False)
    others = [key for key in history[0] if key.startswith("validation_")]
    name = next(key for key in others if key != "validation_loss")
    label = name.removeprefix("validation_").replace("bleu", "BLEU")
    right.plot(epochs, [e[name] for e in history], "o-", ms=3, color="tab:green")
    right.set(
        xlabel="epoch",
        ylabel="BLEU (greedy)" if label == "BLEU" else label,
        title=f"Validation {label}",
    )
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if path is not None:
        _save(figure, path)
    return figure


def plot_attention(
    source_tokens: list[str],
    target_tokens: list[str],
    weights: np.ndarray,
    path: str | Path | None = None,
    title: str = "Cross-attention",
) -> Figure:
    """Which source tokens each target token looked at, as a heat map.

    Args:
        source_tokens: S labels, along the x axis.
        target_tokens: T labels, along the y axis.
        weights: (T, S); each row sums to 1.
        path: also write the picture there (PNG), aside first and then renamed.
        title: above the picture.

    Returns:
        the figure.

    Raises:
        ValueError: weights that are not (T, S).
    """
    weights = np.asarray(weights)
    if weights.shape != (len(target_tokens), len(source_tokens)):
        raise ValueError(
            f"weights have shape {weights.shape}; expected (T, S) = "
            f"({len(target_tokens)}, {len(source_tokens)})"
        )
    size = (2.2 + 0.42 * len(source_tokens), 1.8 + 0.36 * len(target_tokens))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(weights, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(range(len(source_tokens)), source_tokens, rotation=60, ha="left")
    axes.set_yticks(range(len(target_tokens)), target_tokens)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set(title=title, xlabel="source token", ylabel="target token")
    figure.colorbar(image, ax=axes, label="weight", shrink=0.8)
    if path is not None:
        _save(figure, path)
    return figure


def plot_heads(weights: np.ndarray, path: str | Path | None = None, title: str = "") -> Figure:
    """Every head of every layer as a small heat map: layers downward, heads to the right.

    Args:
        weights: (L, H, T, S); each row sums to 1.
        path: also write the picture there (PNG), aside first and then renamed.
        title: above the picture.

    Returns:
        the figure.

    Raises:
        ValueError: weights that are not (L, H, T, S).
    """
    weights = np.asarray(weights)
    if weights.ndim != 4:
        raise ValueError(f"weights have shape {weights.shape}; expected (L, H, T, S)")
    layers, heads = weights.shape[:2]
    figure = Figure(figsize=(7, 0.6 + 6.4 * layers / heads), layout="constrained")
    grid = figure.subplots(layers, heads, squeeze=False)
    for layer in range(layers):
        for head in range(heads):
            axes = grid[layer, head]
            axes.imshow(weights[layer, head], cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
            axes.set_xticks([])
            axes.set_yticks([])
            if layer == 0:
                axes.set_title(f"head {head + 1}", fontsize=10)
            if head == 0:
                axes.set_ylabel(f"layer {layer + 1}", fontsize=10)
    figure.suptitle(title)
    if path is not None:
        _save(figure, path)
    return figure


def _save(figure, path):
    with replacing(Path(path)) as partial:
        figure.savefig(partial, dpi=150, format="png")
