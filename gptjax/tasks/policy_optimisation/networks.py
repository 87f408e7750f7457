"""Networks of PPO: the policy and the value network, their initial parameters and optimizers.

networks = ActorCritic(config, rewards, mesh)
reference = networks.reference(workdir.initial_checkpoint())
state, programs = networks.initial_state(reference), networks.programs(with_text=False)
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from gptjax.alignment import ppo
from gptjax.alignment.model_reward import ModelReward
from gptjax.alignment.ppo_loop import Programs, compiled
from gptjax.alignment.reward_model import RewardModel, from_language_model
from gptjax.alignment.rewards import Reward
from gptjax.config import batch_schedule
from gptjax.judging.reward_models import load_reward_model
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.runs.costs import array
from gptjax.runs.initial_params import initial_params
from gptjax.runs.inputs import load_model_tokenizer
from gptjax.runs.kind import kind_of
from gptjax.runs.workdir import InitialCheckpoint, WorkDirectory
from gptjax.tasks.policy_optimisation.checks import check_room
from gptjax.tasks.policy_optimisation.config import PPOConfig
from gptjax.training import optimizers, partitioning
from gptjax.training.gradients import GradientSums, gradient_sums
from gptjax.training.losses import language_model
from gptjax.training.state import TrainState, rng


class ActorCritic:
    """Policy and value network, with their initial parameters and their optimizers.

    Attributes:
      target: the shapes of the state's arrays, and where each lives.
    """

    def __init__(self, config: PPOConfig, rewards: list[Reward], mesh: Mesh):
        """Reads nothing yet but the configuration of the value network's start.

        Args:
          config: resolved and checked.
          rewards: the first reward model among them is where the value network starts, unless
            `config.ppo.value_from` names another one.
          mesh: over which all is divided.
        """
        self._config, self._mesh = config, mesh
        attributes = partitioning.model_attributes(config, mesh)
        self._policy = kind_of(config).model(config, **attributes)
        self._critic: RewardModel | None = None
        self._critic_start: Callable[[], Any] | None = None
        if config.ppo.advantages == "gae":
            critic, self._critic_start = _critic(config, rewards, mesh)
            self._critic = dataclasses.replace(critic, **attributes)
        updates = config.ppo.minibatches * config.ppo.inner_epochs
        self._tx = _optimizer(config, config.optimizer.learning_rate, updates)
        self._critic_tx = _optimizer(config, config.ppo.value_learning_rate, updates)
        self.target = partitioning.placed(self._shapes(), mesh)

    def reference(self, initial: InitialCheckpoint) -> Any:
        """The parameters that the policy started from, and is kept near to."""
        read = initial_params(self._config, initial)
        assert read is not None
        return read(self.target.params)

    def initial_state(self, reference: Any) -> TrainState:
        """The state before the first iteration."""
        critic = None
        if self._critic_start is not None:
            critic = self._critic_start()
        elif self._critic is not None:
            key = rng(self._config.training.seed, "scalar_head")
            critic = from_language_model(self._critic, reference, key)
        sharding = jax.tree.map(lambda leaf: leaf.sharding, self.target)
        return jax.jit(self._fresh, out_shardings=sharding)(reference, critic or {})

    def programs(self, with_text: bool) -> Programs:
        """The compiled programs; `with_text`: those of PPO-ptx."""
        pretraining: GradientSums | None = None
        if with_text:
            loss = language_model(self._policy, self._config.training.loss_chunk)
            pretraining = gradient_sums(
                lambda params, batch, _: loss(params, batch, None), self._config.training.accumulate
            )
        return compiled(
            self._config.ppo,
            self._policy,
            self._critic,
            self._tx,
            self._critic_tx,
            pretraining,
            self._config.optimizer.ema_decay,
            self.target,
            self._mesh,
        )

    def _fresh(self, params: Any, critic: Any) -> TrainState:
        return ppo.initial_state(
            params,
            critic,
            self._tx,
            self._critic_tx,
            kl_coefficient=self._config.ppo.kl_coefficient,
            with_ema=self._config.optimizer.ema_decay is not None,
        )

    def _shapes(self) -> TrainState:
        critic = {}
        if self._critic is not None:
            critic = parameter_shapes(self._critic, array(1, 1), array(1))
        return jax.eval_shape(self._fresh, parameter_shapes(self._policy), critic)


def _critic(
    config: PPOConfig, rewards: list[Reward], mesh: Mesh
) -> tuple[RewardModel, Callable[[], Any] | None]:
    """Value network's model, and a function that reads its parameters; None: the policy's.

    They are not held beside those of the rewards: of a run that goes on they are not read.
    """
    if config.ppo.value_from is not None:
        source = WorkDirectory(config.ppo.value_from)
        model = source.config().model
        check_room("value_from", model.context_length, config)
        return (
            RewardModel(model),
            lambda: load_reward_model(source, load_model_tokenizer(config), mesh)[1],
        )
    judges = [reward.function for reward in rewards if isinstance(reward.function, ModelReward)]
    if judges:
        return judges[0].model, lambda: judges[0].params
    return RewardModel(config.model), None


def _optimizer(
    config: PPOConfig, learning_rate: float, updates: int
) -> optax.GradientTransformation:
    """The optimizer of `config`, whose schedule counts iterations, of so many updates each."""
    settings = dataclasses.replace(config.optimizer, learning_rate=learning_rate)
    rate = optimizers.learning_rate(settings, batch_schedule(config))
    return optimizers.make_optimizer(settings, lambda count: rate(jnp.asarray(count) // updates))
