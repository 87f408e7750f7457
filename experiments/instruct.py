r"""InstructGPT's pipeline, end to end: pretraining, SFT, reward model, PPO, PPO-ptx, DPO, verdict.

    python -m experiments.instruct --experiment=instruct_demo
    python -m experiments.instruct --experiment=instruct_demo --seeds=3 --workdir=runs/instruct

It needs no data: the tasks are embedded, and their gold reward says how good any answer is, where
the paper asks people. Each stage is a run of its own binary, below the work directory by seed; the
same command goes on where it stopped. table.md, instruct.json, overoptimisation.png and
samples.html are written last; claims that do not hold are said so.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from absl import flags

from experiments.configs import EXPERIMENTS, PIPELINES, maker_named
from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.runs.caches import enable_compilation_cache
from gptjax.studies.instruct_pipeline.config import Pipeline

_EXPERIMENT = flags.DEFINE_string(
    "experiment",
    "instruct_demo",
    "Name of a pipeline that `python -m experiments.list` shows, or of a function of yours that "
    "returns one: python:MODULE:FUNCTION.",
)
_WORKDIR = define_path(
    "workdir", None, "Work directory of the pipeline. By default it is runs/EXPERIMENT."
)
_SEEDS = flags.DEFINE_integer(
    "seeds",
    1,
    "Number of times that the pipeline is run, each with a seed of its own.",
    lower_bound=1,
)


def main(argv: Sequence[str]) -> None:
    """Runs the pipeline and reports its results."""
    from gptjax.studies.instruct_pipeline.report import report_lines
    from gptjax.studies.instruct_pipeline.study import run_pipeline, seconds_of

    del argv
    enable_compilation_cache()
    name = _EXPERIMENT.value
    if name in EXPERIMENTS:
        raise ValueError(
            f"--experiment: got {name!r}, which is no pipeline, expected one of: "
            f"{', '.join(PIPELINES)}; `python -m experiments.train` runs experiments"
        )
    pipeline = maker_named(name, PIPELINES, Pipeline)()
    root = Path(_WORKDIR.value or f"runs/{name}")
    results = run_pipeline(name, pipeline, root, seeds=_SEEDS.value, say=partial(print, flush=True))
    print("\n".join(report_lines(name, results)))
    print(f"{root}: table.md, instruct.json, overoptimisation.png and samples.html are written")
    gold = results[-1]["systems"]["ppo"]["gold"]
    print(f"{name}: gold={gold:.3f} seconds={seconds_of(results):.0f}")


if __name__ == "__main__":
    run(main)
