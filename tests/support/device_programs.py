"""The programs that an accelerator runs, as jitted functions and the shapes of what they take.

step, shapes = training(config())
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.config import (
    ExperimentConfig,
    ModelConfig,
    ParallelismConfig,
    TrainingConfig,
    resolve,
)
from gptjax.inference.decoding import advance, begin, decoding_params
from gptjax.inference.log_probs import log_probs_whole
from gptjax.inference.sampling import by_row, make_sampler
from gptjax.models.gpt import GPT
from gptjax.runs.kind import kind_of
from gptjax.runs.program import Program
from gptjax.training.partitioning import batch_sharding

LENGTH, ROWS = 128, 2


def config(**axes):
    shape = {"num_layers": 1, "num_heads": 2, "d_model": 128, "dtype": "bfloat16"}
    return resolve(
        ExperimentConfig(
            model=ModelConfig(vocab_size=64, context_length=LENGTH, **shape),
            training=TrainingConfig(batch_size=8 if axes else ROWS),
            parallelism=ParallelismConfig(strategy="mesh" if axes else "single", **axes),
        )
    )


def training(given):
    """The jitted step, and the shapes of what it takes."""
    program, kind = Program(given), kind_of(given)
    batch = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=batch_sharding(program.mesh, x.ndim))
        for name, x in kind.largest_batch(given).items()
    }
    return program.train_step, (
        program.target,
        batch,
        jax.ShapeDtypeStruct((), np.int32),
        program.base,
    )


def anywhere(given):
    """The same, of no mesh: JAX lowers no kernel of a TPU for a mesh of other devices."""
    step, arguments = training(given)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
    return jax.jit(step.__wrapped__, donate_argnums=0), shapes


def shapes_of(make, *arguments):
    return jax.eval_shape(make, *arguments)


def decoding(given):
    model, samplers = GPT(given.model), by_row([make_sampler(0)] * ROWS)
    params = shapes_of(functools.partial(decoding_params, model), kind_of(given).shapes(given))
    numbers = jax.ShapeDtypeStruct((ROWS,), jnp.int32)
    tokens = jax.ShapeDtypeStruct((ROWS, LENGTH), jnp.int32)
    cache = shapes_of(lambda: model.init_cache(ROWS, LENGTH))
    state = shapes_of(begin, tokens, *[numbers] * 5, cache)
    step = jax.jit(functools.partial(advance, model), donate_argnums=1)
    active = jax.ShapeDtypeStruct((ROWS,), bool)
    return step, (params, state, samplers, active, np.int32(8), np.int32(1))


def scoring(given):
    model, numbers = GPT(given.model), jax.ShapeDtypeStruct((ROWS,), jnp.int32)
    tokens = jax.ShapeDtypeStruct((ROWS, LENGTH), jnp.int32)
    params, places = kind_of(given).shapes(given), jax.ShapeDtypeStruct((ROWS, 8), jnp.int32)
    arguments = params, tokens, numbers, places, places
    return jax.jit(functools.partial(log_probs_whole, model)), arguments
