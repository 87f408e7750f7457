"""A decoder that reads images: what stands at their places, sizes, and decoding as a full pass."""

import dataclasses
import functools
import math

import jax
import numpy as np
import pytest

from experiments.configs import EXPERIMENTS
from gptjax.config import resolve
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.models.multimodal.costs import image_gpt_flops_per_token, image_gpt_parameter_count
from gptjax.models.multimodal.crossing import seen_images
from gptjax.models.multimodal.decoder import ImageGPT
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.multimodal_config import MultimodalConfig
from gptjax.vision_config import VisionConfig
from tests.support.tiers import tiered

TINY = MultimodalConfig(
    vocab_size=40,
    vocab_multiple=8,
    context_length=32,
    num_layers=1,
    num_heads=2,
    d_model=16,
    init_std=0.3,
    image_tokens=3,
    resampler_layers=1,
    vision=VisionConfig(
        image_size=8, patch_size=4, num_channels=1, num_layers=1, num_heads=2, d_model=8
    ),
).resolved()
BEGIN, END, SOFT = 37, 38, 39
IMAGE = [BEGIN, SOFT, SOFT, SOFT, END]
TOKENS = np.array([[1, *IMAGE, 5, 6, *IMAGE, 7, 8, 9], [1, 2, *IMAGE, 3, 4, 5, 6, 7, 8, 9, 9, 9]])
# Images first, up to the place 9 and the place 4.
FIRST = np.array([[1, *IMAGE, *IMAGE, 5, 6, 7, 8, 9], [1, *IMAGE, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9]])
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 2, 8, 8, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        centre = 1.0 if path[-1].key == "scale" else 0.0
        return jax.device_put(rng.normal(centre, 0.3, shape.shape).astype(np.float32))

    return jax.tree_util.tree_map_with_path(leaf, parameter_shapes(ImageGPT(TINY)))


def test_images_fill_the_places_of_their_row_in_their_order(params):
    model = ImageGPT(TINY)

    @jax.jit
    def both(images):
        of_images = model.apply({"params": params}, images, method="image_embeddings")
        return of_images, model.apply({"params": params}, TOKENS, images, method="embedded")

    of_images, found = both(IMAGES)
    expected = np.array(params["token_embedding"])[TOKENS]
    for row in range(2):
        places = iter(np.array(of_images)[row])
        for at in np.flatnonzero(TOKENS[row] == SOFT):
            expected[row, at] = next(places)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    first = np.asarray(of_images)[0]
    assert not np.allclose(first[:3], first[3:])
    lacking = np.array(both(IMAGES[:, :1])[1])
    assert np.isnan(lacking[0]).any() and np.isfinite(lacking[1]).all()


