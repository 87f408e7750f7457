"""Greedy decoding token by token, beside what reading the weights and the cache would take.

figures = measure_decoding(ModelConfig(dtype="bfloat16"), rows=8, prompt=512, new=128, ...)
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.inference.decoding import decode, decoding_params
from gptjax.models.costs import matmul_parameters
from gptjax.models.gpt import GPT


def measure_decoding(
    config: ModelConfig, rows: int, prompt: int, new: int, rounds: int, peaks: Mapping[str, Any]
) -> dict[str, Any]:
    """Seconds of a token of `rows` texts that have `prompt` tokens, and their share of bandwidth.

    A token's seconds are those of two loops of `new` and `new / 2` steps, subtracted: dispatching
    them does not count. Bytes are those of all kernels and of the whole cache, which a step reads.
    """
    config = resolve(ExperimentConfig(model=config)).model
    model = GPT(config)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    params = decoding_params(model, params)
    cache = model.init_cache(rows, prompt + new)
    tokens = jnp.zeros((rows, 1), jnp.int32)
    programs = {steps: _loop(model, prompt, steps) for steps in (new, new // 2)}
    seconds = {
        steps: _median(run, (params, cache, tokens), rounds) for steps, run in programs.items()
    }
    token = (seconds[new] - seconds[new // 2]) / (new - new // 2)
    itemsize = jnp.dtype(config.dtype).itemsize
    weight_bytes = matmul_parameters(config) * itemsize
    cache_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(cache))
    return {
        "token_seconds": token,
        "tokens_per_second": rows / token,
        "weight_bytes": float(weight_bytes),
        "cache_bytes": float(cache_bytes),
        "share_of_bandwidth": (weight_bytes + cache_bytes) / token / peaks["bytes_per_second"],
    }


def _loop(model: GPT, prompt: int, steps: int) -> Callable[..., Any]:
    """A program of so many greedy steps from the position `prompt` on."""

    def run(params: Any, cache: Any, tokens: jax.Array) -> jax.Array:
        def step(carry: Any, position: jax.Array) -> Any:
            cache, tokens = carry
            at = jnp.full(tokens.shape, position, jnp.int32)
            logits, cache = decode(model, params, cache, tokens, at)
            return (cache, jnp.argmax(logits, axis=-1).astype(jnp.int32)), None

        positions = prompt + jnp.arange(steps, dtype=jnp.int32)
        return jax.lax.scan(step, (cache, tokens), positions)[0][1]

    return jax.jit(run)


def _median(run: Callable[..., jax.Array], arguments: tuple[Any, ...], rounds: int) -> float:
    run(*arguments).block_until_ready()  # compiles
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        run(*arguments).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
