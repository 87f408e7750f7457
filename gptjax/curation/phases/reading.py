"""The first phase: files are read, documents are sifted one by one and written in runs.

A part is some files of a source. What happens to a document is decided by it alone; an error that
it causes puts it into quarantine, with the error, and the others go on. So does one at which the
process has died twice.
"""

import dataclasses
from pathlib import Path
from typing import Any

from gptjax.curation.document import Document, Dropped
from gptjax.curation.phases.deaths import MOST_DEATHS, Deaths
from gptjax.curation.phases.sieve import Sieve
from gptjax.curation.pipeline.configuration import PrepareConfig
from gptjax.curation.pipeline.documents import RunWriter
from gptjax.curation.pipeline.sources import read_documents
from gptjax.curation.pipeline.work import DropLog, runs_folder, task_file
from gptjax.curation.readers.reading import Found

PHASE = "read"
QUARANTINE = "quarantine"


@dataclasses.dataclass
class PartCounts:
    """What became of the documents of a part.

    Attributes:
      read: documents, and rows in which there is none.
      read_bytes: of their text.
      kept: documents that go on.
      dropped: by reason.
      removed_lines: by rule.
      runs: names of the runs that hold what was kept.
      faults: the first rows that hold no document, with file and line.
    """

    read: int = 0
    read_bytes: int = 0
    kept: int = 0
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    removed_lines: dict[str, int] = dataclasses.field(default_factory=dict)
    runs: list[str] = dataclasses.field(default_factory=list)
    faults: list[str] = dataclasses.field(default_factory=list)


def read_part(
    output: str, config: PrepareConfig, source: str, part: str, files: tuple[Found, ...]
) -> dict[str, Any]:
    """Reads some files of a source; returns `PartCounts`, as JSON has them."""
    folder = Path(output)
    sieve, counts = Sieve(config, source), PartCounts()
    most_bytes = int(config.execution.part_megabytes * 1e6)
    writer = RunWriter(runs_folder(folder), f"{source}-{part}", most_bytes)
    log = DropLog(folder, PHASE, f"{source}-{part}")
    documents, faults = read_documents(source, config.sources[source], files)
    with Deaths(task_file(folder, PHASE, f"{source}-{part}.deaths")) as deaths:
        for document in documents:
            counts.read += 1
            counts.read_bytes += len(document.text.encode(errors="surrogatepass"))
            if deaths.count(counts.read) >= MOST_DEATHS:
                judged: Document | Dropped = deadly("sifting")
            else:
                with deaths.at(counts.read):
                    judged = _judged(sieve, document)
            if isinstance(judged, Dropped):
                log.add(source, document.id, judged, document.text)
            else:
                counts.kept += 1
                writer.add(judged)
    counts.runs = writer.finish()
    counts.removed_lines = dict(sorted(sieve.removed_lines.items()))
    counts.dropped = log.finish()
    for reason, count in sorted(faults.counts.items()):
        counts.read += count
        counts.dropped[f"reading.{reason}"] = count
    counts.faults = [str(fault) for fault in faults.first]
    assert counts.read == counts.kept + sum(counts.dropped.values())
    return dataclasses.asdict(counts)


def _judged(sieve: Sieve, document: Document) -> Document | Dropped:
    try:
        return sieve.judge(document)
    except Exception as error:  # a document that no stage was written for must not end the others
        return quarantined("sifting", error)


def quarantined(stage: str, error: Exception) -> Dropped:
    """A document that makes a stage fail."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return Dropped(f"{QUARANTINE}.{stage}", said[:300])


def deadly(stage: str) -> Dropped:
    """A document at which the processes of a stage die."""
    return Dropped(f"{QUARANTINE}.{stage}", f"its process died, at each of {MOST_DEATHS} attempts")
