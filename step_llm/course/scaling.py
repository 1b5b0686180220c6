"""How much memory and communication a large decoder needs on many devices: arithmetic, no model.

docs/scaling.md works one example through; ``python -m step_llm.course.scaling`` prints its table.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "EXAMPLE", "LAYOUTS", "ONE_SERVER", "Decoder", "Layout", "Machine", "Needs", "needs", "table",
]  # fmt: skip

GIB = 2**30


@dataclass(frozen=True)
class Decoder:
    """A language model of decoder layers, with the sizes of LLaMA's kind.

    Args:
        d_model, num_layers, d_ff, vocab_size: D, L, F, V. The feed-forward layer has three
            matrices (SwiGLU), attention four; no biases; input and output embeddings apart.
        length: T, tokens of a sequence.

    Source: Touvron et al. 2023, "LLaMA".
    """

    d_model: int
    num_layers: int
    d_ff: int
    vocab_size: int
    length: int

    @property
    def parameters(self) -> int:
        """P = L (4 D² + 3 D F + 2 D) + 2 V D + D."""
        d, f = self.d_model, self.d_ff
        return self.num_layers * (4 * d * d + 3 * d * f + 2 * d) + 2 * self.vocab_size * d + d

    @property
    def attention_operations(self) -> int:
        """12 L T D: a token's part of Q Kᵀ and A V, forward and backward.

        No weight has a part in these two products, so 6 P misses them. Each takes 2 T D operations
        a token and layer, and twice as many backward. This is the whole of T × T, as this course
        computes it; a kernel that leaves out what a causal mask hides needs half.
        """
        return 12 * self.num_layers * self.length * self.d_model


@dataclass(frozen=True)
class Layout:
    """How a model lies on devices: data × tensor × pipeline of them.

    Args:
        data: copies of the model, each with its own sequences.
        tensor: devices that share the matrices of every layer.
        pipeline: stages, each with its own layers.
        shards_optimizer: whether the copies share the optimizer's state among them (ZeRO, stage 1).
        recomputes: whether the backward pass computes a layer's insides again, and keeps only its
            input.
        sequences: of an update, over all devices.

    Raises:
        ValueError: sequences that the copies cannot share evenly.
    """

    data: int = 1
    tensor: int = 1
    pipeline: int = 1
    shards_optimizer: bool = False
    recomputes: bool = False
    sequences: int = 512

    def __post_init__(self):
        if self.sequences % self.data:
            raise ValueError(
                f"{self.sequences} sequences for {self.data} copies; expected a multiple of it"
            )

    @property
    def devices(self) -> int:
        return self.data * self.tensor * self.pipeline

    @property
    def micro_batches(self) -> int:
        """Sequences that a copy works on one after another, in each update."""
        return self.sequences // self.data


@dataclass(frozen=True)
class Machine:
    """What one device can do. The example's values are round assumptions; put in your own.

    Args:
        flops: multiplications and additions a second that a training step really reaches.
        near, far: bytes a second that a device sends, inside a server and between servers.
        memory: bytes.
    """

    flops: float = 150e12
    near: float = 100e9
    far: float = 12.5e9
    memory: int = 64 * GIB


@dataclass(frozen=True)
class Needs:
    """What each device needs for one update; memory in bytes, time in seconds.

    Args:
        weights: weights and gradients, half precision.
        optimizer: float32 weights, and Adam's two moments.
        activations: what the backward pass needs of the forward pass.
        compute: time of the matrix products.
        tensor, data: time of the messages of tensor and data parallelism.
        bubble: share of the time in which a pipeline's stages wait for each other.
    """

    weights: float
    optimizer: float
    activations: float
    compute: float
    tensor: float
    data: float
    bubble: float

    @property
    def memory(self) -> float:
        return self.weights + self.optimizer + self.activations

    @property
    def seconds(self) -> float:
        """Nothing overlaps here; a good system hides most of the data-parallel messages."""
        return (self.compute + self.tensor) / (1 - self.bubble) + self.data


def needs(model: Decoder, layout: Layout, machine: Machine) -> Needs:
    """Memory and time of one update on each device, micro-batches of one sequence.

    Formula: memory 4 P/(t p) for weights and gradients in half precision, 12 P/(t p) for Adam
    (divided by d where the optimizer is sharded); activations 34 T D bytes a layer and sequence
    divided by t, or 2 T D where they are recomputed, for as many sequences as are in the pipeline
    at once (p). Time 6 P + 12 L T D floating-point operations a token (a third more with
    recomputation), divided by t p. A ring all-reduce over n devices sends 2 (n − 1)/n of its bytes:
    for tensor parallelism four of 2 T D bytes a layer and sequence (six with recomputation), for
    data parallelism one of 2 P/(t p).

    Args:
        model, layout, machine: what is trained, how it lies, and on what. Tensor parallelism stays
            inside a server (``near``), data parallelism goes between them (``far``).

    Source: Rajbhandari et al. 2020, "ZeRO"; Narayanan et al. 2021, "Efficient Large-Scale Language
    Model Training on GPU Clusters"; Korthikanti et al. 2023, "Reducing Activation Recomputation".
    """
    t, p, d = layout.tensor, layout.pipeline, layout.data
    own = model.parameters / (t * p)
    layers = model.num_layers / p
    hidden = model.length * model.d_model  # numbers in one sequence between two layers
    whole_layer = 34 * hidden / t
    if layout.recomputes:
        # A layer's input for each sequence on its way, and one layer's insides at a time.
        activations = p * layers * 2 * hidden / t + whole_layer
    else:
        activations = p * layers * whole_layer
    tokens = layout.micro_batches * model.length
    per_token = (6 * model.parameters + model.attention_operations) / (t * p)
    if layout.recomputes:
        per_token *= 4 / 3  # the forward pass, a third of it, once more
    messages = 6 if layout.recomputes else 4
    tensor_bytes = messages * _ring(t) * 2 * hidden * layers * layout.micro_batches
    return Needs(
        weights=4 * own,
        optimizer=12 * own / (d if layout.shards_optimizer else 1),
        activations=activations,
        compute=per_token * tokens / machine.flops,
        tensor=tensor_bytes / machine.near,
        data=_ring(d) * 2 * own / machine.far,
        bubble=(p - 1) / (layout.micro_batches + p - 1),
    )


def _ring(devices):
    return 2 * (devices - 1) / devices


EXAMPLE = Decoder(d_model=4096, num_layers=32, d_ff=11008, vocab_size=32000, length=4096)
LAYOUTS = {
    "one device": Layout(),
    "64 copies": Layout(data=64),
    "the optimizer sharded": Layout(data=64, shards_optimizer=True),
    "activations recomputed": Layout(data=64, shards_optimizer=True, recomputes=True),
    "8 share a layer": Layout(data=8, tensor=8, shards_optimizer=True),
    "8 share a layer, 4 stages": Layout(data=2, tensor=8, pipeline=4, shards_optimizer=True),
}
# The same model on the 8 devices of one server, where no message leaves it.
ONE_SERVER = {
    "8 copies, the optimizer sharded": Layout(data=8, shards_optimizer=True),
    "activations recomputed": Layout(data=8, shards_optimizer=True, recomputes=True),
    "2 share a layer": Layout(data=4, tensor=2, shards_optimizer=True),
    "8 share a layer": Layout(tensor=8),
    "2 stages": Layout(data=4, pipeline=2, shards_optimizer=True),
}


def table(layouts: dict[str, Layout] = LAYOUTS, machine: Machine | None = None) -> str:
    """The example in each layout, a row each, in Markdown."""
    model, machine = EXAMPLE, machine or Machine()
    lines = [
        "| layout | d × t × p | weights, gradients | Adam | activations | GiB per device | fits "
        "| compute | tensor | data | waiting | s per update |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, layout in layouts.items():
        need = needs(model, layout, machine)
        fits = "yes" if need.memory <= machine.memory else "no"
        lines.append(
            f"| {name} | {layout.data} × {layout.tensor} × {layout.pipeline} "
            f"| {need.weights / GIB:.1f} | {need.optimizer / GIB:.1f} "
            f"| {need.activations / GIB:.1f} | {need.memory / GIB:.1f} | {fits} "
            f"| {need.compute:.1f} s | {need.tensor:.1f} s | {need.data:.1f} s "
            f"| {need.bubble:.0%} | {need.seconds:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(f"{EXAMPLE.parameters:,} weights\n\n{table()}\n")
    print(table(ONE_SERVER, Machine(far=Machine.near)))
