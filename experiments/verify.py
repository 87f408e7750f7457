"""Trains a stretch of a run again and compares every loss with what the run wrote.

python -m experiments.verify --workdir=runs/demo                        # the whole run
python -m experiments.verify --workdir=runs/demo --from_step=200 --to_step=250
python -m experiments.verify --workdir=runs/demo --documents_of_step=7  # what it trained on there

Exit code 0 where all agree, 1 where some differ. On the same machine, cores, mesh and versions
losses are the same to the last bit; elsewhere --relative_tolerance=1e-5 says what is the same.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from experiments.flags.processes import connect
from gptjax.config import ExperimentConfig, ParallelismConfig
from gptjax.runs.caches import enable_compilation_cache

if TYPE_CHECKING:
    from gptjax.runs.workdir import WorkDirectory

_WORKDIR = define_path("workdir", None, "Work directory of the run. It must be given.")
_FROM_STEP = flags.DEFINE_integer(
    "from_step", 0, "Step to start from: 0, or the step of a checkpoint.", lower_bound=0
)
_TO_STEP = flags.DEFINE_integer(
    "to_step",
    None,
    "Step to end at. By default it is the last step that the run has written.",
    lower_bound=0,
)
_TOLERANCE = flags.DEFINE_float(
    "relative_tolerance",
    0.0,
    "Largest relative difference at which two losses agree. 0 asks for the same bits.",
    lower_bound=0.0,
)
_SINGLE = flags.DEFINE_bool(
    "single", False, "Whether the steps are replayed on one device, whatever the run used."
)
_DOCUMENTS_OF_STEP = flags.DEFINE_integer(
    "documents_of_step",
    None,
    "Step whose training documents are listed. Nothing is replayed then.",
    lower_bound=1,
)


def list_documents(workdir: "WorkDirectory", config: ExperimentConfig, step: int) -> None:
    """Prints the documents of the batch of `step` (counted from 1), row by row.

    Raises:
      ValueError: the run has no such step, or is of a kind that reads more than documents.
    """
    from gptjax.runs.replay import unchanged_in

    if step > config.training.num_steps:
        raise ValueError(
            f"--documents_of_step: got {step}, expected at most {config.training.num_steps}, the "
            "run's last step"
        )
    passages: Any = getattr(unchanged_in(workdir, config), "passages", None)
    if passages is None:
        raise ValueError(
            f"--documents_of_step: got {step} of a run of kind {config.kind}, expected one of a "
            "kind that reads documents alone, such as pretrain"
        )
    found, names = passages(step, workdir.skipped_examples())
    print(f"{'row':>5}  {'document':>9}  {'tokens':>19}  name")
    for passage in found:
        tokens = f"{passage.first} to {passage.first + passage.tokens - 1}"
        name = names[passage.document]
        print(f"{passage.row:>5}  {passage.document:>9}  {tokens:>19}  {name}")


def main(argv: Sequence[str]) -> None:
    """Prints a line a row, and a last one that says how many agree."""
    from gptjax.runs.replay import learner_in, replay
    from gptjax.runs.workdir import WorkDirectory
    from gptjax.training.reporting.metrics import read_metrics

    del argv
    workdir = WorkDirectory(_WORKDIR.value)
    connect(lambda: ParallelismConfig() if _SINGLE.value else workdir.config().parallelism)
    config = workdir.config()
    if _SINGLE.value:
        config.parallelism = ParallelismConfig()
    enable_compilation_cache()
    if _DOCUMENTS_OF_STEP.value is not None:
        list_documents(workdir, config, _DOCUMENTS_OF_STEP.value)
        return
    first, last = _FROM_STEP.value, _TO_STEP.value
    if last is None:
        last = max((row["step"] for row in read_metrics(workdir.path / "metrics.jsonl")), default=0)
    differ = rows = 0
    for comparison in replay(learner_in(workdir, config), workdir, first, last):
        if not rows:
            print(f"{'step':>9}  {'split':10}  {'recorded':>12}  {'replayed':>12}  difference")
        agrees = comparison.difference <= _TOLERANCE.value
        rows, differ = rows + 1, differ + (not agrees)
        losses = (comparison.recorded, comparison.replayed)
        recorded, replayed = ("not finite" if x is None else f"{x:.8f}" for x in losses)
        print(
            f"{comparison.step:>9}  {comparison.split:10}  {recorded:>12}  {replayed:>12}  "
            f"{comparison.difference:>10.2g}{'' if agrees else '  differs'}",
            flush=True,
        )
    if not rows:
        raise ValueError(f"--to_step: got {last} from step {first}, expected rows between them")
    print(f"steps {first} to {last}: {rows - differ} of {rows} rows agree", flush=True)
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    run(main)
