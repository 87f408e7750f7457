"""The reward model and rollouts over a mesh, against one device."""

import jax
import numpy as np
import pytest

from gptjax.alignment.ranking import ranking
from gptjax.alignment.reward_model import RewardModel
from gptjax.config import ExperimentConfig, ModelConfig, ParallelismConfig, resolve
from gptjax.inference.generate import Generator
from gptjax.models.gpt import GPT
from gptjax.training.gradients import gradient_sums
from gptjax.training.partitioning import make_mesh, model_attributes, placed, put_batch
from tests.support.params import random_params


@pytest.mark.slow
def test_the_ranking_loss_and_its_gradient_are_those_of_one_device():
    model = ModelConfig(vocab_size=60, context_length=16, num_layers=1, num_heads=2, d_model=16)
    config = resolve(
        ExperimentConfig(model, parallelism=ParallelismConfig("mesh", data=2, fsdp=2, tensor=2))
    )
    plain, mesh = RewardModel(config.model), make_mesh(config.parallelism)
    params = random_params(plain, np.zeros((1, 1), np.int32), np.ones(1, np.int32))
    rng = np.random.default_rng(0)
    batch = {
        "tokens": rng.integers(0, 60, (4, 3, 16)).astype(np.int32),
        "lengths": rng.integers(1, 17, (4, 3)).astype(np.int32),
        "num_answers": np.full(4, 3, np.int32),
        "preferred": rng.integers(0, 2, (4, 3, 3)).astype(np.float32),
    }
    key = jax.random.key(1)
    expected, gradient = jax.jit(gradient_sums(ranking(plain)))(params, batch, key)

    divided = RewardModel(config.model, **model_attributes(config, mesh))
    sharding = jax.tree.map(lambda leaf: leaf.sharding, placed(params, mesh))
    got, its_gradient = jax.jit(gradient_sums(ranking(divided)))(
        jax.device_put(params, sharding), put_batch(batch, mesh), key
    )
    assert sharding["scalar_head"]["kernel"].spec == jax.sharding.PartitionSpec("fsdp")
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), got, expected)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), its_gradient, gradient)


@pytest.mark.slow
def test_answers_are_drawn_as_on_one_device_with_their_rows_divided():
    """Of 16 texts each device has the keys and values of 4, for half of the heads; 2 stay whole."""
    model = ModelConfig(vocab_size=60, context_length=16, num_layers=1, num_heads=2, d_model=16)
    config = resolve(
        ExperimentConfig(model, parallelism=ParallelismConfig("mesh", data=2, fsdp=2, tensor=2))
    )
    mesh, plain = make_mesh(config.parallelism), GPT(config.model)
    params = random_params(plain, np.zeros((1, 1), np.int32))
    sharding = jax.tree.map(lambda leaf: leaf.sharding, placed(params, mesh))
    divided = GPT(config.model, constrain=model_attributes(config, mesh)["constrain"])
    prompts = [np.arange(1, 3 + i % 5) for i in range(16)]

    def drawn(model, params, prompts):
        generator = Generator(model, params, slots=16, longest=(8, 8))
        return generator, generator.generate(prompts, max_new_tokens=8, seed=3)

    _, expected = drawn(plain, params, prompts)
    generator, got = drawn(divided, jax.device_put(params, sharding), prompts)
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    held = [leaf for leaf in jax.tree.leaves(generator._batch._state.cache) if leaf.ndim == 4]
    assert len(held) == 2  # keys and values of a layer
    for leaf in held:
        assert leaf.sharding.shard_shape(leaf.shape) == (4, 1, *leaf.shape[2:])

    _, few = drawn(divided, jax.device_put(params, sharding), prompts[:2])  # which 4 do not divide
    jax.tree.map(np.testing.assert_array_equal, few, expected[:2])
