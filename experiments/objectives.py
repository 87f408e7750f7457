"""What a configuration's model is, and what it is trained for: of each kind of run.

model = build_model(config)
loss, params = training_loss(config, model), init_params(config, jax.random.key(0))
"""

from typing import Any

import jax
import jax.numpy as jnp

from experiments.task_configs import DPOConfig, RewardModelConfig
from gptjax.alignment.preference_losses import dpo, ipo
from gptjax.alignment.ranking import ranking
from gptjax.alignment.reward_model import RewardModel
from gptjax.config import ExperimentConfig
from gptjax.models.gpt import GPT
from gptjax.training.losses import Loss, language_model


def build_model(config: ExperimentConfig, **attributes: Any) -> Any:
    """A `RewardModel` of a `RewardModelConfig`, a `GPT` of all others; `attributes` as theirs."""
    kind = RewardModel if isinstance(config, RewardModelConfig) else GPT
    return kind(config.model, **attributes)


def init_params(config: ExperimentConfig, key: jax.Array) -> Any:
    """Random parameters of that model."""
    tokens, lengths = jnp.zeros((1, 1), jnp.int32), jnp.ones((1,), jnp.int32)
    inputs = (tokens, lengths) if isinstance(config, RewardModelConfig) else (tokens,)
    return build_model(config).init(key, *inputs)["params"]


def training_loss(config: ExperimentConfig, model: Any) -> Loss:
    """What `model`, from `build_model`, is trained and evaluated by."""
    if isinstance(config, RewardModelConfig):
        return ranking(model, share_prompts=config.reward.share_prompts)
    chunk = config.training.loss_chunk
    if isinstance(config, DPOConfig):
        beta = config.dpo.beta
        if config.dpo.loss == "ipo":
            return ipo(model, beta, chunk)
        return dpo(model, beta, config.dpo.label_smoothing, chunk)
    return language_model(model, chunk)
