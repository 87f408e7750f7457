"""Training loop of PPO, which has rollouts where supervised training has a loader.

    programs = compiled(config.ppo, policy, critic, tx, critic_tx, pretraining, ema_decay, ...)
    outcome = optimise(state, reference, programs, environment, config, config.ppo, ...)

An iteration draws answers, has them scored, measures them and takes an update for each minibatch.
It depends only on the state before it, the configuration and its number, so that runs resume bit
for bit.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gptjax.alignment import ppo
from gptjax.alignment.ppo import WITHOUT_LORA, Bases
from gptjax.alignment.ppo_settings import PPOSettings, StopSettings
from gptjax.alignment.reward_model import RewardModel
from gptjax.alignment.rollouts import Rollouts
from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.data.batches.token_stream import HostBatch
from gptjax.models.adapters import joined
from gptjax.models.decoder import Decoder
from gptjax.training.gradients import GradientSums
from gptjax.training.interruption import Interruption
from gptjax.training.loop import RunIO
from gptjax.training.optimizers import learning_rate
from gptjax.training.partitioning import batch_share, put_batch, traced_on
from gptjax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Programs:
    """Compiled functions of a run: `ppo.make_measure`, `ppo.learning_targets`, `ppo.make_update`.

    Attributes:
      mesh: over which the rows of a minibatch are divided; every process has all measured arrays.
    """

    measure: Callable[..., dict[str, jax.Array]]
    learning_targets: Callable[..., Any]
    update: Callable[..., tuple[TrainState, dict[str, jax.Array]]]
    mesh: Mesh


def compiled(
    settings: PPOSettings,
    policy: Decoder,
    critic: RewardModel | None,
    tx: optax.GradientTransformation,
    critic_tx: optax.GradientTransformation,
    pretraining: GradientSums | None,
    ema_decay: float | None,
    target: TrainState,
    mesh: Mesh,
) -> Programs:
    """The programs of a run whose state is as `target`; arguments are those of `ppo.make_update`.

    The update donates the state.
    """
    sharding = jax.tree.map(lambda leaf: leaf.sharding, target)
    whole = NamedSharding(mesh, PartitionSpec())
    measure = ppo.make_measure(policy, critic, settings.temperature)
    update = ppo.make_update(settings, policy, critic, tx, critic_tx, pretraining, ema_decay)
    return Programs(
        jax.jit(traced_on(mesh, measure), out_shardings=whole),
        jax.jit(functools.partial(ppo.learning_targets, settings)),
        jax.jit(traced_on(mesh, update), donate_argnums=0, out_shardings=(sharding, whole)),
        mesh,
    )


@dataclasses.dataclass(frozen=True)
class Environment:
    """Environment of a policy; each field is a function of its arguments alone.

    Attributes:
      draw: (parameters, iteration) -> the answers to that iteration's prompts.
      score: (rollouts, iteration) -> the score of each answer [B], and its parts by name.
      text: iteration -> the rows of pretraining text that PPO-ptx learns besides, or None.
      show: (parameters, iteration), before the first iteration, every `training.eval_every` and
        after the last.
    """

    draw: Callable[[Any, int], Rollouts]
    score: Callable[[Rollouts, int], tuple[np.ndarray, dict[str, np.ndarray]]]
    text: Callable[[int], HostBatch | None]
    show: Callable[[Any, int], None]


@dataclasses.dataclass(frozen=True)
class PPOOutcome:
    """End of a run: its last state and its number of iterations."""

    state: TrainState
    steps: int  # iterations of this start of the run
    interrupted_by: str | None  # the signal's name

    @property
    def figures(self) -> dict[str, float]:
        """Figures of this start for the run's result: none."""
        return {}


