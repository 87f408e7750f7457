"""A run of PPO that SIGKILL ends again and again, soon after it has saved, as `lives` has one.

python -m tests.support.policy_lives CONFIG_JSON WORKDIR --kills=3 --seed=0
"""

import argparse
import json
import os
import random
import signal
import time
from pathlib import Path

from gptjax.config import resolve
from gptjax.runs.train import train
from gptjax.settings import from_dict
from gptjax.tasks.policy_optimisation.config import PPOConfig
from tests.support.lives import live


def _newest(workdir):
    return max((int(step.name) for step in (workdir / "checkpoints").glob("[0-9]*")), default=0)


def main():
    """Starts the run, and kills it, as often as is asked; its end is left to others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    config = resolve(from_dict(PPOConfig, json.loads(arguments.config.read_text())))
    config.checkpoint.every_steps = 1
    rng = random.Random(arguments.seed)
    for _ in range(arguments.kills):
        before, deadline = _newest(arguments.workdir), time.monotonic() + 120
        life = live(arguments.workdir, lambda workdir: train("tiny", config, workdir) and None)
        while _newest(arguments.workdir) == before and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.5))
        os.kill(life, signal.SIGKILL)
        how = os.waitstatus_to_exitcode(os.waitpid(life, 0)[1])
        assert how == -signal.SIGKILL, "it ended by itself"


if __name__ == "__main__":
    main()
