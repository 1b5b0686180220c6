"""ViT: an image as a sentence of patches.

Letters: B batch, C channels, P patch size, N patches, T = N + 1 length, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mindspore import Parameter, nn, ops

from step_llm.models.config import Config
from step_llm.nn._checks import check_shape
from step_llm.nn.encoder import Encoder, EncoderLayer
from step_llm.nn.forms import device_form
from step_llm.nn.initial import InitialWeights, NormalWeights
from step_llm.nn.linear import Linear
from step_llm.nn.positions import LearnedPositions

__all__ = ["PatchEmbedding", "ViT", "ViTConfig"]


@dataclass(frozen=True)
class ViTConfig(Config):
    """The sizes of a Vision Transformer.

    Args:
        image_size: height and width of the images.
        patch_size: P, height and width of a patch; must divide image_size.
        num_classes: the number of classes.
        channels: C, 1 for grey and 3 for colour images.
        d_model: D, width of the model.
        num_heads: H; must divide d_model.
        num_layers: depth.
        d_ff: inner width of the feed-forward layers.
        dropout: share set to zero in training, of the embeddings and of each sub-layer's output.
        activation: "gelu" (the paper), "gelu_tanh" or "relu".
        norm_epsilon: ε of every LayerNorm.

    Raises:
        ValueError: as ``TransformerConfig``, or an image size that the patch size does not divide.
    """

    image_size: int
    patch_size: int
    num_classes: int
    channels: int = 3
    d_model: int = 128
    num_heads: int = 4
    num_layers: int = 4
    d_ff: int = 512
    dropout: float = 0.1
    activation: str = "gelu"
    norm_epsilon: float = 1e-12

    norm: ClassVar[str] = "pre"

    def __post_init__(self):
        super().__post_init__()
        _check_patches(self.image_size, self.patch_size)

    @property
    def num_patches(self) -> int:
        """N, the number of patches of an image."""
        return (self.image_size // self.patch_size) ** 2


class PatchEmbedding(nn.Cell):
    r"""Cut an image into square patches, and turn each into a vector.

    Formula: z_n = W · flatten(patch_n) + b; the same as a convolution with kernel and stride P.

    Args:
        image_size: height and width of the images.
        patch_size: P; must divide image_size.
        channels: C.
        d_model: D.
        initial: where the weights begin.

    Shapes: images (B, C, image_size, image_size) to (B, N, D), N = (image_size / P)², row by row.

    Raises:
        ValueError: an image size that the patch size does not divide, or images of another shape.

    Source: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", equation 1.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        channels: int,
        d_model: int,
        initial: InitialWeights | None = None,
    ):
        super().__init__()
        _check_patches(image_size, patch_size)
        self.image_size = image_size
        self.patch_size = patch_size
        self.channels = channels
        self.projection = Linear(channels * patch_size**2, d_model, initial=initial)

    def construct(self, images):
        size, patch, channels = self.image_size, self.patch_size, self.channels
        check_shape("images", images.shape, (images.shape[0], channels, size, size))
        batch, side = images.shape[0], size // patch
        x = images.reshape((batch, channels, side, patch, side, patch))
        x = x.transpose((0, 2, 4, 1, 3, 5))  # (B, row, column, C, P, P)
        return self.projection(x.reshape((batch, side * side, channels * patch * patch)))


class ViT(nn.Cell):
    r"""A Vision Transformer that classifies images.

    Formula: logits = W · LayerNorm(Layers([class token; patches] + P))₀ + b.

    Args:
        config: see ``ViTConfig``.
        seed: of the initial weights: normal with standard deviation 0.02.
        initial: other initial weights; ``seed`` is then not looked at.

    Shapes: images (B, C, image_size, image_size) to logits (B, num_classes).

    Raises:
        ValueError: images of another shape.

    Source: Dosovitskiy et al. 2021, section 3.1 and figure 1.
    """

    def __init__(self, config: ViTConfig, seed: int = 0, initial: InitialWeights | None = None):
        super().__init__()
        self.config = config
        initial = initial or NormalWeights(seed)
        class_token = initial.table(1, config.d_model).reshape((1, 1, config.d_model))
        self.class_token = Parameter(class_token, name="class_token")
        self.patches = PatchEmbedding(
            config.image_size, config.patch_size, config.channels, config.d_model, initial
        )
        self.positions = LearnedPositions(config.num_patches + 1, config.d_model, initial)
        self.dropout = device_form(nn.Dropout)(p=config.dropout)
        sizes = {**config.layer_sizes, "initial": initial}
        self.encoder = Encoder([EncoderLayer(**sizes) for _ in range(config.num_layers)])
        self.classifier = Linear(config.d_model, config.num_classes, initial=initial)

    def construct(self, images):
        hidden, _ = self.encode(images)
        return self.classifier(hidden[:, 0])

    def encode(self, images):
        """Images to hidden vectors (B, N + 1, D), the class token first, and each layer's weights.

        The weights are (B, H, N + 1, N + 1); ``weights[-1][b, h, 0, 1:]`` reshaped to the grid of
        patches shows where head h of the last layer looked in image b.
        """
        x = self.patches(images)  # (B, N, D)
        batch, _, width = x.shape
        class_token = ops.broadcast_to(self.class_token, (batch, 1, width))
        x = self.dropout(self.positions(ops.concat((class_token, x), 1)))  # (B, N + 1, D)
        hidden, weights, _ = self.encoder(x)
        return hidden, weights


def _check_patches(image_size, patch_size):
    if patch_size < 1 or image_size < 1 or image_size % patch_size:
        raise ValueError(
            f"an image of size {image_size} cannot be cut into patches of size {patch_size}; "
            "expected a patch_size that divides image_size"
        )
