"""A training step of this library's, compiled and ready to be timed.

program = TrainingProgram(config)
seconds = program()   # of one step
"""

import time

import jax
import numpy as np

from gptjax.config import ExperimentConfig
from gptjax.models.costs import executed_training_flops_per_token, training_flops_per_token
from gptjax.runs.program import Program
from gptjax.training.memory import planned_bytes
from gptjax.training.partitioning import put_batch


class TrainingProgram:
    """One training step on random tokens; a call takes it and returns its seconds.

    Attributes:
      config: resolved.
      mesh: where state and batches live.
      state: before the next step.
      tokens: of a step.
      flops, executed_flops: of a step, as if attention were dense and as it is.
      compile_seconds: from the program's definition to the compiled one.
      bytes: of memory that it needs on each device, state and batch included.
    """

    def __init__(self, config: ExperimentConfig):
        """Compiles the step of a resolved `config`."""
        program = Program(config)
        self.config, self.mesh = config, program.mesh
        sharding = jax.tree.map(lambda leaf: leaf.sharding, program.target)
        self.state = jax.jit(program.fresh, out_shardings=sharding)()
        shape = (config.training.batch_size, config.model.context_length)
        tokens = np.random.default_rng(0).integers(0, config.model.vocab_size, shape, np.int32)
        batch = {"tokens": tokens, "targets": tokens, "loss_weights": np.ones(shape, np.float32)}
        self._batch = put_batch(batch, program.mesh)
        began = time.perf_counter()
        self._step = program.train_step.lower(self.state, self._batch).compile()
        self.compile_seconds = time.perf_counter() - began
        self.bytes = planned_bytes(self._step)
        self.tokens = tokens.size
        self.flops = training_flops_per_token(config.model) * tokens.size
        self.executed_flops = executed_training_flops_per_token(config.model) * tokens.size

    def __call__(self) -> float:
        began = time.perf_counter()
        self.state, metrics = self._step(self.state, self._batch)
        float(metrics["loss"])
        return time.perf_counter() - began
