"""Image corpora: pixels in their order by loops, exact bytes, windows that are images."""

import hashlib

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image

from gptjax.data.batches.shards import prepare
from gptjax.data.corpora.text import Document, load_corpus
from gptjax.tokenization import RawBytes, load_tokenizer


@pytest.fixture
def cifar(tmp_path):
    """Two files of 12 records each, as CIFAR-10 names them, and the records."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    records = np.random.default_rng(0).integers(0, 256, (24, 3073)).astype(np.uint8)
    records[:, 0] %= 10
    (folder / "data_batch_1.bin").write_bytes(records[:12].tobytes())
    (folder / "test_batch.bin").write_bytes(records[12:].tobytes())
    (folder / "readme.html").write_text("not an image")
    return folder, records


def test_an_image_is_its_pixels_row_by_row(cifar):
    folder, records = cifar
    documents = list(load_corpus(f"cifar10:{folder}"))
    assert len(documents) == 24
    assert documents[13].name == f"{folder}/test_batch.bin:1"
    for document, record in zip(documents, records.tolist(), strict=True):
        planes = record[1:]
        expected = [
            planes[channel * 1024 + row * 32 + column]
            for row in range(32)
            for column in range(32)
            for channel in range(3)
        ]
        assert list(document.content) == expected


def test_windows_of_an_images_length_are_images(cifar, tmp_path):
    folder, _ = cifar
    images = {document.content for document in load_corpus(f"cifar10:{folder}")}
    prepared = prepare(load_corpus(f"cifar10:{folder}"), RawBytes(), tmp_path / "c", 0.3)
    windows = 0
    for split in (prepared.train, prepared.validation):
        assert split.num_bytes == len(split.tokens) == 3072 * len(split.document_starts)
        count = split.all_windows(3072)
        batch = split.batch(np.arange(count), 3072)
        assert {row.astype(np.uint8).tobytes() for row in batch["tokens"]} <= images
        assert batch["loss_weights"].sum() == 3072 * count - 1  # the last byte has no successor
        windows += count
    assert windows == 24


def test_any_bytes_are_had_back_and_hashed_as_they_are():
    every_byte = bytes(range(256))
    random = np.random.default_rng(1).integers(0, 256, 4000).astype(np.uint8).tobytes()
    for content in (every_byte, every_byte[::-1], random, "é🙂".encode() + b"\xf0\x9f\x99"):
        document = Document("x", content.decode(errors="surrogateescape"))
        assert document.content == content
        assert document.digest == hashlib.sha256(content).digest()
        assert RawBytes().encode(document.text).tolist() == list(content)


def test_sample_images_tile_the_photograph():
    documents = list(load_corpus("sample_images"))
    with Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as photograph:
        width, height = photograph.size
        assert len(documents) == (width // 16) * (height // 16) > 1000
        for place in (0, 37, 700):
            top, left = 16 * (place // (width // 16)), 16 * (place % (width // 16))
            piece = photograph.crop((left, top, left + 16, top + 16))
            assert documents[place].content == piece.tobytes()
            assert documents[place].name == f"grace_hopper.jpg@{top},{left}"
    assert load_corpus("sample_images").fingerprint()


def test_tokenizers_of_text_refuse_images(tmp_path):
    with pytest.raises(ValueError, match=r"^text has a lone surrogate, U\+DC[0-9A-F]{2} at char"):
        prepare(
            load_corpus("sample_images"), load_tokenizer("python_docs_1024"), tmp_path / "c", 0.1
        )


@pytest.mark.parametrize("damage", ["short", "label"])
def test_other_files_are_refused(cifar, damage):
    folder, records = cifar
    records[3, 0] = 10 if damage == "label" else 0
    content = records[:12].tobytes()
    path = folder / "data_batch_1.bin"
    path.write_bytes(content[:-1] if damage == "short" else content)
    message = rf"^{path}: {len(path.read_bytes())} bytes that are not images of CIFAR-10; expected"
    with pytest.raises(ValueError, match=message) as error:
        list(load_corpus(f"cifar10:{folder}"))
    assert "\n" not in str(error.value)


def test_bad_locations_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^'cifar10:.*': no files at .* \*\.bin"):
        load_corpus(f"cifar10:{tmp_path}")
    with pytest.raises(ValueError, match="corpus 'sample_images:x' takes no location; expected"):
        load_corpus("sample_images:x")
