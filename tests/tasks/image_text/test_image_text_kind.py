"""Training on text with images: what is shown, how answers are judged, what is refused, samples."""

import dataclasses
import re

import numpy as np
import pytest
from PIL import Image

from gptjax.data.image_text.documents import ImageText, load_image_text
from gptjax.data.image_text.rows import ImageForm, encode_parts
from gptjax.data.labelled.pictures import load_pictures
from gptjax.data.pictures.picture import Picture
from gptjax.data.pictures.shapes import one_shape
from gptjax.evals.models.of_runs import of_run
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.judging.metrics import with_intervals
from gptjax.tasks.image_text.answers import Judge, _exchanged
from gptjax.tasks.image_text.kind import KIND, documents_of
from gptjax.tokenization import load_tokenizer
from tests.support.alignment_runs import prepared, refusal
from tests.support.binaries import call


def test_a_baseline_is_not_shown_the_images_or_the_text(trained):
    task = prepared(trained.config("image_text", image_text__hide="images"))
    assert not next(task.batches(0, (), ((0,), 1)))["images"].any()
    for side in documents_of(trained.config("image_text", image_text__hide="text")):
        for document in side:
            assert len(document.parts) == 1 and isinstance(document.parts[0], Picture)


def test_exchanged_images_are_those_of_other_documents():
    documents, _ = load_image_text("shapes:count=30", 0.1)
    exchanged = _exchanged(documents, seed=0)
    for document, other in zip(documents, exchanged, strict=True):
        assert (other.answer, other.text) == (document.answer, document.text)
        assert other.pictures != document.pictures
    of = [sorted(d.pictures[0].digest for d in some) for some in (documents, exchanged)]
    assert of[0] == of[1]


def test_answers_are_judged_word_for_word(monkeypatch):
    """Of a generator that says what is asked of its image, but for one document."""
    documents, _ = load_image_text("shapes:count=12", 0.1)
    tokenizer = load_tokenizer("images:instructions_448")
    names = {one_shape(i)[0].tobytes(): one_shape(i)[1] for i in range(12)}

    class Knows:
        def __init__(self, *_, **__):
            pass

        def submit(self, tokens, *, images, stop_token, **_):
            said = names[images[0].tobytes()] if len(asked) else "a red"
            asked.append(tokens)
            self.ids = np.array([*tokenizer.encode(f" {said}"), stop_token])
            return type("Request", (), {"result": lambda _, ids=self.ids: ids})()

    asked = []
    monkeypatch.setattr("gptjax.tasks.image_text.answers.Generator", Knows)
    model = type("Model", (), {"config": type("C", (), {"context_length": 40, "vocab_size": 451})})
    judge = Judge(model, tokenizer, ImageForm(3, 16), documents, 8)
    assert judge.accuracies({}) == {"accuracy": (len(documents) - 1) / len(documents)}
    assert asked[0].tolist() == encode_parts(documents[0].parts, tokenizer, 3).ids.tolist()


def test_documents_of_a_cluster_are_one_in_an_interval(monkeypatch):
    """Six documents of a cluster, all right or all wrong, say no more than one does."""
    right = np.random.default_rng(0).random(30) < 0.6
    documents = [ImageText(("a",), " b", cluster=str(i)) for i in range(30) for _ in range(6)]
    monkeypatch.setattr(Judge, "right", lambda *_: np.repeat(right, 6))
    answers = Judge(None, None, None, documents, 8).report({}, 3)["answers"]
    assert answers == with_intervals(lambda chosen: {"accuracy": right[chosen].mean()}, 30, 3)
    alone = [dataclasses.replace(document, cluster=None) for document in documents]
    narrow = Judge(None, None, None, alone, 8).report({}, 3)["answers"]
    assert narrow["accuracy_low"] > answers["accuracy_low"] + 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_text__train": None}, r"image_text\.train: got none, expected jsonl:PATH with"),
        (
            {"data__tokenizer": "chat:instructions_448", "model__vocab_size": 453},
            r"tokenizer: got 'chat:instructions_448', expected images:INNER",
        ),
        (
            {"parallelism__strategy": "mesh", "parallelism__sequence": 2},
            r"parallelism\.sequence: got 2, expected 1",
        ),
        ({"lora__rank": 2}, r"lora\.rank: got 2, expected none"),
        (
            {"parallelism__strategy": "pmap", "model__residual_dropout": 0.0},
            r"image_text\.shift: got 1.0, expected 0 with",
        ),
    ],
)
def test_what_the_kind_cannot_have_is_refused(trained, changes, message):
    assert re.search(message, refusal(lambda: prepared(trained.config("image_text", **changes))))


