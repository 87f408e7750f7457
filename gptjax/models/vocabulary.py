"""Vocabularies that grow: tables of more tokens, whose first rows are those of a trained model.

params = grown(params, target, source.model, config.model, key)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from gptjax.config import ModelConfig
from gptjax.models.heads import padded_vocab_size

TABLES = ("token_embedding", "head/kernel")  # by path; a row is a token


def of_vocabulary(target: Any, model: ModelConfig) -> Any:
    """Shapes and places of parameters as `target`'s, with tables of the vocabulary of `model`.

    Rows of another number than `target`'s are not divided over the mesh: the number may not be a
    multiple.

    Args:
      target: of `jax.ShapeDtypeStruct` with `NamedSharding`s.
      model: resolved.
    """
    rows = padded_vocab_size(model)

    def table(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        if leaf.shape[0] == rows:
            return leaf
        assert isinstance(leaf.sharding, NamedSharding), leaf.sharding
        places = NamedSharding(leaf.sharding.mesh, PartitionSpec(None, *leaf.sharding.spec[1:]))
        return jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype, sharding=places)

    return _map_tables(lambda _, leaf: table(leaf), target)


def grown(params: Any, target: Any, source: ModelConfig, model: ModelConfig, key: jax.Array) -> Any:
    """Parameters with the vocabulary of `model`: rows of known tokens as they are, others drawn.

    Rows that only pad the tables of `source` are drawn, too. If both have the same vocabulary and
    the same padding, the tables stay as they are.

    Args:
      params: a language model's.
      target: shapes and places of the result.
      source: resolved; of `params`. Its vocabulary is no larger than that of `model`.
      model: resolved; its `init_std` is the standard deviation of rows that are drawn.
      key: what they are drawn with; the same on every mesh.
    """
    vocab_size = source.vocab_size
    same = vocab_size == model.vocab_size
    if same and padded_vocab_size(source) == padded_vocab_size(model):
        return params

    def table(path: str, old: jax.Array, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        def make(old: jax.Array) -> jax.Array:
            own = jax.random.fold_in(key, TABLES.index(path))
            new = leaf.shape[0] - vocab_size, *leaf.shape[1:]
            drawn = model.init_std * jax.random.normal(own, new, leaf.dtype)
            return jnp.concatenate([old[:vocab_size], drawn])

        return jax.jit(make, out_shardings=leaf.sharding)(old)

    return _map_tables(table, params, target)


def _map_tables(change: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """A tree whose tables are what `change` makes of their path and of themselves in all trees."""

    def leaf(keys: Any, first: Any, *rest: Any) -> Any:
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        return change(path, first, *rest) if path in TABLES else first

    return jax.tree_util.tree_map_with_path(leaf, tree, *others)
