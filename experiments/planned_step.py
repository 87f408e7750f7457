"""Memory of a training step on more devices than there are, as XLA plans it for a CPU.

It makes virtual devices, which a process can do only once: `dry_run` starts it as one of its own.

    echo '{"task": "pretrain", "config": {...}, "devices": 64}' | python -m experiments.planned_step
"""

import json
import sys

import jax

from experiments.alignment.policy_plan import planned_update_bytes
from experiments.memory import planned_bytes
from experiments.step_costs import largest_batch
from experiments.task_configs import TASKS, PPOConfig
from experiments.training_run import Program
from gptjax.config import ExperimentConfig, resolve
from gptjax.settings import from_dict
from gptjax.training.partitioning import batch_sharding


def planned_step_bytes(config: ExperimentConfig) -> int:
    """Bytes on each device of one training step of a resolved `config`; nothing is allocated."""
    if isinstance(config, PPOConfig):
        return planned_update_bytes(config)
    program = Program(config)
    batch = {
        name: jax.ShapeDtypeStruct(
            array.shape, array.dtype, sharding=batch_sharding(program.mesh, len(array.shape))
        )
        for name, array in largest_batch(config).items()
    }
    return planned_bytes(program.train_step.lower(program.target, batch).compile())


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    jax.config.update("jax_num_cpu_devices", asked["devices"])
    kind = TASKS[asked["task"]]
    print(planned_step_bytes(resolve(from_dict(kind, asked["config"]))))