@pytest.mark.slow
def test_samples_go_on_from_text_with_images(trained, tmp_path):
    workdir = trained("image_text")
    Image.fromarray(one_shape(3)[0]).save(tmp_path / "a.png")
    image, base = f"--image={tmp_path}/a.png", ("sample", f"--workdir={workdir.path}")
    tokenizer, form = workdir.tokenizer(), ImageForm(3, 16)
    asked = encode_parts([Picture.of(one_shape(3)[0]), " is a"], tokenizer, 3)
    request = Generator(KIND.model(workdir.config()), workdir.params()).submit(
        asked.ids,
        images=form.pixels(asked.pictures, 1),
        max_new_tokens=4,
        sampler=make_sampler(0, banned_tokens=tokenizer.outside_text, vocab_size=451),
        stop_token=tokenizer.end_of_text,
    )
    prompt, few = "--prompt=<image> is a", "--max_new_tokens=4"
    alone = call(*base, prompt, image, few, "--temperature=0")
    text = tokenizer.decode(request.result()).removesuffix("<|endoftext|>")
    assert alone.output == f"<image> is a\n{text}\n"
    assert call(*base, prompt, image, few, "--num_beams=1").output == alone.output
    refused = {
        (prompt,): "--image: got 0, expected 1, as many as the text has <image>",
        ("--prompt=a", image): "--image: got 1, expected 0, as many as the text has <image>",
        (prompt, f"--image={tmp_path}/b.png"): f"--image: {tmp_path}/b.png: got No such file",
        (prompt, "--image=https://a/b.png"): "--image: image: got the URL 'https://a/b.png'",
        ("--prompt=" + "<image>" * 11, *[image] * 11): "prompt: got 56 tokens, expected at most",
    }
    for given, message in refused.items():
        assert call(*base, *given).refusal.startswith(message)
    # Behind a document that it has learned and that asks the same.
    behind = (*base, prompt, image, few, "--temperature=0", "--shots=1")
    shown, asked = call(*behind, "--seed=5").output.split("\n\n")
    assert asked.startswith("<image> is a\n")
    assert shown in {each.text + each.answer for each in documents_of(workdir.config())[0]}
    assert call(*behind, "--seed=6").output.split("\n\n")[0] != shown
    many = call(*base, prompt, image, few, "--shots=30").refusal
    assert many.startswith("--shots: got 30 for the prompt, with which 1 of 1 items exceed the")
    assert re.search(r"expected [1-9] at most$", many)
    of_text = call("sample", f"--workdir={trained('pretrain').path}", "--prompt=a", image).refusal
    assert of_text.endswith("expected none: the model was trained on text alone")


def test_a_run_takes_captions_by_their_probabilities(trained, tmp_path):
    workdir, labels = trained("image_text"), ["left of", "above"]
    run, images = f"--workdir={workdir.path}", "--images=shapes:count=6,classes=true"
    model, pictures = of_run(workdir), load_pictures("shapes:count=6,classes=true")
    shown = [each.picture for each in pictures]

    def scores(prompt, before, after=""):
        texts = [before + label + after for label in labels]
        return model.picture_log_probs(prompt, shown, texts)

    chosen = (scores("<image> is", " ") + scores("a <image>", " (", ")")).argmax(-1)
    right = np.mean([labels[i] == each.text for i, each in zip(chosen, pictures, strict=True)])
    templates = ("--template=<image> is {}", "--template=a <image> ({})")
    (figures,) = call("clip", run, images, f"--labels={','.join(labels)}", *templates).rows
    assert figures["accuracy"] == right and figures["pictures"] == 6
    queried = call("clip", run, images, "--query=above", "--top=2").output.splitlines()
    assert [float(line.split()[0]) for line in queried] == pytest.approx(
        np.sort(scores("<image>", " ")[:, 1])[:-3:-1].tolist(), abs=1e-3
    )
    (figures,) = call("clip", run, images, "--batch_size=2").rows
    found = scores("<image>", " ").argmax(-1)
    right = np.mean([labels[i] == each.text for i, each in zip(found, pictures, strict=True)])
    assert figures["text_recall_1"] == right and figures["text_recall_10"] == 1
    Image.fromarray(shown[0].pixels()).save(tmp_path / "first.png")
    given = f"--images=files:{tmp_path}"
    label = call("clip", run, given, "--labels=left of,above").output.split("  ")[1]
    assert label == labels[found[0]]
    for flag, said in (
        ("--template={}", "template: got '{}', expected one with one <image> and one {} behind it"),
        ("--fit=pad", "--fit: got pad, expected none"),
        ("--labels=a,a", "labels: got a, a, expected two different or more"),
    ):
        ended = call("clip", run, images, flag)
        assert ended.code == 2 and said in ended.errors
    of_text = call("clip", f"--workdir={trained('pretrain').path}", images).refusal
    assert of_text.endswith("without images, expected a run of kind contrastive or image_text")
