"""Fuzzy deduplication as phases: sign (each run), compare, sets of the pairs (each run), cluster.

Comparing and clustering are one task each, which holds the id and the signature of every document:
about 200 bytes of each with ten hashes.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.atomic_files import replaced, write_json_lines
from gptjax.curation.batches import batches
from gptjax.curation.deduplication.near_duplicates import (
    Compared,
    Signed,
    clustered,
    compared,
    sign,
)
from gptjax.curation.deduplication.scheme import MinHash
from gptjax.curation.deduplication.signatures import ShingleSets, shingle_sets
from gptjax.curation.document import Dropped, document_key
from gptjax.curation.executors.tasks import Task
from gptjax.curation.pipeline.work import Run, Work, drop_rows, rows_left

PHASE = "near_duplicates"
SIGN, COMPARE, SETS, CLUSTER = (
    f"{PHASE}_{step}" for step in ("sign", "compare", "sets", "cluster")
)
PAIRS, CLUSTERS = "duplicates/pairs.jsonl", "duplicates/clusters.jsonl"

Named = tuple[str, str]  # name and source of a run


def drop_similar(
    work: Work, runs: list[Run], scheme: MinHash, priority: list[str], before: tuple[str, ...]
) -> tuple[list[dict[str, int]], dict[str, Any]]:
    """Drops documents that are similar to another, and writes all pairs and clusters.

    Args:
      work: what runs tasks.
      runs: of all sources.
      scheme: of signatures and threshold.
      priority: names of all sources, the first of which keeps its documents.
      before: phases that dropped documents.

    Returns:
      For each run how many were dropped, by reason; and figures of the pairs.
    """
    output, named = str(work.output), [(run.name, run.source) for run in runs]

    def of_runs(function: str, **arguments: list[Any]) -> list[Task]:
        rows = (
            dict(zip(arguments, row, strict=True)) for row in zip(*arguments.values(), strict=True)
        )
        return [
            Task(run[0], f"{__name__}:{function}", {"output": output, "run": run} | row)
            for run, row in zip(named, rows, strict=True)
        ]

    def of_all(function: str, **arguments: Any) -> list[Task]:
        given = {"output": output, "scheme": scheme, "runs": named} | arguments
        return [Task("all", f"{__name__}:{function}", given)]

    same = [scheme] * len(runs)
    counts = work.run(SIGN, of_runs("sign_run", scheme=same, before=[before] * len(runs)))
    (figures,) = work.run(COMPARE, of_all("compare_all"))
    firsts = [0, *itertools.accumulate(counts)][: len(runs)]
    work.run(SETS, of_runs("sets_of_run", scheme=same, first=firsts))
    (found,) = work.run(CLUSTER, of_all("cluster_all", priority=priority))
    dropped = work.run(PHASE, of_runs("drop_found", number=list(range(len(runs)))))
    return dropped, figures | found


def sign_run(output: str, run: Named, scheme: MinHash, before: tuple[str, ...]) -> int:
    """Signs the documents of a run that are left; returns their number."""
    folder, of = Path(output), Run(*run)
    rows = rows_left(folder, before, of)
    signed = [sign(batch, scheme) for batch in batches(of.open(folder).documents(of.source, rows))]
    lengths = [np.empty(0, np.int64), *(part.lengths for part in signed)]
    signatures = [np.empty((0, scheme.hashes), np.uint32), *(part.signatures for part in signed)]
    _save(
        _file(folder, SIGN, of.name),
        rows=rows,
        lengths=np.concatenate(lengths),
        signatures=np.concatenate(signatures),
    )
    return len(rows)


def compare_all(output: str, scheme: MinHash, runs: list[Named]) -> dict[str, int]:
    """Finds the pairs that are to be compared; returns how many."""
    folder = Path(output)
    signed = _signed(folder, runs)
    none, no_pairs = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    found = Compared(none, no_pairs, none.astype(bool), 0)
    if signed.names:
        found = compared(signed, scheme)
    _save(
        _file(folder, COMPARE, "all"),
        order=found.order,
        pairs=found.pairs,
        wanted=found.wanted,
        left_out=found.left_out,
    )
    return {
        "documents": len(signed.names),
        "candidates": len(found.pairs),
        "left_out": int(found.left_out),
    }


def sets_of_run(output: str, run: Named, scheme: MinHash, first: int) -> int:
    """Makes the shingles of a run's documents that are in a pair; returns their number.

    `first` is the number of the run's first document among all.
    """
    folder, of = Path(output), Run(*run)
    rows = np.load(_file(folder, SIGN, of.name))["rows"]
    rows = rows[np.load(_file(folder, COMPARE, "all"))["wanted"][first : first + len(rows)]]
    sets = ShingleSets.joined(
        shingle_sets([one.text for one in batch], scheme)
        for batch in batches(of.open(folder).documents(of.source, rows))
    )
    _save(_file(folder, SETS, of.name), values=sets.values, offsets=sets.offsets)
    return len(rows)


def cluster_all(
    output: str, scheme: MinHash, runs: list[Named], priority: list[str]
) -> dict[str, Any]:
    """Clusters what is similar, and says which rows of each run go; returns figures."""
    folder = Path(output)
    signed, drops = _signed(folder, runs), {}
    figures = {"pairs": 0, "clusters": 0, "largest": []}
    if signed.names:
        loaded = np.load(_file(folder, COMPARE, "all"))
        found = Compared(
            **{name: loaded[name] for name in ("order", "pairs", "wanted")}, left_out=0
        )
        each = (np.load(_file(folder, SETS, name)) for name, _ in runs)
        sets = (ShingleSets(one["values"], one["offsets"]) for one in each)
        alike = clustered(signed, found, sets, scheme, priority)
        write_json_lines(folder / PAIRS, alike.pair_rows())
        write_json_lines(folder / CLUSTERS, alike.cluster_rows())
        drops = alike.drops()
        sizes = sorted((1 + len(row["dropped"]) for row in alike.cluster_rows()), reverse=True)
        figures = {"pairs": len(alike.pairs), "clusters": len(sizes), "largest": sizes[:10]}
    rows: dict[int, list[tuple[int, str, str]]] = {}
    at = 0
    for number, (name, _) in enumerate(runs):
        for row in np.load(_file(folder, SIGN, name))["rows"].tolist():
            why = drops.get(document_key(*signed.names[at]))
            if why is not None:
                rows.setdefault(number, []).append((row, why.reason, why.detail))
            at += 1
    for number in range(len(runs)):
        path = folder / "work" / CLUSTER / f"drops-{number:06}.jsonl"
        write_json_lines(path, rows.get(number, []))
    return figures


def drop_found(output: str, run: Named, number: int) -> dict[str, int]:
    """Drops what was found in one run; returns how many, by reason."""
    folder = Path(output)
    lines = (folder / "work" / CLUSTER / f"drops-{number:06}.jsonl").read_text().splitlines()
    rows = {row: Dropped(reason, detail) for row, reason, detail in map(json.loads, lines)}
    return drop_rows(folder, PHASE, Run(*run), rows)


def _signed(folder: Path, runs: list[Named]) -> Signed:
    """What all runs' files say, in the order of the runs."""
    names: list[tuple[str, str]] = []
    lengths, signatures = [], []
    for of in (Run(*run) for run in runs):
        part, ids = np.load(_file(folder, SIGN, of.name)), of.open(folder).ids
        names += [(of.source, ids[row]) for row in part["rows"].tolist()]
        lengths.append(part["lengths"])
        signatures.append(part["signatures"])
    return Signed(names, np.concatenate(lengths), np.concatenate(signatures))


def _file(folder: Path, phase: str, name: str) -> Path:
    return folder / "work" / phase / f"{name}.npz"


def _save(path: Path, **arrays: Any) -> None:
    with replaced(path, "wb") as file:
        np.savez(file, **arrays)
