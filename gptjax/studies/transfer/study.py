"""A whole transfer study: runs what of it has not run yet, and reports it.

summary = run_study(study, Path("runs/beside"), budget="tokens", seeds=3)
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gptjax.atomic_files import write_json, write_text
from gptjax.interrupted import Interrupted
from gptjax.runs.life.claim import claimed
from gptjax.runs.provenance import provenance
from gptjax.studies.transfer import report
from gptjax.studies.transfer.config import Transfer
from gptjax.studies.transfer.plan import check_tasks, plan
from gptjax.studies.transfer.summary import summarise


def run_study(
    study: Transfer,
    root: Path,
    *,
    budget: str,
    seeds: int,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Trains every model and system of every seed; returns what `summarise` does.

    transfer.json, .md and .png are written last, below `root`; each run has a directory there.

    Args:
      study: its configurations are not resolved.
      root: of the study.
      budget: what all pretraining has equal, a name in `choices.EQUAL`.
      seeds: how many.
      say: is told which run is next.

    Raises:
      ValueError: a configuration or a task that is wrong, before anything is trained; or `root` is
        in use.
      Interrupted: a signal ended a run; the same call goes on.
    """
    runs = [x for seed in range(seeds) for x in plan(study, root, budget, seed)]
    check_tasks(study)
    with claimed(root, "--workdir"):
        for number, each in enumerate(runs, start=1):
            said = f"{each.name}, {each.task or 'pretraining'}, seed {each.seed}"
            say(f"--- run {number} of {len(runs)}: {said}")
            ended = each.train()
            if ended.interrupted_by is not None:
                raise Interrupted(ended.interrupted_by)
        summary = summarise(study, runs, budget)
        write_json(root / "transfer.json", summary | provenance())
        write_text(root / "transfer.md", report.markdown(summary))
        report.plot(summary, root / "transfer.png")
    return summary
