"""What is bfloat16 and what is float32, where config.model.dtype=bfloat16: docs/accelerators.md.

Read off the programs before any compiler changes them. `BFLOAT16` are the operations that may
compute in bfloat16; all else that computes does so in float32, softmax and normalisation among it.
"""

from collections import Counter

import jax
import jax.numpy as jnp
import pytest

from tests.support.device_programs import config, decoding, scoring, training

MOVES = {
    *("broadcast_in_dim", "concatenate", "convert_element_type", "copy", "copy_p", "gather", "pad"),
    *("dynamic_slice", "dynamic_update_slice", "reshape", "reshard", "scatter", "select_n"),
    *("slice", "split", "squeeze", "transpose", "sharding_constraint", "optimization_barrier"),
}
# Residual additions, biases and the activation function, forward and backward.
BFLOAT16 = {"dot_general", "add", "add_any", "mul", "sub", "neg", "tanh", "integer_pow"}
BIASES = 6  # of a layer: three of heads, output, up, down


def _operations(jaxpr):
    """All that computes: what has a program inside is what that computes."""
    for operation in jaxpr.eqns:
        inside = [
            getattr(each, "jaxpr", each)
            for value in operation.params.values()
            for each in (value if isinstance(value, (tuple, list)) else [value])
            if hasattr(getattr(each, "jaxpr", each), "eqns")
        ]
        if not inside:
            yield operation
        for each in inside:
            yield from _operations(each)


def _dtypes(variables):
    return tuple(str(each.aval.dtype) for each in variables if hasattr(each.aval, "dtype"))


def _computed(make):
    """How often each operation has bfloat16 on either side, and the types of matrix products."""
    program, shapes = make(config())
    counts, products = Counter(), Counter()
    for operation in _operations(program.trace(*shapes).jaxpr.jaxpr):
        name = operation.primitive.name
        given, made = _dtypes(operation.invars), _dtypes(operation.outvars)
        if name == "dot_general":
            products[given + made] += 1
        if "bfloat16" in given + made and name not in MOVES:
            counts[name] += 1
    return counts, products


@pytest.mark.parametrize("make", [training, decoding, scoring])
def test_only_products_sums_of_branches_and_the_activation_are_bfloat16(make):
    counts, products = _computed(make)
    sums = counts.pop("reduce_sum", 0)
    assert set(counts) <= BFLOAT16
    # The gradients of biases, which a layer adds in bfloat16, are sums of bfloat16.
    assert sums == (BIASES if make is training else 0)
    both = ("bfloat16", "bfloat16")
    assert products.pop((*both, "float32"))  # scores, weighted values, logits and their gradients
    products.pop((*both, "bfloat16"), None)  # projections of layers
    assert not products


def test_state_sums_and_figures_are_float32_and_a_cache_is_not():
    step, (state, *others) = training(config())
    after, metrics = jax.eval_shape(step, state, *others)
    for leaf in jax.tree.leaves((after.params, after.opt_state, metrics)):
        assert leaf.dtype in (jnp.float32, jnp.int32)
    _, (params, written, *_) = decoding(config())
    for path, leaf in jax.tree.leaves_with_path(params):
        kept = jax.tree_util.keystr(path[-1:], simple=True) in ("scale", "bias")
        assert leaf.dtype == (jnp.float32 if kept else jnp.bfloat16)
    held = {leaf.dtype.name for leaf in jax.tree.leaves(written.cache)}
    assert held == {"bfloat16", "int32"} and written.log_probs.dtype == jnp.float32
