"""Measurements of one training step of a configuration: seconds, and bytes of memory.

measurements = measure_all({"dense": config}, Path("measured.json"))
"""

import dataclasses
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.atomic_files import write_json
from gptjax.config import ExperimentConfig
from gptjax.runs.kind import kind_of
from gptjax.runs.program import Program
from gptjax.training import partitioning
from gptjax.training.memory import planned_bytes

STEPS = 10


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Seconds and bytes of a training step at the full batch size.

    Attributes:
      seconds_per_token: median of a few steps over the tokens in one.
      memory_bytes: on each device, as XLA plans them for the compiled step.
    """

    seconds_per_token: float
    memory_bytes: int


def measure(config: ExperimentConfig) -> Measurement:
    """Compiles the training step of a resolved `config` and takes a few on its largest batch.

    The batch is made of ones: what it holds changes neither the seconds nor the bytes.
    """
    program, kind, seed = Program(config), kind_of(config), config.training.seed
    shapes = kind.largest_batch(config)
    ones = {name: np.ones(each.shape, each.dtype) for name, each in shapes.items()}
    batch = partitioning.put_batch(ones, program.mesh)
    sharding = jax.tree.map(lambda leaf: leaf.sharding, program.target)
    state = jax.jit(program.fresh, out_shardings=sharding)(seed)
    base = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding), program.base
    )
    step = program.train_step.lower(state, batch, seed, base).compile()

    seconds = []
    for _ in range(1 + STEPS):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch, seed, base))
        seconds.append(time.perf_counter() - began)
    return Measurement(
        seconds_per_token=statistics.median(seconds[1:]) / kind.tokens(shapes),
        memory_bytes=planned_bytes(step),
    )


def measure_all(configs: Mapping[str, ExperimentConfig], kept: Path) -> dict[str, Measurement]:
    """Measures the configurations, by name, that the file `kept` does not hold, and keeps them."""
    measured = json.loads(kept.read_text()) if kept.exists() else {}
    for name, config in configs.items():
        if name not in measured:
            print(f"measuring a training step of {name}", flush=True)
            measured[name] = dataclasses.asdict(measure(config))
            write_json(kept, measured)
    return {name: Measurement(**measured[name]) for name in configs}
