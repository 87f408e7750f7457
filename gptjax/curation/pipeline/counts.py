"""What became of the documents of a source: read = kept + dropped by each reason.

counts.add_reading(result); counts.drop({"deduplication.exact": 3}); counts.add_shard(result)
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass
class SourceCounts:
    """Counts of one source.

    Attributes:
      read: documents, and rows in which there is none.
      read_bytes: UTF-8 bytes of their text, as it was read.
      kept: documents that are in the shards.
      pieces: texts that these were cut into; each is a document of the shards.
      dropped: documents, by reason.
      removed_lines: of documents that went on, by rule.
      faults: the first rows without a document.
      text_bytes, tokens: in the shards.
    """

    read: int = 0
    read_bytes: int = 0
    kept: int = 0
    pieces: int = 0
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    removed_lines: Counter[str] = dataclasses.field(default_factory=Counter)
    faults: list[str] = dataclasses.field(default_factory=list)
    text_bytes: int = 0
    tokens: int = 0

    def add_reading(self, part: Mapping[str, Any]) -> None:
        """Adds what a part of it gave."""
        self.read += part["read"]
        self.read_bytes += part["read_bytes"]
        self.drop(part["dropped"])
        self.removed_lines += Counter(part["removed_lines"])
        self.faults += part["faults"][: 10 - len(self.faults)]

    def drop(self, by_reason: Mapping[str, int]) -> None:
        """Adds documents that were dropped."""
        self.dropped.update(by_reason)

    def add_shard(self, shard: Mapping[str, Any]) -> None:
        """Adds what is in a shard."""
        self.kept += shard["kept"]
        self.pieces += shard["pieces"]
        self.drop(shard["dropped"])
        for entry in shard["entries"]:
            self.text_bytes += entry["text_bytes"]
            self.tokens += entry["tokens"]

    def check(self, source: str) -> None:
        """Asserts that every document that was read is kept, or was dropped for one reason."""
        dropped = sum(self.dropped.values())
        assert self.read == self.kept + dropped, (
            f"{source}: {self.read} documents read, {self.kept} kept and {dropped} dropped"
        )

    def as_json(self) -> dict[str, Any]:
        """The counts as JSON has them, reasons in order of their names."""
        counts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        of_reasons = {
            name: dict(sorted(counts[name].items())) for name in ("dropped", "removed_lines")
        }
        return counts | of_reasons


def counted(counts: Mapping[str, SourceCounts]) -> str:
    """A line about all sources: "web: 3 read, 1 kept, 2 c4.javascript"."""
    return "; ".join(
        ", ".join(
            [
                f"{name}: {of.read} read",
                f"{of.kept} kept",
                *(f"{count} {reason}" for reason, count in sorted(of.dropped.items())),
            ]
        )
        for name, of in counts.items()
    )
