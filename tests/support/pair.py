"""One of two processes that train, are interrupted, and generate together, as a plan says.

    python -m tests.support.pair --plan=FILE --coordinator=... --num_processes=2 --process_id=0

The plan is JSON: runs by name, each with its `workdir`, its `config` and the `task` that this is
of. The devices of `stopped` are not in order: every second one is another process's. The processes
are told different things of `other` and see different directories of `unshared`, a tracker of
`untracked` cannot start, and they generate with the model of `resumed`.
"""

import json
import signal
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from experiments.flags.processes import connect
from gptjax.config import ParallelismConfig
from gptjax.inference.generate import Generator
from gptjax.runs import inputs
from gptjax.runs.kind import kind_named
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import from_dict
from gptjax.training import partitioning
from gptjax.training.reporting.trackers import load_trackers

_PLAN = flags.DEFINE_string("plan", None, "File of the plan.")

REFUSING = "python:tests.training.test_trackers:Refusing"
BATCHES, ORDERED = inputs.training_batches, partitioning.ordered


def _slowly(*args):
    """The batches of a run; at step 4 the second process, and no other, is asked to leave."""
    for step, batch in enumerate(BATCHES(*args), start=args[2]):
        if step == 4 and jax.process_index() == 1:
            signal.raise_signal(signal.SIGTERM)
        if step >= 4:
            time.sleep(0.5)
        yield batch


def _alternating(devices, shape):
    return np.array(devices).reshape(jax.process_count(), -1).T.reshape(shape)


def _seen(name, run):
    """Result of a run, or the message with which it is refused."""
    config, workdir = (
        from_dict(kind_named(run["task"]).config, run["config"]),
        WorkDirectory(run["workdir"]),
    )
    changed = name == "stopped"
    inputs.training_batches = _slowly if changed else BATCHES
    partitioning.ordered = _alternating if changed else ORDERED
    if name == "unshared":
        workdir = WorkDirectory(f"{run['workdir']}{jax.process_index()}")
    if name == "other":
        config.optimizer.learning_rate *= 1 + jax.process_index()
    try:
        refused = load_trackers([REFUSING] if name == "untracked" else [])
        outcome = train("pair", config, workdir, trackers=refused)
    except ValueError as error:
        return str(error)
    step, by = int(outcome.state.step), outcome.interrupted_by
    return {"step": step, "steps": outcome.steps, "interrupted_by": by}


def main(_):
    """Writes, beside the plan, what this process has seen."""
    connect(lambda: ParallelismConfig(strategy="mesh"))
    plan = json.loads(Path(_PLAN.value).read_text())
    seen = {"devices": [jax.device_count(), jax.local_device_count()]}
    for name, run in plan.items():
        seen[name] = _seen(name, run)
    if "resumed" in plan:
        workdir = WorkDirectory(plan["resumed"]["workdir"])
        params = workdir.params(mesh=partitioning.make_mesh(workdir.config().parallelism))
        prompts = [np.arange(1, 4), np.array([7])]
        texts = Generator(workdir.model(), params).generate(prompts, max_new_tokens=8, seed=3)
        seen["texts"] = [text.tolist() for text in texts]
    file = Path(_PLAN.value).with_name(f"seen_{jax.process_index()}.json")
    file.write_text(json.dumps(seen))


if __name__ == "__main__":
    app.run(main)
