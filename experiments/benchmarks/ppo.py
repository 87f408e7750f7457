"""PPO beside what it is made of: the inference engine and a training step.

Rollouts draw the tokens that the engine draws by itself, of the same prompts, and take up new
parameters besides. An update computes policy and value network, but logits of answers alone, and
with PPO-ptx text besides; a training step computes one model and all its logits. So their speeds
are compared by FLOPs a second, of the formulas of `gptjax.models.costs`, as if attention were
dense, and with as many answers of as many tokens in a minibatch as rows and tokens in the step's
batch.

    python -m experiments.benchmark --suite=ppo
"""

import dataclasses
import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from experiments.benchmarks.figures import Target, with_targets
from experiments.benchmarks.interleaved import TimedProgram, interleaved, medians, ratio
from experiments.benchmarks.policy_stage import (
    PolicySizes,
    PolicyStage,
    bytes_of,
    compilations,
    live_bytes,
)
from experiments.benchmarks.registry import SUITES
from experiments.benchmarks.training_program import TrainingProgram
from gptjax.alignment.ppo_loop import optimise
from gptjax.alignment.rollouts import Rollouts
from gptjax.config import ExperimentConfig, ModelConfig, TrainingConfig, resolve
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.models.costs import training_flops_per_token
from gptjax.models.gpt import GPT
from gptjax.tasks.policy_optimisation.config import PPOConfig
from gptjax.tasks.policy_optimisation.networks import ActorCritic
from gptjax.tasks.policy_optimisation.plan import update_batches
from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.loop import RunIO
from gptjax.training.partitioning import put_batch
from gptjax.training.reporting.metrics import MetricsWriter
from gptjax.training.reporting.progress import Progress

TARGETS: dict[str, Target] = {
    "rollouts.over_engine": ("at least", 0.8),
    "updates.over_training": ("at least", 0.8),
    "updates.with_text_over_training": ("at least", 0.8),
    "loop.compilations_after_second_iteration": ("at most", 0),
    "loop.copies_of_frozen_weights": ("at most", 1.01),
}


@SUITES.register("ppo")
def ppo() -> dict[str, Any]:
    """Runs the whole suite, in about five minutes on two CPU cores."""
    dtype = "bfloat16" if jax.default_backend() == "gpu" else "float32"
    model = ModelConfig(
        vocab_size=453, context_length=128, num_layers=6, num_heads=6, d_model=384, dtype=dtype
    )
    return with_targets(measure_ppo(PolicySizes(model)), TARGETS)


def measure_ppo(sizes: PolicySizes) -> dict[str, Any]:
    """Runs the suite's parts, without targets."""
    stage = PolicyStage(sizes.config)
    return {
        "loop": _loop(stage),
        "rollouts": _rollouts(stage, sizes.rounds),
        "updates": _updates(stage, sizes.rounds),
    }


def _loop(stage: PolicyStage) -> dict[str, float]:
    """Iterations as a run has them: programs that are compiled late, and copies of weights."""
    config, compiled = stage.config, []
    state = stage.networks.initial_state(stage.policy)
    learned = bytes_of(state)
    environment, held = stage.environment(), []

    with compilations() as count, tempfile.TemporaryDirectory() as scratch:

        def draw(params: Any, iteration: int) -> Rollouts:
            compiled.append(len(count))
            held.append(live_bytes())
            return environment.draw(params, iteration)

        with (
            Checkpoints(Path(scratch) / "checkpoints") as checkpoints,
            MetricsWriter(scratch) as writer,
            Progress(config.training.num_steps, console=Console(file=io.StringIO())) as progress,
        ):
            rows: list[dict[str, float]] = []
            progress.update = rows.append  # pyright: ignore[reportAttributeAccessIssue]
            optimise(
                state,
                stage.policy,
                stage.networks.programs(with_text=True),
                dataclasses.replace(environment, draw=draw),
                config,
                config.ppo,
                config.stop,
                RunIO(checkpoints, writer, progress, {}, Path(scratch)),
            )
        late = len(count) - compiled[2]
    frozen = held[0] - stage.before - learned  # before anything is drawn
    parts = ("seconds_rollout", "seconds_scoring", "seconds_update")
    return {
        "compilations": len(count),
        "compilations_after_second_iteration": late,
        "copies_of_frozen_weights": frozen / bytes_of((stage.policy, stage.scoring)),
        **{name: statistics.median(row[name] for row in rows[2:]) for name in parts},
    }


