"""Small models, and the same forward pass as a plain loop over layers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from gptjax import attention
from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.models.gpt import GPT
from gptjax.models.layers import Block, LayerNorm

Make = Callable[..., ModelConfig]


@pytest.fixture(scope="session")
def make_config() -> Make:
    def make(**fields: Any) -> ModelConfig:
        small: dict[str, Any] = {
            "vocab_size": 53,
            "vocab_multiple": 16,
            "context_length": 12,
            "num_layers": 3,
            "num_heads": 2,
            "d_model": 16,
        }
        return resolve(ExperimentConfig(model=ModelConfig(**small | fields))).model

    return make


@pytest.fixture(scope="session")
def init() -> Callable[[ModelConfig], Any]:
    def init(config: ModelConfig) -> Any:
        """Parameters that are random everywhere, gains and biases too."""
        params = GPT(config).init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(1), len(leaves))
        noisy = [x + 0.2 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
        return jax.tree.unflatten(tree, noisy)

    return init


@pytest.fixture(scope="session")
def tokens() -> jax.Array:
    return jax.random.randint(jax.random.key(7), (2, 12), 0, 53)


@pytest.fixture(scope="session")
def unrolled() -> Callable[..., jax.Array]:
    def unrolled(config: ModelConfig, params: Any, tokens: jax.Array) -> jax.Array:
        """Logits by one `Block.apply` a layer, each with its pattern of the cycle."""
        patterns = attention.parse(config.attention)
        x = params["token_embedding"][tokens]
        x = (x + params["position_embedding"][None, : tokens.shape[1]]).astype(config.dtype)
        for i in range(config.num_layers):
            layer = jax.tree.map(lambda leaf, i=i: leaf[i], params["trunk"]["layers"])
            x, _ = Block(config, patterns[i % len(patterns)]).apply({"params": layer}, x)
        if config.norm == "pre":
            x = LayerNorm(config).apply({"params": params["trunk"]["final_norm"]}, x)
        kernel = params["token_embedding"] if config.tied_embeddings else params["head"]["kernel"]
        return (x @ kernel.T.astype(x.dtype))[..., : config.vocab_size].astype(jnp.float32)

    return unrolled
