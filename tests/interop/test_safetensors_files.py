"""Our reading and writing of safetensors, against the library of that name."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.interop.safetensors_files import INDEX, SINGLE, SafeTensors, write_safetensors

safetensors_numpy = pytest.importorskip("safetensors.numpy")

SHAPES = {"a": (3, 5), "b": (7,), "c": (2, 2, 4), "d": ()}


def random_tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: np.asarray(rng.normal(size=s), np.float32) for name, s in SHAPES.items()}


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float16, jnp.bfloat16, np.float64, np.int64, np.uint8, np.bool_]
)
def test_reads_what_the_library_writes(tmp_path, dtype):
    tensors = {name: tensor.astype(dtype) for name, tensor in random_tensors().items()}
    safetensors_numpy.save_file(tensors, tmp_path / SINGLE, metadata={"format": "pt"})
    read = SafeTensors(tmp_path)
    assert sorted(read) == sorted(tensors) and len(read) == 4
    for name, tensor in tensors.items():
        assert read[name].dtype == dtype
        np.testing.assert_array_equal(read[name], tensor)
    with pytest.raises(ValueError, match="read-only"):
        read["a"][0] = 0


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_library_reads_what_is_written(tmp_path, dtype):
    tensors = random_tensors()
    backwards = reversed(tensors.items())
    write_safetensors(tmp_path, SHAPES, dtype, 10**9, backwards)
    assert [path.name for path in tmp_path.iterdir()] == [SINGLE]
    read = safetensors_numpy.load_file(tmp_path / SINGLE)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == np.dtype(dtype)
        np.testing.assert_array_equal(read[name], tensor.astype(dtype))


def test_shards_hold_at_most_what_is_asked_or_one_tensor(tmp_path):
    tensors = random_tensors()
    write_safetensors(tmp_path, SHAPES, "float32", 40, tensors.items())  # 60, 28, 64, 4 bytes
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["weight_map"] == {
        "a": "model-00001-of-00004.safetensors",
        "b": "model-00002-of-00004.safetensors",
        "c": "model-00003-of-00004.safetensors",
        "d": "model-00004-of-00004.safetensors",
    }
    assert index["metadata"]["total_size"] == 4 * 39
    found = {}
    for file in set(index["weight_map"].values()):
        found |= safetensors_numpy.load_file(tmp_path / file)
    for read in (found, SafeTensors(tmp_path)):
        assert read.keys() == tensors.keys()
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(read[name], tensor)


def test_what_a_dtype_cannot_hold_is_refused_by_name(tmp_path):
    tensors = random_tensors()
    tensors["b"][3] = -70000.0
    with pytest.raises(ValueError, match=r"^b: got 70000, expected what float16 holds"):
        write_safetensors(tmp_path, SHAPES, "float16", 10**9, tensors.items())


def sharded(directory: Path) -> Path:
    write_safetensors(directory, SHAPES, "float32", 100, random_tensors().items())
    assert len(list(directory.glob("model-*"))) == 2
    return directory


def rewrite_index(directory: Path, change) -> None:
    index = json.loads((directory / INDEX).read_text())
    change(index["weight_map"])
    (directory / INDEX).write_text(json.dumps(index))


def truncate(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


SECOND = "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / SECOND).unlink(), rf"got no {SECOND} \(1 of 2 files are missing\)"),
        (
            lambda d: truncate(d / SECOND, -1),
            rf"{SECOND} is cut short: got \d+ bytes, expected \d+",
        ),
        (lambda d: truncate(d / SECOND, 4), rf"{SECOND}: got 4 bytes, too few for a header"),
        (lambda d: truncate(d / SECOND, 40), rf"{SECOND}: got 40 bytes, too few for a header"),
        (lambda d: (d / SECOND).write_bytes(b"\2" + bytes(7) + b"x{"), "its header is damaged"),
        (lambda d: (d / INDEX).write_text("{"), "index.json is damaged; expected JSON"),
        (lambda d: (d / INDEX).write_text("{}"), "index.json is damaged; expected JSON"),
        (
            lambda d: rewrite_index(d, lambda names: names.update(x=SECOND)),
            rf"{SECOND}: got no x, which {INDEX} has there",
        ),
        (
            lambda d: rewrite_index(d, lambda names: names.pop("d")),
            rf"{SECOND}: got d, which {INDEX} has not there",
        ),
        (
            lambda d: rewrite_index(d, lambda names: names.update(d="../../etc/passwd")),
            r"got the file '../../etc/passwd', expected names of files beside it",
        ),
    ],
)
def test_damaged_shards_are_refused_in_one_line(tmp_path, damage, message):
    damage(sharded(tmp_path))
    with pytest.raises(ValueError, match=message) as caught:
        SafeTensors(tmp_path)
    assert "\n" not in str(caught.value)


def header(entry: dict) -> bytes:
    text = json.dumps({"a": entry}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(24)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"dtype": "F8_E4M3", "shape": [24], "data_offsets": [0, 24]},
            "got dtype F8_E4M3, expected",
        ),
        ({"dtype": "F32", "shape": [7], "data_offsets": [0, 24]}, "got 24 bytes, expected 28"),
        ({"dtype": "F32", "shape": [6], "data_offsets": [-24, 0]}, "its header is damaged"),
        ({"dtype": "F32", "shape": [-2, -3], "data_offsets": [0, 24]}, "header is damaged"),
        ({"dtype": ["F32"], "shape": [6], "data_offsets": [0, 24]}, "its header is damaged"),
        ({"dtype": "F32", "shape": [6], "data_offsets": [4, 28]}, "is cut short: got"),
        ({"dtype": "F32", "shape": 6, "data_offsets": [0, 24]}, "its header is damaged"),
        ({"dtype": "F32", "shape": ["6"], "data_offsets": [0, 24]}, "its header is damaged"),
        ({"dtype": "F32", "shape": [6]}, "its header is damaged"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path, entry, message):
    (tmp_path / SINGLE).write_bytes(header(entry))
    with pytest.raises(ValueError, match=message):
        SafeTensors(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickles_are_never_opened(tmp_path, name):
    (tmp_path / name).touch(mode=0o000)
    with pytest.raises(ValueError, match=rf"got {name}, a pickle, .* safe_serialization=True"):
        SafeTensors(tmp_path)


def test_a_directory_without_weights_says_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match=r"got neither model.safetensors nor .*index.json"):
        SafeTensors(tmp_path)
