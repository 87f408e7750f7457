"""What could not be read: counted by its reason, and the first ten told with file and line.

faults = Faults()
faults.add("malformed_json", "crawl.jsonl:17", "Expecting value at column 3")
print(faults.summary())
"""

import dataclasses
from collections import Counter

SHOWN = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One row, record or file that is not among the documents.

    Attributes:
      reason: "malformed_json", "too_long", ...
      where: the file, with the line, row or record: "crawl.jsonl:17".
      detail: what is wrong, for people.
    """

    reason: str
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}: {self.detail}"


@dataclasses.dataclass
class Faults:
    """All that is left out while files are read.

    Attributes:
      counts: faults by their reason.
      first: the first ten, in the order of the files and of what is in them.
    """

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    first: list[Fault] = dataclasses.field(default_factory=list)

    def add(self, reason: str, where: str, detail: str) -> None:
        """Counts one more."""
        self.counts[reason] += 1
        if len(self.first) < SHOWN:
            self.first.append(Fault(reason, where, detail))

    def extend(self, later: "Faults") -> None:
        """Takes in the faults of files that come behind those of this one."""
        self.counts += later.counts
        self.first += later.first[: SHOWN - len(self.first)]

    def summary(self) -> str:
        """Counts, and a line for each of the first ones; "" where there are none."""
        if not self.counts:
            return ""
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(self.counts.items()))
        return "\n".join([f"left out: {counts}", *(f"  {fault}" for fault in self.first)])
