"""Recurrent encoder and decoder: translation before the Transformer.

Letters: B batch, T target length, S source length, D width, K layers, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype

from step_llm.models.config import Config
from step_llm.nn.activations import tanh
from step_llm.nn.additive_attention import AdditiveAttention
from step_llm.nn.embedding import Embedding, OutputProjection
from step_llm.nn.forms import device_form
from step_llm.nn.initial import InitialWeights, XavierWeights
from step_llm.nn.linear import Linear
from step_llm.nn.masks import padding_mask
from step_llm.nn.recurrent import RECURRENT_CELLS, Recurrent

__all__ = ["CELLS", "RECURRENT_PRESETS", "RecurrentConfig", "RecurrentTranslator"]

# name: (d_model, layers); about as many weights as the Transformers of ``config.PRESETS``
RECURRENT_PRESETS = {"tiny": (256, 1), "small": (512, 1), "base": (1024, 2)}

CELLS = tuple(RECURRENT_CELLS)


@dataclass(frozen=True)
class RecurrentConfig(Config):
    """The sizes of a ``RecurrentTranslator``.

    Args:
        source_vocab_size, target_vocab_size: number of token ids on each side.
        cell: "rnn" (Elman 1990), "lstm" (Hochreiter and Schmidhuber 1997) or "gru" (Cho et al.
            2014).
        has_attention: False gives the decoder one vector for the whole sentence.
        d_model: D, width of embeddings and states; even, since the encoder's two directions have
            half of it each.
        num_layers: K, depth of encoder and decoder.
        dropout: share of the embeddings, and of each layer's output, set to zero in training.
        tied_embeddings: "none"; "output" (target embedding = output projection); "all" (source
            embedding too; both sides then share one vocabulary).

    Raises:
        ValueError: a size below 1, an odd d_model, dropout outside [0, 1), an unknown choice, or
            tied_embeddings="all" with vocabularies of different size.
    """

    source_vocab_size: int
    target_vocab_size: int
    cell: str = "gru"
    has_attention: bool = True
    d_model: int = 128
    num_layers: int = 1
    dropout: float = 0.1
    tied_embeddings: str = "none"

    # Nothing limits the length of a sentence.
    position_limit = None

    def __post_init__(self):
        super().__post_init__()
        if self.cell not in tuple(CELLS):
            raise ValueError(f"cell is {self.cell!r}; expected one of {', '.join(CELLS)}")
        if self.d_model % 2:
            raise ValueError(f"d_model is {self.d_model}; expected an even number")

    @classmethod
    def preset(
        cls, name: str, source_vocab_size: int, target_vocab_size: int, **changes
    ) -> RecurrentConfig:
        """A configuration of a named size; ``changes`` replace single fields.

        Raises:
            ValueError: an unknown preset, or values that do not fit together.
        """
        if name not in RECURRENT_PRESETS:
            raise ValueError(f"preset is {name!r}; expected one of {', '.join(RECURRENT_PRESETS)}")
        d_model, layers = RECURRENT_PRESETS[name]
        sizes = {"d_model": d_model, "num_layers": layers, **changes}
        return cls(source_vocab_size, target_vocab_size, **sizes)


class RecurrentTranslator(nn.Cell):
    r"""A recurrent encoder and decoder, with or without additive attention.

    Formula, with → and ← for the two directions of the encoder and hₛ = [→hₛ ; ←hₛ]:
    s₀ = tanh(W [→h_S ; ←h₁]); s_t = Cell(Embed(y_t), s_{t−1});
    c_t = Σ_s α_ts hₛ with additive attention, else c_t = [→h_S ; ←h₁] at every step;
    logits = Embedᵀ · tanh(U [s_t ; c_t]).

    The attention reads the state s_t and does not go into the recurrence (Luong et al. 2015); so
    one call of the cell runs over a whole target, and with and without attention the two models
    differ in c_t alone. An LSTM's memory is 0 at the decoder's start.

    Args:
        config: see ``RecurrentConfig``.
        seed: of the initial weights: embeddings normal with standard deviation D^(−1/2), biases of
            dense layers 0, all others uniform in ±1/√(their inputs).
        pad_id: the id that fills sentences up to their batch's length.
        initial: draws the weights in place of the seed.

    Shapes: source (B, S) and target (B, T) integer ids, target starting with the
    beginning-of-sentence id; logits (B, T, V). A source row of padding alone is allowed.

    Raises:
        ValueError: ids that are not two-dimensional.

    Source: Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder for
    Statistical Machine Translation" (one vector); Bahdanau et al. 2015 (additive attention, a
    source read in both directions); Luong et al. 2015, "Effective Approaches to Attention-based
    Neural Machine Translation", section 3.1.
    """

    def __init__(
        self,
        config: RecurrentConfig,
        seed: int = 0,
        pad_id: int = 0,
        initial: InitialWeights | None = None,
    ):
        super().__init__()
        self.config = config
        self.pad_id = pad_id
        width, layers = config.d_model, config.num_layers
        initial = initial or FanInWeights(seed)
        self.output_weight = None  # tied: the target embedding's own
        if config.tied_embeddings == "none":
            self.output_weight = initial.table(
                config.target_vocab_size, width, name="output_weight"
            )
        self.target_embedding = Embedding(config.target_vocab_size, width, initial=initial)
        if config.tied_embeddings == "all":
            self.source_embedding = self.target_embedding
        else:
            self.source_embedding = Embedding(config.source_vocab_size, width, initial=initial)
        half = width // 2
        self.forward_layers = _layers(config, half, initial)
        self.backward_layers = _layers(config, half, initial)
        self.bridges = nn.CellList([Linear(width, width, initial=initial) for _ in range(layers)])
        self.decoder_layers = _layers(config, width, initial)
        self.attention = None
        if config.has_attention:
            self.attention = AdditiveAttention(width, width, width, initial)
        self.combine = Linear(2 * width, width, initial=initial)
        self.dropout = device_form(nn.Dropout)(p=config.dropout)
        self.reverse = ops.ReverseSequence(seq_dim=1, batch_dim=0)
        self.tanh = device_form(tanh)
        self.output_projection = OutputProjection()

    def construct(self, source, target):
        memory, source_mask, _ = self.encode(source)
        hidden, _, _ = self.decode(target, memory, source_mask)
        return self.project(hidden)

    def encode(self, source):
        """Ids (B, S) to memory, its mask (B, 1, 1, S), and None in place of attention weights.

        The memory is a tuple: hₛ of the last layer (B, S, D), the vector of the whole sentence
        (B, D), and s₀ of each decoder layer (K, B, D).
        """
        batch, length = source.shape
        mask = padding_mask(source, self.pad_id)
        is_real = ops.cast(mask.reshape((batch, length)), self.source_embedding.weight.dtype)
        lengths = ops.cast(ops.maximum(ops.ReduceSum()(is_real, 1), 1.0), source.dtype)
        is_last = ops.cast(
            ops.equal(ops.arange(length).reshape((1, length)), lengths.reshape((batch, 1)) - 1),
            is_real.dtype,
        ).reshape((batch, 1, length))
        x = self.dropout(self.source_embedding(source))
        states = []
        sentence = None
        for place in range(self.config.num_layers):
            forward, _ = self.forward_layers[place](x)
            # Only the real tokens change places, so that padding stays behind them.
            backward, _ = self.backward_layers[place](self._reversed(x, lengths))
            both = ops.concat((forward, backward), 2)
            # In both directions the state after the last real token, (B, D).
            sentence = ops.BatchMatMul()(is_last, both).reshape((batch, self.config.d_model))
            states.append(self.tanh(self.bridges[place](sentence)))
            x = self.dropout(ops.concat((forward, self._reversed(backward, lengths)), 2))
        return (x, sentence, ops.stack(states)), mask, None

    def _reversed(self, x, lengths):
        # The operator has no bfloat16; float32 holds it exactly.
        return ops.cast(self.reverse(ops.cast(x, mstype.float32), lengths), x.dtype)

    def decode(self, target, memory, source_mask):
        """Ids (B, T) and memory to hidden vectors (B, T, D), no self-attention's weights [], and
        those of the attention to the source [(B, 1, T, S)]; without attention, that is empty too.
        """
        hidden, weights, _ = self._continue(target, self.start(memory), memory, source_mask)
        return hidden, [], weights

    def start(self, memory):
        """The decoder's state before the first token, for each layer: (h,), or an LSTM's (h, 0)."""
        states = []
        for layer, h in zip(self.decoder_layers, ops.unbind(memory[2], 0)):
            states.append((h,) + (ops.zeros_like(h),) * (layer.state_tensors - 1))
        return states

    def step(self, tokens, states, memory, source_mask):
        """One token of each row: tokens (B,) and ``start``'s states to hidden (B, 1, D), states."""
        target = tokens.reshape((tokens.shape[0], 1))
        hidden, _, states = self._continue(target, states, memory, source_mask)
        return hidden, states

    def project(self, hidden):
        """Hidden vectors (B, T, D) to logits (B, T, V)."""
        weight = self.output_weight
        if weight is None:
            weight = self.target_embedding.weight
        return self.output_projection(hidden, weight)

    def _continue(self, target, states, memory, source_mask):
        """Ids (B, T) after states: hidden vectors (B, T, D), attention's weights, new states."""
        x = self.dropout(self.target_embedding(target))
        new_states = []
        for layer, state in zip(self.decoder_layers, states):
            x, state = layer(x, state)
            x = self.dropout(x)
            new_states.append(state)
        hidden, weights = self._attend(x, memory, source_mask)
        return hidden, weights, new_states

    def _attend(self, states, memory, source_mask):
        batch, length, width = states.shape
        if self.attention is None:
            context = ops.broadcast_to(memory[1].reshape((batch, 1, width)), states.shape)
            weights = []
        else:
            sources = memory[0].shape[1]
            mask = source_mask.reshape((batch, 1, sources))
            context, weight = self.attention(states, memory[0], memory[0], mask)
            weights = [weight.reshape((batch, 1, length, sources))]
        return self.tanh(self.combine(ops.concat((states, context), 2))), weights


class FanInWeights(XavierWeights):
    """Matrices and biases uniform in ±1/√n, n the length of a row, as in MindSpore's cells; tables
    as in the Transformer."""

    def matrix(self, outputs, inputs, name="weight"):
        return self._uniform((outputs, inputs), name)

    def vector(self, size, name="bias"):
        return self._uniform((size,), name)

    def _uniform(self, shape, name):
        value = self.generator.uniform(-1.0, 1.0, shape) / math.sqrt(shape[-1])
        return Parameter(Tensor(value.astype(np.float32)), name=name)


def _layers(config, size, initial):
    """A recurrent layer for each depth, from width D to states of a size."""
    layers = [
        Recurrent(config.cell, config.d_model, size, initial) for _ in range(config.num_layers)
    ]
    return nn.CellList(layers)
