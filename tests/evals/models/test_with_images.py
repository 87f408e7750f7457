"""Answers about pictures against full passes over tokens that are put together by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.data.image_text.documents import load_image_text
from gptjax.data.image_text.rows import ImageForm
from gptjax.data.labelled.picture_files import LabelledPicture
from gptjax.evals.models.captioner import Captioner
from gptjax.evals.models.with_images import ImageLanguageModel, ImageReader
from gptjax.evals.requests import Generation, Likelihood, Rolling, key
from gptjax.evals.shots import Prompts, checked, most_that_fit
from gptjax.evals.tasks import load_tasks
from gptjax.models.multimodal.decoder import ImageGPT
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.multimodal_config import MultimodalConfig
from gptjax.tokenization import load_tokenizer
from gptjax.vision_config import VisionConfig
from tests.support.alignment_runs import refusal
from tests.support.tiers import tiered

TOKENIZER = load_tokenizer("images:instructions_448")
BEGIN, END, SOFT = 448, 449, 450
SIZES = MultimodalConfig(
    vocab_size=451,
    context_length=64,
    num_layers=1,
    num_heads=2,
    d_model=16,
    init_std=0.3,
    image_tokens=3,
    resampler_layers=1,
    cross_images=3,
    vision=VisionConfig(image_size=8, patch_size=4, num_layers=1, num_heads=2, d_model=8),
)
(_, HELD_OUT) = load_image_text("shapes:count=30", 0.2)
PICTURES = tuple(document.pictures[0] for document in HELD_OUT)


def form_of(config: MultimodalConfig) -> ImageForm:
    first = config.image_attention == "prefix"
    return ImageForm(config.text_places, 8, first=first)


def by_hand(config, text, pictures):
    """The tokens of a prompt, piece by piece, and its pixels."""
    image = [BEGIN, *[SOFT] * config.text_places, END]
    before, *rest = text.split("<image>")
    assert before == "" and len(rest) == len(pictures)
    ids = [TOKENIZER.end_of_text]
    if config.image_attention == "prefix":
        ids += image * len(pictures)
    for part in rest:
        ids += ([] if config.image_attention == "prefix" else image) + [*TOKENIZER.encode(part)]
    return ids, np.stack([picture.pixels(8) for picture in pictures])


def test_shots_are_documents_that_are_learned_with_their_pictures():
    learned, held_out = load_image_text("shapes:count=30", 0.2)
    (task,) = load_tasks("image_choices(documents=shapes:count=30,fraction=0.2)", None)
    prompts = Prompts(task, seed=1)
    texts = {document.text + document.answer for document in learned}
    for item, document in zip(task.items, held_out, strict=True):
        shots = prompts.shots(item, 3)
        asked = prompts.requests(item, 3)
        shown = [(shot.texts[shot.answer], shot.pictures) for shot in shots]
        before = "".join(f"{context}{answer}\n\n" for (context, answer), _ in shown)
        assert {context + answer for (context, answer), _ in shown} <= texts
        pictures = [picture for _, each in shown for picture in each] + document.pictures
        choices = sorted({each.answer for each in (*learned, *held_out)})
        assert asked == [
            Likelihood(before + "<image> is a", choice, tuple(pictures)) for choice in choices
        ]
        assert choices[item.answer] == document.answer
    (written,) = load_tasks("image_answers(documents=shapes:count=30,fraction=0.2)", None)
    (request,) = Prompts(written, seed=1).requests(written.items[0], 2)
    (first, *_) = prompts.requests(task.items[0], 2)
    assert (request.prompt, request.pictures) == (first.context, first.pictures)
    config = dataclasses.replace(SIZES, context_length=200).resolved()
    encoded = ImageReader(config, TOKENIZER, form_of(config)).encoded(first.context, first.pictures)
    assert encoded.tolist() == by_hand(config, first.context, first.pictures)[0]


def test_a_shot_of_equal_words_is_no_other_items_answer():
    """All red circles read alike; what may not be shown is the same picture."""
    (task,) = load_tasks("image_answers(documents=shapes:count=60,fraction=0.2)", None)
    alike = [
        shot.answers == item.answers
        for item in task.items
        for shot in Prompts(task, seed=0).shots(item, 20)
    ]
    assert any(alike)
    twice = dataclasses.replace(task, training=(*task.training, *task.items[:1]))
    again = dataclasses.replace(twice.training[-1], id="learned:again")
    twice = dataclasses.replace(twice, training=(*task.training, again))
    drawn = Prompts(twice, seed=0).shots(task.items[0], len(task.training))
    assert again not in drawn and len(drawn) == len(task.training)


@pytest.mark.parametrize("image_attention", ["causal", "cross"])
def test_the_largest_number_of_shots_that_fits_is_named(image_attention):
    config = dataclasses.replace(
        SIZES, context_length=128, image_attention=image_attention
    ).resolved()
    reader = ImageReader(config, TOKENIZER, form_of(config))
    (task,) = load_tasks("image_choices(documents=shapes:count=30,fraction=0.2)", None)
    prompts, fitting = Prompts(task, seed=0), []
    for shots in range(12):
        asked = [each for item in task.items for each in prompts.requests(item, shots)]
        sizes = [
            len(by_hand(config, each.context, each.pictures)[0])
            + len(TOKENIZER.encode(each.continuation))
            for each in asked
        ]
        room = image_attention == "causal" or shots + 1 <= 3
        fitting.append(max(sizes) <= 129 and room)
    most = fitting.index(False) - 1
    assert 0 < most < 11 and most_that_fit(prompts, reader, 11) == most
    checked(prompts, most, reader)
    said = refusal(lambda: checked(prompts, most + 1, reader))
    assert said.endswith(f"exceed the context of 128 tokens, expected {most} at most")


@pytest.mark.parametrize(
    "image_attention",
    tiered([("causal",), ("whole",), ("prefix",), ("cross",)], [("whole",)]),
)
def test_answers_are_those_of_full_passes_whatever_stands_beside(image_attention):
    config = dataclasses.replace(SIZES, image_attention=image_attention).resolved()
    model, rng = ImageGPT(config), np.random.default_rng(0)

    def leaf(path, shape):
        centre = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.asarray(rng.normal(centre, 0.3, shape.shape).astype(np.float32))

    params = jax.tree_util.tree_map_with_path(leaf, parameter_shapes(model))
    full = jax.jit(lambda tokens, images: model.apply({"params": params}, tokens, images=images))

    def logits(tokens, images):
        padded, shown = np.zeros((1, 64), np.int32), np.zeros((1, 2, 8, 8, 3), np.uint8)
        padded[0, : len(tokens)], shown[0, : len(images)] = tokens, images
        return np.array(full(padded, shown)[0, : len(tokens), :451], np.float64)

    two = "<image> is a dog\n\n<image> is a"
    one = "<image> is a"
    asked = [
        *(Likelihood(two, f" {word}", PICTURES[:2]) for word in ("dog", "cat", "red cow")),
        Likelihood(two, " dog", PICTURES[1::-1]),
        Likelihood(one, " dog", PICTURES[2:3]),
        Likelihood(one, " dog", PICTURES[3:4]),
    ]
    written = [
        Generation(text, max_new_tokens=4, pictures=pictures)
        for text, pictures in ((two, PICTURES[:2]), (two, PICTURES[2:4]))
    ]
    made = ImageLanguageModel(
        model, params, TOKENIZER, form_of(config), content_hash="some", batch_size=4
    )
    answers = made.all_answers([*asked, *written])

    def scored(context, continuation, pictures):
        """The log-probability of tokens, and whether they are the most probable ones."""
        ids, images = by_hand(config, context, pictures)
        found = logits([*ids, *continuation][:-1], images)[len(ids) - 1 :]
        log_probs = found - np.log(np.exp(found).sum(-1, keepdims=True))
        total = log_probs[np.arange(len(continuation)), continuation].sum()
        return total, (found.argmax(-1) == continuation).all()

    for request, answer in zip(asked, answers[: len(asked)], strict=True):
        continuation = TOKENIZER.encode(request.continuation).tolist()
        total, greedy = scored(request.context, continuation, request.pictures)
        assert answer.log_prob == pytest.approx(total, rel=1e-4) and answer.greedy == greedy
    captions = (" dog", " dog cat", " a red cow")
    for prompt in (one, "<image>"):
        table = made.picture_log_probs(prompt, PICTURES, captions)  # more than one batch
        for picture, row in zip(PICTURES, table, strict=True):
            for caption, log_prob in zip(captions, row, strict=True):
                ended = [*TOKENIZER.encode(caption), TOKENIZER.end_of_text]
                total, _ = scored(prompt, ended, [picture])
                assert log_prob == pytest.approx(total, rel=1e-4)
    told = []
    captioner = Captioner(made, ("<image>{}", "<image>{}"), lambda *said: told.append(said))
    shown = [LabelledPicture(str(i), "", each) for i, each in enumerate(PICTURES)]
    np.testing.assert_allclose(captioner.scores(shown, captions), table, rtol=1e-6)
    pairs = table.size
    assert told[-1] == ("pictures", 2 * pairs, 2 * pairs, "captions") and told == sorted(told)
    assert {done for _, done, *_ in told} >= {pairs}  # the first template's end
    for request, answer in zip(written, answers[len(asked) :], strict=True):
        ids, images = by_hand(config, request.prompt, request.pictures)
        text = list(ids)
        while len(text) < len(ids) + 4 and text[-1:] != [TOKENIZER.end_of_text]:
            text.append(int(logits(text, images)[-1, :BEGIN].argmax()))
        said = [token for token in text[len(ids) :] if token != TOKENIZER.end_of_text]
        assert answer.text == TOKENIZER.decode(np.array(said, np.int32))
    assert len({answer.log_prob for answer in answers[: len(asked)]}) == len(asked)
    alone = ImageLanguageModel(
        model, params, TOKENIZER, form_of(config), content_hash="some", batch_size=1
    )
    for number in (0, 3):  # of several choices, or alone
        (again,) = alone.all_answers([asked[number]])
        assert again.log_prob == pytest.approx(answers[number].log_prob, rel=1e-5)
    long = Likelihood("<image>" + " is a" * 60, " dog", PICTURES[:1])
    said = refusal(lambda: alone.all_answers([long]))
    assert said.startswith("prompt with pictures: got") and "expected at most 65 in the" in said
    said = refusal(lambda: alone.picture_log_probs(one, PICTURES[:1], [" dog", " dog" * 80]))
    assert said.startswith("text: got ' dog dog") and said.endswith("behind the picture")
    lacking = Generation(two, max_new_tokens=4, pictures=PICTURES[:1])
    assert refusal(lambda: alone.all_answers([lacking])).startswith("images: got 1, expected 2, as")


def test_a_request_stands_for_its_pictures():
    keys = [key(Likelihood("a", "b", pictures)) for pictures in ((), PICTURES[:1], PICTURES[1:2])]
    assert len({*keys, key(Generation("a", pictures=PICTURES[:1])), key(Rolling("a"))}) == 5
    # Answers that were kept before requests had pictures are found.
    assert keys[0] == "02f57e996e4d0e6696457b81c9e84a378e2d0f2a40a9c9669f10fb7449a3c278"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("image_choices(group=a)", "unknown group of image_choices(group=a) 'a'"),
        ("image_choices(normalisation=unconditional)", "unknown normalisation of image_choices"),
        ("image_answers(documents=shape)", "unknown set of images and text 'shape'"),
        ("image_answers(fraction=0)", "fraction: got 0.0, expected more than 0, below 1"),
    ],
)
def test_what_is_no_set_of_questions_is_refused(spec, message):
    assert message in refusal(lambda: list(load_tasks(spec, None)))
