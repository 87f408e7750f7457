"""Changes of images in training: what moves, how far, and what stays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.models.vision.augmentation import augmented, jittered
from gptjax.vision_config import Augmentation

RNG = np.random.default_rng(0)


def changed(pixels, augmentation, rng):
    return jax.jit(lambda pixels: augmented(pixels, augmentation, rng))(pixels)


def moved_by(image, rng, **most):
    return np.array(jax.jit(functools.partial(jittered, **most))(image, rng))


def test_images_are_shifted_mirrored_and_coloured():
    pixels = jax.device_put(RNG.normal(size=(40, 4, 4, 3)).astype(np.float32))
    rng = jax.random.key(0)
    np.testing.assert_allclose(changed(pixels, Augmentation(), rng), pixels)
    mirrored = np.asarray(changed(pixels, Augmentation(mirror=True), rng))
    turned = [np.allclose(a, b[:, ::-1], atol=1e-5) for a, b in zip(mirrored, pixels, strict=True)]
    same = [np.allclose(a, b, atol=1e-5) for a, b in zip(mirrored, pixels, strict=True)]
    assert all(np.logical_xor(turned, same)) and 8 < sum(turned) < 32
    coloured = changed(pixels, Augmentation(colour=0.3), rng)
    for image, before in zip(np.asarray(coloured), np.asarray(pixels), strict=True):
        for channel in range(3):
            slope, offset = np.polyfit(before[..., channel].ravel(), image[..., channel].ravel(), 1)
            assert 0.7 <= slope <= 1.3 and -0.3 <= offset <= 0.3
    ramp = jnp.tile(jnp.arange(4.0)[None, None, :, None], (20, 4, 1, 1))
    moved = np.asarray(changed(ramp, Augmentation(shift=0.25), rng))
    assert moved.min() >= 0 and moved.max() <= 3  # the edge is repeated
    inner = moved[:, 0, 1:3, 0]
    np.testing.assert_allclose(inner[:, 1] - inner[:, 0], 1, atol=1e-4)
    assert np.ptp(inner[:, 0]) > 1  # each in its own way, by up to one pixel


def test_images_are_moved_and_turned():
    image = np.zeros((1, 1, 9, 9, 1), np.uint8)
    image[0, 0, 4, 4] = 200
    same = moved_by(image, jax.random.key(0), shift=0.0, degrees=0.0)
    np.testing.assert_array_equal(same, image)
    many = np.repeat(image, 200, 0)
    moved = moved_by(many, jax.random.key(0), shift=2.0, degrees=0.0)[:, 0, ..., 0].astype(float)
    y, x = np.mgrid[:9, :9]
    middles = np.stack([(moved * at).sum((1, 2)) / moved.sum((1, 2)) for at in (y, x)], 1) - 4
    assert np.abs(middles).max() <= 2.05 and np.abs(middles).max() > 1.8
    assert np.abs(middles.mean(0)).max() < 0.3
    turned = moved_by(many, jax.random.key(0), shift=0.0, degrees=90.0)
    assert (turned[:, 0, 4, 4] == 200).all()
