"""The mixture: weights, epochs as in table 2.2 of GPT-3 (2005.14165), and the mix achieved.

| dataset | tokens | weight in training mix | epochs elapsed when training for 300B tokens |
"""

from collections.abc import Sequence
from typing import Any

from gptjax.curation.pipeline.configuration import PrepareConfig
from gptjax.data.batches.mixture import Mixture, Rows
from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.prepared.index import PreparedIndex
from gptjax.data.prepared.shard_files import ShardEntry


class _Counted:
    """Rows of which only the number matters."""

    def __init__(self, count: int):
        self._count = count

    def __len__(self) -> int:
        return self._count

    def batch(self, indices: Any) -> HostBatch:
        raise AssertionError("nobody reads these rows")


def weights_of(config: PrepareConfig, entries: Sequence[ShardEntry]) -> dict[str, float]:
    """The weight of each source that has something to train on; without weights, its tokens."""
    tokens = dict.fromkeys(config.sources, 0)
    for entry in entries:
        if entry.split == "train":
            tokens[entry.source] += entry.tokens
    weights = {
        name: float(tokens[name] if source.weight is None else source.weight)
        for name, source in config.sources.items()
        if tokens[name]
    }
    return {name: weight for name, weight in weights.items() if weight}


def mixture_rows(config: PrepareConfig, index: PreparedIndex) -> list[dict[str, Any]]:
    """For each source its tokens, its share as asked and achieved, and its epochs.

    The achieved share is that of the rows that a run of `mixture.tokens` takes, as the loader
    draws them, at most of the first ten million rows.
    """
    section = config.mixture
    total = sum(index.weights.values())
    tokens = {
        name: sum(entry.tokens for entry in index.entries("train", name)) for name in index.weights
    }
    counts = {name: max(count // section.context_length, 1) for name, count in tokens.items()}
    rows: dict[str, Rows] = {name: _Counted(count) for name, count in counts.items()}
    taken = min(max(section.tokens // section.context_length, 1), 10_000_000)
    achieved = Mixture(rows, index.weights, config.seed).counts(taken)
    return [
        {
            "source": name,
            "tokens": tokens[name],
            "asked": weight / total,
            "achieved": achieved[name] / taken,
            "epochs": weight / total * section.tokens / tokens[name],
        }
        for name, weight in index.weights.items()
    ]
