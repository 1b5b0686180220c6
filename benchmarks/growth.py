"""How the cost of the library grows with the sizes: measurements, fits and pictures."""

from __future__ import annotations

import numpy as np
from common import AXES, RESULTS
from matplotlib.figure import Figure

PRESET, VOCAB = "tiny", 6000
BASE = {"rows": 32, "length": 32, "d_model": 128}
SWEEPS = {
    "length": (16, 32, 64, 128, 256, 512),
    "rows": (8, 16, 32, 64, 128),
    "d_model": (64, 128, 256, 512),
}


def training_flop(rows, length, d_model, vocab=VOCAB, layers=4, d_ff=256) -> float:
    """Floating-point operations of a training step, counted by hand.

    A product of (n, k) and (k, m) takes 2nkm. An encoder layer has four projections, a decoder
    layer eight, both a feed-forward network; each attention multiplies (T, Dk) and (Dk, S) and
    then (T, S) and (S, Dk) in every head. The backward pass takes twice the forward pass.
    """
    tokens = rows * length
    attention = 2 * 2 * rows * length * length * d_model
    projection = 2 * tokens * d_model * d_model
    feed_forward = 2 * 2 * tokens * d_model * d_ff
    encoder = layers * (4 * projection + attention + feed_forward)
    decoder = layers * (8 * projection + 2 * attention + feed_forward)
    return 3.0 * (encoder + decoder + 2 * tokens * d_model * vocab)


def growth(run_worker) -> dict:
    """Run all sweeps, fit the exponents, draw the pictures."""
    peak = run_worker("ours", "product", {"size": 1536})["gflops"]
    found = {"peak_gflops": round(peak, 1), "sweeps": {}}
    for name, values in SWEEPS.items():
        points = []
        for value in values:
            sizes = {**BASE, name: value}
            options = {
                "preset": PRESET, "vocab": VOCAB, "rows": sizes["rows"],
                "length": sizes["length"], "sizes": {"d_model": sizes["d_model"]},
                "warmup": 40, "steps": 10,
            }  # fmt: skip
            seconds = run_worker("ours", "step", options)["seconds"]
            gflop = training_flop(**sizes) / 1e9
            points.append(
                {
                    name: value,
                    "seconds": seconds,
                    "gflop": round(gflop, 2),
                    "share_of_peak": round(gflop / seconds / peak, 3),
                }
            )
            print(f"  {points[-1]}", flush=True)
        last = points[-3:]
        slope = np.polyfit(
            np.log([p[name] for p in last]), np.log([p["seconds"] for p in last]), 1
        )[0]
        found["sweeps"][name] = {"points": points, "exponent_of_the_last_three": round(slope, 2)}
    options = {"preset": PRESET, "vocab": VOCAB, "rows": 16, "lengths": (8, 16, 32, 64, 128)}
    found["decoding"] = run_worker("ours", "lengths", options)["points"]
    draw(found)
    return found


def draw(found) -> None:
    """benchmarks/results/growth-training.png and growth-decoding.png."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, (name, sweep) in zip(figure.subplots(1, 3), found["sweeps"].items()):
        x = [point[name] for point in sweep["points"]]
        axes.loglog(x, [point["seconds"] for point in sweep["points"]], "o-", label="measured")
        ideal = [point["gflop"] / found["peak_gflops"] for point in sweep["points"]]
        axes.loglog(x, ideal, "--", color="gray", label="arithmetic at the machine's peak")
        axes.set_xticks(x, x)
        axes.minorticks_off()
        axes.set(
            xlabel=AXES[name], ylabel="seconds a training step",
            title=f"last three points: exponent {sweep['exponent_of_the_last_three']:.2f}",
        )  # fmt: skip
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.savefig(RESULTS / "growth-training.png", dpi=110)

    figure = Figure(figsize=(5.5, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, label in (("plain", "without cache"), ("cached", "with cache")):
        points = [point for point in found["decoding"] if point["decoder"] == name]
        x = [point["length"] for point in points]
        axes.loglog(x, [point["seconds"] for point in points], "o-", label=label)
    axes.set_xticks(x, x)
    axes.minorticks_off()
    axes.set(xlabel="tokens written", ylabel="seconds", title="Greedy decoding, 16 sentences")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(RESULTS / "growth-decoding.png", dpi=110)
