"""The data engine: near-duplicates beside `rensa` and `datasketch`, tokenising beside `tokenizers`.

    python -m experiments.benchmark --suite=data

Near-duplicates are found among 200,000 made documents of 2,000 characters on two cores, with ten
hashes (see `near_duplicates.contenders`), each library in a process of its own, in turn. Libraries
are compared by the seconds of a document, since `datasketch` gets fewer of them: on the clock, and
of processors, which other work on the machine changes less.
"""

import contextlib
import dataclasses
import statistics
import sys
import time
from typing import Any

import tokenizers
from tokenizers import models, pre_tokenizers

from experiments.benchmarks.curation_rules import measure_rules
from experiments.benchmarks.figures import Target, with_targets
from experiments.benchmarks.interleaved import interleaved, medians, ratio
from experiments.benchmarks.near_duplicates.program import contender
from experiments.benchmarks.prepared_data import (
    measure_loader,
    measure_preparation,
    measure_shards,
)
from experiments.benchmarks.registry import SUITES
from gptjax.data.corpora.text import load_corpus
from gptjax.tokenization.byte_level_bpe import ByteLevelBPE
from gptjax.tokenization.loading import REPOSITORY_TOKENIZERS
from gptjax.tokenization.protocol import read_json


@dataclasses.dataclass(frozen=True)
class DataSizes:
    """Sizes of the suite `data`.

    Attributes:
      documents: among which near-duplicates are found.
      fewer: of them, to see how the cost grows.
      of_datasketch: of them, for the slowest library.
      rounds: of each comparison.
      megabytes: of text that is prepared from end to end.
      shards: that are opened.
      tokens: of the shard that the loader reads.
      batches: that it makes of them.
    """

    documents: int = 200_000
    fewer: int = 20_000
    of_datasketch: int = 10_000
    rounds: int = 3
    megabytes: int = 16
    shards: int = 10_000
    tokens: int = 20_000_000
    batches: int = 100


PARTS = ("signatures", "candidates", "decisions")
KINDS = SECONDS, PROCESSOR = "seconds", "processor_seconds"
TARGETS: dict[str, Target] = {
    "near_duplicates.over_*": ("at least", 1),
    "near_duplicates.growth": ("at most", 1.2),
    "near_duplicates.ours.peak_bytes": ("at most", 2e9),
    "tokenising.over_tokenizers": ("at least", 0.9),
    "rules.over_datatrove*": ("at least", 3),
    "preparation.megabytes_per_cpu_second": ("at least", 10),
    "shards.open_seconds": ("at most", 1),
    "loader.tokens_per_second": ("at least", 1e7),
}


@SUITES.register("data")
def data() -> dict[str, Any]:
    """Runs the whole suite, in about five minutes on two CPU cores."""
    return with_targets(measure_data(DataSizes()), TARGETS)


def measure_data(sizes: DataSizes) -> dict[str, Any]:
    """Runs the suite's parts, without targets."""
    return {
        "near_duplicates": measure_near_duplicates(sizes),
        "tokenising": measure_tokenising(sizes.rounds),
        "rules": measure_rules(sizes.rounds),
        "preparation": measure_preparation(sizes.megabytes),
        "shards": measure_shards(sizes.shards),
        "loader": measure_loader(sizes.tokens, sizes.batches),
    }


def measure_near_duplicates(sizes: DataSizes) -> dict[str, Any]:
    """Our seconds beside those of the others, and how they grow with the number of documents.

    `growth` is the processor time of a document among all by that among fewer.
    """
    counts = {
        "ours": sizes.documents,
        "ours_on_fewer": sizes.fewer,
        "rensa": sizes.documents,
        "datasketch": sizes.of_datasketch,
    }
    figures: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        runs = {}
        for name, documents in counts.items():
            library = name.removesuffix("_on_fewer")
            try:
                run, version = stack.enter_context(contender(library, documents))
            except ValueError as error:
                figures[name] = str(error)
            else:
                runs[name], figures[name] = run, {"library": version, "documents": documents}
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
        print(f"near-duplicates: {sizes.rounds} rounds", file=sys.stderr, flush=True)
        for _ in range(sizes.rounds):
            for name, run in runs.items():
                rounds[name].append(run())
    for name, of_rounds in rounds.items():
        medians_of = {key: statistics.median(r[key] for r in of_rounds) for key in of_rounds[0]}
        totals = {kind: statistics.median(_sum(r, kind) for r in of_rounds) for kind in KINDS}
        figures[name] |= totals | medians_of

    def over(other: str, kind: str, *parts: str) -> float:
        """How many times as long the other takes for a document."""
        pairs = zip(rounds[other], rounds["ours"], strict=True)
        of_rounds = [
            _sum(theirs, kind, *parts) / _sum(mine, kind, *parts) for theirs, mine in pairs
        ]
        return statistics.median(of_rounds) * counts["ours"] / counts[other]

    figures["growth"] = 1 / over("ours_on_fewer", PROCESSOR)
    for other in ("rensa", "datasketch"):
        if other in rounds:
            figures[f"over_{other}"] = {
                **{kind: over(other, kind) for kind in KINDS},
                "candidates_processor_seconds": over(other, PROCESSOR, "candidates"),
            }
    return figures


def measure_tokenising(rounds: int) -> dict[str, Any]:
    """`encode_batch` beside that of the library behind it, on the standard library's texts."""
    texts = [document.text for document in load_corpus("python_docs")]
    ours = ByteLevelBPE.load(REPOSITORY_TOKENIZERS / "python_docs_4096")
    directory = REPOSITORY_TOKENIZERS / "python_docs_4096"
    lines = (directory / ours.merges_file).read_text(encoding="utf-8").splitlines()
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines[1:])]
    theirs = tokenizers.Tokenizer(models.BPE(read_json(directory / ours.vocab_file), merges))
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)

    def seconds_of(encode: Any) -> float:
        began = time.perf_counter()
        encode(texts)
        return time.perf_counter() - began

    seconds = interleaved(
        {
            "ours": lambda: seconds_of(ours.encode_batch),
            "tokenizers": lambda: seconds_of(theirs.encode_batch),
        },
        rounds + 2,
    )
    size = sum(len(text.encode()) for text in texts)
    return {
        **medians(seconds),
        "megabytes_per_second": size / 1e6 / statistics.median(seconds["ours"]),
        "over_tokenizers": ratio(seconds, "tokenizers", "ours"),
    }


def _sum(figures: dict[str, float], kind: str, *parts: str) -> float:
    return sum(figures[f"{part}_{kind}"] for part in parts or PARTS)