def _rollouts(stage: PolicyStage, rounds: int) -> dict[str, float]:
    """Answers of an iteration, and what the engine takes to write the same tokens."""
    section, environment = stage.config.ppo, stage.environment()
    engine = Generator(
        GPT(stage.config.model), stage.policy, slots=stage.config.training.batch_size
    )
    drawn = environment.draw(stage.policy, 0)
    prompts = [
        tokens[:length] for tokens, length in zip(drawn.tokens, drawn.prompt_lengths, strict=True)
    ]

    def complete() -> list[np.ndarray]:
        requests = engine.complete(
            prompts,
            max_new_tokens=section.max_answer_tokens,
            sampler=make_sampler(section.temperature),
            seed=stage.config.training.seed,
            stop_token=stage.template.tokenizer.end_of_turn,
        )
        return [request.result() for request in requests]

    tokens = sum(answer.size for answer in complete())
    assert tokens == drawn.answer_lengths.sum()
    programs = {
        "rollouts": _timed(lambda: environment.draw(stage.policy, 0)),
        "engine": _timed(complete),
    }
    seconds = interleaved(programs, rounds)
    return {
        "tokens_per_second": tokens / medians(seconds)["rollouts_seconds"],
        "engine_tokens_per_second": tokens / medians(seconds)["engine_seconds"],
        "over_engine": ratio(seconds, "engine", "rollouts"),
    }


def _updates(stage: PolicyStage, rounds: int) -> dict[str, float]:
    """An update without and with text, and a training step, by FLOPs a second."""
    config = stage.config
    rows = config.training.batch_size // config.ppo.minibatches
    training = TrainingProgram(
        resolve(ExperimentConfig(model=config.model, training=TrainingConfig(batch_size=rows)))
    )
    plain = dataclasses.replace(
        config, ppo=dataclasses.replace(config.ppo, pretraining_coefficient=0.0)
    )
    networks = ActorCritic(plain, stage.rewards, stage.mesh)
    seconds = interleaved(
        {
            "update": _update(plain, networks, stage, with_text=False),
            "update_with_text": _update(config, stage.networks, stage, with_text=True),
            "training": training,
        },
        rounds,
    )
    flops = update_flops(config)
    text = training.flops  # as many rows, of as many tokens
    return {
        "tokens_per_second": training.tokens / medians(seconds)["update_seconds"],
        "training_tokens_per_second": training.tokens / medians(seconds)["training_seconds"],
        "over_training": ratio(seconds, "training", "update") * flops / training.flops,
        "with_text_over_training": ratio(seconds, "training", "update_with_text")
        * ((flops + text) / training.flops),
        **medians(seconds),
    }


def update_flops(config: PPOConfig) -> float:
    """FLOPs of an update of a minibatch of answers at their limits, but for text."""
    model, rows = config.model, config.training.batch_size // config.ppo.minibatches
    network = training_flops_per_token(model, scalar_head=True) * rows * model.context_length
    logits = 6 * model.vocab_size * model.d_model * rows * config.ppo.max_answer_tokens
    head = 6 * model.d_model * rows * model.context_length  # which the policy has not
    return 2 * network - head + logits


def _update(
    config: PPOConfig, networks: ActorCritic, stage: PolicyStage, *, with_text: bool
) -> TimedProgram:
    rng = np.random.default_rng(0)

    def some(shape: jax.ShapeDtypeStruct) -> np.ndarray:
        if shape.dtype == jnp.float32:
            return np.ones(shape.shape, np.float32)
        return rng.integers(0, config.model.vocab_size, shape.shape, np.int32)

    shapes, text_shapes = update_batches(config)
    batch = {name: some(shape) for name, shape in shapes.items()}
    batch["prompt_lengths"][:] = config.ppo.max_prompt_tokens
    batch["answer_lengths"][:] = config.ppo.max_answer_tokens
    text = None
    if text_shapes is not None:
        text = {name: some(shape) for name, shape in text_shapes.items()}
        text["segment_ids"][:], text["positions"][:] = 0, np.arange(config.model.context_length)
        text = put_batch(text, stage.mesh)
    put = put_batch(batch, stage.mesh)
    update, state = networks.programs(with_text).update, networks.initial_state(stage.policy)

    def call() -> jax.Array:
        nonlocal state
        state, figures = update(state, put, text)
        return figures["policy_loss"]

    return _timed(call)


def _timed(call: Any) -> TimedProgram:
    def run() -> float:
        began = time.perf_counter()
        jax.block_until_ready(call())
        return time.perf_counter() - began

    run()  # compiles
    return run
