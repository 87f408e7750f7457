"""What a classifier of undesired content says of labelled texts: figures, thresholds, a file.

figures = category_figures(scores, labels, known, ("S", "H"))
thresholds = chosen_thresholds(scores, labels, known, ("S", "H"), precision=0.8)
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.special

from gptjax.atomic_files import write_json_lines
from gptjax.config import ExperimentConfig
from gptjax.data.labelled.multilabel import LabelledText
from gptjax.judging.detection import (
    area_under_roc,
    average_precision,
    brier_score,
    calibration_error,
    intervals,
    threshold_at_precision,
)
from gptjax.runs.program import Program
from gptjax.tasks.classification.report import judge
from gptjax.tasks.moderation.rows import TextRows, highest
from gptjax.training.evaluation import Evaluator
from gptjax.training.losses import Batch
from gptjax.training.processes import on_first
from gptjax.training.task_losses import PartsOf

PREDICTIONS = "predictions.jsonl"
BEST = "mean_auprc"  # the figure that chooses a checkpoint
FIGURES = {
    "auprc": average_precision,
    "auroc": area_under_roc,
    "brier": brier_score,
    "calibration_error": calibration_error,
}
SEED = 0  # of the bootstrap

Logits = Callable[[Any], np.ndarray]


def judged_texts(program: Program, config: ExperimentConfig, rows: TextRows) -> Logits:
    """A function from parameters to logits [N, C] of whole texts: the highest of their windows.

    Args:
      program: its model and mesh are used.
      config: its `training` says how many batches, and of what size.
      rows: all windows of the texts.
    """
    judged = judge(program, config, rows, _parts_of)
    return lambda params: highest(judged(params)[0], rows.owners)


def _parts_of(model: Any) -> PartsOf:
    def parts(params: Any, batch: Batch, rng: jax.Array | None):
        del rng
        return model.apply({"params": params}, batch["tokens"], batch["lengths"]), {}

    return parts


def text_evaluator(logits_of: Logits, rows: TextRows, categories: Sequence[str]) -> Evaluator:
    """An evaluator: `loss` of the known labels, `mean_auprc`, and auprc_NAME of each category.

    A category without a positive has no figure and is no part of the mean; without any the mean is
    that of chance, 0.
    """
    labels, known = rows.labels

    def evaluate(params: Any) -> dict[str, float]:
        logits = logits_of(params).astype(np.float64)
        count = len(logits)
        found = {
            name: average_precision(scores, right)
            for name, scores, right in _by_category(
                logits, labels[:count], known[:count], categories
            )
            if right.any()
        }
        nats = np.logaddexp(logits, 0.0) - labels[:count] * logits
        return {
            "loss": float(nats[known[:count]].mean()),
            BEST: float(np.mean(list(found.values()))) if found else 0.0,
            **{f"auprc_{name}": value for name, value in found.items()},
        }

    return evaluate


def category_figures(
    scores: np.ndarray, labels: np.ndarray, known: np.ndarray, categories: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Figures of each category over the texts whose label is known.

    Args:
      scores: [N, C] probabilities.
      labels: [N, C] of 0 and 1.
      known: [N, C], whether a label is known.
      categories: C names.

    Returns:
      Of each category `labelled`, `positive`, and of each of FIGURES its value with the bounds of
      its 95% interval over texts; figures that are not defined are left out.
    """
    return {
        name: {
            "labelled": len(right),
            "positive": int(right.sum()),
            **(intervals(FIGURES, said, right, SEED) if len(right) else {}),
        }
        for name, said, right in _by_category(scores, labels, known, categories)
    }


def chosen_thresholds(
    scores: np.ndarray,
    labels: np.ndarray,
    known: np.ndarray,
    categories: Sequence[str],
    precision: float,
) -> dict[str, float | None]:
    """Of each category the lowest threshold with a `precision`; None: it flags nothing.

    Other arguments as of `category_figures`.
    """
    return {
        name: threshold_at_precision(said, right, precision) if len(right) else None
        for name, said, right in _by_category(scores, labels, known, categories)
    }


def write_predictions(
    folder: Path, texts: Iterable[LabelledText], scores: np.ndarray, categories: Sequence[str]
) -> None:
    """Writes predictions.jsonl into `folder`: of each text a hash, its labels, its probabilities.

    The texts themselves are not written, as they may be offensive.
    """

    def lines() -> Iterator[Mapping[str, Any]]:
        for text, said in zip(texts, scores.tolist(), strict=False):
            yield {
                "sha256": hashlib.sha256(text.text.encode()).hexdigest(),
                "labels": dict(zip(categories, text.labels, strict=True)),
                "probabilities": dict(zip(categories, said, strict=True)),
            }

    on_first(lambda: write_json_lines(folder / PREDICTIONS, lines()))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Sigmoid of logits, float64."""
    return scipy.special.expit(logits.astype(np.float64))


def _by_category(
    scores: np.ndarray, labels: np.ndarray, known: np.ndarray, categories: Sequence[str]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The name, scores and labels of each category, over the texts whose label is known."""
    for number, name in enumerate(categories):
        of = known[:, number]
        yield name, scores[of, number], labels[of, number]
