"""What a model and a step of its training cost, by the configuration alone: of each kind of run.

costs_of(config).flops_per_token * tokens_of(largest_batch(config))
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments.task_configs import (
    DPOConfig,
    DPOSection,
    RewardModelConfig,
    RewardSection,
    SFTConfig,
)
from gptjax.config import ExperimentConfig
from gptjax.models.costs import (
    executed_training_flops_per_token,
    parameter_count,
    training_flops_per_token,
)

Shapes = dict[str, jax.ShapeDtypeStruct]


@dataclasses.dataclass(frozen=True)
class Costs:
    """By the formulas of `gptjax.models.costs`.

    Attributes:
      parameters: of the model.
      flops_per_token: FLOPs of training, as if attention were dense.
      executed_flops_per_token: of training, with the pairs that are computed alone.
    """

    parameters: int
    flops_per_token: float
    executed_flops_per_token: float


def costs_of(config: ExperimentConfig) -> Costs:
    """The costs of a resolved configuration; a reward model has no logits."""
    scalar_head = isinstance(config, RewardModelConfig)
    return Costs(
        parameter_count(config.model, scalar_head=scalar_head),
        training_flops_per_token(config.model, scalar_head=scalar_head),
        executed_training_flops_per_token(config.model, scalar_head=scalar_head),
    )


def largest_batch(config: ExperimentConfig) -> Shapes:
    """The arrays of the largest batch as a loss takes them; prompts and answers at their limits."""
    rows = config.training.batch_size
    if isinstance(config, RewardModelConfig):
        return _rankings(rows, config.reward)
    if isinstance(config, DPOConfig):
        return _referred(rows, config.dpo)
    names = ["tokens", "targets"]
    if config.data.document_masking or isinstance(config, SFTConfig):
        names += ["segment_ids", "positions"]
    shape = rows, config.model.context_length
    return {"loss_weights": _array(*shape, dtype=jnp.float32)} | {
        name: _array(*shape) for name in names
    }


def tokens_of(batch: Mapping[str, Any]) -> int:
    """The tokens that are computed of a batch of arrays or of their shapes, padding included."""
    names = {"tokens", "prompts", "answers"} & batch.keys()
    return sum(math.prod(batch[name].shape) for name in names)


def _rankings(rows: int, reward: RewardSection) -> Shapes:
    prompt, answer, count = reward.max_prompt_tokens, reward.max_answer_tokens, reward.max_answers
    judgements = {
        "num_answers": _array(rows),
        "preferred": _array(rows, count, count, dtype=jnp.float32),
    }
    if reward.share_prompts:
        return judgements | {
            "prompts": _array(rows, prompt),
            "prompt_lengths": _array(rows),
            "answers": _array(rows, count, answer),
            "answer_lengths": _array(rows, count),
        }
    tokens = {"tokens": _array(rows, count, prompt + answer), "lengths": _array(rows, count)}
    return judgements | tokens


def _referred(rows: int, section: DPOSection) -> Shapes:
    """Rankings whose answers have the reference's log-probabilities."""
    count, length = section.max_answers, section.max_prompt_tokens + section.max_answer_tokens
    return {
        "num_answers": _array(rows),
        "preferred": _array(rows, count, count, dtype=jnp.float32),
        "tokens": _array(rows, count, length),
        "lengths": _array(rows, count),
        "prompt_lengths": _array(rows),
        "reference_log_probs": _array(rows, count, dtype=jnp.float32),
    }


def _array(*shape: int, dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)
