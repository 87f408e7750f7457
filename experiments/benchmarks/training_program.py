"""A training step of this library's, compiled and ready to be timed.

program = TrainingProgram(config)
seconds = program()   # of one step
"""

import time
from collections.abc import Mapping

import jax
import numpy as np

from gptjax.config import ExperimentConfig
from gptjax.runs.kind import kind_of
from gptjax.runs.program import Program
from gptjax.training.memory import planned_bytes
from gptjax.training.partitioning import put_batch


class TrainingProgram:
    """One training step on one batch; a call takes it and returns its seconds.

    Attributes:
      config: resolved.
      mesh: where state and batches live.
      state: before the next step.
      tokens: of a step.
      flops, executed_flops: of a step, as if attention were dense and as it is.
      compile_seconds: from the program's definition to the compiled one.
      bytes: of memory that it needs on each device, state and batch included.
    """

    def __init__(self, config: ExperimentConfig, batch: Mapping[str, np.ndarray] | None = None):
        """Compiles the step of a resolved `config`; `batch`: by default a decoder's random one."""
        program, kind = Program(config), kind_of(config)
        self.config, self.mesh = config, program.mesh
        sharding = jax.tree.map(lambda leaf: leaf.sharding, program.target)
        self.state = jax.jit(program.fresh, out_shardings=sharding)(config.training.seed)
        if batch is None:
            shape = (config.training.batch_size, config.model.context_length)
            tokens = np.random.default_rng(0).integers(0, config.model.vocab_size, shape, np.int32)
            weights = np.ones(shape, np.float32)
            batch = {"tokens": tokens, "targets": tokens, "loss_weights": weights}
        self._inputs = put_batch(batch, program.mesh), config.training.seed
        began = time.perf_counter()
        self._step = program.train_step.lower(self.state, *self._inputs).compile()
        self.compile_seconds = time.perf_counter() - began
        self.bytes = planned_bytes(self._step)
        self.tokens, costs = kind.tokens(batch), kind.costs(config)
        self.flops = costs.flops_per_token * self.tokens
        self.executed_flops = costs.executed_flops_per_token * self.tokens

    @property
    def text(self) -> str:
        """The compiled program, as HLO."""
        return self._step.as_text() or ""

    def __call__(self) -> float:
        began = time.perf_counter()
        self.state, metrics = self._step(self.state, *self._inputs)
        float(metrics["loss"])
        return time.perf_counter() - began
