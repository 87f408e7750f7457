"""A run small enough for tests: eleven words, one layer, eight steps."""

import os
import random

import pytest

from gptjax.config import (
    CheckpointConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
    resolve,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Tokens in a new folder; compiled programs where all tests keep theirs."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "xla").symlink_to(os.environ["JAX_COMPILATION_CACHE_DIR"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTJAX_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty documents of a language with eleven words."""
    folder, rng = tmp_path_factory.mktemp("texts"), random.Random(0)
    words = ("the", "a", "of", "cat", "dog", "runs", "sleeps", "over", "under", "lazy", "fox")
    for i in range(40):
        (folder / f"{i:02}.txt").write_text(" ".join(rng.choices(words, k=60)))
    return folder


@pytest.fixture(scope="module")
def make_config(cache, folder):
    """Returns a function from overrides to a run of 8 steps, with dropout."""

    def make(**overrides):
        config = ExperimentConfig(
            model=ModelConfig(
                vocab_size=1024,
                context_length=16,
                num_layers=1,
                num_heads=1,
                d_model=8,
                residual_dropout=0.1,
            ),
            data=DataConfig(
                corpus=f"text:{folder}", tokenizer="python_docs_1024", validation_fraction=0.2
            ),
            optimizer=OptimizerConfig(learning_rate=0.01, warmup_steps=2, decay_steps=60),
            training=TrainingConfig(
                num_steps=8, batch_size=4, log_every=2, eval_every=4, sample_tokens=0
            ),
            checkpoint=CheckpointConfig(every_steps=3),
        )
        for path, value in overrides.items():
            section, field = path.split("__")
            setattr(getattr(config, section), field, value)
        return resolve(config)

    return make
