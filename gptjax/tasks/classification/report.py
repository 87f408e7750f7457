"""What a classifier says of held-out examples: outputs, metrics, and a file of predictions.

judged = judge(program, config, rows, task_parts, 0.5)
figures = task_evaluator(judged, rows, ("0", "1"), 0.5)(params)
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.special

from gptjax.atomic_files import write_json_lines
from gptjax.config import ExperimentConfig
from gptjax.data.batches.mixture import Rows
from gptjax.data.batches.task_inputs import TaskRows
from gptjax.judging.metrics import metrics_of
from gptjax.runs import inputs
from gptjax.runs.program import Program
from gptjax.tasks.row_scores import compiled_once
from gptjax.training.evaluation import Evaluator
from gptjax.training.losses import Batch
from gptjax.training.partitioning import batch_share, put_batch
from gptjax.training.processes import on_first
from gptjax.training.task_losses import PartsOf

Judged = Callable[[Any], tuple[np.ndarray, Mapping[str, np.ndarray]]]
PREDICTIONS = "predictions.jsonl"
SEED = 0  # of the bootstrap: the same examples are drawn for every checkpoint and every run


def judge(
    program: Program,
    config: ExperimentConfig,
    rows: Rows,
    parts_of: Callable[..., PartsOf],
    *options: Hashable,
) -> Judged:
    """A function from parameters to outputs [N, ...] and losses [N] of each row, without dropout.

    Args:
      program: its mesh is used.
      config: its `training` says how many batches, and of what size.
      rows: the examples.
      parts_of: what a batch is judged by, such as `task_parts`, as a function of the program's
        model and of `options`. It is compiled once for each program.
      *options: further arguments of `parts_of`.
    """
    mesh, compiled = program.mesh, compiled_once(program, _judging, parts_of, *options)
    batches = inputs.row_batches(config, rows, batch_share(mesh))

    def judged(params: Any) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        found = [jax.device_get(compiled(params, put_batch(batch, mesh))) for batch in batches()]
        return jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(rows)], *found)

    return judged


def _judging(
    model: Any, parts_of: Callable[..., PartsOf], *options: Hashable
) -> Callable[[Any, Batch], Any]:
    parts = parts_of(model, *options)
    return lambda params, batch: parts(params, batch, None)


def task_evaluator(
    judged: Judged, rows: TaskRows, labels: Sequence[str] | None, lm_weight: float
) -> Evaluator:
    """An evaluator: `loss`, its parts, and `metrics_of` the rows.

    Examples with the same first text, such as hypotheses about one premise, are of one cluster.

    Args:
      judged: from `judge`, of the same rows.
      rows: the examples.
      labels: names of the classes or candidates; None: numbers are predicted.
      lm_weight: as of the run.
    """
    targets = np.array([example.target for example in rows.examples])
    clusters = [example.texts[0] for example in rows.examples]
    num_classes = None if labels is None else len(labels)

    def evaluate(params: Any) -> dict[str, Any]:
        outputs, losses = judged(params)
        means = {name: float(np.mean(x, dtype=np.float64)) for name, x in losses.items()}
        loss = means["task_loss"] + lm_weight * means.get("lm_loss", 0.0)
        predicted = _predicted(outputs, labels)
        return {
            "loss": loss,
            **means,
            **metrics_of(
                predicted, targets[: len(outputs)], num_classes, SEED, clusters[: len(outputs)]
            ),
        }

    return evaluate


def write_predictions(
    folder: Path, outputs: np.ndarray, rows: TaskRows, labels: Sequence[str] | None
) -> None:
    """Writes predictions.jsonl into `folder`, a line for each example that was judged.

    A line has the texts, the right label and the predicted one, and the probability of each label.
    Numbers that are predicted have no probabilities.
    """

    def line(example: Any, predicted: Any, scores: np.ndarray) -> dict[str, Any]:
        if labels is None:
            said = {"label": example.target, "prediction": float(predicted)}
        else:
            odds = dict(zip(labels, scipy.special.softmax(scores).tolist(), strict=True))
            label, prediction = labels[example.target], labels[predicted]
            said = {"label": label, "prediction": prediction, "probabilities": odds}
        return {"texts": list(example.texts), **said}

    judged = zip(rows.examples, _predicted(outputs, labels), outputs, strict=False)
    on_first(lambda: write_json_lines(folder / PREDICTIONS, (line(*each) for each in judged)))


def _predicted(outputs: np.ndarray, labels: Sequence[str] | None) -> np.ndarray:
    """The best class or candidate, or the number, of each row of outputs [N, C]."""
    return outputs[:, 0].astype(np.float64) if labels is None else outputs.argmax(-1)
