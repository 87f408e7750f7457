"""Speed of preparations, of opening shards, and of the loader that reads them.

figures = measure_preparation(megabytes=16)
"""

import dataclasses
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.curation.document import document_key
from gptjax.curation.executors.tasks import InProcess
from gptjax.curation.pipeline.configuration import PrepareConfig, ShardsConfig, SourceConfig
from gptjax.curation.pipeline.prepare import prepare
from gptjax.curation.pipeline.resolution import resolve
from gptjax.data.corpora.text import load_corpus
from gptjax.data.prepared.index import PreparedIndex, token_dtype, write_index
from gptjax.data.prepared.rows import mixture_of
from gptjax.data.prepared.shard_files import ShardDocument, write_shard
from gptjax.data.prepared.split import open_prepared

_CHARACTERS = 2_000  # of a document
_CONTEXT_LENGTH, _BATCH = 2048, 64


class _Phases:
    """CPU seconds of each phase."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._name, self._began = "", 0.0

    def phase(self, name: str, tasks: int, done: int) -> None:
        now = time.process_time()
        if self._name:
            self.seconds[self._name] = now - self._began
        self._name, self._began = name, now

    def advance(self) -> None:
        pass


def measure_preparation(megabytes: int) -> dict[str, Any]:
    """A preparation without the classifier, in one process: MB of text a CPU second, and its parts.

    Documents are passages of 2,000 characters of the documentation that comes with Python, with
    Gopher's rules and fuzzy deduplication.
    """
    text = "\n".join(document.text for document in load_corpus("python_docs"))
    drawn = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "documents.jsonl"
        with source.open("w", encoding="utf-8") as file:
            for _ in range(megabytes * 10**6 // _CHARACTERS):
                first = drawn.randrange(len(text) - _CHARACTERS)
                file.write(json.dumps({"text": text[first : first + _CHARACTERS]}) + "\n")
        config = PrepareConfig(
            tokenizer="python_docs_4096",
            sources={"text": SourceConfig("jsonl", str(source))},
            heuristics={"gopher_quality": {}, "gopher_repetition": {}},
            shards=ShardsConfig(megabytes=16.0),
        )
        phases = _Phases()
        report = prepare(resolve(config), Path(folder) / "out", InProcess(), phases)
        phases.phase("", 0, 0)
    read = report["sources"]["text"]["read_bytes"] / 1e6
    seconds = sum(phases.seconds.values())
    return {
        "megabytes": read,
        "megabytes_per_cpu_second": read / seconds,
        "kept": report["sources"]["text"]["kept"],
        "cpu_seconds": {name: round(value, 3) for name, value in phases.seconds.items()},
    }


def measure_shards(shards: int) -> dict[str, float]:
    """Seconds in which a folder of so many shards opens, and its first batch after that."""
    with tempfile.TemporaryDirectory() as folder:
        directory, dtype = Path(folder), token_dtype(50_257)
        index = _written(directory, dtype, tokens=4 * _CONTEXT_LENGTH)
        (entry,) = index.shards
        entries = []
        for number in range(shards):
            name = f"train/text-{number:05}"
            for suffix in ("tokens", "documents"):
                path = directory / f"{name}.{suffix}"
                if not path.exists():
                    path.hardlink_to(directory / f"{entry.name}.{suffix}")
            entries.append(dataclasses.replace(entry, name=name))
        write_index(directory, dataclasses.replace(index, shards=tuple(entries)))
        began = time.perf_counter()
        opened = open_prepared(directory)
        seconds = time.perf_counter() - began
        mixture_of(opened, _CONTEXT_LENGTH, False, seed=0).batch(np.arange(_BATCH))
        first = time.perf_counter() - began - seconds
    return {"shards": shards, "open_seconds": seconds, "first_batch_seconds": first}


def measure_loader(tokens: int, batches: int) -> dict[str, float]:
    """Tokens a second of one process: of the first epoch, with checksums, and of the next."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        _written(directory, token_dtype(50_257), tokens)
        mixture = mixture_of(open_prepared(directory), _CONTEXT_LENGTH, False, seed=0)
        speeds = []
        for _ in range(2):
            began = time.perf_counter()
            for batch in range(batches):
                mixture.batch(np.arange(batch * _BATCH, (batch + 1) * _BATCH))
            speeds.append(batches * _BATCH * _CONTEXT_LENGTH / (time.perf_counter() - began))
    return {"tokens_per_second_checked_first": speeds[0], "tokens_per_second": speeds[1]}


def _written(directory: Path, dtype: np.dtype, tokens: int) -> PreparedIndex:
    """Prepared data of one shard of random tokens."""
    drawn = np.random.default_rng(0)
    sizes = [1000] * (tokens // 1000)
    documents = [
        ShardDocument(
            document_key("text", str(number)),
            {"id": str(number)},
            4 * size,
            4 * size,
            drawn.integers(0, 50_000, size),
        )
        for number, size in enumerate(sizes)
    ]
    entry = write_shard(directory, "train/text-00000", documents, dtype, end_of_text=50_256)
    index = PreparedIndex("none", 50_257, 50_256, True, "concatenate", {"text": 1.0}, (entry,), {})
    write_index(directory, index)
    return index
