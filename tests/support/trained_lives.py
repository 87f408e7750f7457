"""A run of any kind that SIGKILL ends at chosen steps, a process each time.

python -m tests.support.trained_lives sft CONFIG_JSON WORKDIR 2 5 7

Each life is forked from a process that has imported everything and computed nothing.
"""

import argparse
import json
import os
import signal
from pathlib import Path

from gptjax.config import resolve
from gptjax.runs.kind import kind_named
from gptjax.settings import from_dict
from gptjax.tasks.policy_optimisation.config import PPOConfig
from tests.support.alignment_runs import run, stopping
from tests.support.policy_runs import run_policy, stopping_world


def main():
    """Starts the run, and kills it, at each of the steps; its end is left to others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind")
    parser.add_argument("config", type=Path)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("steps", type=int, nargs="+")
    arguments = parser.parse_args()
    kind = kind_named(arguments.kind)
    config = resolve(from_dict(kind.config, json.loads(arguments.config.read_text())))
    for step in arguments.steps:
        process = os.fork()
        if process == 0:
            if isinstance(config, PPOConfig):
                run_policy(arguments.workdir, config, world=stopping_world(step, signal.SIGKILL))
            else:
                run(arguments.workdir, config, change=stopping(step, signal.SIGKILL))
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert ended == -signal.SIGKILL, f"it ended by itself with {ended}, before step {step}"


if __name__ == "__main__":
    main()