def optimise(
    state: TrainState,
    reference: Any,
    programs: Programs,
    environment: Environment,
    config: ExperimentConfig,
    settings: PPOSettings,
    stops: StopSettings,
    io: RunIO,
    bases: Bases = WITHOUT_LORA,
) -> PPOOutcome:
    """Takes iterations from `state.step` to `config.training.num_steps`.

    SIGTERM and SIGINT end the run after the iteration at hand, with a checkpoint.

    Args:
      state: where to start; donated.
      reference: parameters of the policy that KL is measured from.
      programs: compiled.
      environment: prompts, scores, text, samples.
      config: resolved.
      settings: of the algorithm.
      stops: what ends the run early.
      io: has a row for each iteration.
      bases: of the policy and the value network, with LoRA.

    Raises:
      ValueError: a figure is not finite or beyond a limit of `stops`, or a reward fails. Nothing of
        that iteration is saved. The message names the last good checkpoint: a policy that an
        earlier iteration began with, and whose figures were good.
    """
    total, first = config.training.num_steps, int(state.step)
    done = saved = first
    tokens = io.data_record.get("tokens") if first else 0  # None: the checkpoint does not say
    rate = jax.jit(learning_rate(config.optimizer, batch_schedule(config)))
    with Interruption() as interruption:
        if first == 0:
            environment.show(joined(state.eval_params, bases.policy), 0)
        while done < total and not interruption.requested(done):
            name = "compiling, and the first iteration"
            with io.progress.phase(name) if done == first else nullcontext():
                state, row = _iteration(
                    state, reference, programs, environment, config, settings, done, bases
                )
            done += 1
            state = dataclasses.replace(
                state, step=jax.device_put(np.int32(done), state.step.sharding)
            )
            row = {"step": done, "learning_rate": float(rate(np.int32(done - 1))), **row}
            drawn = row.pop("tokens")
            if tokens is not None:
                row["tokens"] = tokens = tokens + drawn  # of all answers by now
            try:
                _check(row, stops)
            except ValueError as error:
                io.checkpoints.wait()
                good = io.checkpoints.good_before(done - 1)  # figures are of the policy that drew
                last = "no checkpoint before" if good is None else f"last good checkpoint: {good}"
                raise ValueError(f"{error}; {last} (in {io.checkpoints.directory})") from error
            io.writer.write(row)
            io.progress.update(row)
            if done % config.training.eval_every == 0 or done == total:
                environment.show(joined(state.eval_params, bases.policy), done)
                io.redraw()
            if done % config.checkpoint.every_steps == 0 or done == total:
                saved = done
                io.save(done, state, config, tokens=tokens)
        if saved < done:
            io.save(done, state, config, tokens=tokens)
        io.checkpoints.wait()
    return PPOOutcome(state, done - first, interruption.name)


def _iteration(
    state: TrainState,
    reference: Any,
    programs: Programs,
    environment: Environment,
    config: ExperimentConfig,
    settings: PPOSettings,
    iteration: int,
    bases: Bases,
) -> tuple[TrainState, dict[str, Any]]:
    """One iteration: its figures, and the state after it, which still has the old number."""
    began = time.monotonic()
    policy = joined(state.params, bases.policy)
    rollouts = environment.draw(policy, iteration)
    drawn = time.monotonic()
    scores, parts = environment.score(rollouts, iteration)
    critic = joined(state.opt_state.critic, bases.critic)
    measured = _measured(policy, reference, critic, programs, rollouts, settings)
    del policy, critic  # the update donates what they are of
    targets, figures, coefficient, moments = jax.device_get(
        programs.learning_targets(
            measured,
            rollouts.mask,
            np.asarray(scores, np.float32),
            rollouts.finished,
            *jax.device_get((state.opt_state.kl_coefficient, state.opt_state.moments)),
        )
    )
    scored = time.monotonic()
    state, of_updates = _updated(
        state,
        programs,
        {**rollouts.arrays(), **targets},
        environment.text(iteration),
        settings,
        (config.training.seed, iteration),
        bases,
    )
    ppo_state = dataclasses.replace(
        state.opt_state,
        kl_coefficient=_like(coefficient, state.opt_state.kl_coefficient),
        moments=jax.tree.map(_like, moments, state.opt_state.moments),
    )
    figures |= _over_updates(jax.device_get(of_updates))
    learned = time.monotonic()
    return dataclasses.replace(state, opt_state=ppo_state), {
        "score": float(np.mean(scores)),
        "score_deviation": float(np.std(scores)),
        **{f"rewards/{name}": float(np.mean(part)) for name, part in parts.items()},
        **{name: float(value) for name, value in figures.items()},
        **_lengths(rollouts),
        "tokens": int(rollouts.answer_lengths.sum()),
        "seconds_rollout": drawn - began,
        "seconds_scoring": scored - drawn,
        "seconds_update": learned - scored,
        "tokens_per_second": int(rollouts.answer_lengths.sum()) / (drawn - began),
    }


