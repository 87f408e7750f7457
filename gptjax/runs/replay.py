"""Replay of a stretch of a run: trains it again and compares it with the rows that the run wrote.

learner = learner_in(workdir, workdir.config())
for comparison in replay(learner, workdir, from_step=0, to_step=100):
    print(comparison.step, comparison.difference)
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from gptjax.config import ExperimentConfig
from gptjax.runs.kind import kind_of
from gptjax.runs.learner import Prepared
from gptjax.runs.supervised import SupervisedLearner
from gptjax.runs.workdir import WorkDirectory
from gptjax.training.checkpoints.start import resume
from gptjax.training.partitioning import batch_share, put_batch
from gptjax.training.reporting.metrics import read_metrics


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A recorded loss, and the loss of the replay; in nats, None if it is not finite.

    Attributes:
      step: of the row.
      split: "train", or what an evaluator judges.
      recorded: the loss of the row.
      replayed: the loss of the replay.
    """

    step: int
    split: str
    recorded: float | None
    replayed: float | None

    @property
    def difference(self) -> float:
        """Difference relative to the recorded loss; infinite if only one of the two is finite."""
        if self.recorded == self.replayed:
            return 0.0
        if self.recorded is None or self.replayed is None:
            return math.inf
        return abs(self.replayed - self.recorded) / max(abs(self.recorded), 1e-30)


def prepared_in(workdir: WorkDirectory, config: ExperimentConfig) -> Prepared:
    """Reads the inputs of the run in `workdir` as they are now, with its copy of the tokenizer.

    Args:
      workdir: of a run.
      config: of the run; `parallelism` may differ.

    Raises:
      ValueError: its data cannot be read.
    """
    config.data.tokenizer = str(workdir.path / "tokenizer")
    return kind_of(config).prepare(config)


def changes_since(workdir: WorkDirectory, hashes: Mapping[str, str]) -> list[str]:
    """Says which of the content `hashes`, by name, differ from those of the run in `workdir`."""
    record = workdir.record()
    return [
        f"{workdir.path}: {name}: got {value[:12]} as it is now, expected "
        f"{record.get(name, 'none')[:12]}, of what the run was trained on"
        for name, value in hashes.items()
        if value != record.get(name)
    ]


def unchanged_in(workdir: WorkDirectory, config: ExperimentConfig) -> Prepared:
    """Reads the inputs as `prepared_in` does; refuses (ValueError) those that have changed."""
    prepared = prepared_in(workdir, config)
    for change in changes_since(workdir, prepared.hashes):
        raise ValueError(change)
    return prepared


def learner_in(workdir: WorkDirectory, config: ExperimentConfig) -> SupervisedLearner:
    """Makes a loop that takes the steps of the run in `workdir` again.

    The arguments are those of `prepared_in`.

    Raises:
      ValueError: as `unchanged_in`, or the run is of a kind that cannot be trained again.
    """
    kind = kind_of(config)
    if not kind.can_replay:
        raise ValueError(
            f"{workdir.given_as}: got {workdir.path}, a run of kind {kind.name}, whose steps "
            "cannot be trained again; expected a run of another kind"
        )
    learner: Any = kind.learner(unchanged_in(workdir, config), workdir)
    return learner


def replay(
    learner: SupervisedLearner, workdir: WorkDirectory, from_step: int, to_step: int
) -> Iterator[Comparison]:
    """Trains from a kept checkpoint, or from the start, and compares every row on the way.

    Nothing is written. The replay skips the examples that the run skipped.

    Args:
      learner: of the run; its `config.parallelism` may differ from the run's.
      workdir: the run's.
      from_step: 0, or the step of a checkpoint.
      to_step: the last step whose rows are compared.

    Raises:
      ValueError: there is no such checkpoint, or it is damaged.
    """
    program = learner.program
    learner.on_start()
    if from_step == 0:
        state = learner.initial_state()
    else:
        with workdir.checkpoints() as checkpoints:
            state, _ = resume(learner.target, checkpoints, from_step)
    recorded = {
        (row["step"], row.get("split", "train")): row.get("loss")
        for row in read_metrics(workdir.path / "metrics.jsonl")
    }

    def compare(step: int, split: str, loss: float) -> Comparison:
        replayed = loss if math.isfinite(loss) else None
        return Comparison(step, split, recorded[step, split], replayed)

    share, evaluators = batch_share(program.mesh), learner.evaluators_of_state()
    batches = learner.task.batches(from_step, workdir.skipped_examples(), share)
    for step in range(from_step, to_step + 1):
        if step > from_step:
            state, metrics = learner.train_step(state, put_batch(next(batches), program.mesh))
            if (step, "train") in recorded:
                yield compare(step, "train", float(metrics["loss"]))
        for split, evaluate in evaluators.items():
            if (step, split) in recorded:
                yield compare(step, split, evaluate(state.eval_params)["loss"])
