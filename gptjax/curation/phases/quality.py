"""GPT-3's quality classifier as phases: one task learns it, then each run is sifted by it.

Nine in ten of the documents that are drawn for it teach it; the tenth measures it. No text is drawn
that any source holds out: those judge the models whose training text the classifier chooses.
"""

import collections
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.curation.batches import batches
from gptjax.curation.document import Document, Dropped
from gptjax.curation.executors.tasks import Task
from gptjax.curation.pipeline.configuration import PrepareConfig
from gptjax.curation.pipeline.holding_out import bounds_of
from gptjax.curation.pipeline.work import EXCERPT, Run, Work, drop_rows, rows_left
from gptjax.curation.quality.classifier import Classifier, fit, load_classifier
from gptjax.curation.quality.draws import draw, keep_probability
from gptjax.curation.quality.report import border, measure

PHASE = "quality"
FILE = "quality.npz"
_MEASURED = 10  # of so many documents one measures the classifier


def sift(
    work: Work, config: PrepareConfig, runs: list[Run], before: tuple[str, ...]
) -> tuple[list[dict[str, int]], dict[str, Any]]:
    """Learns the classifier and drops what it does not keep.

    Args:
      work: what runs tasks.
      config: of the preparation.
      runs: of all sources.
      before: phases that dropped documents.

    Returns:
      For each run how many were dropped, by reason; and the report on the classifier.

    Raises:
      ValueError: a side has no documents to learn from and to measure by.
    """
    section, output = config.quality, str(work.output)
    sides = [
        [run for run in runs if run.source in of] for of in (section.positives, section.negatives)
    ]
    named = [[(run.name, run.source) for run in side] for side in sides]
    held_out = bounds_of(config, work.output, runs, before)
    (figures,) = work.run(
        f"{PHASE}_fit",
        [
            Task(
                "all",
                f"{__name__}:fit_classifier",
                {
                    "output": output,
                    "positives": named[0],
                    "negatives": named[1],
                    "most": section.documents,
                    "alpha": section.alpha,
                    "before": before,
                    "judging": [
                        (run.name, run.source, bounds)
                        for run in runs
                        if (bounds := held_out[run.source])[1]
                    ],
                },
            )
        ],
    )
    given = {"output": output, "seed": config.seed, "alpha": section.alpha, "before": before}
    sifted = [run for run in runs if config.sources[run.source].quality]
    tasks = [
        Task(run.name, f"{__name__}:sift_run", given | {"run": (run.name, run.source)})
        for run in sifted
    ]
    dropped = dict(zip((run.name for run in sifted), work.run(PHASE, tasks), strict=True))
    if negatives := figures.pop("negatives", None):  # not if an earlier version learned it
        figures["sifted"] = sum(len(rows_left(work.output, before, run)) for run in sifted)
        names = {run.source for run in sifted}
        figures["sifted_learned"] = sum(negatives.get(name, 0) for name in names)
    return [dropped.get(run.name, {}) for run in runs], figures


def fit_classifier(
    output: str,
    positives: list[tuple[str, str]],
    negatives: list[tuple[str, str]],
    most: int,
    alpha: float,
    before: tuple[str, ...],
    judging: list[tuple[str, str, tuple[int, int]]],
) -> dict[str, Any]:
    """Learns from up to `most` documents of either side, writes the classifier, measures it.

    `judging`: name and source of each run that holds documents out, and the range of their hashes.
    """
    folder = Path(output)
    held_out = _held_out(folder, judging, before)
    drawn = [
        _drawn(folder, [Run(*run) for run in side], most, before, held_out)
        for side in (positives, negatives)
    ]
    for name, documents in zip(("positives", "negatives"), drawn, strict=True):
        if len(documents) < 2:
            raise ValueError(
                f"quality.{name}: got sources with {len(documents)} document(s) left to train on, "
                "expected two or more"
            )
    learned, measured = zip(*(_divided(documents) for documents in drawn), strict=True)
    classifier = fit(*([document.text for document in side] for side in learned))
    classifier.save(folder / FILE)
    judged = [document for side in measured for document in side]
    scores = classifier.score([document.text for document in judged])
    labels = np.repeat([True, False], [len(side) for side in measured])
    names = [f"{document.source}: {document.id}" for document in judged]
    texts = {name: one.text[:EXCERPT] for name, one in zip(names, judged, strict=True)}
    nearest = [
        {"document": name, "score": score, "text": texts[name]}
        for name, score in border(scores, names)
    ]
    negatives_of = collections.Counter(document.source for document in learned[1])
    return measure(scores, labels, alpha).row() | {"border": nearest, "negatives": negatives_of}


def sift_run(
    output: str, run: tuple[str, str], seed: int, alpha: float, before: tuple[str, ...]
) -> dict[str, int]:
    """Drops the documents of a run that the classifier's draw does not keep."""
    folder, of = Path(output), Run(*run)
    classifier: Classifier = load_classifier(folder / FILE)
    rows = rows_left(folder, before, of)
    dropped: dict[int, Dropped] = {}
    at = 0
    for batch in batches(of.open(folder).documents(of.source, rows)):
        scores = classifier.score([document.text for document in batch])
        probabilities = keep_probability(scores, alpha)
        for document, score, probability in zip(batch, scores, probabilities, strict=True):
            drawn = draw(document.key, seed)
            if drawn >= probability:
                said = f"score {score:.3f}, draw {drawn:.3f}, expected one below {probability:.3f}"
                dropped[int(rows[at])] = Dropped("quality.low_score", said)
            at += 1
    return drop_rows(folder, PHASE, of, dropped)


def _drawn(
    folder: Path,
    runs: Sequence[Run],
    most: int,
    before: tuple[str, ...],
    held_out: np.ndarray,
) -> list[Document]:
    """The documents of the least keys, up to `most`, in the order of their keys."""
    places = [
        (int(high), int(low), number, int(row))
        for number, run in enumerate(runs)
        for high, low, row in _least(folder, run, most, before, held_out)
    ]
    return [
        next(runs[number].open(folder).documents(runs[number].source, [row]))
        for _, _, number, row in sorted(places)[:most]
    ]


def _least(
    folder: Path, run: Run, most: int, before: tuple[str, ...], held_out: np.ndarray
) -> Iterator[tuple[Any, Any, Any]]:
    """Keys and rows of a run's first documents to train on; it is sorted by key."""
    rows, table = rows_left(folder, before, run), run.open(folder).table
    rows = rows[~np.isin(table["digest_high"][rows], held_out)][:most]
    return zip(table["key_high"][rows], table["key_low"][rows], rows, strict=True)


def _held_out(
    folder: Path, judging: list[tuple[str, str, tuple[int, int]]], before: tuple[str, ...]
) -> np.ndarray:
    """The upper 64 bits of the hashes of all texts that are held out."""
    found = [np.zeros(0, np.uint64)]
    for name, source, (first, stop) in judging:
        run = Run(name, source)
        numbers = run.open(folder).table["digest_high"][rows_left(folder, before, run)]
        found.append(numbers[(numbers >= np.uint64(first)) & (numbers <= np.uint64(stop - 1))])
    return np.unique(np.concatenate(found))


def _divided(documents: list[Document]) -> tuple[list[Document], list[Document]]:
    """Documents to learn from, and those to measure by."""
    measured = documents[::_MEASURED]
    return [one for place, one in enumerate(documents) if place % _MEASURED], measured
