"""What the kinds of run of images have of their own; what all share is in tests/runs."""

import json

import numpy as np
import pytest
from PIL import Image

from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.picture_files import LabelledPicture
from gptjax.tasks.vision.image_classification import classes_of, numbered
from gptjax.tasks.vision.rows import captions, pixel_rows
from gptjax.tokenization import load_tokenizer
from tests.support.alignment_runs import prepared, tiny_vit
from tests.support.binaries import call


def pictures(*texts):
    return Records(
        "set", tuple(LabelledPicture.of(t, t, np.zeros((4, 4), np.uint8)) for t in texts)
    )


def test_classes_are_the_texts_and_must_be_as_many_as_the_head_has():
    found = pictures("dog", "cat", "dog")
    labels = classes_of(found, 2)
    assert labels == ["cat", "dog"] and numbered(found, labels).tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match=r"num_classes: got 3, expected 2, .*: cat, dog"):
        classes_of(found, 3)
    with pytest.raises(ValueError, match=r"cow: got the class 'cow', expected one of the 2"):
        numbered(pictures("cow"), labels)


def test_captions_keep_the_end_of_text_and_say_what_is_cut_off():
    tokenizer = load_tokenizer("python_docs_1024")
    found = captions(["a", "a long text of many words"], tokenizer, 4)
    assert found.truncated == 1
    assert [ids[-1] for ids in found.sequences] == [tokenizer.end_of_text] * 2
    assert len(found.sequences[1]) == 4
    tokens, lengths = found.of(np.array([1, 0, 2]), 6)
    assert tokens.shape == (3, 6) and lengths.tolist() == [4, 2, 0]


def test_pixels_are_the_same_whether_they_are_held_or_not_and_broken_ones_are_named():
    found = Records(
        "set", (LabelledPicture.of("a", "a", np.arange(256, dtype=np.uint8).reshape(16, 16)),)
    )
    held, lazy = (pixel_rows(found, tiny_vit(), "crop", most) for most in (10**6, 0))
    assert held.held is not None and lazy.held is None
    for rows in (held, lazy):
        np.testing.assert_array_equal(rows.of(np.array([0, 5]))[1], 0)
    np.testing.assert_array_equal(held.of(np.array([0])), lazy.of(np.array([0])))
    with pytest.raises(ValueError, match=r"rows\.jsonl:3: got no PNG or JPEG picture"):
        pixel_rows(
            Records("set", (LabelledPicture.of("rows.jsonl:3", "x", b"?"),)), tiny_vit(), "crop"
        )


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("training__accumulate", 2, "accumulate: got 2, expected 1: all pairs of a batch"),
        ("parallelism__strategy", "pmap", "strategy: got pmap, expected single or mesh"),
        ("lora__rank", 2, "rank: got 2, expected none"),
        ("contrastive__train", None, "contrastive.train: got none, expected jsonl"),
    ],
)
def test_what_pairs_cannot_have_is_refused(field, value, said, trained):
    with pytest.raises(ValueError, match=said):
        prepared(trained.config("contrastive", **{field: value}))


def test_a_run_classifies_by_names_and_retrieves(trained, tmp_path):
    run = f"--workdir={trained('contrastive').path}"
    result = trained("contrastive").result()
    ended = call("clip", run, "--images=shapes:count=10,seed=1")
    (figures,) = ended.rows
    assert figures.pop("pictures") == 10
    assert figures == pytest.approx(result["chosen"])  # that of the run itself
    ended = call("clip", run, "--images=shapes:count=8,classes=true", "--labels=left of,above")
    (figures,) = ended.rows
    assert figures["accuracy_low"] <= figures["accuracy"] <= figures["accuracy_high"]
    ended = call("clip", run, "--images=shapes:count=8,classes=true", "--labels=left of,below")
    assert "labels: got left of, below, expected 'above' among them" in ended.errors
    Image.new("RGB", (9, 5)).save(tmp_path / "black.png")
    ended = call("clip", run, f"--images=files:{tmp_path}", "--labels=x,y", "--template=a {}")
    name, label, odds = ended.output.split()
    assert name.endswith("black.png") and label in "xy" and 0.5 <= float(odds) <= 1
    ended = call("clip", run, "--images=shapes:count=8", "--query=a red circle", "--top=3")
    scores = [float(line.split()[0]) for line in ended.output.splitlines()]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    (tmp_path / "black.png").write_bytes(b"?")
    ended = call("clip", run, f"--images=files:{tmp_path}", "--labels=x,y")
    assert ended.code == 2 and "black.png: got no PNG or JPEG picture" in ended.errors


@pytest.mark.slow
def test_a_run_of_classes_says_which_they_are(trained):
    result = trained("image_classification").result()
    assert result["labels"] == ["above", "left of"]
    assert json.dumps(result["chosen"]) and 0 <= result["accuracy_low"] <= result["accuracy"]