def _measured(
    policy: Any,
    reference: Any,
    critic: Any,
    programs: Programs,
    rollouts: Rollouts,
    settings: PPOSettings,
) -> dict[str, np.ndarray]:
    """Log-probabilities and values of each answer, computed in the minibatches of the update."""
    parts = [
        jax.device_get(programs.measure(policy, reference, critic, _put(rows, programs)))
        for rows in _minibatches(rollouts.arrays(), settings.minibatches)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _updated(
    state: TrainState,
    programs: Programs,
    learned: HostBatch,
    text: HostBatch | None,
    settings: PPOSettings,
    seed: tuple[int, int],
    bases: Bases,
) -> tuple[TrainState, list[dict[str, jax.Array]]]:
    """The state after all updates of an iteration, and the figures of each.

    The first epoch takes answers in their order, because their prompts are shuffled already. Later
    epochs take them in an order drawn from `seed`.
    """
    texts = [None] * settings.minibatches
    if text is not None:
        texts = [_put(rows, programs) for rows in _minibatches(text, settings.minibatches)]
    figures: list[dict[str, jax.Array]] = []
    for epoch in range(settings.inner_epochs):
        rows = learned
        if epoch:
            order = np.random.default_rng([*seed, epoch]).permutation(len(learned["tokens"]))
            rows = {name: x[order] for name, x in learned.items()}
        for minibatch, of_text in zip(_minibatches(rows, settings.minibatches), texts, strict=True):
            state, made = programs.update(state, _put(minibatch, programs), of_text, bases)
            figures.append(made)
    return state, figures


def _lengths(rollouts: Rollouts) -> dict[str, float]:
    lengths = rollouts.answer_lengths
    return {
        "answer_length": float(lengths.mean()),
        "finished": float(rollouts.finished.mean()),
        "empty": float(np.mean(rollouts.finished & (lengths == 1))),
    }


def _over_updates(figures: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
    """The figures of an iteration's updates: means, but of ratios the extremes."""
    of_all = {name: np.array([each[name] for each in figures]) for name in figures[0]}
    extremes = {"ratio_min": np.min, "ratio_max": np.max}
    return {name: float(extremes.get(name, np.mean)(x)) for name, x in of_all.items()}


def _minibatches(rows: HostBatch, count: int) -> list[HostBatch]:
    parts = {name: np.split(np.asarray(x), count) for name, x in rows.items()}
    return [{name: x[i] for name, x in parts.items()} for i in range(count)]


def _put(rows: HostBatch, programs: Programs) -> dict[str, jax.Array]:
    """A minibatch that every process has whole, divided over the mesh."""
    held, parts = batch_share(programs.mesh)
    mine = {
        name: np.concatenate([np.split(x, parts)[part] for part in held])
        for name, x in rows.items()
    }
    return put_batch(mine, programs.mesh)


def _like(value: np.ndarray, array: jax.Array) -> jax.Array:
    return jax.device_put(np.asarray(value, array.dtype), array.sharding)


def _check(row: dict[str, Any], stops: StopSettings) -> None:
    """Ends the run if a figure of the policy is not finite, or beyond a limit.

    Raises:
      ValueError: naming the figure, what it is, and what was expected.
    """
    for name in ("score", "kl", *(name for name in row if name.endswith(("_loss", "grad_norm")))):
        if not math.isfinite(row[name]):
            raise ValueError(
                f"iteration {row['step']}: {name} is {row[name]}, expected a finite number"
            )
    limits = (
        ("kl", stops.max_kl, "at most", "nats an answer: the policy runs away from its reference"),
        ("entropy", stops.min_entropy, "at least", "nats a token: the policy has collapsed"),
        ("empty", stops.max_empty, "at most", "of the answers: the policy has gone silent"),
    )
    for name, limit, side, meaning in limits:
        if limit is None:
            continue
        too_far = row[name] < limit if side == "at least" else row[name] > limit
        if too_far:
            raise ValueError(
                f"iteration {row['step']}: {name} is {row[name]:.4g}, expected {side} {limit} "
                f"{meaning}"
            )
