"""Memory that a run of PPO needs: bytes of each network on each device, and of its largest program.

plan(config, mesh).trees["parameter_bytes"]
planned = planned_update(config).bytes   # in a process that has the devices

The reward models are those of `config.ppo.rewards`, the value network's of `config.ppo.value_from`
or the first of them; their work directories need no more than a config.json. Where the rewards are
not given, one reward model of the policy's size is counted.
"""

import dataclasses
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from gptjax.alignment.ppo import Bases
from gptjax.alignment.reward_model import RewardModel
from gptjax.config import ModelConfig
from gptjax.inference.decoding import piece_size
from gptjax.inference.prefill import PIECE, bucket
from gptjax.models.costs import training_flops_per_token
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.runs.kind import Plan, kind_of
from gptjax.runs.planning.costs import LargestProgram, Shapes, array
from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.policy_optimisation.checks import minibatches_divide
from gptjax.tasks.policy_optimisation.config import PPOConfig
from gptjax.tasks.policy_optimisation.networks import ActorCritic
from gptjax.training.memory import bytes_of_each_device
from gptjax.training.partitioning import batch_sharding, make_mesh, placed


def plan(config: PPOConfig, mesh: Any) -> Plan:
    """Plans the memory of a resolved `config` on `mesh`, and the FLOPs of an iteration.

    Raises:
      ValueError: minibatches or a parameter do not divide over the mesh.
    """
    minibatches_divide(config, mesh)
    trees = state_trees(config, mesh)
    policy = bytes_of_each_device(networks_of(config, mesh).params)
    return Plan(
        trees=trees,
        outside=tuple({"reference_bytes", "reward_model_bytes"} & trees.keys()),
        bytes={"rollout_bytes": rollout_bytes(config, mesh, policy)},
        flops={"flops_per_step": flops_of_an_iteration(config)},
    )


def networks_of(config: PPOConfig, mesh: Any) -> ActorCritic:
    """The networks of a run, of which nothing is read but the configurations of reward models."""
    source = _value_from(config)
    section = dataclasses.replace(config.ppo, value_from=source)
    return ActorCritic(dataclasses.replace(config, ppo=section), [], mesh)


def reward_models(config: PPOConfig) -> list[ModelConfig]:
    """The models that score answers."""
    if config.ppo.rewards is None:
        return [config.model]
    return [
        WorkDirectory(directory, f"reward_model:{directory}").config().model
        for directory in _named(config)
    ]


def value_network(config: PPOConfig) -> ModelConfig:
    """The model of the value network."""
    source = _value_from(config)
    if source is None:
        return config.model
    return WorkDirectory(source, "config.ppo.value_from").config().model


def _named(config: PPOConfig) -> list[str]:
    """The work directories of reward models in `config.ppo.rewards`."""
    return re.findall(r"reward_model:(\S+)", config.ppo.rewards or "")


def _value_from(config: PPOConfig) -> str | None:
    return config.ppo.value_from or next(iter(_named(config)), None)


def state_trees(config: PPOConfig, mesh: Any) -> dict[str, Any]:
    """Shapes and shardings of the arrays held throughout, by the names of their figures."""
    networks = networks_of(config, mesh)
    state, bases = networks.target, held_bases(config, networks)
    ppo_state = state.opt_state

    def scoring(model: ModelConfig) -> Any:
        return placed(parameter_shapes(RewardModel(model), array(1, 1), array(1)), mesh)

    return {
        "parameter_bytes": state.params,
        "optimizer_bytes": ppo_state.optimizer,
        "average_bytes": state.ema,
        # The base of the policy's adapters is the reference.
        **({"reference_bytes": networks.params} if bases.policy is None else {"base_bytes": bases}),
        "reward_model_bytes": [scoring(model) for model in reward_models(config)],
        "value_network_bytes": ppo_state.critic,
        "value_optimizer_bytes": ppo_state.critic_optimizer,
    }


def held_bases(config: PPOConfig, networks: ActorCritic) -> Bases:
    """The frozen parameters of adapters that nothing else holds.

    A value network that starts from the policy or from one of the rewards shares their arrays, all
    but the scalar head.
    """
    bases = networks.planned_bases()
    return bases if config.ppo.value_from else dataclasses.replace(bases, critic=None)


