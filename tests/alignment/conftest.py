"""A decoder small enough to compile in a second."""

import pytest

from gptjax.config import ExperimentConfig, ModelConfig, resolve

VOCAB = 50


@pytest.fixture(scope="session")
def make_model():
    """Returns a function from model fields to a resolved `ModelConfig`."""

    def make(**fields):
        small = {
            "vocab_size": VOCAB,
            "vocab_multiple": 64,
            "context_length": 24,
            "num_layers": 1,
            "num_heads": 2,
            "d_model": 16,
            "init_std": 0.2,
        }
        return resolve(ExperimentConfig(model=ModelConfig(**(small | fields)))).model

    return make
