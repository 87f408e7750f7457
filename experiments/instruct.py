r"""InstructGPT's pipeline, end to end: pretraining, SFT, reward model, PPO, PPO-ptx, DPO, verdict.

    python -m experiments.instruct --experiment=instruct_demo
    python -m experiments.instruct --experiment=instruct_demo --seeds=3 --workdir=runs/instruct

It needs no data: the tasks are embedded, and their gold reward says how good any answer is, where
the paper asks people. Each stage is a run of its own binary, below the work directory by seed; the
same command goes on where it stopped. table.md, instruct.json, overoptimisation.png and
samples.html are written last; claims that do not hold are said so.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.configs import EXPERIMENTS, PIPELINES, maker_named
from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.atomic_files import write_json
from gptjax.interrupted import Interrupted
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
_SECONDS = "seconds.json"


def main(argv: Sequence[str]) -> None:
    """Runs the pipeline and reports its results."""
    from gptjax.runs.life.claim import claimed

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
    with claimed(root, "--workdir"):
        _run(name, pipeline, root)


def _run(name: str, pipeline: Pipeline, root: Path) -> None:
    """Runs a pipeline below `root`, a seed after the other, and reports its results there."""
    from gptjax.runs.provenance import provenance
    from gptjax.studies.instruct_pipeline.judgement import judge_seed
    from gptjax.studies.instruct_pipeline.plan import stages
    from gptjax.studies.instruct_pipeline.report import report_lines, write_report

    results, verdict = [], None
    for seed in range(_SEEDS.value):
        below = root / f"seed{seed}"
        for stage in stages(pipeline, below, seed):
            print(f"seed {seed}: {stage.name}", flush=True)
            outcome = _timed(below, stage.name, stage.run)
            if outcome.interrupted_by is not None:
                raise Interrupted(outcome.interrupted_by)
        started = time.monotonic()
        verdict = judge_seed(pipeline, below, seed)
        seconds = {**_seconds(below), "verdict": time.monotonic() - started}
        results.append(
            {
                "seed": seed,
                "reward_model": json.loads((below / "reward_model" / "result.json").read_text()),
                "systems": {name: each.figures for name, each in verdict.systems.items()},
                "best_of_n": verdict.best_of_n,
                "seconds": seconds,
            }
        )
    assert verdict is not None
    write_report(root, name, results, verdict)
    seconds = sum(sum(result["seconds"].values()) for result in results)
    made = {"experiment": name, "seeds": results, "seconds": seconds, **provenance()}
    write_json(root / "instruct.json", made)
    print("\n".join(report_lines(name, results)))
    print(f"{root}: table.md, instruct.json, overoptimisation.png and samples.html are written")
    print(f"{name}: gold={results[-1]['systems']['ppo']['gold']:.3f} seconds={seconds:.0f}")


def _timed(below: Path, name: str, stage: Callable[[], Any]) -> Any:
    """Runs a stage and adds the time to what earlier starts of it took, unless it was done."""
    started = time.monotonic()
    outcome = stage()
    if outcome.steps:
        seconds = _seconds(below)
        seconds[name] = seconds.get(name, 0.0) + time.monotonic() - started
        write_json(below / _SECONDS, seconds)
    return outcome


def _seconds(below: Path) -> dict[str, float]:
    path = below / _SECONDS
    return json.loads(path.read_text()) if path.exists() else {}


if __name__ == "__main__":
    run(main)
