"""Right and wrong answers to the exercises of lesson 09."""

from __future__ import annotations

import numpy as np


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


RIGHT = {"9.1": (images,), "9.2": (count,), "9.3": (maps,), "9.4": (rollout,)}

WRONG = {
    "9.1": [
        (images_by_reshape,),
        (images_on_their_side,),
        (images_with_channels_last,),
        (images_by_columns,),
    ],
    "9.2": [
        (count_without_class_token,),
        (count_without_positions,),
        (count_without_norms,),
        (count_of_one_channel,),
        (lambda *sizes: 0,),
    ],
    "9.3": [(maps_without_sum,), (maps_of_columns,), (maps_from_key_0,), (maps_over_all,)],
    "9.4": [
        (rollout_without_residual,),
        (rollout_turned_round,),
        (rollout_of_sums,),
        (rollout_averaged,),
    ],
}