def rollout_bytes(config: PPOConfig, mesh: Any, parameter_bytes: int) -> int:
    """Bytes that the inference engine keeps from one batch of answers to the next.

    That is keys and values of all answers that are written at once, answers divided over `data`
    and `fsdp` where they divide, heads over `tensor`, and the policy's parameters as decoding reads
    them.

    Args:
      config: resolved.
      mesh: over which all is divided.
      parameter_bytes: of the policy on each device, in float32.
    """
    section, model = config.ppo, config.model
    rows = section.rollout_slots or config.training.batch_size
    size = min(bucket(section.max_prompt_tokens + section.max_answer_tokens), model.context_length)
    chunk = piece_size(model, size, PIECE)
    policy = kind_of(config).model(config)
    cache = jax.eval_shape(lambda: policy.init_cache(rows, size, chunk))
    whole = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(cache))
    weights = parameter_bytes * jnp.dtype(model.dtype).itemsize // 4
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    parts = mesh.shape["tensor"] * (shards if rows % shards == 0 else 1)
    return whole // parts + weights


def update_batches(config: PPOConfig) -> tuple[Shapes, Shapes | None]:
    """A minibatch of answers with what the update reads of them, and the text beside it."""
    section = config.ppo
    rows = config.training.batch_size // section.minibatches
    answers = (rows, section.max_answer_tokens)
    measured = ["log_probs", "advantages", "weights"]
    measured += {"gae": ["values", "returns"], "grpo": ["reference_log_probs"], "rloo": []}[
        section.advantages
    ]
    tokens = (rows, section.max_prompt_tokens + section.max_answer_tokens)
    batch = {
        "tokens": jax.ShapeDtypeStruct(tokens, jnp.int32),
        "answers": jax.ShapeDtypeStruct(answers, jnp.int32),
        "prompt_lengths": jax.ShapeDtypeStruct((rows,), jnp.int32),
        "answer_lengths": jax.ShapeDtypeStruct((rows,), jnp.int32),
    } | {name: jax.ShapeDtypeStruct(answers, jnp.float32) for name in measured}
    if not section.pretraining_coefficient:
        return batch, None
    training = dataclasses.replace(config.training, batch_size=rows * section.pretraining_rows)
    return batch, kind_of(config).largest_batch(dataclasses.replace(config, training=training))


def planned_update(config: PPOConfig, mesh: Mesh | None = None) -> LargestProgram:
    """One update of a resolved `config`, compiled for `mesh`; nothing is allocated.

    Arrays that the bases of adapters share are counted once.
    """
    mesh = make_mesh(config.parallelism) if mesh is None else mesh
    networks = networks_of(config, mesh)

    def put(arrays: Shapes | None) -> Shapes | None:
        if arrays is None:
            return None
        return {
            name: jax.ShapeDtypeStruct(
                x.shape, x.dtype, sharding=batch_sharding(mesh, len(x.shape))
            )
            for name, x in arrays.items()
        }

    batch, text = update_batches(config)
    update: Any = networks.programs(text is not None).update
    bases = networks.planned_bases()
    shared = bytes_of_each_device(bases) - bytes_of_each_device(held_bases(config, networks))
    compiled = update.lower(networks.target, put(batch), put(text), bases).compile()
    return LargestProgram(compiled, shared)


def flops_of_an_iteration(config: PPOConfig) -> float:
    """FLOPs as if attention were dense, answers at their limits, of all that an iteration computes.

    An update is three forward passes of policy and value network, on answers and, of the policy, on
    text; before it come one of policy, reference, value network and reward models each, and the
    policy's own while it writes.
    """
    section = config.ppo
    longest = section.max_prompt_tokens + section.max_answer_tokens

    def trained(model: ModelConfig, *, length: int = longest, scalar: bool = False) -> float:
        model = dataclasses.replace(model, context_length=length)
        return length * training_flops_per_token(model, scalar_head=scalar)

    scored = [trained(model, scalar=True) for model in reward_models(config)]
    policy, critic = trained(config.model), 0.0
    if section.advantages == "gae":
        critic = trained(value_network(config), scalar=True)
    answer = section.inner_epochs * (policy + critic) + (3 * policy + critic + sum(scored)) / 3
    if section.pretraining_coefficient:
        text = trained(config.model, length=config.model.context_length)
        answer += section.inner_epochs * section.pretraining_rows * text
    return config.training.batch_size * answer
