"""Runs that start from encoders of images: of a CLIP, and for images of another size."""

import copy
import functools

import jax
import numpy as np
import pytest

from gptjax.config import resolve
from gptjax.models.vision.positions import at_image_size
from gptjax.runs.initial.inherited import inherit
from gptjax.runs.program import Program
from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.image_text.config import ImageTextConfig
from gptjax.tasks.vision.config import ImageClassificationConfig
from gptjax.training.partitioning import put_batch
from tests.support.alignment_runs import (
    make_config,
    params_at_start,
    prepared,
    refusal,
    tiny_image_gpt,
    tiny_vit,
)
from tests.support.tiers import tiered

ROUNDING = 1e-7  # of positions that are interpolated


@pytest.fixture(scope="module", autouse=True)
def _cache(cache):
    return cache


@pytest.fixture(scope="module")
def clip(trained):
    return trained("contrastive")


@pytest.fixture(scope="module")
def random_start(tmp_path_factory):
    """A run of text with images before its first step: its directory, and its parameters."""
    path = tmp_path_factory.mktemp("runs") / "random"
    return path, params_at_start(path, make_config(ImageTextConfig))


def assert_alike(ours, theirs, atol=0.0):
    check = functools.partial(np.testing.assert_allclose, rtol=0.0, atol=atol)
    jax.tree.map(check, ours, theirs)


def inherited(config, **given):
    """The configuration with fields that a user gives, and what it takes from its source."""
    config = copy.deepcopy(config)
    for path, value in given.items():
        *sections, name = path.split("__")
        section = config
        for each in sections:
            section = getattr(section, each)
        setattr(section, name, value)
    inherit(config, [path.replace("__", ".") for path in given])
    return resolve(config)


def test_an_encoder_comes_from_a_clip_and_the_rest_is_drawn_as_without_it(
    clip, random_start, tmp_path
):
    config = make_config(ImageTextConfig, checkpoint__init_from=str(clip.path))
    started = params_at_start(tmp_path / "from_clip", config)
    assert_alike(started["vision"], clip.restored()["vision"])
    others = [
        {k: v for k, v in each.items() if k != "vision"} for each in (started, random_start[1])
    ]
    assert_alike(*others)
    assert WorkDirectory(str(tmp_path / "from_clip")).initial_checkpoint().path == str(clip.path)


def test_the_sizes_of_the_encoder_are_those_of_the_clip(clip):
    other = tiny_image_gpt(vision=tiny_vit(image_size=32, d_model=32, activation="relu"))
    config = make_config(ImageTextConfig)
    config.model = other
    found = inherited(config, checkpoint__init_from=str(clip.path))
    assert found.model.vision == make_config(ImageTextConfig).model.vision
    assert found.model.d_model == other.d_model and found.model.vocab_size == 451
    assert found.data.tokenizer == "images:instructions_448"


@pytest.mark.parametrize("frozen", tiered([(False,), (True,)], [(True,)]))
def test_a_frozen_encoder_stays_and_a_trained_one_moves(clip, frozen):
    changes = {"checkpoint__init_from": str(clip.path)} if frozen else {}
    encoder = "frozen" if frozen else "trained"
    config = make_config(ImageTextConfig, image_text__encoder=encoder, **changes)
    program, task = Program(config), prepared(config)
    random = np.random.default_rng(0)
    drawn = jax.tree.map(lambda x: random.normal(0, 0.1, x.shape).astype(x.dtype), program.params)
    state = jax.jit(program.fresh)(0, drawn)
    before = jax.tree.map(np.array, state.params)
    batch = put_batch(next(task.batches(0, (), ((0,), 1))), program.mesh)
    after = jax.device_get(program.train_step(state, batch, 0)[0].params)
    moved = {
        name: any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, pair), strict=True))
        for name, pair in {name: (before[name], after[name]) for name in before}.items()
    }
    assert moved.pop("vision") != frozen and all(moved.values())


@pytest.mark.slow
def test_positions_of_a_decoder_follow_images_of_another_size(clip, tmp_path):
    config = make_config(ImageTextConfig, checkpoint__init_from=str(clip.path))
    smaller = inherited(config, model__vision__image_size=8)
    started = params_at_start(tmp_path / "smaller", smaller)["vision"]
    expected, _ = at_image_size(clip.restored()["vision"], clip.config().model.vision, 8)
    assert_alike(started, expected, ROUNDING)


@pytest.mark.slow
def test_positions_of_a_classifier_follow_images_of_another_size(trained, tmp_path):
    vit = trained("image_classification")
    config = make_config(type(vit.config()), checkpoint__init_from=str(vit.path))
    larger = inherited(config, model__image_size=32)
    assert (larger.model.context_length, larger.model.grid) == (17, 4)
    expected, _ = at_image_size(vit.restored(), vit.config().model, 32)
    assert_alike(params_at_start(tmp_path / "larger", larger), expected, ROUNDING)


@pytest.mark.slow
def test_positions_of_pairs_follow_images_of_another_size(clip, tmp_path):
    config = make_config(type(clip.config()), checkpoint__init_from=str(clip.path))
    larger = inherited(config, model__vision__image_size=24)
    started = params_at_start(tmp_path / "pairs", larger)
    expected, _ = at_image_size(clip.restored()["vision"], clip.config().model.vision, 24)
    assert_alike(started, clip.restored() | {"vision": expected}, ROUNDING)


def test_places_of_a_projection_are_as_many_as_the_patches_of_the_other_size(random_start):
    config = make_config(ImageTextConfig, checkpoint__init_from=str(random_start[0]))
    config.model.connector = "projection"
    found = inherited(config, model__vision__image_size=24, model__connector="projection")
    assert found.model.image_tokens == 9


@pytest.mark.slow
def test_patches_of_another_size_are_refused(trained, tmp_path):
    vit = trained("image_classification")
    config = make_config(type(vit.config()), checkpoint__init_from=str(vit.path))
    patches = inherited(config, model__patch_size=4, model__context_length=None)
    assert "patch_embedding" in refusal(lambda: params_at_start(tmp_path / "patches", patches))


def test_what_does_not_fit_is_one_line(clip, tmp_path):
    vit = WorkDirectory(str(tmp_path / "vit"))
    vit.begin("tiny", make_config(ImageClassificationConfig), {})
    config = make_config(ImageClassificationConfig, checkpoint__init_from=str(vit.path))
    given = {"model__image_size": 20, "data__tokenizer": config.data.tokenizer}
    said = refusal(lambda: inherited(config, **given))
    assert said == "config.model.patch_size: got 8, expected a divisor of image_size = 20"
    config = make_config(ImageTextConfig, checkpoint__init_from=str(clip.path))
    config = inherited(config, model__vision__d_model=32)
    said = refusal(lambda: params_at_start(tmp_path / "width", config))
    assert "whose encoder has" in said and "as config.model.vision says" in said
    config = make_config(ImageTextConfig, image_text__encoder="frozen")
    said = refusal(lambda: prepared(config))
    assert "image_text.encoder: got frozen, expected trained, without checkpoint.init_from" in said
    config = make_config(ImageTextConfig, checkpoint__init_from=str(vit.path))
    assert "holds a classifier of images" in refusal(lambda: inherited(config))
