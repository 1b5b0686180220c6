"""Right and wrong answers to the exercises of lesson 09."""

from __future__ import annotations

import numpy as np
from mindspore import nn, ops

from step_llm import Linear


def images(patches, channels, patch_size):
    batch, number, _ = patches.shape
    side = round(number**0.5)
    x = patches.reshape((batch, side, side, channels, patch_size, patch_size))
    return x.transpose((0, 3, 1, 4, 2, 5)).reshape(
        (batch, channels, side * patch_size, side * patch_size)
    )


def images_by_reshape(patches, channels, patch_size):
    return patches.reshape(images(patches, channels, patch_size).shape)


def images_on_their_side(patches, channels, patch_size):
    return images(patches, channels, patch_size).swapaxes(2, 3)


def images_with_channels_last(patches, channels, patch_size):
    batch, number, _ = patches.shape
    side = round(number**0.5)
    x = patches.reshape((batch, side, side, patch_size, patch_size, channels))
    return x.transpose((0, 5, 1, 3, 2, 4)).reshape(
        (batch, channels, side * patch_size, side * patch_size)
    )


def images_by_columns(patches, channels, patch_size):
    batch, number, _ = patches.shape
    side = round(number**0.5)
    x = patches.reshape((batch, side, side, channels, patch_size, patch_size))
    return x.transpose((0, 3, 2, 4, 1, 5)).reshape(
        (batch, channels, side * patch_size, side * patch_size)
    )


