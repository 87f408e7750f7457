"""Runs of a pipeline: pretraining, SFT, a reward model, PPO with and without ptx, DPO.

for stage in stages(instruct_demo(), Path("runs/instruct"), seed=0):
    stage.run()
"""

import copy
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gptjax.config import resolve
from gptjax.runs.learner import Ended
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.instruct_pipeline.config import Pipeline


@dataclasses.dataclass(frozen=True)
class Stage:
    """One run of a pipeline.

    Attributes:
      name: of its directory too.
      workdir: where it lives.
      run: takes it to its end, or goes on with it; done already, it does nothing.
    """

    name: str
    workdir: WorkDirectory
    run: Callable[[], Ended]


def stages(pipeline: Pipeline, root: Path, seed: int) -> list[Stage]:
    """The runs of one seed, in order, each in a directory of its own below `root`."""

    def at(name: str) -> str:
        return str(root / name)

    def stage(name: str, config: Any, before: str | None) -> Stage:
        config = copy.deepcopy(config)
        config.training.seed = seed
        config.checkpoint.init_from = None if before is None else at(before)
        workdir = WorkDirectory(at(name))
        return Stage(name, workdir, functools.partial(train, name, resolve(config), workdir))

    ppo = copy.deepcopy(pipeline.ppo)
    ppo.ppo.rewards = f"reward_model:{at('reward_model')} + 0*gold"
    ptx = copy.deepcopy(ppo)
    ptx.ppo.pretraining_coefficient = pipeline.pretraining_coefficient
    return [
        stage("pretrain", pipeline.pretrain, None),
        stage("sft", pipeline.sft, "pretrain"),
        stage("reward_model", pipeline.reward_model, "sft"),
        stage("ppo", ppo, "sft"),
        stage("ppo_ptx", ptx, "sft"),
        *([] if pipeline.dpo is None else [stage("dpo", pipeline.dpo, "sft")]),
    ]
