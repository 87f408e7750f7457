"""Documents of text and images: how they are read, divided and packed, against plain loops."""

import base64
import gzip
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from gptjax.data.dialogue.records import Records
from gptjax.data.image_text.documents import ImageText, interleaved, load_image_text
from gptjax.data.image_text.mnist import NEW_PAIRS
from gptjax.data.image_text.rows import ImageForm, pack_image_text
from gptjax.data.pictures.digits import WORDS
from gptjax.data.pictures.picture import Picture
from gptjax.evals.tasks import load_tasks
from gptjax.tokenization import load_tokenizer
from tests.support.alignment_runs import refusal

FORM = ImageForm(tokens=3, size=16, channels=3)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("images:instructions_448")


def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_rows_hold_whole_documents_with_their_images(tokenizer):
    documents, _ = load_image_text("shapes:count=40", 0.1)
    pair = interleaved("<image> a <image>", documents[0].pictures + documents[1].pictures)
    long = interleaved("<image>" * 3, documents[0].pictures * 3)
    records = Records("s", (*documents, pair, ImageText(("words alone",)), long))
    rows = pack_image_text(records, tokenizer, FORM, context_length=40, max_images=2)
    assert rows.documents.dropped == {"documents of more than 2 images": 1}
    assert sorted(i for row in rows.members for i in row) == list(range(len(records) - 1))
    batch = rows.batch(np.arange(len(rows) + 1))
    marks, end = tokenizer.special_tokens, tokenizer.end_of_text
    image = [marks["<image>"], *[marks["<|soft|>"]] * 3, marks["</image>"]]
    for row, members in enumerate(rows.members):
        tokens, targets, shown = [], [], []
        for document in (records[i] for i in members):
            ids = [end]
            for part in (*document.parts, *filter(None, [document.answer]), None):
                is_image = isinstance(part, Picture)
                shown += [part.source] if is_image else []
                ids += image if is_image else [end] if part is None else [*tokenizer.encode(part)]
            tokens, targets = tokens + ids[:-1], targets + ids[1:]
        n = len(tokens)
        assert batch["tokens"][row, :n].tolist() == tokens
        assert batch["targets"][row, :n].tolist() == targets
        assert batch["loss_weights"][row].tolist() == [
            float(token not in image) for token in targets
        ] + [0.0] * (40 - n)
        assert batch["images"][row, : len(shown)].tolist() == [x.tolist() for x in shown]
        assert not batch["images"][row, len(shown) :].any()
    assert (batch["segment_ids"][-1] == -1).all() and not batch["images"][-1].any()


def test_a_vocabulary_without_end_of_text_is_refused():
    shown, _ = load_image_text("shapes:count=4", 0.1)
    without_end = load_tokenizer("images:bytes")
    said = refusal(
        lambda: pack_image_text(shown, without_end, FORM, context_length=9, max_images=1)
    )
    assert said.startswith("tokenizer: got images:raw_bytes, which has no end-of-text, expected")


def test_json_lines_name_files_and_data_uris(tmp_path):
    uri = "data:image/png;base64," + base64.b64encode(png(7)).decode()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png(9))
    rows = [
        {
            "text": "<image> plus <image> is",
            "images": ["pictures/a.png", uri],
            "answer": " two",
            "choices": [" one", " two"],
        },
        {"text": "no image"},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    both, text = load_image_text(f"jsonl:{tmp_path}/a.jsonl", 0.0, "shapes:count=2")[0]
    assert both.text == "<image> plus <image> is" and both.answer == " two"
    assert both.choices == (" one", " two") and text.choices == ()
    assert [p.pixels(2)[0, 0].tolist() for p in both.pictures] == [[9] * 3, [7] * 3]
    assert text == ImageText(("no image",)) and not text.pictures
    assert len({picture.digest for picture in both.pictures}) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "<image>"}, "images: got 0, expected 1, as many as the text has <image>"),
        (
            {"text": "a", "images": ["b.png"]},
            "b.png: got No such file or directory, expected a pict",
        ),
        ({"text": "<image>", "images": ["http://a/b.png"]}, "got the URL 'http://a/b.png', expec"),
        ({"text": "<image>", "images": ["data:image/gif;base64,AA=="]}, "got 'data:image/gif;"),
        ({"text": "", "images": []}, "text: got nothing, expected text, an image, or both"),
        ({"text": "<image>", "images": [3]}, "'images': got int, expected a string"),
        ({"text": "<image>", "images": "a.png"}, "'images': got str, expected a list"),
        (
            {"text": "a", "answer": " b", "choices": [" b", " b"]},
            "'choices': got [' b', ' b'], expected two or more, each once, with the answer",
        ),
        ({"text": "a", "answer": " b", "choices": [" c", " d"]}, "expected two or more, each once"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, row, message):
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    said = refusal(load_image_text, f"jsonl:{tmp_path}/a.jsonl", 0.0)
    assert said.startswith(f"{tmp_path}/a.jsonl:1: ") and message in said


