"""The runs of the study: SFT on mixed demonstrations, then one PPO run with the rubric's reward.

write_rubric(root / "rubric.json", ppo, classifier=None)
for stage in stages(sft, ppo, root, rubric, seed=0):
    stage.run()
"""

import copy
import functools
from pathlib import Path
from typing import Any

from gptjax.atomic_files import write_json
from gptjax.config import resolve
from gptjax.data.dialogue.refusals import KINDS
from gptjax.judging.refusal_rules import DESIRED, DISALLOWED, RUBRIC, SAFE, UNDESIRED
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.instruct_pipeline.plan import Stage
from gptjax.tasks.fine_tuning import SFTConfig
from gptjax.tasks.policy_optimisation.config import PPOConfig

# What a class is worth. The paper says what is rewarded, refusals where harm is asked for and no
# refusals where it is not, and publishes no numbers.
SCORES = {
    "allowed": {DESIRED: -1.0, UNDESIRED: -1.0, DISALLOWED: -1.0, SAFE: 1.0},
    "disallowed": {DESIRED: 1.0, UNDESIRED: 0.0, DISALLOWED: -1.0, SAFE: 0.0},
}
SETS = "refusals"


def write_rubric(path: Path, prompts: str | None, classifier: str | None) -> None:
    """Writes the reward of a PPO run, a file as `rubrics` reads it.

    Args:
      path: of the file.
      prompts: that PPO learns from: a set of made-up requests, whose kinds are known.
      classifier: work directory of the run that judges; None: the rules.

    Raises:
      ValueError: other prompts.
    """
    name, _, options = (prompts or "").partition(":")
    if name != SETS or "kind=" in options:
        raise ValueError(
            f"config.ppo.prompts: got {prompts!r}, expected refusals:count=... of both kinds; "
            "other prompts take a rubric of their own, with experiments.train"
        )
    judge = {"rules": "refusals"} if classifier is None else {"model": classifier}
    sets = {kind: f"{SETS}:{','.join(filter(None, [options, f'kind={kind}']))}" for kind in KINDS}
    write_json(path, {"rubric": RUBRIC, **judge, "prompts": sets, "scores": SCORES})


def stages(sft: SFTConfig, ppo: PPOConfig, root: Path, rubric: Path, seed: int) -> list[Stage]:
    """The two runs of a seed, in directories of their own below `root`."""

    def stage(name: str, config: Any) -> Stage:
        config.training.seed = seed
        workdir = WorkDirectory(str(root / name))
        return Stage(name, workdir, functools.partial(train, name, resolve(config), workdir))

    sft, ppo = copy.deepcopy(sft), copy.deepcopy(ppo)
    ppo.checkpoint.init_from = str(root / "sft")
    ppo.ppo.rewards = f"rubric:{rubric}"
    return [stage("sft", sft), stage("ppo", ppo)]
