"""Near-duplicates by three libraries: ours, `datasketch` and `rensa`, with the same hashes.

Each takes texts, makes signatures of runs of five words, in lower case, finds the pairs that agree
in a band, and says which texts have a duplicate. Both cores make signatures. The others decide by
the share of their ten hashes that agree; ours by the true similarity, and it makes clusters.
"""

import concurrent.futures
import importlib
import itertools
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.near_duplicates.documents import made_texts
from gptjax.curation.batches import batches
from gptjax.curation.deduplication.near_duplicates import (
    clustered,
    compared,
    joined,
    sign,
    wanted_documents,
)
from gptjax.curation.deduplication.scheme import MinHash
from gptjax.curation.deduplication.signatures import shingle_sets
from gptjax.curation.document import Document

PROCESSES = 2
_CHUNK = 1000  # texts of a task of the other libraries

_texts: list[str] = []  # what a forked process works on


def ours(texts: list[str], scheme: MinHash) -> dict[str, float]:
    """The functions of which `near_duplicates` consists, on two threads."""
    documents = [Document(str(number), text, "made") for number, text in enumerate(texts)]
    clock = Clock()
    with concurrent.futures.ThreadPoolExecutor(PROCESSES) as pool:
        parts = pool.map(lambda batch: sign(batch, scheme), batches(documents))
        signed = joined(parts, scheme)
        clock.lap("signatures")
        found = compared(signed, scheme)
        clock.lap("candidates")
        again = batches(wanted_documents(documents, signed, found))
        sets = list(pool.map(lambda batch: shingle_sets([d.text for d in batch], scheme), again))
        result = clustered(signed, found, sets, scheme, ["made"])
        dropped = len(result.drops())
        clock.lap("decisions")
    return clock.seconds | {"pairs": len(found.pairs), "dropped": dropped}


def rensa(texts: list[str], scheme: MinHash) -> dict[str, float]:
    """R-MinHash, in Rust; its index, and its estimates."""
    clock = Clock()
    parts = list(_in_processes(_rensa_signatures, texts, scheme.hashes, scheme.seed))
    signatures = list(itertools.chain(*parts))
    clock.lap("signatures")
    library = importlib.import_module("rensa")
    index = library.RMinHashLSH(scheme.threshold, scheme.hashes, scheme.bands)
    index.insert_many(signatures)
    found = index.query_all(signatures)
    return _decided(clock, signatures, found, scheme.threshold)


def datasketch(texts: list[str], scheme: MinHash) -> dict[str, float]:
    """MinHash and its index, in Python with NumPy."""
    clock = Clock()
    parts = list(_in_processes(_datasketch_signatures, texts, scheme.hashes, scheme.seed))
    library = importlib.import_module("datasketch")
    first = library.MinHash(num_perm=scheme.hashes, seed=scheme.seed)
    shared = {"seed": first.seed, "permutations": first.permutations, "scheme": first.scheme}
    signatures = [library.MinHash(hashvalues=row, **shared) for part in parts for row in part]
    clock.lap("signatures")
    index = library.MinHashLSH(num_perm=scheme.hashes, params=(scheme.bands, scheme.rows))
    for number, signature in enumerate(signatures):
        index.insert(number, signature)
    found = [index.query(signature) for signature in signatures]
    return _decided(clock, signatures, found, scheme.threshold)


def _decided(
    clock: "Clock", signatures: Sequence[Any], found: Sequence[list[int]], threshold: float
) -> dict[str, float]:
    """A text goes whose estimated similarity with one before it is the threshold or more."""
    clock.lap("candidates")
    dropped = 0
    for number, others in enumerate(found):
        mine = signatures[number]
        dropped += any(
            other < number and mine.jaccard(signatures[other]) >= threshold for other in others
        )
    clock.lap("decisions")
    pairs = sum(len(others) - 1 for others in found) // 2
    return clock.seconds | {"pairs": pairs, "dropped": dropped}


CONTENDERS: dict[str, Callable[[list[str], MinHash], dict[str, float]]] = {
    "ours": ours,
    "rensa": rensa,
    "datasketch": datasketch,
}


def version(name: str) -> str:
    """Of a contender; a library that is missing raises ValueError."""
    if name == "ours":
        return "gptjax"
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError as error:
        raise ValueError(
            f"{name} is not installed; expected the extra 'rivals': pip install 'gptjax[rivals]'"
        ) from error


class Clock:
    """Seconds of parts that follow each other: on the clock, and of processors."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._began = self._now()

    def lap(self, part: str) -> None:
        """Ends a part."""
        now = self._now()
        for (kind, time_now), time_began in zip(now.items(), self._began.values(), strict=True):
            self.seconds[f"{part}_{kind}"] = time_now - time_began
        self._began = now

    def _now(self) -> dict[str, float]:
        used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        processor = sum(each.ru_utime + each.ru_stime for each in used)
        return {"seconds": time.perf_counter(), "processor_seconds": processor}


def _in_processes(function: Callable[..., Any], texts: list[str], *arguments: Any) -> Iterable[Any]:
    """Applies a function to pieces of the texts, which the processes have without being sent."""
    _texts[:] = texts
    starts = range(0, len(texts), _CHUNK)
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        yield from pool.imap(_call, ((function, start, arguments) for start in starts))


def _call(task: tuple[Callable[..., Any], int, tuple[Any, ...]]) -> Any:
    function, start, arguments = task
    return function(_texts[start : start + _CHUNK], *arguments)


def _shingles(texts: Iterable[str]) -> Iterator[list[str]]:
    for text in texts:
        words = text.lower().split()
        yield [" ".join(words[start : start + 5]) for start in range(max(len(words) - 4, 1))]


def _rensa_signatures(texts: list[str], hashes: int, seed: int) -> list[Any]:
    library = importlib.import_module("rensa")
    return library.RMinHash.from_token_sets(list(_shingles(texts)), hashes, seed)


def _datasketch_signatures(texts: list[str], hashes: int, seed: int) -> np.ndarray:
    library = importlib.import_module("datasketch")
    sets = ([shingle.encode() for shingle in of_text] for of_text in _shingles(texts))
    made = library.MinHash.generator(sets, num_perm=hashes, seed=seed)
    return np.array([signature.hashvalues for signature in made])


def _peak_bytes() -> int:
    """The most memory of this program; `ru_maxrss` would count the process that started it too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Serves `program.contender`: runs on a few texts, then on all for each line it reads."""
    name, documents = sys.argv[1], int(sys.argv[2])
    said = version(name)
    texts = made_texts(documents)
    CONTENDERS[name](texts[:200], MinHash())
    print(said, flush=True)
    for _ in sys.stdin:
        figures = CONTENDERS[name](texts, MinHash())
        print(json.dumps({**figures, "peak_bytes": _peak_bytes()}), flush=True)


if __name__ == "__main__":
    main()
