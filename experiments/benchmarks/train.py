"""One training step against the matmul peak of the machine, measured in the same process.

python -m experiments.benchmark --suite=train
"""

import itertools
import resource
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.registry import SUITES
from gptjax.config import ExperimentConfig, ModelConfig, TrainingConfig, batch_schedule, resolve
from gptjax.models.costs import executed_training_flops_per_token, training_flops_per_token
from gptjax.models.gpt import GPT
from gptjax.training import losses, optimizers
from gptjax.training.gradients import gradient_sums
from gptjax.training.loop import make_train_step
from gptjax.training.metrics import matmul_peak_flops
from gptjax.training.state import create, rng

STEPS = 12


def _peak_memory_bytes() -> int:
    """The device's own count where it keeps one, else the process's largest resident size."""
    stats = jax.devices()[0].memory_stats() or {}
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(stats.get("peak_bytes_in_use", kilobytes * 1024))


@SUITES.register("train")
def train() -> dict[str, Any]:
    """6 layers x 384 x 6 heads, context 256, batch 16, vocabulary 256, AdamW, clip 1.0, float32.

    Each step is timed between two measurements of the matmul peak, so that a machine that slows
    down slows both; figures are medians over the steps.
    """
    model_config = ModelConfig(
        vocab_size=256, context_length=256, num_layers=6, num_heads=6, d_model=384
    )
    config = resolve(ExperimentConfig(model=model_config, training=TrainingConfig(batch_size=16)))
    model, batches = GPT(config.model), batch_schedule(config)
    loss = losses.language_model(model)
    schedule = optimizers.learning_rate(config.optimizer, batches)
    tx = optimizers.make_optimizer(config.optimizer, schedule)
    params = model.init(rng(0, "params"), jnp.zeros((1, 1), jnp.int32))["params"]
    state = create(params, tx)
    shape = (config.training.batch_size, config.model.context_length)
    tokens = np.random.default_rng(0).integers(0, config.model.vocab_size, shape, np.int32)
    batch = jax.device_put(
        {"tokens": tokens, "targets": tokens, "loss_weights": np.ones(shape, np.float32)}
    )

    began = time.perf_counter()
    step = make_train_step(gradient_sums(loss), tx, schedule, seed=0).lower(state, batch).compile()
    compiled = time.perf_counter()
    state, metrics = jax.block_until_ready(step(state, batch))
    first = time.perf_counter()

    seconds, peaks = [], [matmul_peak_flops()]
    for _ in range(STEPS):
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(step(state, batch))
        seconds.append(time.perf_counter() - start)
        peaks.append(matmul_peak_flops())
    flops = training_flops_per_token(config.model) * tokens.size
    around = [(before + after) / 2 for before, after in itertools.pairwise(peaks)]
    mfu = statistics.median(flops / s / peak for s, peak in zip(seconds, around, strict=True))
    rate = tokens.size / statistics.median(seconds)
    executed = executed_training_flops_per_token(config.model)
    return {
        "tokens_per_second": rate,
        "model_flops_per_second": rate * training_flops_per_token(config.model),
        "executed_flops_per_second": rate * executed,
        "matmul_peak_flops_per_second": statistics.median(peaks),
        "mfu": mfu,
        "compile_seconds": compiled - began,
        "first_step_seconds": first - compiled,
        "peak_memory_bytes": _peak_memory_bytes(),
        "final_loss": float(metrics["loss"]),
    }
