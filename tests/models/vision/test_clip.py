"""CLIP: sizes as published, its loss against a loop, what stands for a text."""

import math

import jax
import numpy as np
import pytest

from experiments.configs import EXPERIMENTS
from gptjax.config import resolve
from gptjax.models.vision.clip import CLIP
from gptjax.models.vision.costs import clip_parameter_count
from gptjax.runs.kind import kind_of
from gptjax.tasks.vision.losses import contrastive, pair_nats
from gptjax.vision_config import ClipConfig, VisionConfig

TINY = ClipConfig(
    vocab_size=20,
    vocab_multiple=1,
    context_length=6,
    num_layers=1,
    num_heads=2,
    d_model=16,
    projection=8,
    vision=VisionConfig(image_size=8, patch_size=4, num_layers=1, num_heads=2, d_model=16),
).resolved()
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("name", "published"),
    [("clip_b32", 151_277_313), ("clip_l14", 427_616_513)],  # of openai/CLIP's released models
)
def test_sizes_are_those_published(name, published):
    config = resolve(EXPERIMENTS.get(name)())
    leaves = jax.tree.leaves(kind_of(config).shapes(config))
    assert sum(math.prod(leaf.shape) for leaf in leaves) == published
    assert clip_parameter_count(config.model) == published


def test_the_loss_is_that_of_a_loop_over_pairs():
    images, texts = (RNG.normal(size=(5, 3)).astype(np.float32) for _ in range(2))
    weights, scale = np.array([1, 1, 1, 0, 1], np.float32), 3.0
    real = [0, 1, 2, 4]
    wanted = np.zeros(5)
    for i in real:
        of_image = [scale * images[i] @ texts[j] for j in real]
        of_text = [scale * images[j] @ texts[i] for j in real]
        own = scale * images[i] @ texts[i]
        sums = (math.log(sum(math.exp(x) for x in row)) for row in (of_image, of_text))
        wanted[i] = sum(total - own for total in sums) / 2
    pairs = jax.jit(pair_nats)(images, texts, np.float32(scale), weights)
    nats, found = jax.device_get(pairs)
    np.testing.assert_allclose(nats, wanted, rtol=1e-5)
    for i in real:
        assert bool(found[i]) == (max(real, key=lambda j, i=i: images[i] @ texts[j]) == i)


def test_a_batch_gives_sums_over_its_pairs_and_the_scale_is_at_most_100():
    model = CLIP(TINY)
    batch = {
        "tokens": RNG.integers(0, 20, (3, 6)).astype(np.int32),
        "lengths": np.array([6, 2, 0], np.int32),
        "images": RNG.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8),
        "loss_weights": np.array([1, 1, 0], np.float32),
    }
    names = ("tokens", "lengths", "images")
    init = jax.jit(model.init)
    params = init(jax.random.key(0), *(batch[name] for name in names))["params"]
    assert np.exp(params["logit_scale"]) == pytest.approx(1 / 0.07)
    params["logit_scale"] = np.float32(9.0)
    apply = jax.jit(lambda arrays: model.apply({"params": params}, *(arrays[n] for n in names)))
    images, texts, scale = jax.device_get(apply(batch))
    assert float(scale) == pytest.approx(100.0, rel=1e-5)
    np.testing.assert_allclose(np.linalg.norm(images, axis=-1), 1, rtol=1e-5)
    total, weight, sums = jax.jit(contrastive(model))(params, batch, None)
    nats, _ = jax.jit(pair_nats)(images, texts, scale, batch["loss_weights"])
    assert float(total) == pytest.approx(np.asarray(nats)[:2].sum(), rel=1e-4)
    assert float(weight) == 2 and float(sums["scale"]) == pytest.approx(200.0, rel=1e-5)
    # A text is its last token, and what stands behind it is not read; what is before is.
    padded, other = ({**batch, "tokens": batch["tokens"].copy()} for _ in range(2))
    padded["tokens"][1, 2:] = 7
    np.testing.assert_allclose(apply(padded)[1], texts, atol=1e-6)
    other["tokens"][1, 0] = (other["tokens"][1, 0] + 1) % 20
    assert np.abs(np.asarray(apply(other)[1])[1] - texts[1]).max() > 1e-4


def test_the_encoder_of_images_computes_as_the_model_does():
    both = ClipConfig(**{**vars(TINY), "dtype": "bfloat16"}).resolved()
    assert both.vision.dtype == "bfloat16"
    vision = VisionConfig(**{**vars(TINY.vision), "remat": "block"})
    with pytest.raises(ValueError, match=r"vision\.remat: got block, expected none"):
        ClipConfig(**{**vars(TINY), "vision": vision}).resolved()
    vision = VisionConfig(**{**vars(TINY.vision), "patch_size": 3})
    with pytest.raises(ValueError, match=r"config\.model\.vision\.patch_size: got 3"):
        ClipConfig(**{**vars(TINY), "vision": vision}).resolved()
