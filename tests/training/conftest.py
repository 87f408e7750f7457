"""A model small enough to compile in a second, and batches of random tokens for it."""

import jax
import numpy as np
import pytest

from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes


@pytest.fixture(scope="session")
def make_model():
    """Returns a function from model fields to a resolved `ModelConfig`, 50 tokens padded to 64."""

    def make(**fields):
        small = {
            "vocab_size": 50,
            "vocab_multiple": 64,
            "context_length": 8,
            "num_layers": 2,
            "num_heads": 2,
            "d_model": 16,
        }
        return resolve(ExperimentConfig(model=ModelConfig(**(small | fields)))).model

    return make


@pytest.fixture(scope="session")
def random_params():
    """Returns a function from a `ModelConfig` to random parameters, by NumPy: nothing compiles."""

    def fill(config, seed=0):
        rng = np.random.default_rng(seed)
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: jax.device_put(
                (float(path[-1].key == "scale") + 0.1 * rng.normal(size=leaf.shape)).astype(
                    leaf.dtype
                )
            ),
            parameter_shapes(GPT(config)),
        )

    return fill


@pytest.fixture(scope="session")
def make_batch():
    """Returns a function from a seed to a batch of 8 random rows, some targets without weight."""

    def make(seed=0, rows=8, length=8, vocab_size=50):
        rng = np.random.default_rng(seed)
        tokens = rng.integers(vocab_size, size=(rows, length + 1), dtype=np.int32)
        return {
            "tokens": tokens[:, :-1],
            "targets": tokens[:, 1:],
            "loss_weights": (rng.random((rows, length)) < 0.8).astype(np.float32),
        }

    return make
