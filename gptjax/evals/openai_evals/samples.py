"""The samples of an eval: where they are, in which order they are asked, and their random draws.

    rows = read(located("test_match/samples.jsonl", entry.root))
    for index in order(len(rows), max_samples=20): rng = draws("test-match", "s1", index, seed)

Source: evals/data.py and evals/eval.py of openai/evals 3.0.1.
"""

import gzip
import hashlib
import io
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import zstandard

SHUFFLE_SEED = 123
SEED = 20220722  # of the draws of samples, where none is given


def located(path: str, root: Path) -> Path:
    """The file, or the folder, that `samples_jsonl` names.

    It is a path from the working directory, if a file is there, else one in the data of a registry.

    Raises:
      ValueError: nothing is there, or it is the pointer that Git LFS leaves of a file.
    """
    found = Path(path) if Path(path).is_file() else root / "data" / path
    if "://" in path:
        raise ValueError(f"samples {path!r}: got a remote file, expected one on this machine")
    if not found.exists():
        raise ValueError(
            f"samples {path!r}: got neither a file of that path nor {found}, expected one of them; "
            "docs/openai_evals.md says where samples are"
        )
    return found


def read(path: Path) -> list[Any]:
    """The rows of a file of JSON lines, or of all *.jsonl files of a folder and those below it.

    Raises:
      ValueError: a line that is not JSON, or compression other than gzip and zstd.
    """
    if path.is_dir():
        return [row for each in sorted(path.rglob("*.jsonl")) for row in read(each)]
    rows = []
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                if line.startswith("version https://git-lfs"):
                    raise ValueError(
                        f"{path}: got a pointer of Git LFS, expected the file: `git lfs pull`"
                    ) from error
                raise ValueError(f"{path}: line {number}: {error}, expected JSON") from error
    return rows


def order(count: int, max_samples: int | None = None) -> list[int]:
    """Indices of the samples in the order in which they are asked: shuffled, and then cut."""
    indices = list(range(count))
    random.Random(SHUFFLE_SEED).shuffle(indices)
    return indices[:max_samples]


def draws(base: str, split: str, index: int, seed: int) -> random.Random:
    """The random draws of one sample."""
    return random.Random(f"{base}.{split}.{index}:{seed}".encode())


def content_hash(rows: Sequence[Any]) -> str:
    """The SHA-256, in hexadecimal, of samples."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=vars).encode() + b"\n")
    return digest.hexdigest()


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    if path.suffix == ".zst":
        return io.TextIOWrapper(zstandard.open(path, "rb"), encoding="utf-8")
    if path.suffix == ".lz4":
        raise ValueError(f"{path}: got lz4, expected a file that is plain, .gz or .zst")
    return open(path, encoding="utf-8")


def sections(rows: Sequence[Any], count: int, where: str) -> list[dict[str, str]]:
    """Messages of the first `count` few-shot examples, each a row with `sample`, a list of them."""
    return [message for row in rows[:count] for message in _section(row, where)]


def _section(row: Any, where: str) -> Iterator[dict[str, str]]:
    if not isinstance(row, dict) or not isinstance(row.get("sample"), list):
        raise ValueError(f"{where}: got {str(row)[:60]!r}, expected rows with a list as 'sample'")
    yield from row["sample"]