def test_an_unknown_set_is_refused():
    said = refusal(load_image_text, "mnits:a", 0.1)
    assert "unknown set of images and text 'mnits:a'" in said and "captions:SET" in said


def test_captions_of_a_picture_are_on_one_side(tmp_path):
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    rows = [{"image": f"{i % 20}.png", "caption": f"caption {i}"} for i in range(60)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sides = load_image_text(f"captions:jsonl:{tmp_path}/a.jsonl", 0.2)
    learned, held_out = ({d.pictures[0].digest for d in side} for side in sides)
    assert len(learned) + len(held_out) == 20 == len(learned | held_out) and held_out
    (of_seven,) = {
        tuple(sorted(d.answer for d in side if d.pictures[0].pixels(1)[0, 0, 0] == 7))
        for side in sides
    } - {()}
    assert of_seven == (" caption 27", " caption 47", " caption 7")
    assert {d.text for side in sides for d in side} == {"<image>"}
    assert all(d.cluster == d.pictures[0].digest for side in sides for d in side)
    (written,) = load_tasks(f"image_answers(documents=captions:jsonl:{tmp_path}/a.jsonl)", None)
    assert len({written.cluster(item) for item in written.items}) == len(written.items) / 3
    assert "unknown set of pictures 'emojis'" in refusal(load_image_text, "captions:emojis:a", 0.2)


def test_digits_and_sums_are_of_pictures_on_one_side_alone(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (300, 28, 28)).astype(np.uint8)
    labels = rng.integers(0, 10, 300).astype(np.uint8)
    for name, axes, array in (("images", 3, images), ("labels", 1, labels)):
        head = np.array([0x0800 + axes, *array.shape], ">i4").tobytes()
        path = tmp_path / f"t10k-{name}-idx{axes}-ubyte.gz"
        path.write_bytes(gzip.compress(head + array.tobytes()))
    sides = load_image_text(f"mnist_sums:{tmp_path}", 0.2)
    of_bytes = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    pictures = []
    for number, side in enumerate(sides):
        for document in side:
            digits = [int(of_bytes[p.source.tobytes()]) for p in document.pictures]
            assert document.answer == f" {WORDS[sum(digits)]}"
            is_new = tuple(sorted(digits)) in NEW_PAIRS
            names = ["sums", "sums_of_new_digits"][is_new] if len(digits) == 2 else "names"
            assert document.group == names and not (number == 0 and is_new)
        pictures.append({p.digest for document in side for p in document.pictures})
    assert not pictures[0] & pictures[1] and len(pictures[0] | pictures[1]) == 300
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x01"))
    assert re.search(
        "bytes of another format, expected idx", refusal(load_image_text, f"mnist:{tmp_path}", 0.2)
    )


def test_sentences_of_one_presentation_are_on_one_side(tmp_path):
    rows = [
        {"sentence": f"s{n}", "label": "true", "identifier": f"{n // 2}-{n % 2}"} for n in range(20)
    ]
    (tmp_path / "dev.json").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "images").mkdir()
    for n in range(18):  # the last presentation has no pictures
        (tmp_path / "images" / f"dev-{n // 2}-{n % 2}-{n % 6}.png").write_bytes(png(n))
    learned, held_out = load_image_text(f"nlvr:{tmp_path}", 0.3)
    groups = [{int(d.text.rpartition("s")[2]) // 2 for d in side} for side in (learned, held_out)]
    assert not groups[0] & groups[1] and groups[0] | groups[1] == set(range(9))
    assert {d.cluster for d in held_out} == {f"dev-{n}" for n in groups[1]}
    assert learned[0].answer == " true" and len(learned) + len(held_out) == 18
