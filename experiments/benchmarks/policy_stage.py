"""Setting of the suite `ppo`: small networks and the embedded tasks.

stage = Stage(Sizes(model).config)
rollouts = stage.environment().draw(stage.policy, 0)
"""

import contextlib
import dataclasses
import gc
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.alignment.model_reward import ModelReward
from gptjax.alignment.ppo_loop import Environment
from gptjax.alignment.ppo_settings import StopSettings
from gptjax.alignment.reward_model import RewardModel
from gptjax.alignment.rewards import BatchReward, Reward
from gptjax.config import DataConfig, ModelConfig, TrainingConfig, resolve
from gptjax.data.dialogue.prompts import load_prompts, prompt_rows
from gptjax.models.gpt import GPT
from gptjax.runs import inputs
from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.policy_optimisation.config import PPOConfig, PPOSection
from gptjax.tasks.policy_optimisation.environment import PolicyEnvironment, PolicyInputs
from gptjax.tasks.policy_optimisation.networks import ActorCritic
from gptjax.training.partitioning import make_mesh


@dataclasses.dataclass(frozen=True)
class PolicySizes:
    """Networks, lengths and rounds of the suite `ppo`.

    Attributes:
      model: of policy, value network and reward model; its vocabulary is that of the embedded
        tasks, and prompts and answers fill its context.
      prompt: the most tokens of a prompt.
      batch_size, minibatches: answers of an iteration, and how many updates they make.
      iterations: of the loop.
      rounds: of each comparison.
    """

    model: ModelConfig
    prompt: int = 32
    batch_size: int = 32
    minibatches: int = 4
    iterations: int = 5
    rounds: int = 5

    @property
    def config(self) -> PPOConfig:
        """Resolved configuration with as many rows of text as answers."""
        return resolve(
            PPOConfig(
                model=self.model,
                data=DataConfig(
                    corpus="instructions", tokenizer="chat:instructions_448", document_masking=True
                ),
                training=TrainingConfig(num_steps=self.iterations, batch_size=self.batch_size),
                ppo=PPOSection(
                    prompts="instructions:count=500",
                    max_prompt_tokens=self.prompt,
                    max_answer_tokens=self.model.context_length - self.prompt,
                    minibatches=self.minibatches,
                    pretraining_coefficient=27.8,
                    pretraining_rows=1,
                ),
                stop=StopSettings(max_empty=None),
            )
        )


class PolicyStage:
    """Networks at random parameters, and an environment that asks for the embedded tasks.

    Attributes:
      config: of `PolicySizes`.
      mesh: of one device.
      before: bytes of all arrays before those of the stage.
      template: of the embedded tasks' tokenizer.
      policy, scoring: parameters of the policy, and of the reward model.
      rewards: by that.
      networks: of the run.
    """

    def __init__(self, config: PPOConfig):
        """Makes the parameters."""
        self.config, self.mesh = config, make_mesh(config.parallelism)
        self.before = live_bytes()
        self.template = inputs.load_chat_template(config)
        token, length = jnp.zeros((1, 1), jnp.int32), jnp.ones(1, jnp.int32)
        scoring = RewardModel(config.model)
        self.policy = jax.jit(GPT(config.model).init)(jax.random.key(0), token)["params"]
        self.scoring = jax.jit(scoring.init)(jax.random.key(1), token, length)["params"]
        model_reward = ModelReward(
            scoring, self.scoring, self.template, width=config.model.context_length
        )
        self.rewards: list[Reward] = [BatchReward("reward_model", model_reward)]
        self.networks = ActorCritic(config, self.rewards, self.mesh)

    def environment(self) -> Environment:
        """Prompts, rewards and text; nothing is shown."""
        section = self.config.ppo
        assert section.prompts is not None
        prompts = prompt_rows(
            load_prompts(section.prompts),
            self.template,
            max_prompt_tokens=section.max_prompt_tokens,
        )
        text = inputs.prepare_corpus(self.config, self.template.tokenizer)
        given = PolicyInputs(
            config=self.config,
            template=self.template,
            hashes={},
            prompts=prompts,
            samples=None,
            text=text,
            rewards=self.rewards,
            mesh=self.mesh,
        )
        return PolicyEnvironment(given, WorkDirectory("")).as_environment(lambda *_: None)


@contextlib.contextmanager
def compilations() -> Iterator[list[str]]:
    """Collects an entry for each program that is compiled, or read from a cache."""
    found: list[str] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event.endswith("backend_compile_duration"):
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def bytes_of(tree: Any) -> int:
    """Bytes of a tree of arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def live_bytes() -> int:
    """Bytes of all arrays that are still referenced."""
    gc.collect()
    return bytes_of(jax.live_arrays())
