"""The decoder of today: the architecture of Llama, and of the Qwens that came after it.

It is a ``GPT`` with other parts: RMSNorm for LayerNorm, rotary positions for learned ones, grouped
queries, SwiGLU for the feed-forward network, and no biases. GPT stays a class of its own: of its
parts only the embedding, the head and the residual stream are the same.

Letters: B batch, T length, H heads, D model width, Dk head width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

from mindspore import nn

from step_llm.models.config import Config
from step_llm.nn.attention import MultiHeadAttention
from step_llm.nn.embedding import Embedding, OutputProjection
from step_llm.nn.forms import device_form
from step_llm.nn.initial import InitialWeights, NormalWeights
from step_llm.nn.masks import causal_mask, seen_mask
from step_llm.nn.rms_norm import RMSNorm
from step_llm.nn.rotary import check_rotary, rotary_tables, rotation_at
from step_llm.nn.swiglu import SwiGLU

__all__ = ["DecoderLM", "DecoderLMConfig", "DecoderLMLayer", "DecoderLMStack"]


@dataclass(frozen=True)
class DecoderLMConfig(Config):
    """The sizes of a ``DecoderLM``, and in what the families differ.

    Llama is the default, with ``is_tied`` as its size has it. Qwen2 has ``biases="qkv"``, Qwen3 has
    ``has_head_norm=True`` and a d_head that is not D / H.

    Args:
        vocab_size: V, number of token ids.
        d_model: D, width of the model.
        num_heads: H, heads of queries.
        num_kv_heads: heads of keys and values; must divide H. 1 is multi-query attention.
        d_head: Dk, width of a head; even, since rotary positions turn pairs.
        num_layers: depth.
        d_ff: inner width of the feed-forward layers.
        dropout: share of each sub-layer's output set to zero in training.
        max_length: the longest text that the model is meant for. Rotary positions have no end;
            generation keeps to this one.
        norm_epsilon: ε of every RMSNorm.
        rotary_base, rotary_scaling: as base and scaling of ``rotary_frequencies``.
        biases: which projections of attention have one, as ``MultiHeadAttention``.
        has_head_norm: whether queries and keys of each head go through an RMSNorm.
        sliding_window: how many positions a layer sees, its own among them; 0 is all.
        full_layers: the first so many layers see all of them nonetheless.
        is_tied: whether the embedding is the output projection too.

    Raises:
        ValueError: as ``TransformerConfig``, num_heads not divisible by num_kv_heads, or positions
            that ``rotary_frequencies`` refuses.
    """

    vocab_size: int
    d_model: int = 128
    num_heads: int = 4
    num_kv_heads: int = 2
    d_head: int = 32
    num_layers: int = 4
    d_ff: int = 344
    dropout: float = 0.0
    max_length: int = 256
    norm_epsilon: float = 1e-6
    rotary_base: float = 10000.0
    rotary_scaling: tuple = ()
    biases: str = "none"
    has_head_norm: bool = False
    sliding_window: int = 0
    full_layers: int = 0
    is_tied: bool = True

    def __post_init__(self):
        object.__setattr__(self, "rotary_scaling", tuple(self.rotary_scaling))  # JSON has lists
        super().__post_init__()
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} is not divisible by num_kv_heads "
                f"{self.num_kv_heads}; expected num_kv_heads to be a divisor of num_heads"
            )
        check_rotary(*self.rotary)

    @property
    def rotary(self) -> tuple:
        """What decides the angles of the positions, see ``rotary_frequencies``."""
        return self.d_head, self.rotary_base, self.rotary_scaling


class DecoderLMLayer(nn.Cell):
    r"""Causal self-attention and SwiGLU, each in a residual connection with an RMSNorm before it.

    Formula: h = x + Attention(RMSNorm(x)); y = h + SwiGLU(RMSNorm(h)).

    Args:
        config: see ``DecoderLMConfig``.
        initial: where the weights begin.

    Shapes: x (B, T, D), mask broadcasts to (B, H, T, T), rotation as ``apply_rotary`` takes it;
    output (B, T, D), attention weights (B, H, T, T), and the keys and values
    (B, num_kv_heads, T, Dk). With a cache, T is 1: x stands at ``position``, (B,) or (1,), the
    cache holds the keys and values (B, num_kv_heads, room, Dk) of the positions before, and comes
    back with x's.
    """

    def __init__(self, config: DecoderLMConfig, initial: InitialWeights | None = None):
        super().__init__()
        epsilon = config.norm_epsilon
        self.attention_norm = RMSNorm(config.d_model, epsilon)
        self.self_attention = MultiHeadAttention(
            config.d_model, config.num_heads, config.num_kv_heads, initial, config.d_head,
            config.biases, epsilon if config.has_head_norm else 0.0,
        )  # fmt: skip
        self.feed_forward_norm = RMSNorm(config.d_model, epsilon)
        self.feed_forward = SwiGLU(config.d_model, config.d_ff, initial)
        self.dropout = device_form(nn.Dropout)(p=config.dropout)

    def construct(self, x, mask, rotation, cache=None, position=None):
        h = self.attention_norm(x)
        keys, values = self.self_attention.project_key_value(h, h, rotation, cache, position)
        h, weights = self.self_attention.attend(h, keys, values, mask, rotation)
        x = x + self.dropout(h)
        h = self.feed_forward(self.feed_forward_norm(x))
        return x + self.dropout(h), weights, (keys, values)


class DecoderLMStack(nn.Cell):
    """A stack of layers, and the RMSNorm of their sum.

    Args:
        config: see ``DecoderLMConfig``.
        initial: where the weights begin.

    Shapes: as ``DecoderLMLayer``, but a tuple of masks, one for each layer; returns the output, and
    two lists with each layer's attention weights (empty with ``need_weights=False``: on a long text
    they take more memory than all else), and with each layer's keys and values: a cache.
    """

    def __init__(self, config: DecoderLMConfig, initial: InitialWeights | None = None):
        super().__init__()
        layers = [DecoderLMLayer(config, initial) for _ in range(config.num_layers)]
        self.layers = nn.CellList(layers)
        self.final_norm = RMSNorm(config.d_model, config.norm_epsilon)

    def construct(self, x, masks, rotation, cache=None, position=None, need_weights=True):
        weights, new_cache = [], []
        for place, layer in enumerate(self.layers):
            own = None if cache is None else cache[place]
            x, layer_weights, own = layer(x, masks[place], rotation, own, position)
            if need_weights:
                weights.append(layer_weights)
            new_cache.append(own)
        return self.final_norm(x), weights, new_cache


class DecoderLM(nn.Cell):
    r"""A causal language model as it is built today; Llama, Qwen2 and Qwen3 are its instances.

    Formula: logits = RMSNorm(Layers(Embed(ids))) · Wᵀ, with a causal mask in each layer, and with
    positions inside of attention alone; W is Embed where they are tied.

    Padding goes to the end of a text, where no real token can see it; it needs no mask.

    Args:
        config: see ``DecoderLMConfig``.
        seed: of the initial weights: normal as in ``GPT``.
        pad_id: fills texts up to their batch's length; as a label it has no part in the loss.
        initial: draws the weights in place of the seed.

    Shapes: ids (B, T) integer to logits (B, T, V); row t is about the token t + 1.

    Raises:
        ValueError: ids that are not (B, T).

    Source: Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models"; Jiang et
    al. 2023, "Mistral 7B" (sliding window); Qwen team 2024, "Qwen2 Technical Report", and 2025,
    "Qwen3 Technical Report".
    """

    def __init__(
        self,
        config: DecoderLMConfig,
        seed: int = 0,
        pad_id: int = 0,
        initial: InitialWeights | None = None,
    ):
        super().__init__()
        self.config = config
        self.pad_id = pad_id
        # Each layer adds two branches to the residual stream.
        initial = initial or NormalWeights(seed, branches=2 * config.num_layers)
        self.embedding = Embedding(config.vocab_size, config.d_model, False, initial)
        self.layers = DecoderLMStack(config, initial)
        self.output_weight = None  # tied: the embedding's own
        if not config.is_tied:
            self.output_weight = initial.table(
                config.vocab_size, config.d_model, name="output_weight"
            )
        self.output_projection = OutputProjection()
        self.rotary = config.rotary

    def construct(self, ids):
        hidden, _, _ = self.decode(ids, need_weights=False)
        return self.project(hidden)

    def decode(self, ids, need_weights=True):
        """Ids (B, T) to hidden vectors (B, T, D), each layer's weights (B, H, T, T) or an empty
        list, and each layer's keys and values (B, num_kv_heads, T, Dk)."""
        x, length = self.embedding(ids), ids.shape[1]
        near = causal_mask(length, self.config.sliding_window)
        masks = self._for_each_layer(causal_mask(length), near)
        d_head, base, scaling = self.rotary
        rotation = rotary_tables(length, d_head, base, scaling)
        return self.layers(x, masks, rotation, None, None, need_weights)

    def place(self, tokens, position, room):
        """What the layers take of one more token of each text, where a cache holds those before.

        Args:
            tokens: (B,) ids.
            position: (B,) their places, counted from 0; texts may differ in length.
            room: the places of the cache.

        Returns:
            x (B, 1, D), each layer's mask (B, 1, 1, room), and the rotation at these places.
        """
        x = self.embedding(tokens.reshape((-1, 1)))
        near = seen_mask(position, room, self.config.sliding_window)
        masks = self._for_each_layer(seen_mask(position, room), near)
        d_head, base, scaling = self.rotary
        return x, masks, rotation_at(position, room, d_head, base, scaling)

    def project(self, hidden):
        """Hidden vectors (B, T, D) to logits (B, T, V)."""
        weight = self.output_weight
        if weight is None:
            weight = self.embedding.weight
        return self.output_projection(hidden, weight)

    def _for_each_layer(self, everything, near):
        masks = ()
        for number in range(self.config.num_layers):
            masks = (*masks, everything if number < self.config.full_layers else near)
        return masks
