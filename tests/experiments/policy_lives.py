"""A run of PPO that SIGKILL ends again and again, as `lives` has one of pretraining.

python -m tests.experiments.policy_lives CONFIG_JSON WORKDIR --kills=3 --seed=0
"""

import argparse
import json
import random
from pathlib import Path

from experiments.policy_optimisation import optimise_policy
from experiments.task_configs import PPOConfig
from gptjax.config import resolve
from gptjax.settings import from_dict
from tests.experiments.lives import kill, live


def main():
    """Starts the run, and kills it, as often as is asked; its end is left to others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    config = resolve(from_dict(PPOConfig, json.loads(arguments.config.read_text())))
    rng = random.Random(arguments.seed)
    for _ in range(arguments.kills):
        life = live(
            arguments.workdir, lambda workdir: optimise_policy("tiny", config, workdir) and None
        )
        kill(life, arguments.workdir, rng)


if __name__ == "__main__":
    main()
