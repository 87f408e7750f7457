"""Sets of pictures with texts, from files that are written here, and what is wrong with them."""

import base64
import gzip
import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from gptjax.data.labelled.pictures import load_pictures

RED, BLUE = ((200, 0, 0), (0, 0, 200))


def png(colour) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").write_bytes(png(RED))
    uri = "data:image/png;base64," + base64.b64encode(png(BLUE)).decode()
    rows = [{"image": "a.png", "caption": "red"}, {"image": uri, "caption": "blue"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rows.json").write_text(json.dumps([{"file": "b.png", "names": {"de": "blau"}}]))
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        member = tarfile.TarInfo("./b.png")
        member.size = len(png(BLUE))
        tar.addfile(member, io.BytesIO(png(BLUE)))
    for name in ("big_cat", "dog"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        (tmp_path / "classes" / name / "x.png").write_bytes(png(RED))
    return tmp_path


def colours(pictures):
    return [tuple(picture.pixels(2)[0, 0].tolist()) for picture in pictures]


def test_rows_name_files_and_hold_pictures(folder):
    found = load_pictures(f"jsonl:{folder}/rows.jsonl")
    assert [picture.text for picture in found] == ["red", "blue"]
    assert colours(found) == [RED, BLUE]
    of_tar = load_pictures(f"jsonl:{folder}/rows.json#file,names.de,pictures={folder}/all.tar")
    assert [picture.text for picture in of_tar] == ["blau"] and colours(of_tar) == [BLUE]
    before = found.content_hash()
    (folder / "a.png").write_bytes(png(BLUE))
    assert load_pictures(f"jsonl:{folder}/rows.jsonl").content_hash() != before


def test_a_folder_has_a_folder_a_class_and_files_have_names(folder):
    found = load_pictures(f"folder:{folder}/classes")
    assert [picture.text for picture in found] == ["big cat", "dog"]
    assert [picture.text for picture in load_pictures(f"files:{folder}")] == ["a"]


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.tobytes()


def test_mnist_is_read_from_its_files(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 5)).astype(np.uint8)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(np.array([7, 0, 9], np.uint8)))
    found = load_pictures(f"mnist:{tmp_path}")
    assert [picture.text for picture in found] == ["seven", "zero", "nine"]
    np.testing.assert_array_equal(found[1].pixels(channels=1)[..., 0], images[1])
    labels.write_bytes(idx(np.array([7, 0], np.uint8)))
    with pytest.raises(ValueError, match=r"images \[3, 5, 5\] and labels \[2\], expected"):
        load_pictures(f"mnist:{tmp_path}")
    labels.write_bytes(idx(np.array([7, 0, 9], np.uint8))[:-1])
    with pytest.raises(ValueError, match=r"ubyte: got 2 bytes, expected 3 of an array \[3\]"):
        load_pictures(f"mnist:{tmp_path}")


def test_shapes_are_drawn_as_their_texts_say():
    found = load_pictures("shapes:count=40")
    assert len({picture.text for picture in found}) > 30
    for picture in found:
        first = picture.text.split()[1]
        pixels = picture.pixels()
        half = pixels[:16] if "above" in picture.text else pixels[:, :16]
        drawn = half[(half != 255).any(-1)]
        wanted = {"red": 0, "green": 1, "blue": 2}.get(first)
        if wanted is not None and first != picture.text.split()[-2]:
            assert np.median(drawn, axis=0).argmax() == wanted, picture.text


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("jsonl:{}/rows.jsonl#image", r"got fields 'image', expected two, as #image,caption"),
        ("jsonl:{}/rows.jsonl#image,title", r"rows\.jsonl:1: .*'caption'|title"),
        ("jsonl:{}/rows.jsonl,pictures={}/none", r"no pictures at .*expected a folder or a tar"),
        ("jsonl:{}/rows.jsonl,pictures={}/rows.json", "got no whole tar file"),
        ("jsonl:{}/rows.jsonl,pictures={}/all.tar", r"all\.tar: got no picture 'a\.png'"),
        ("jsonl:{}/rows.jsonl,colour=3", "unknown option 'colour'"),
        ("folder:{}/none", "no folder at"),
        ("folder:{}", "got no pictures in folders"),
        ("mnist:{}", "no file t10k-images-idx3-ubyte or"),
        ("emoji:{},style=apple", "got style=apple, expected one of google, twitter"),
        ("emoji:{}", r"emoji\.json: got No such file"),
        ("shapes:count=0", "count"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, spec, said):
    for inner in (folder / "classes").rglob("*.png"):
        inner.unlink()
    with pytest.raises(ValueError, match=said) as error:
        load_pictures(spec.replace("{}", str(folder)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("image", ["../a.png", "http://example.org/a.png", "none.png"])
def test_a_row_names_a_file_below_its_folder(folder, image):
    (folder / "deep").mkdir()
    (folder / "deep" / "r.jsonl").write_text(json.dumps({"image": image, "caption": "x"}))
    with pytest.raises(ValueError, match="got") as error:
        load_pictures(f"jsonl:{folder}/deep/r.jsonl")
    assert image.rsplit("/", 1)[-1] in str(error.value)
