"""A whole pipeline: runs what of it has not run yet, judges every system, and reports it.

results = run_pipeline("instruct_demo", pipeline, Path("runs/instruct"), seeds=3)
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gptjax.atomic_files import write_json
from gptjax.interrupted import Interrupted
from gptjax.runs.life.claim import claimed
from gptjax.runs.provenance import provenance
from gptjax.studies.instruct_pipeline.config import Pipeline
from gptjax.studies.instruct_pipeline.judgement import judge_seed
from gptjax.studies.instruct_pipeline.plan import stages
from gptjax.studies.instruct_pipeline.report import write_report

_SECONDS = "seconds.json"


def run_pipeline(
    name: str,
    pipeline: Pipeline,
    root: Path,
    *,
    seeds: int,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Runs a pipeline, a seed after the other.

    table.md, instruct.json, overoptimisation.png and samples.html are written last, below `root`.

    Args:
      name: of the pipeline, for the report.
      pipeline: its stages.
      root: each seed's runs are below it.
      seeds: how many.
      say: is told which stage is next.

    Returns:
      Of each seed `seed`, `reward_model` (its result), `systems` (the figures of each),
      `best_of_n`, and `seconds` of each stage.

    Raises:
      ValueError: `root` is in use.
      Interrupted: a signal ended a stage; the same call goes on.
    """
    results, verdict = [], None
    with claimed(root, "--workdir"):
        for seed in range(seeds):
            below = root / f"seed{seed}"
            for stage in stages(pipeline, below, seed):
                say(f"seed {seed}: {stage.name}")
                outcome = _timed(below, stage.name, stage.run)
                if outcome.interrupted_by is not None:
                    raise Interrupted(outcome.interrupted_by)
            started = time.monotonic()
            verdict = judge_seed(pipeline, below, seed)
            seconds = {**_seconds(below), "verdict": time.monotonic() - started}
            results.append(
                {
                    "seed": seed,
                    "reward_model": json.loads(
                        (below / "reward_model" / "result.json").read_text()
                    ),
                    "systems": {name: each.figures for name, each in verdict.systems.items()},
                    "best_of_n": verdict.best_of_n,
                    "seconds": seconds,
                }
            )
        assert verdict is not None
        write_report(root, name, results, verdict)
        spent = seconds_of(results)
        made = {"experiment": name, "seeds": results, "seconds": spent, **provenance()}
        write_json(root / "instruct.json", made)
    return results


def seconds_of(results: list[dict[str, Any]]) -> float:
    """Seconds of all stages of all seeds."""
    return sum(sum(result["seconds"].values()) for result in results)


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
