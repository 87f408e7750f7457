"""A stretch of a run, trained again and held against the rows that the run wrote.

for comparison in replay(config, prepared, workdir, from_step=0, to_step=100):
    print(comparison.step, comparison.agrees(0.0))
"""

import dataclasses
import math
from collections.abc import Iterator

from experiments import sources
from experiments.initial_params import initial_params
from experiments.training_run import Program
from experiments.workdir import WorkDirectory
from gptjax.config import ExperimentConfig
from gptjax.data.shards import PreparedCorpus
from gptjax.data.skipping import Ranges
from gptjax.training.evaluation import language_model_evaluator
from gptjax.training.metrics import read_metrics
from gptjax.training.partitioning import batch_share, put_batch
from gptjax.training.start import begin, resume


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A loss as it was written, and as it is now; in nats, None where it is not finite.

    Attributes:
      step: of the row.
      split: "train" or "validation".
      recorded: what the row says.
      replayed: what came now.
    """

    step: int
    split: str
    recorded: float | None
    replayed: float | None

    @property
    def difference(self) -> float:
        """Relative to what was recorded; infinite where one alone is finite."""
        if self.recorded == self.replayed:
            return 0.0
        if self.recorded is None or self.replayed is None:
            return math.inf
        return abs(self.replayed - self.recorded) / max(abs(self.recorded), 1e-30)


def skipped_examples(workdir: WorkDirectory) -> Ranges:
    """The ranges of examples that the run has left out by now, as its rows say."""
    for row in reversed(read_metrics(workdir.path / "metrics.jsonl")):
        if "skipped_examples" in row:
            return tuple((first, stop) for first, stop in row["skipped_examples"])
    return ()


def replay(
    config: ExperimentConfig,
    prepared: PreparedCorpus,
    workdir: WorkDirectory,
    from_step: int,
    to_step: int,
) -> Iterator[Comparison]:
    """Trains from a kept checkpoint, or from the start, and compares every row on the way.

    Nothing is written. Ranges of examples that the run left out are left out.

    Args:
      config: of the run; where it may compute, `config.parallelism`, need not be the run's.
      prepared: what the run was trained on.
      workdir: the run's.
      from_step: 0, or the step of a checkpoint.
      to_step: the last step whose rows are compared.

    Raises:
      ValueError: there is no such checkpoint, or it is damaged.
    """
    program = Program(config)
    share = batch_share(program.mesh)
    evaluate = language_model_evaluator(
        program.loss,
        sources.validation_batches(config, prepared.validation, share),
        prepared.validation.bytes_per_target,
        program.mesh,
    )
    if from_step == 0:
        state = begin(program.fresh, program.target, initial_params(config))
    else:
        with workdir.checkpoints() as checkpoints:
            state, _ = resume(program.target, checkpoints, from_step)
    recorded = {
        (row["step"], row.get("split", "train")): row.get("loss")
        for row in read_metrics(workdir.path / "metrics.jsonl")
    }

    def compare(step: int, split: str, loss: float) -> Comparison:
        replayed = loss if math.isfinite(loss) else None
        return Comparison(step, split, recorded[step, split], replayed)

    skipped = skipped_examples(workdir)
    batches = sources.training_batches(config, prepared.train, from_step, skipped, share)
    for step in range(from_step, to_step + 1):
        if step > from_step:
            state, metrics = program.train_step(state, put_batch(next(batches), program.mesh))
            if (step, "train") in recorded:
                yield compare(step, "train", float(metrics["loss"]))
        if (step, "validation") in recorded:
            yield compare(step, "validation", evaluate(state.judged)["loss"])