class Patches(nn.Cell):
    fill, before, order = -1.0, False, (0, 2, 4, 1, 3, 5)

    def __init__(self, patch_size, channels, d_model):
        super().__init__()
        self.patch_size = patch_size
        self.projection = Linear(channels * patch_size**2, d_model)

    def construct(self, images):
        p = self.patch_size
        down, right = -images.shape[2] % p, -images.shape[3] % p
        sides = (right, 0, down, 0) if self.before else (0, right, 0, down)
        images = ops.pad(images, sides, value=self.fill)
        batch, channels, height, width = images.shape
        x = images.reshape((batch, channels, height // p, p, width // p, p))
        x = x.transpose(self.order)
        return self.finish(x.reshape((batch, -1, channels * p * p)))

    def finish(self, patches):
        return self.projection(patches)


class PatchesByConvolution(nn.Cell):
    def __init__(self, patch_size, channels, d_model):
        super().__init__()
        self.patch_size, self.d_model = patch_size, d_model
        self.convolution = nn.Conv2d(
            channels, d_model, patch_size, stride=patch_size, pad_mode="valid", has_bias=True
        )

    def construct(self, images):
        p = self.patch_size
        sides = (0, -images.shape[3] % p, 0, -images.shape[2] % p)
        maps = self.convolution(ops.pad(images, sides, value=-1.0))
        return maps.reshape((maps.shape[0], self.d_model, -1)).swapaxes(1, 2)


class PatchesFilledWithGrey(Patches):
    fill = 0.0


class PatchesFilledInFront(Patches):
    before = True


class PatchesByColumns(Patches):
    order = (0, 4, 2, 1, 3, 5)


class PatchesByReshape(Patches):
    order = (0, 1, 2, 3, 4, 5)


class PatchesWithActivation(Patches):
    def finish(self, patches):
        return ops.relu(self.projection(patches))


class PatchesWithoutBias(Patches):
    def __init__(self, patch_size, channels, d_model):
        super().__init__(patch_size, channels, d_model)
        self.projection = Linear(channels * patch_size**2, d_model, has_bias=False)


class PatchesWithNorm(Patches):
    def finish(self, patches):
        return self.projection(patches - patches.mean(axis=1, keep_dims=True))


def count(image_size, patch_size, channels, classes, d_model, d_ff, layers):
    tokens = (image_size // patch_size) ** 2 + 1
    embedding = channels * patch_size**2 * d_model + d_model
    layer = 4 * (d_model**2 + d_model) + 2 * d_model * d_ff + d_ff + d_model + 4 * d_model
    rest = d_model + tokens * d_model + 2 * d_model + d_model * classes + classes
    return embedding + layers * layer + rest


def count_without_class_token(image_size, patch_size, channels, classes, d_model, d_ff, layers):
    sizes = (image_size, patch_size, channels, classes, d_model, d_ff, layers)
    return count(*sizes) - 2 * d_model


def count_without_positions(image_size, patch_size, channels, classes, d_model, d_ff, layers):
    sizes = (image_size, patch_size, channels, classes, d_model, d_ff, layers)
    return count(*sizes) - ((image_size // patch_size) ** 2 + 1) * d_model


def count_without_norms(image_size, patch_size, channels, classes, d_model, d_ff, layers):
    sizes = (image_size, patch_size, channels, classes, d_model, d_ff, layers)
    return count(*sizes) - layers * 4 * d_model


def count_of_one_channel(image_size, patch_size, channels, classes, d_model, d_ff, layers):
    return count(image_size, patch_size, 1, classes, d_model, d_ff, layers)


def maps(weights):
    row = weights[:, :, 0, 1:]
    side = round(row.shape[-1] ** 0.5)
    row = row / row.sum(-1, keepdims=True)
    return row.reshape((*row.shape[:2], side, side))


def maps_without_sum(weights):
    return weights[:, :, 0, 1:].reshape(maps(weights).shape)


def maps_of_columns(weights):
    return maps(weights.swapaxes(2, 3))


def maps_from_key_0(weights):
    return maps(np.roll(weights, 1, axis=3))


def maps_over_all(weights):
    row = weights[:, :, 0, 1:]
    return (row / row.sum()).reshape(maps(weights).shape)


def rollout(weights):
    unit = np.eye(weights[0].shape[-1])
    total = unit
    for layer in weights:
        total = 0.5 * (layer.mean(axis=1) + unit) @ total
    return total


def rollout_without_residual(weights):
    total = np.eye(weights[0].shape[-1])
    for layer in weights:
        total = layer.mean(axis=1) @ total
    return total


def rollout_turned_round(weights):
    return rollout(weights[::-1])


def rollout_of_sums(weights):
    return rollout(weights) * 2.0 ** len(weights)


def rollout_averaged(weights):
    return np.mean([rollout([layer]) for layer in weights], axis=0)


RIGHT = {
    "9.1": (images,),
    "9.2": (Patches,),
    "9.3": (count,),
    "9.4": (maps,),
    "9.5": (rollout,),
}
ALSO_RIGHT = [
    ("9.1", (lambda *arguments: images(*arguments).tolist(),)),
    ("9.2", (PatchesByConvolution,)),
    ("9.4", (lambda weights: list(maps(weights)),)),
    ("9.5", (lambda weights: zip(*rollout(weights).swapaxes(0, 1)),)),
]

WRONG = {
    "9.1": [
        (images_by_reshape,),
        (images_on_their_side,),
        (images_with_channels_last,),
        (images_by_columns,),
    ],
    "9.2": [
        (PatchesFilledWithGrey,),
        (PatchesFilledInFront,),
        (PatchesByColumns,),
        (PatchesByReshape,),
        (PatchesWithActivation,),
        (PatchesWithoutBias,),
        (PatchesWithNorm,),
    ],
    "9.3": [
        (count_without_class_token,),
        (count_without_positions,),
        (count_without_norms,),
        (count_of_one_channel,),
        (lambda *sizes: 0,),
    ],
    "9.4": [(maps_without_sum,), (maps_of_columns,), (maps_from_key_0,), (maps_over_all,)],
    "9.5": [
        (rollout_without_residual,),
        (rollout_turned_round,),
        (rollout_of_sums,),
        (rollout_averaged,),
    ],
}
NAMED = {
    "9.2": [
        ((PatchesFilledWithGrey,), "fill up with −1"),
        ((PatchesFilledInFront,), "on the right"),
        ((PatchesByColumns,), "row by row"),
        ((PatchesByReshape,), "make one token"),
        ((PatchesWithActivation,), "not linear"),
        ((PatchesWithoutBias,), "65"),
    ],
}
