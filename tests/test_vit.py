"""ViT: patches by hand, what attention sees, bad images. Parity: test_pretrained.py."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor

from step_llm.models.vit import PatchEmbedding, ViT, ViTConfig

CONFIG = ViTConfig(6, 2, 5, channels=3, d_model=8, num_heads=2, num_layers=2, d_ff=12)


def images(count=2, size=6, channels=3):
    rng = np.random.default_rng(4)
    return rng.normal(size=(count, channels, size, size)).astype(np.float32)


def test_patches_are_cut_row_by_row(in_mode):
    layer, x = PatchEmbedding(6, 2, 3, 12), images()
    layer.projection.weight.set_data(Tensor(np.eye(12, dtype=np.float32)))
    layer.projection.bias.set_data(Tensor(np.arange(12, dtype=np.float32)))
    found = in_mode(layer)(Tensor(x)).asnumpy()
    assert found.shape == (2, 9, 12)
    for n in range(9):
        row, column = 2 * (n // 3), 2 * (n % 3)
        patch = x[:, :, row : row + 2, column : column + 2].reshape(2, 12)
        np.testing.assert_allclose(found[:, n], patch + np.arange(12), atol=1e-6)


def test_logits_and_attention(in_mode):
    model = ViT(CONFIG, seed=1).set_train(False)
    logits = in_mode(model)(Tensor(images())).asnumpy()
    assert logits.shape == (2, 5)
    hidden, weights = model.encode(Tensor(images()))
    assert hidden.shape == (2, 10, 8)
    assert [layer.shape for layer in weights] == [(2, 2, 10, 10)] * 2
    np.testing.assert_allclose(weights[-1].asnumpy().sum(-1), 1.0, atol=1e-5)


def test_without_positions_an_image_is_a_set_of_patches():
    """Rows of patches change places; only the position embeddings can tell."""
    x = images()
    moved = np.concatenate([x[:, :, 4:], x[:, :, :4]], axis=2)
    model = ViT(CONFIG, seed=1).set_train(False)
    for parameter in model.get_parameters():
        parameter.set_data(parameter * 20)  # the first weights hardly tell images apart
    with_positions = [model(Tensor(image)).asnumpy() for image in (x, moved)]
    assert np.abs(with_positions[0] - with_positions[1]).max() > 1e-3
    model.positions.weight.set_data(model.positions.weight * 0)
    without = [model(Tensor(image)).asnumpy() for image in (x, moved)]
    np.testing.assert_allclose(*without, atol=1e-5)


@pytest.mark.parametrize(("image", "patch"), [(6, 4), (6, 0), (0, 2), (3, 6)])
def test_an_image_that_the_patch_does_not_divide(image, patch):
    words = f"image of size {image} cannot be cut into patches of size {patch}|expected a whole"
    with pytest.raises(ValueError, match=words):
        ViTConfig(image, patch, 5)
    with pytest.raises(ValueError, match=f"size {image} cannot be cut into patches of size"):
        PatchEmbedding(image, patch, 3, 8)


@pytest.mark.parametrize("shape", [(2, 3, 6, 5), (2, 1, 6, 6), (2, 3, 8, 8), (3, 6, 6)])
def test_images_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"images has shape .*; expected \(\d, 3, 6, 6\)"):
        ViT(CONFIG)(Tensor(np.zeros(shape, np.float32)))
