"""A training step of a GPT, made of the parts that need no data: model, loss, optimizer.

step = Step(config)
seconds = step()
"""

import dataclasses
import statistics
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.interleaved import interleaved, ratio
from experiments.benchmarks.pytorch.program import torch_program
from experiments.benchmarks.train_shape import TrainShape
from gptjax.config import batch_schedule
from gptjax.models.costs import executed_training_flops_per_token, training_flops_per_token
from gptjax.models.gpt import GPT
from gptjax.training.gradients import gradient_sums
from gptjax.training.loop import make_train_step
from gptjax.training.losses import language_model
from gptjax.training.memory import planned_bytes
from gptjax.training.optimizers import learning_rate, make_optimizer
from gptjax.training.state import create


class Step:
    """One compiled training step on one batch; a call takes it and returns its seconds.

    Attributes:
      tokens: of a step.
      flops, executed_flops: of a step, as if attention were dense and as it is.
      compile_seconds: of the program.
      bytes: of memory that it needs.
    """

    def __init__(self, shape: TrainShape):
        """Compiles the step."""
        config = shape.config
        model, optimizer = GPT(config.model), config.optimizer
        schedule = learning_rate(optimizer, batch_schedule(config))
        tx = make_optimizer(optimizer, schedule)
        sums = gradient_sums(language_model(model))
        rows = shape.batch_size, shape.context_length
        tokens = np.random.default_rng(0).integers(0, shape.vocab_size, rows, np.int32)
        weights = np.ones(rows, np.float32)
        batch = {"tokens": tokens, "targets": tokens, "loss_weights": weights}
        self._inputs = jax.device_put(batch), config.training.seed

        def fresh() -> Any:
            params = model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
            return create(params, tx)

        self._state = jax.jit(fresh)()
        began = time.perf_counter()
        step = make_train_step(sums, tx, schedule)
        self._step = step.lower(self._state, *self._inputs).compile()
        self.compile_seconds = time.perf_counter() - began
        self.bytes, self.tokens = planned_bytes(self._step), tokens.size
        self.flops = training_flops_per_token(config.model) * self.tokens
        self.executed_flops = executed_training_flops_per_token(config.model) * self.tokens

    def __call__(self) -> float:
        began = time.perf_counter()
        self._state, metrics = self._step(self._state, *self._inputs)
        float(metrics["loss"])
        return time.perf_counter() - began


def measure_training(shape: TrainShape, rounds: int, peaks: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens a second and MFU of the step, alone on the device."""
    step = Step(shape)
    first = step()
    seconds = statistics.median(step() for _ in range(rounds))
    return {
        "tokens_per_second": step.tokens / seconds,
        "step_seconds": seconds,
        "mfu": step.flops / seconds / peaks["flops_per_second"],
        "executed_mfu": step.executed_flops / seconds / peaks["flops_per_second"],
        "compile_seconds": step.compile_seconds,
        "first_step_seconds": first,
        "bytes": step.bytes,
    }


def training_beside_torch(shape: TrainShape, rounds: int) -> dict[str, Any]:
    """Our step and that of compiled PyTorch, in turn.

    Raises:
      ValueError: PyTorch does not run here, or not on a GPU.
    """
    step, arguments = Step(shape), dataclasses.asdict(shape)
    step()
    with torch_program("gpt", **arguments, compiled=True) as (theirs, version):
        refuse_cpu(version)
        seconds = interleaved({"ours": step, "torch": theirs}, rounds)
    return {
        "torch": version,
        "tokens_per_second": step.tokens / statistics.median(seconds["ours"]),
        "torch_tokens_per_second": step.tokens / statistics.median(seconds["torch"]),
        "over_torch": ratio(seconds, "torch", "ours"),
    }


def refuse_cpu(version: str) -> None:
    """Raises ValueError where a program of PyTorch's says that it is on no GPU."""
    if not version.endswith("cuda"):
        raise ValueError(f"PyTorch: got {version}, expected one on cuda")
