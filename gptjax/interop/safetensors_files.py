"""Tensors in the safetensors format, one file or several with an index, of any size.

The format: the header's length (8 bytes, little-endian), the header (JSON: name to dtype, shape and
place), then the tensors, row-major. The index names the file of each tensor. Both are those of
github.com/huggingface/safetensors and of `save_pretrained`.

The library of that name keeps all that was read of a file resident, and writes what is in memory as
a whole. Here a tensor is mapped anew each time it is asked for, and written as it comes, so that a
model is converted in less memory than it has.

    tensors = SafeTensors(directory)         # a mapping from name to a read-only array
    write_safetensors(directory, {"a": (2, 3)}, "float32", max_shard_bytes, [("a", array)])
"""

import json
import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(jnp.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
LONGEST_HEADER = 100_000_000  # bytes, as in the library
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
HOW_TO_CONVERT = (
    "expected safetensors, as transformers writes them: "
    "AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW, safe_serialization=True)"
)


class Place(NamedTuple):
    """Location of a tensor: file, first byte, dtype, shape."""

    file: Path
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]


class SafeTensors(Mapping[str, np.ndarray]):
    """The tensors of a model directory; headers are read and checked, tensors when asked for."""

    def __init__(self, directory: Path):
        """Reads all headers; `directory` may be one file.

        Raises:
          ValueError: there are no safetensors, or only pickles, which are never opened; a file is
            missing, cut short or damaged; the index and the files disagree.
        """
        if directory.is_file():
            self._places = _read_header(directory)
        elif (directory / SINGLE).is_file():
            self._places = _read_header(directory / SINGLE)
        elif (directory / INDEX).is_file():
            self._places = _read_shards(directory)
        else:
            raise _nothing_to_read(directory)

    def __getitem__(self, name: str) -> np.ndarray:
        """The tensor, mapped from its file; its memory is free again once it is let go."""
        file, offset, dtype, shape = self._places[name]
        if 0 in shape:
            return np.zeros(shape, dtype)
        return np.memmap(file, dtype, "r", offset, shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def files(self) -> list[Path]:
        """The files that the tensors lie in, by name."""
        return sorted({place.file for place in self._places.values()})


def write_safetensors(
    directory: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: str,
    max_shard_bytes: int,
    tensors: Iterable[tuple[str, np.ndarray]],
) -> None:
    """Writes one file, or files of at most `max_shard_bytes` (or one tensor) and their index.

    Args:
      directory: there, without such files.
      shapes: of all tensors, in the order in which they lie in the files.
      dtype: "float32", "float16" or "bfloat16", which they are cast to.
      max_shard_bytes: of a file's tensors.
      tensors: each once, in any order, which need not be in memory together.

    Raises:
      ValueError: a finite value that the dtype cannot hold, by the tensor's name.
    """
    numbers = np.dtype(dtype)
    shards = _divided(shapes, numbers, max_shard_bytes)
    files = [
        SINGLE if len(shards) == 1 else f"model-{i:05}-of-{len(shards):05}.safetensors"
        for i in range(1, len(shards) + 1)
    ]
    places: dict[str, Place] = {}
    for file, names in zip(files, shards, strict=True):
        places |= _begin(directory / file, {name: shapes[name] for name in names}, numbers)
    if len(shards) > 1:
        total = sum(math.prod(shape) for shape in shapes.values())
        index = {
            "metadata": {"total_size": total * numbers.itemsize, "total_parameters": total},
            "weight_map": {name: place.file.name for name, place in sorted(places.items())},
        }
        (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    for name, tensor in tensors:
        place = places.pop(name)
        assert tensor.shape == place.shape, (name, tensor.shape, place.shape)
        with place.file.open("r+b") as stream:
            stream.seek(place.offset)
            stream.write(np.ascontiguousarray(_cast(name, tensor, numbers)).view(np.uint8).data)
    assert not places, f"never given: {', '.join(places)}"


def _cast(name: str, tensor: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        cast = tensor.astype(dtype, copy=False)
    if dtype.itemsize < tensor.dtype.itemsize and (np.isinf(cast) & np.isfinite(tensor)).any():
        largest = np.abs(tensor).max()
        raise ValueError(f"{name}: got {largest:.6g}, expected what {dtype} holds (or float32)")
    return cast


def _divided(
    shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype, max_bytes: int
) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        size = math.prod(shape) * dtype.itemsize
        if shards[-1] and filled + size > max_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _begin(file: Path, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype) -> dict[str, Place]:
    """Writes a file's header and makes room for its tensors."""
    code = next(code for code, known in DTYPES.items() if known == dtype)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors are aligned
    start = 8 + len(text)
    with file.open("xb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(start + end)
    return {
        name: Place(file, start + header[name]["data_offsets"][0], dtype, shape)
        for name, shape in shapes.items()
    }


def _read_header(file: Path) -> dict[str, Place]:
    """The places of a file's tensors."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise ValueError(
                f"{file}: got {size} bytes, too few for a header; expected safetensors"
            )
        text = stream.read(length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        entries = {str(name): _entry(**entry) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{file}: its header is damaged; expected safetensors") from error
    start, places = 8 + length, {}
    for name, (code, shape, begin, end) in entries.items():
        if code not in DTYPES:
            raise ValueError(f"{name} in {file}: got dtype {code}, expected F32, F16 or BF16")
        needed = math.prod(shape) * DTYPES[code].itemsize
        if end - begin != needed:
            raise ValueError(
                f"{name} in {file}: got {end - begin} bytes, expected {needed} for shape {shape}"
            )
        if start + end > size:
            raise ValueError(
                f"{file} is cut short: got {size} bytes, expected {start + end} or more for {name}"
            )
        places[name] = Place(file, start + begin, DTYPES[code], shape)
    return places


def _entry(dtype: str, shape: Any, data_offsets: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Checks a header's entry of one tensor; raises ValueError or TypeError if it is impossible."""
    shape, (begin, end) = tuple(map(operator.index, shape)), map(operator.index, data_offsets)
    if not isinstance(dtype, str) or min(*shape, begin, end, 0) < 0:
        raise ValueError("no dtype, or negative")
    return dtype, shape, begin, end


def _read_shards(directory: Path) -> dict[str, Place]:
    """The places of the tensors that the index names, and of no others."""
    index = directory / INDEX
    try:
        named = dict(json.loads(index.read_text("utf-8"))["weight_map"])
        files = sorted(set(named.values()))
        foreign = [file for file in files if Path(file).name != file]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{index} is damaged; expected JSON with a weight_map") from error
    if foreign:
        raise ValueError(f"{index}: got the file {foreign[0]!r}, expected names of files beside it")
    absent = [file for file in files if not (directory / file).is_file()]
    if absent:
        raise ValueError(
            f"{directory}: got no {absent[0]} ({len(absent)} of {len(files)} files are missing), "
            f"expected all that {INDEX} names"
        )
    places: dict[str, Place] = {}
    for file in files:
        for name, place in _read_header(directory / file).items():
            if named.get(name) != file:
                raise ValueError(f"{directory / file}: got {name}, which {INDEX} has not there")
            places[name] = place
    for name in named.keys() - places.keys():
        raise ValueError(f"{directory / named[name]}: got no {name}, which {INDEX} has there")
    return places


def _nothing_to_read(directory: Path) -> ValueError:
    pickles = sorted(file.name for file in directory.iterdir() if file.suffix in PICKLES)
    if pickles:
        return ValueError(
            f"{directory}: got {pickles[0]}, a pickle, which is never opened; {HOW_TO_CONVERT}"
        )
    return ValueError(f"{directory}: got neither {SINGLE} nor {INDEX}; {HOW_TO_CONVERT}")
