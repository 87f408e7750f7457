"""Small models, and the same forward pass as a plain loop over layers."""

import functools
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from gptjax import attention
from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.models import transformer
from gptjax.models.gpt import GPT
from gptjax.models.layers import Block
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.settings import from_dict, to_dict

Make = Callable[..., ModelConfig]


@pytest.fixture(scope="session")
def make_config() -> Make:
    def make(**fields: Any) -> ModelConfig:
        small: dict[str, Any] = {
            "vocab_size": 53,
            "vocab_multiple": 16,
            "context_length": 12,
            "num_layers": 2,
            "num_heads": 2,
            "d_model": 16,
        }
        return resolve(ExperimentConfig(model=ModelConfig(**small | fields))).model

    return make


@pytest.fixture(scope="session")
def init() -> Callable[[ModelConfig], Any]:
    def init(config: ModelConfig) -> Any:
        """Parameters that are random everywhere, gains and biases too."""
        rng = np.random.default_rng(0)

        def leaf(path: Any, shape: Any) -> jax.Array:
            centre = 1.0 if path[-1].key == "scale" else 0.0
            return jax.device_put(rng.normal(centre, 0.2, shape.shape).astype(np.float32))

        return jax.tree_util.tree_map_with_path(leaf, parameter_shapes(GPT(config)))

    return init


@pytest.fixture(scope="session")
def logits() -> Callable[..., jax.Array]:
    @functools.cache
    def compiled(config: str, deterministic: bool, unrolled: int) -> Any:
        assert unrolled == transformer.UNROLLED_LAYERS
        model = GPT(from_dict(ModelConfig, json.loads(config)))

        def apply(params: Any, inputs: jax.Array, key: jax.Array | None, context: Any):
            rngs = None if key is None else {"dropout": key}
            return model.apply(
                {"params": params}, inputs, deterministic=deterministic, rngs=rngs, **context
            )

        return jax.jit(apply)

    def logits(config: ModelConfig, params: Any, inputs: Any, key: Any = None, **context: Any):
        """`GPT.apply`, compiled once a configuration; with dropout if a key is given."""
        apply = compiled(json.dumps(to_dict(config)), key is None, transformer.UNROLLED_LAYERS)
        return np.asarray(apply(params, inputs, key, context))

    return logits


@pytest.fixture(scope="session")
def tokens() -> jax.Array:
    return jax.random.randint(jax.random.key(7), (2, 12), 0, 53)


@pytest.fixture(scope="session")
def unrolled(make_config: Make) -> Callable[..., np.ndarray]:
    @functools.cache
    def block(norm: str, pattern: attention.Pattern) -> Any:
        return jax.jit(Block(make_config(norm=norm), pattern).apply)

    def unrolled(config: ModelConfig, params: Any, tokens: Any) -> np.ndarray:
        """Logits by one `Block.apply` a layer, each with its pattern of the cycle."""
        patterns = attention.parse(config.attention)
        params = jax.device_get(params)
        x = params["token_embedding"][tokens] + params["position_embedding"][: tokens.shape[1]]
        for i in range(config.num_layers):
            layer = jax.tree.map(lambda leaf, i=i: leaf[i], params["trunk"]["layers"])
            x, _ = block(config.norm, patterns[i % len(patterns)])({"params": layer}, x)
        x = np.asarray(x)
        if config.norm == "pre":
            norm = params["trunk"]["final_norm"]
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
            x = x * norm["scale"] + norm["bias"]
        tied = config.tied_embeddings
        table = params["token_embedding"] if tied else params["head"]["kernel"]
        return (x @ table.T)[..., : config.vocab_size]

    return unrolled
