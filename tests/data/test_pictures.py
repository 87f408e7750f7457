"""Pictures of files: pixels as they were drawn, and a line about what cannot be read."""

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gptjax.data.pictures.decoding import data_uri_content, read_picture

RNG = np.random.default_rng(0)


def encoded(pixels: np.ndarray, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def test_pixels_are_those_that_were_written(tmp_path):
    pixels = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(encoded(pixels))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), pixels)
    np.testing.assert_array_equal(read_picture(encoded(pixels), (5, 7)), pixels)
    assert read_picture(encoded(pixels, "JPEG"), 4, channels=1).shape == (4, 4, 1)
    grey = read_picture(encoded(pixels), channels=1)[..., 0]
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey, luma, atol=1)


def test_transparent_pixels_show_the_background_and_wide_grey_is_not_cut_off():
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    found = read_picture(encoded(pixels), background=(9, 8, 7))
    assert found[0, 0].tolist() == [10, 20, 30] and found[1, 1].tolist() == [9, 8, 7]
    assert read_picture(encoded(pixels))[1, 1].tolist() == [255] * 3
    wide = np.array([[0, 32768], [65535, 256]], np.uint16)
    assert read_picture(encoded(wide))[..., 0].tolist() == [[0, 128], [255, 1]]


def test_a_picture_of_another_shape_is_cropped_padded_or_stretched():
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :2] = pixels[:, 6:] = 200  # its two ends
    content = encoded(pixels)
    assert read_picture(content, 4, fit="crop").max() == 0
    padded = read_picture(content, 8, fit="pad")
    assert (padded[:2] == 255).all() and (padded[2:6] == pixels).all() and (padded[6:] == 255).all()
    stretched = read_picture(content, 4, fit="stretch")
    assert stretched[0, 0, 0] > 150 and stretched.shape == (4, 4, 3)


def test_a_picture_is_turned_as_its_camera_says():
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    assert read_picture(encoded(pixels, exif=exif))[:, 0, 0].tolist() == [0, 255]


def bomb(width: int, height: int) -> bytes:
    """The head of a PNG that says it is so large, with few bytes behind."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not a picture", "^it: got no PNG or JPEG picture, expected one of the two$"),
        (encoded(RNG.integers(0, 9, (40, 40, 3)).astype(np.uint8))[:500], "it: got a broken pic"),
        (encoded(np.zeros((9, 9, 3), np.uint8), "GIF"), "got no PNG or JPEG"),
        (bomb(5000, 5000), "it: got 5000 x 5000 pixels, expected at most 16777216 together"),
        (bomb(10_000, 10_000), "it: got 10000 x 10000 pixels, expected at most 16777216 together"),
        (bomb(60_000, 60_000), "it: got 60000 x 60000 pixels, expected at most 16777216 together"),
        (bomb(100, 100), "it: got a broken picture"),
    ],
    ids=["text", "cut_off", "gif", "large", "huge", "bomb", "little_data"],
)
def test_what_cannot_be_read_is_refused_in_one_line(content, said):
    with pytest.raises(ValueError, match=said) as error:
        read_picture(content, 8, name="it")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"none\.png: got No such file or directory, expected a pic"
    ):
        read_picture(tmp_path / "none.png")


def test_a_data_uri_holds_its_picture_and_nothing_is_fetched():
    content = encoded(np.zeros((1, 1, 3), np.uint8))
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    assert data_uri_content(uri) == content
    for wrong, said in (
        ("http://example.org/a.png", "got 'http://example.org/a.png', expected data:image/png"),
        ("data:image/png;base64,ab!c", "got no base64"),
    ):
        with pytest.raises(ValueError, match=said):
            data_uri_content(wrong)
