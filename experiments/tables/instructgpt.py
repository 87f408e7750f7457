"""InstructGPT (Ouyang et al. 2022, arXiv 2203.02155), figure 1: how often it is preferred."""

import dataclasses
from pathlib import Path
from typing import Any

from experiments.configs import PIPELINES
from gptjax.studies.paper_tables.table import (
    TABLES,
    Cell,
    Claim,
    Elsewhere,
    Model,
    Say,
    Studied,
    Study,
    Table,
)

_STUDY, _COLUMN = "instruct_demo", "preferred"
_COMMAND = f"python -m experiments.instruct --experiment={_STUDY}"
# The systems that stand beside SFT in figure 1, by their names in the pipeline.
_OVER_SFT = {"PPO-ptx over SFT": "ppo_ptx", "PPO over SFT": "ppo", "GPT over SFT": "pretrain"}


@TABLES.register("instructgpt:1")
def preferences() -> Table:
    """How often InstructGPT's outputs are preferred."""
    model, by = "PPO-ptx", Elsewhere(f"{_COMMAND} (docs/alignment.md)")

    def run(folder: Path, seeds: int, data: str | None, say: Say) -> list[dict[str, Any]]:
        from gptjax.studies.instruct_pipeline.study import run_pipeline

        del data
        pipeline = dataclasses.replace(PIPELINES.get(_STUDY)(), dpo=None)
        return run_pipeline(_STUDY, pipeline, folder, seeds=seeds, say=say)

    def rate(system: str) -> Studied:
        return Studied(
            _STUDY, lambda seeds: [100 * x["systems"][system]["win_rate"] for x in seeds]
        )

    ptx, ppo, gpt = ((row, _COLUMN) for row in _OVER_SFT)
    return Table(
        name="instructgpt:1",
        title="how often InstructGPT is preferred",
        source="arXiv 2203.02155, section 1 and figure 1, labelers' preferences",
        units={_COLUMN: "%"},
        cells=[
            Cell("175B over GPT-3 175B", _COLUMN, 85.0, model, by),
            Cell("175B over GPT-3 175B, few-shot prompted", _COLUMN, 71.0, model, by),
            *(
                Cell(row, _COLUMN, None, model, by, mini=rate(system))
                for row, system in _OVER_SFT.items()
            ),
        ],
        models={model: Model("ppo_ptx_175b")},
        claims=[
            Claim("PPO-ptx is preferred to SFT", lambda values: values[ptx] - 50, "points"),
            Claim("PPO is preferred to SFT", lambda values: values[ppo] - 50, "points"),
            Claim("SFT is preferred to GPT", lambda values: 50 - values[gpt], "points"),
        ],
        studies={_STUDY: Study(run, "a quarter of an hour a seed on two CPU cores", _COMMAND)},
        notes=(
            "The mini form is the pipeline of experiments.instruct without DPO, which figure 1 has "
            "not; its gold reward judges in place of people. Figure 1 has no numbers; the first "
            "two rows are those of the text."
        ),
    )
