"""Networks of PPO: the policy and the value network, their initial parameters and optimizers.

networks = ActorCritic(config, rewards, mesh)
reference = networks.reference(workdir.initial_checkpoint())
bases = networks.bases(reference)
state = networks.initial_state(reference, bases)
programs = networks.programs(with_text=False)
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
from gptjax.runs.initial.params import initial_params
from gptjax.runs.inputs import load_model_tokenizer
from gptjax.runs.kind import kind_of
from gptjax.runs.planning.costs import array
from gptjax.runs.workdir import InitialCheckpoint, WorkDirectory
from gptjax.tasks.policy_optimisation.checks import check_room
from gptjax.tasks.policy_optimisation.config import PPOConfig
from gptjax.training import optimizers, partitioning
from gptjax.training.gradients import GradientSums, gradient_sums
from gptjax.training.lora import base_of, trained_params
from gptjax.training.losses import language_model
from gptjax.training.state import TrainState, rng


class ActorCritic:
    """Policy and value network, with their initial parameters and their optimizers.

    Attributes:
      params: the shapes of the policy's parameters, and where each lives.
      critic_params: of the value network's; empty without one.
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
        of_critic = {}
        if self._critic is not None:
            of_critic = parameter_shapes(self._critic, array(1, 1), array(1))
        self.params = partitioning.placed(parameter_shapes(self._policy), mesh)
        self.critic_params = partitioning.placed(of_critic, mesh)
        fresh = jax.eval_shape(self._fresh, 0, self.params, self.critic_params)
        self.target = partitioning.placed(fresh, mesh)

    def reference(self, initial: InitialCheckpoint) -> Any:
        """The parameters that the policy started from, and is kept near to."""
        read = initial_params(self._config, initial)
        assert read is not None
        return read(self.params)

    def bases(self, reference: Any) -> ppo.Bases:
        """What adapters stand beside: the reference, and the value network's own start.

        Args:
          reference: from `reference`; no array of it is copied.
        """
        if self._config.lora.rank is None:
            return ppo.WITHOUT_LORA
        return self._bases_of(reference, self._initial_critic(reference))

    def planned_bases(self) -> ppo.Bases:
        """The shapes of `bases`, and where each lives."""
        return self._bases_of(self.params, self.critic_params)

    def _bases_of(self, policy: Any, critic: Any) -> ppo.Bases:
        lora = self._config.lora
        return ppo.Bases(base_of(lora, policy), base_of(lora, critic) if critic else None)

    def initial_state(self, reference: Any, bases: ppo.Bases = ppo.WITHOUT_LORA) -> TrainState:
        """The state before the first iteration, of what `reference` and `bases` gave."""
        sharding = jax.tree.map(lambda leaf: leaf.sharding, self.target)
        critic = self._initial_critic(reference) if bases.critic is None else bases.critic.params
        return jax.jit(self._fresh, out_shardings=sharding)(
            self._config.training.seed, reference, critic
        )

    def _initial_critic(self, reference: Any) -> Any:
        """The parameters that the value network starts from; empty without one."""
        if self._critic_start is not None:
            return self._critic_start()
        if self._critic is None:
            return {}
        key = rng(self._config.training.seed, "scalar_head")
        return from_language_model(self._critic, reference, key)

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

    def _fresh(self, seed: int | jax.Array, params: Any, critic: Any) -> TrainState:
        config, lora = self._config, self._config.lora
        return ppo.initial_state(
            trained_params(lora, params, rng(seed, "lora")),
            trained_params(lora, critic, rng(seed, "value_lora")) if critic else {},
            self._tx,
            self._critic_tx,
            kl_coefficient=config.ppo.kl_coefficient,
            with_ema=config.optimizer.ema_decay is not None,
        )


def _critic(
    config: PPOConfig, rewards: list[Reward], mesh: Mesh
) -> tuple[RewardModel, Callable[[], Any] | None]:
    """Value network's model, and a function that reads its parameters; None: the policy's.

    A run that resumes does not read them, so that they are not held beside those of the rewards.
    """
    if config.ppo.value_from is not None:
        source = WorkDirectory(config.ppo.value_from, "config.ppo.value_from")
        model = source.config().model
        check_room("value_from", model.context_length, config)
        return (
            RewardModel(model),
            lambda: load_reward_model(source, load_model_tokenizer(config), mesh)[1],
        )
    scoring = [reward.function for reward in rewards if isinstance(reward.function, ModelReward)]
    if scoring:
        return scoring[0].model, lambda: scoring[0].params
    return RewardModel(config.model), None


def _optimizer(
    config: PPOConfig, learning_rate: float, updates: int
) -> optax.GradientTransformation:
    """The optimizer of `config`, whose schedule counts iterations, of so many updates each."""
    settings = dataclasses.replace(config.optimizer, learning_rate=learning_rate)
    rate = optimizers.learning_rate(settings, batch_schedule(config))
    return optimizers.make_optimizer(
        settings,
        lambda count: rate(jnp.asarray(count) // updates),
        config.model.width_multiplier,
    )
