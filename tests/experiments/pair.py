"""One of two processes that train, are interrupted, and generate together, as a plan says.

    python -m tests.experiments.pair --plan=FILE --coordinator=... --num_processes=2 --process_id=0

The plan is JSON: `resumed` and `stopped` are runs, each with its `workdir` and `config`.
"""

import json
import signal
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from experiments import sources
from experiments.processes import connect
from experiments.training_run import pretrain
from experiments.workdir import WorkDirectory
from gptjax.config import ExperimentConfig
from gptjax.inference.generate import Generator
from gptjax.settings import from_dict
from gptjax.training.partitioning import make_mesh

_PLAN = flags.DEFINE_string("plan", None, "File of the plan.")

BATCHES = sources.training_batches


def _slowly(*args):
    """The batches of a run; at step 4 the second process, and no other, is asked to leave."""
    for step, batch in enumerate(BATCHES(*args), start=args[2]):
        if step == 4 and jax.process_index() == 1:
            signal.raise_signal(signal.SIGTERM)
        if step >= 4:
            time.sleep(0.5)
        yield batch


def main(_):
    """Writes, beside the plan, what this process has seen."""
    connect()
    plan = json.loads(Path(_PLAN.value).read_text())
    seen = {"devices": [jax.device_count(), jax.local_device_count()]}
    for name in ("resumed", "stopped"):
        config = from_dict(ExperimentConfig, plan[name]["config"])
        if name == "stopped":
            sources.training_batches = _slowly
        outcome = pretrain("pair", config, WorkDirectory(plan[name]["workdir"]))
        seen[name] = {"step": int(outcome.state.step), "steps": outcome.steps}
        seen[name]["interrupted_by"] = outcome.interrupted_by

    workdir = WorkDirectory(plan["resumed"]["workdir"])
    params = workdir.params(mesh=make_mesh(workdir.config().parallelism))
    prompts = [np.arange(1, 4), np.array([7])]
    texts = Generator(workdir.model()).generate(params, prompts, max_new_tokens=8, seed=3)
    seen["texts"] = [text.tolist() for text in texts]
    file = Path(_PLAN.value).with_name(f"seen_{jax.process_index()}.json")
    file.write_text(json.dumps(seen))


if __name__ == "__main__":
    app.run(main)
