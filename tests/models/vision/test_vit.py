"""ViT: sizes as published, patches and pooling against loops, positions against PyTorch's bicubic.

That its hidden states are transformers' is proven in tests/interop/test_huggingface_vision.py.
"""

import functools
import math

import jax
import numpy as np
import pytest

from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.models.vision.costs import (
    vit_executed_training_flops_per_image,
    vit_parameter_count,
    vit_training_flops_per_image,
)
from gptjax.models.vision.patches import patches_of, pixel_values
from gptjax.models.vision.positions import at_image_size, resized_positions, sinusoidal_2d
from gptjax.models.vision.vit import ViT
from gptjax.vision_config import VisionConfig
from tests.support.params import random_params

LARGE = {"patch_size": 14, "num_layers": 24, "num_heads": 16, "d_model": 1024}
CLIP = {"entry_norm": True, "patch_bias": False}
TINY = VisionConfig(image_size=8, patch_size=4, num_layers=1, num_heads=2, d_model=16)


def shapes(config: VisionConfig):
    config = config.resolved()
    size = (1, config.image_size, config.image_size, config.num_channels)
    return parameter_shapes(ViT(config), jax.ShapeDtypeStruct(size, np.float32))


@pytest.mark.parametrize(
    ("fields", "published"),
    [
        ({}, 86_567_656 - 769_000),  # timm's vit_base_patch16_224, without its head of 1000 classes
        ({"pooler": True}, 86_389_248),  # transformers' ViTModel of google/vit-base-patch16-224
        ({**LARGE, **CLIP}, 303_179_776),  # transformers' CLIPVisionModel of ViT-L/14
        ({"pooling": "mean", "positions": "sinusoidal_2d", "num_channels": 1}, None),
    ],
)
def test_sizes_are_those_published_and_the_formulas(fields, published):
    config = VisionConfig(**fields).resolved()
    counted = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes(config)))
    assert counted == vit_parameter_count(config)
    assert published in (None, counted)


def test_flops_are_those_of_a_count_by_hand():
    c = VisionConfig().resolved()  # ViT-B/16: 17.6 GFLOPs forward, a multiply and an add as two
    by_hand = 196 * 768 * 768 + 12 * (197 * 12 * 768**2 + 2 * 197**2 * 768)
    assert vit_training_flops_per_image(c) == 6 * by_hand
    assert 2 * by_hand == pytest.approx(2 * 17.58e9, rel=0.01)  # as timm has it, in MACs
    assert vit_executed_training_flops_per_image(c) >= vit_training_flops_per_image(c)


def test_patches_are_cut_row_by_row():
    images = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    found = np.asarray(jax.jit(patches_of, static_argnums=1)(images, 2))
    for row in range(2):
        for column in range(3):
            piece = images[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_array_equal(found[:, 3 * row + column], piece.reshape(2, -1))


def test_bytes_become_numbers_as_the_configuration_says():
    white = np.full((1, 2, 2, 3), 255, np.uint8)
    assert float(np.asarray(pixel_values(VisionConfig(), white))[0, 0, 0, 0]) == 1.0
    of_clip = functools.partial(pixel_values, VisionConfig(pixel_range="clip"))
    clip = np.asarray(jax.jit(of_clip)(white))[0, 0, 0]
    np.testing.assert_allclose(clip, [1.9303, 2.0749, 2.1459], atol=1e-4)  # of CLIP's processor


def test_pooling_takes_the_class_token_or_the_mean_and_all_patches_see_each_other():
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    for pooling in ("class", "mean"):
        config = VisionConfig(**{**vars(TINY), "pooling": pooling}).resolved()
        model = ViT(config)
        params = random_params(model, images)
        apply = jax.jit(model.apply)
        hidden, pooled = jax.device_get(apply({"params": params}, images))
        assert hidden.shape == (2, 4 + (pooling == "class"), 16)
        wanted = hidden[:, 0] if pooling == "class" else hidden.mean(1)
        np.testing.assert_allclose(pooled, wanted, rtol=1e-5)
        last = images.copy()
        last[:, 4:, 4:] += 1.0  # in the last patch alone
        moved = np.asarray(apply({"params": params}, last)[0]) - hidden
        assert (np.abs(moved).max(-1) > 1e-6).all()


def test_learned_positions_are_interpolated_as_torch_does():
    torch = pytest.importorskip("torch")
    table = np.random.default_rng(0).normal(size=(17, 5)).astype(np.float32)
    for new in (7, 3):
        grid = torch.tensor(table[1:]).reshape(1, 4, 4, 5).permute(0, 3, 1, 2)
        theirs = torch.nn.functional.interpolate(
            grid, size=(new, new), mode="bicubic", align_corners=False
        )
        found = np.asarray(resized_positions(table, 4, new))
        np.testing.assert_array_equal(found[0], table[0])
        wanted = theirs.permute(0, 2, 3, 1).reshape(new * new, 5).numpy()
        np.testing.assert_allclose(found[1:], wanted, atol=1e-5)
    assert resized_positions(table[1:], 4, 4).shape == (16, 5)


def test_a_model_at_another_size_has_other_positions_alone():
    config = TINY.resolved()
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes(config))
    grown, at = at_image_size(params, config, 16)
    assert at.num_positions == at.context_length == 17
    assert jax.tree.map(np.shape, grown) == jax.tree.map(np.shape, shapes(at))
    np.testing.assert_allclose(grown["position_embedding"], 1.0, rtol=1e-6)  # of a constant
    with pytest.raises(ValueError, match="patch_size: got 4, expected a divisor of image_size = 9"):
        at_image_size(params, config, 9)


def test_waves_of_rows_and_columns():
    found = sinusoidal_2d(3, 8)
    for row in range(3):
        for column in range(3):
            at = found[3 * row + column]
            wanted = [math.sin(column), math.sin(column / 1e4), math.cos(column)]
            np.testing.assert_allclose(at[:3], wanted, atol=1e-6)
            np.testing.assert_allclose(at[4], math.sin(row), atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"patch_size": 3}, "patch_size: got 3, expected a divisor of image_size = 8"),
        ({"context_length": 9}, "context_length: got 9, expected none, or 5"),
        ({"num_channels": 2}, "num_channels: got 2, expected 1 or 3"),
        ({"num_channels": 1, "pixel_range": "clip"}, "pixel_range: got clip, expected half"),
        ({"positions": "sinusoidal_2d", "d_model": 18}, "a multiple of 4"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        VisionConfig(**{**vars(TINY), **fields}).resolved()


def test_images_of_another_size_are_refused():
    with pytest.raises(
        ValueError, match=r"images: got \[1, 8, 4, 3\], expected \[batch, 8, 8, 3\]"
    ):
        ViT(TINY).init(jax.random.key(0), np.zeros((1, 8, 4, 3), np.float32))