@pytest.mark.parametrize(
    "image_attention", tiered([("causal",), ("whole",), ("prefix",)], [("whole",), ("prefix",)])
)
def test_what_sees_what_and_that_decoding_agrees(params, image_attention):
    """Gradients reach what an output may see; greedy texts are those of full passes."""
    config = dataclasses.replace(TINY, image_attention=image_attention).resolved()
    model, variables = ImageGPT(config), {"params": params}
    full = jax.jit(lambda images, tokens: model.apply(variables, tokens, images=images))

    prefix = image_attention == "prefix"
    texts = FIRST if prefix else TOKENS

    def hidden(embeddings):
        return model.apply(variables, texts[:1], embeddings=embeddings, method="hidden")[0][0]

    embeddings = np.random.default_rng(1).normal(size=(1, TOKENS.shape[1], 16)).astype(np.float32)
    by = np.abs(np.array(jax.jit(jax.jacrev(hidden))(embeddings))[:, :, 0]).sum((1, 3)) > 1e-9
    length = texts.shape[1]
    first, second = {2, 3, 4}, {9, 10, 11}
    if prefix:
        first, second = set(range(10)), set()
    for i, j in np.ndindex(length, length):
        together = {i, j} <= first or {i, j} <= second
        assert by[i, j] == (j <= i or (image_attention != "causal" and together)), (i, j)

    generator = Generator(model, params, slots=2, piece=16)
    requests = [
        generator.submit(
            tokens,
            images=images[: (tokens == SOFT).sum() // 3],
            max_new_tokens=6,
            sampler=make_sampler(0.0),
        )
        for tokens, images in zip(texts, IMAGES, strict=True)
    ]
    for row, request in enumerate(requests):
        text = texts[row]
        for token in request.result():
            padded = np.zeros((1, 24), np.int32)
            padded[0, : len(text)] = text
            logits = np.array(full(IMAGES[row][None], padded))[0, len(text) - 1]
            assert token == logits.argmax()
            text = np.append(text, token)


def test_other_images_of_equal_tokens_are_other_texts(params):
    """Texts that have ended are kept by their tokens; one with images must not be."""
    generator = Generator(ImageGPT(TINY), params, slots=1, kept_texts=2)
    prompt = np.array([*range(1, 16), *IMAGE, 5], np.int32)
    (first,), (other,), (again,) = (
        generator.complete([prompt], images=images[:1], max_new_tokens=1)
        for images in (IMAGES[0], IMAGES[1], IMAGES[0])
    )
    assert first.log_probs == again.log_probs != other.log_probs


def test_prompts_with_another_number_of_images_are_refused(params):
    generator = Generator(ImageGPT(TINY), params)
    for count, said in ((1, r"images: got 1, expected .* places for, 2"), (0, "got 0, .*, 2")):
        with pytest.raises(ValueError, match=said):
            generator.submit(TOKENS[0], images=IMAGES[0, :count])


@pytest.mark.slow
def test_documents_of_a_row_have_prefixes_of_their_own(params):
    """In a row of two documents each is what it is alone."""
    model = ImageGPT(dataclasses.replace(TINY, image_attention="prefix").resolved())
    run = jax.jit(lambda tokens, **rest: model.apply({"params": params}, tokens, **rest))
    one, two = np.array([1, *IMAGE, 5, 6]), np.array([1, *IMAGE, *IMAGE, 7, 1])
    packed = np.array([[*one, *two]])
    positions = np.array([[*range(len(one)), *range(len(two))]])
    segments = np.array([[0] * len(one) + [1] * len(two)])
    images = np.concatenate([IMAGES[0, :1], IMAGES[1]])
    found = run(packed, images=images[None], positions=positions, segment_ids=segments)[0]
    for text, at, its in ((one, 0, images[:1]), (two, len(one), images[1:])):
        alone = run(text[None], images=its[None])[0]
        np.testing.assert_allclose(found[at : at + len(text)], alone, rtol=2e-4, atol=2e-4)


def test_text_before_an_image_is_refused_where_images_are_a_prefix():
    config = dataclasses.replace(TINY, image_attention="prefix").resolved()
    for text in (TOKENS[0], TOKENS[1]):
        with pytest.raises(ValueError, match=r"tokens of text before the last one, expected none"):
            config.check_images(text, (text == SOFT).sum() // 3)


MARKED = np.array(
    [[1, BEGIN, END, 5, 6, BEGIN, END, 7, 8, 9], [1, 2, BEGIN, END, 3, 4, 5, 6, 9, 9]]
)


def seen_by_hand(tokens, segments):
    """The number of the last image before each token in its document, by loops."""
    found = np.zeros(tokens.shape, int)
    for row, column in np.ndindex(tokens.shape):
        for at in range(column + 1):
            if segments[row, at] == segments[row, column] and tokens[row, at] == BEGIN:
                found[row, column] = (tokens[row, : at + 1] == BEGIN).sum()
    return found


@pytest.fixture(scope="module")
def crossing():
    """A decoder with cross attention, whose parameters are random."""
    model = ImageGPT(dataclasses.replace(TINY, image_attention="cross", cross_images=3).resolved())
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        centre = 1.0 if path[-1].key == "scale" else 0.0
        return jax.device_put(rng.normal(centre, 0.3, shape.shape).astype(np.float32))

    return model, jax.tree_util.tree_map_with_path(leaf, parameter_shapes(model))


def test_each_token_reads_the_last_image_of_its_document(crossing):
    """One layer: what a token reads of images is what cross attention reads there."""
    model, params = crossing
    segments = np.array([[0] * 5 + [1] * 5, [0] * 7 + [1] * 3])
    positions = np.array([[*range(5), *range(5)], [*range(7), *range(3)]])
    begins = MARKED == BEGIN
    seen = jax.jit(seen_images)
    np.testing.assert_array_equal(seen(begins, segments), seen_by_hand(MARKED, segments))
    np.testing.assert_array_equal(seen(begins), seen_by_hand(MARKED, np.zeros_like(MARKED)))
    run = jax.jit(
        lambda images, **rest: model.apply({"params": params}, MARKED, images=images, **rest)
    )
    packed = np.asarray(run(IMAGES, segment_ids=segments, positions=positions))
    for image in range(2):
        other = IMAGES.copy()
        other[:, image] = 255 - other[:, image]
        moved = (
            np.abs(run(other, segment_ids=segments, positions=positions) - packed).max(-1) > 1e-5
        )
        np.testing.assert_array_equal(moved, seen_by_hand(MARKED, segments) == image + 1)
    text = MARKED[0, 5:]  # the second document alone
    alone = jax.jit(functools.partial(model.apply, images=IMAGES[:1, 1:]))(
        {"params": params}, text[None]
    )
    np.testing.assert_allclose(packed[0, 5:], np.asarray(alone)[0], rtol=2e-4, atol=2e-4)


def test_decoding_reads_images_as_a_full_pass_does(crossing):
    model, params = crossing
    full = jax.jit(lambda images, tokens: model.apply({"params": params}, tokens, images=images))
    generator = Generator(model, params, slots=2, piece=4)
    greedy = make_sampler(0.0, banned_tokens=(BEGIN, END, SOFT), vocab_size=TINY.vocab_size)
    shown = [IMAGES[0], IMAGES[1, :1], None]
    texts = [*MARKED, np.array([1, 5, 6])]
    requests = [
        generator.submit(text, images=images, max_new_tokens=6, sampler=greedy)
        for text, images in zip(texts, shown, strict=True)
    ]
    for text, images, request in zip(texts, shown, requests, strict=True):
        given = np.zeros((1, 2, 8, 8, 1), np.uint8)
        given[0, : 0 if images is None else len(images)] = 0 if images is None else images
        for token in request.result():
            padded = np.zeros((1, 24), np.int32)
            padded[0, : len(text)] = text
            assert token == np.array(full(given, padded))[0, len(text) - 1, :BEGIN].argmax()
            text = np.append(text, token)
    for count, said in ((1, "images: got 1, expected as many as the prompt has marks for, 2"),):
        with pytest.raises(ValueError, match=said):
            generator.submit(MARKED[0], images=IMAGES[0, :count])
    many = np.array([1, *[BEGIN, END] * 4])
    with pytest.raises(ValueError, match=r"at most model\.cross_images = 3"):
        generator.submit(many, images=np.concatenate([IMAGES[0]] * 2))


@pytest.mark.parametrize(
    "changes", [{}, {"image_attention": "cross"}, {"connector": "projection", "image_tokens": None}]
)
def test_parameters_are_those_of_the_formula(changes):
    config = dataclasses.replace(TINY, **changes).resolved()
    leaves = jax.tree.leaves(parameter_shapes(ImageGPT(config)))
    assert image_gpt_parameter_count(config) == sum(math.prod(leaf.shape) for leaf in leaves)
    dense, executed = image_gpt_flops_per_token(config, 2)
    alone, _ = image_gpt_flops_per_token(config, 0)
    assert alone < executed <= dense


def test_kosmos_has_the_papers_size():
    """Section 2.2: 1.3B of the decoder, and about 1.6B with the encoder."""
    config = resolve(EXPERIMENTS.get("kosmos_1.6b")()).model
    assert image_gpt_parameter_count(config) == pytest.approx(1.6e9, rel=0.06)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"connector": "projection"}, "image_tokens: got 3 with connector=projection, expected"),
        ({"image_tokens": 31}, "image_tokens: got 31, expected at most 30"),
        (
            {"vision": VisionConfig(image_size=9, patch_size=4)},
            r"config\.model\.vision\.patch_size: got 4, expected a divisor",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes).resolved()
