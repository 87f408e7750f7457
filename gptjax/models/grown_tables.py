"""Tables of more rows than a trained model's: of a larger vocabulary, or of a longer context.

Those of images too, whose positions are a grid, and may be fewer.

params = grown(params, target, source.model, config.model, key)

Rows of known tokens stay, those of new ones are drawn. Learned positions are interpolated.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from gptjax.config import ModelConfig
from gptjax.models.heads import padded_vocab_size
from gptjax.models.positions import stretched
from gptjax.models.vision.positions import resized_positions
from gptjax.vision_config import VisionConfig

OF_TOKENS = ("token_embedding", "head/kernel")  # by path; a row is a token
OF_POSITIONS = "position_embedding"
OF_IMAGES = f"vision/{OF_POSITIONS}"  # in a model that has an encoder of images beside another
TABLES = (*OF_TOKENS, OF_POSITIONS, OF_IMAGES)


def of_source(target: Any, model: ModelConfig) -> Any:
    """Shapes and places of parameters as `target`'s, with tables of as many rows as `model` has.

    Rows of another number than `target`'s are not divided over the mesh: the number may not be a
    multiple.

    Args:
      target: of `jax.ShapeDtypeStruct` with `NamedSharding`s.
      model: resolved; its context may be shorter than that of `target` where `stretches` says so,
        and its images of another size where `resizes` does.
    """

    def table(path: str, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        rows = model.context_length if path == OF_POSITIONS else padded_vocab_size(model)
        encoder = image_encoder(model)
        if path == OF_IMAGES and encoder is not None:
            rows = encoder.num_positions
        if leaf.shape[0] == rows:
            return leaf
        assert isinstance(leaf.sharding, NamedSharding), leaf.sharding
        places = NamedSharding(leaf.sharding.mesh, PartitionSpec(None, *leaf.sharding.spec[1:]))
        return jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype, sharding=places)

    return _map_tables(table, target)


def stretches(source: ModelConfig, model: ModelConfig) -> bool:
    """Whether the positions of `source` are learned, in a row, and fewer than those of `model`.

    Those of an image are a grid, see `resizes`.
    """
    learned = source.positions == model.positions == "learned"
    fewer = learned and source.context_length < model.context_length
    return fewer and not isinstance(model, VisionConfig)


def image_encoder(model: ModelConfig) -> VisionConfig | None:
    """The encoder of images that a model is or has."""
    return model if isinstance(model, VisionConfig) else getattr(model, "vision", None)


def resizes(source: ModelConfig, model: ModelConfig) -> bool:
    """Whether both read images in patches with learned positions, of different grids."""
    old, new = image_encoder(source), image_encoder(model)
    if old is None or new is None:
        return False
    return old.positions == new.positions == "learned" and old.grid != new.grid


def at_images_of(source: ModelConfig, model: ModelConfig) -> ModelConfig:
    """A copy of `model`, resolved, whose images are as large as those of `source`."""
    old, new = image_encoder(source), image_encoder(model)
    assert old is not None and new is not None
    sizes = {"image_size": old.image_size, "context_length": old.num_positions}
    resized = dataclasses.replace(new, **sizes)
    return resized if new is model else dataclasses.replace(model, **{"vision": resized})


def grown(params: Any, target: Any, source: ModelConfig, model: ModelConfig, key: jax.Array) -> Any:
    """Parameters with the vocabulary and the learned positions of `model`.

    Rows of known tokens stay as they are, others are drawn, as are those that only pad the tables
    of `source`. Positions of images are interpolated in both directions, as in
    `vision.positions.at_image_size`. Tables of the same size stay as they are.

    Args:
      params: a model's.
      target: shapes and places of the result.
      source: resolved; of `params`. Its vocabulary is no larger than that of `model`.
      model: resolved; its `init_std` is the standard deviation of rows that are drawn.
      key: what they are drawn with; the same on every mesh.
    """
    vocab_size = source.vocab_size
    same = vocab_size == model.vocab_size and padded_vocab_size(source) == padded_vocab_size(model)
    leaves = {_path(keys): leaf for keys, leaf in jax.tree.leaves_with_path(target)}

    def table(path: str, old: jax.Array) -> jax.Array:
        if path not in leaves:
            return old
        leaf = leaves[path]

        def longer(old: jax.Array) -> jax.Array:
            return stretched(old, leaf.shape[0])

        def larger(old: jax.Array, key: jax.Array) -> jax.Array:
            own = jax.random.fold_in(key, OF_TOKENS.index(path))
            new = leaf.shape[0] - vocab_size, *leaf.shape[1:]
            drawn = model.init_std * jax.random.normal(own, new, leaf.dtype)
            return jnp.concatenate([old[:vocab_size], drawn])

        def resized(old: jax.Array) -> jax.Array:
            grids = [encoder.grid for encoder in map(image_encoder, (source, model)) if encoder]
            return resized_positions(old, *grids)

        if path == of_images(model) and resizes(source, model):
            return jax.jit(resized, out_shardings=leaf.sharding)(old)
        if path == OF_POSITIONS and stretches(source, model):
            return jax.jit(longer, out_shardings=leaf.sharding)(old)
        if path in OF_TOKENS and not same:
            return jax.jit(larger, out_shardings=leaf.sharding)(old, key)
        return old

    return _map_tables(table, params)


def of_images(model: ModelConfig) -> str:
    """Path of the positions of images."""
    return OF_POSITIONS if isinstance(model, VisionConfig) else OF_IMAGES


def changes(path: str, source: ModelConfig, model: ModelConfig) -> bool:
    """Whether the table of positions at `path` has other rows in `model` than in `source`."""
    of_image = path == of_images(model) and resizes(source, model)
    return of_image or (path == OF_POSITIONS and stretches(source, model))


def _map_tables(change: Callable[[str, Any], Any], tree: Any) -> Any:
    """A tree whose tables are what `change` makes of their path and of themselves."""

    def leaf(keys: Any, value: Any) -> Any:
        path = _path(keys)
        return change(path, value) if path in TABLES else value

    return jax.tree_util.tree_map_with_path(leaf, tree)


def _path(keys: Any) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")
