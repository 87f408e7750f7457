"""A stretch of a run, trained again and held against the rows that the run wrote.

for comparison in replay(language_modelling(config), workdir, from_step=0, to_step=100):
    print(comparison.step, comparison.difference)
"""

import dataclasses
import math
from collections.abc import Iterator

from experiments.initial_params import initial_params
from experiments.sources import skipped_examples
from experiments.training_run import Program, Task
from experiments.workdir import WorkDirectory
from gptjax.training.metrics import read_metrics
from gptjax.training.partitioning import batch_share, put_batch
from gptjax.training.start import begin, resume


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A loss as it was written, and as it is now; in nats, None where it is not finite.

    Attributes:
      step: of the row.
      split: "train", or what an evaluator judges.
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


def replay(
    task: Task, workdir: WorkDirectory, from_step: int, to_step: int
) -> Iterator[Comparison]:
    """Trains from a kept checkpoint, or from the start, and compares every row on the way.

    Nothing is written. Ranges of examples that the run left out are left out.

    Args:
      task: the run's; where it may compute, `config.parallelism`, need not be the run's.
      workdir: the run's.
      from_step: 0, or the step of a checkpoint.
      to_step: the last step whose rows are compared.

    Raises:
      ValueError: there is no such checkpoint, or it is damaged.
    """
    program = Program(task.config)
    task.ready(program, workdir)
    evaluators = task.evaluators(program)
    if from_step == 0:
        state = begin(program.fresh, program.target, initial_params(task.config, workdir.origin()))
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

    batches = task.batches(from_step, skipped_examples(workdir), batch_share(program.mesh))
    for step in range(from_step, to_step + 1):
        if step > from_step:
            state, metrics = program.train_step(state, put_batch(next(batches), program.mesh))
            if (step, "train") in recorded:
                yield compare(step, "train", float(metrics["loss"]))
        for split, evaluate in evaluators.items():
            if (step, split) in recorded:
                yield compare(step, split, evaluate(state.judged)["loss"])
