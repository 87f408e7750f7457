"""Small models with random weights, for tests of what generates."""

import dataclasses

import jax
import numpy as np

from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.models.gpt import GPT


def made_of(model: ModelConfig, seed: int = 0, **changes) -> tuple[GPT, dict]:
    """A model of the fields of `model`, but for `changes`, and its parameters."""
    gpt = GPT(resolve(ExperimentConfig(model=dataclasses.replace(model, **changes))).model)
    return gpt, jax.jit(gpt.init)(jax.random.key(seed), np.zeros((1, 1), np.int32))["params"]


def random_prompts(vocab_size: int, *lengths: int, seed: int = 0) -> list[np.ndarray]:
    """Random tokens, one prompt a length."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocab_size, length) for length in lengths]
