"""Memory of a training step on more devices than there are, as XLA plans it for a CPU.

It makes virtual devices, which a process can do only once: `dry_run` starts it as one of its own.

    echo '{"config": {...}, "devices": 64}' | python -m experiments.planned_step
"""

import json
import sys

import jax
import jax.numpy as jnp

from experiments.memory import planned_bytes
from experiments.training_run import Program
from gptjax.config import ExperimentConfig, resolve
from gptjax.settings import from_dict
from gptjax.training.partitioning import batch_sharding


def planned_step_bytes(config: ExperimentConfig) -> int:
    """Bytes on each device of one training step of a resolved `config`; nothing is allocated."""
    program = Program(config)
    shape = (config.training.batch_size, config.model.context_length)
    dtypes = {"tokens": jnp.int32, "targets": jnp.int32, "loss_weights": jnp.float32}
    if config.data.document_masking:
        dtypes |= {"segment_ids": jnp.int32, "positions": jnp.int32}
    where = batch_sharding(program.mesh, len(shape))
    batch = {name: jax.ShapeDtypeStruct(shape, d, sharding=where) for name, d in dtypes.items()}
    return planned_bytes(program.train_step.lower(program.target, batch).compile())


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    jax.config.update("jax_num_cpu_devices", asked["devices"])
    print(planned_step_bytes(resolve(from_dict(ExperimentConfig, asked["config"]))))
