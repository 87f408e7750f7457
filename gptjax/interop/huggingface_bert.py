"""Hugging Face's BERT (`BertForPreTraining`, `BertForMaskedLM`, `BertModel`): parameters as ours.

A table says where each of their tensors goes, both ways; torch and transformers are not needed.
Their linear layers keep kernels as [outputs, inputs]: ours are the transposed.

    config = with_heads(model_config(json.loads(Path("config.json").read_text())), state)
    params = deferred_params(state, config)
    state = dict(tensors_for_huggingface(read, config))

A file has the heads that its names tell. In files of old versions LayerNorm has `gamma` and `beta`,
and the numbers of the positions are stored as `embeddings.position_ids`; both are understood.

In the checkpoints of google-research/bert (TensorFlow) the same tensors have these names; kernels
are [inputs, outputs] there:

    bert/embeddings/{word_embeddings,position_embeddings,token_type_embeddings}
    bert/embeddings/LayerNorm/{gamma,beta}
    bert/encoder/layer_N/attention/self/{query,key,value}/{kernel,bias}
    bert/encoder/layer_N/attention/output/dense/{kernel,bias}, .../LayerNorm/{gamma,beta}
    bert/encoder/layer_N/intermediate/dense/{kernel,bias}
    bert/encoder/layer_N/output/dense/{kernel,bias}, .../LayerNorm/{gamma,beta}
    bert/pooler/dense/{kernel,bias}
    cls/predictions/transform/dense/{kernel,bias}, .../LayerNorm/{gamma,beta}
    cls/predictions/output_bias
    cls/seq_relationship/{output_weights,output_bias}     # [2, E], as theirs
"""

import dataclasses
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from gptjax.model_config import BertConfig, ModelConfig
from gptjax.models.bert import Bert
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.training.checkpoints.parameter_files import Deferred

PREFIX = "bert."  # of all but the heads; a file of BertModel has none
TIED = {  # name: what it must equal
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
OF_TOKENS = ("token_embedding", "masked_lm_head/bias")  # a row is a token
OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
NOT_PARAMETERS = r"(bert\.)?embeddings\.position_ids"
POOLER, NEXT_SENTENCE = "bert.pooler.dense", "cls.seq_relationship"
PREDICTIONS = "cls.predictions.transform.dense"


class Place(NamedTuple):
    """Place of one of their tensors in our parameters.

    Attributes:
      ours: path of our leaf.
      layer: its index in the first axis of the leaf; None: the leaf has no axis of layers.
      turned: whether theirs is the transposed matrix.
    """

    ours: str
    layer: int | None = None
    turned: bool = False


def with_heads(config: BertConfig, names: Collection[str]) -> BertConfig:
    """`config` with the heads that tensors of these names make."""
    names = {_full_name(name) for name in names}
    heads = "encoder"
    if f"{PREDICTIONS}.weight" in names:
        both = all(f"{name}.weight" in names for name in (POOLER, NEXT_SENTENCE))
        heads = "pretraining" if both else "masked_lm"
    return dataclasses.replace(config, heads=heads)


def deferred_params(
    state: Mapping[str, np.ndarray], config: BertConfig, table_rows: int | None = None
) -> dict[str, Any]:
    """Our parameter tree of `Deferred` arrays, each made when it is read.

    Args:
      state: tensors by name.
      config: resolved. A next-sentence head or a pooler that it has no place for is left out.
      table_rows: of their tables of tokens, whose rows past the vocabulary are left out; None: as
        many as the vocabulary.

    Returns:
      What `Bert(config).init` makes, in float32; the embedding rows that pad the vocabulary are
      zero.

    Raises:
      ValueError: tensors that are missing, that stand for nothing here, of another shape, not of
        floats, or an output layer that differs from the embedding it is tied to.
    """
    named = {_full_name(name): name for name in state if not re.fullmatch(NOT_PARAMETERS, name)}
    table, shapes = _table(config), _leaf_shapes(config)
    missing = [name for name in table if name not in named]
    if missing:
        raise ValueError(f"checkpoint: got no {_some(missing)}, expected {len(table)} tensors")
    every = _table(dataclasses.replace(config, heads="pretraining"))
    unknown = [named[name] for name in named if name not in every and name not in TIED]
    if unknown:
        raise ValueError(f"checkpoint: got {_some(unknown)}, which this model does not have")
    for name, place in table.items():
        shape = _their_shape(place, shapes, config)
        if place.ours in OF_TOKENS:
            shape = (table_rows or config.vocab_size, *shape[1:])
        _check(named[name], state[named[name]], shape)
    for name, same in TIED.items():
        if (
            name in named
            and same in table
            and not np.array_equal(state[named[name]], state[named[same]])
        ):
            raise ValueError(f"{name}: got other values than {same}, expected tied ones")
    of_leaf: dict[str, list[str]] = {}
    for name, place in table.items():
        of_leaf.setdefault(place.ours, []).append(name)

    def read(path: str) -> np.ndarray:
        leaf = np.zeros(shapes[path], np.float32)
        for name in of_leaf[path]:
            place, theirs = table[name], state[named[name]]
            ours = leaf if place.layer is None else leaf[place.layer]
            if path in OF_TOKENS:
                theirs, ours = theirs[: config.vocab_size], ours[: config.vocab_size]
            ours[...] = (theirs.T if place.turned else theirs).reshape(ours.shape)
        return leaf

    leaves = {path: Deferred(shapes[path], lambda path=path: read(path)) for path in shapes}
    return traverse_util.unflatten_dict(leaves, sep="/")


def tensor_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of `tensors_for_huggingface`."""
    shapes = _leaf_shapes(config)
    prefix = len(PREFIX) if config.heads == "encoder" else 0
    table = _table(config).items()
    return {name[prefix:]: _their_shape(place, shapes, config) for name, place in table}


def tensors_for_huggingface(
    read: Callable[[str], np.ndarray], config: BertConfig
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the tensors of a Hugging Face checkpoint; `read` gives each of our leaves once."""
    shapes, table = _leaf_shapes(config), _table(config)
    prefix = len(PREFIX) if config.heads == "encoder" else 0
    for path in shapes:
        leaf = read(path)
        for name, place in table.items():
            if place.ours == path:
                shape = _their_shape(place, shapes, config)
                ours = leaf if place.layer is None else leaf[place.layer]
                ours = ours[: shape[0]] if path == "token_embedding" else ours
                theirs = ours.reshape(shape[::-1]).T if place.turned else ours.reshape(shape)
                yield name[prefix:], theirs


def _table(config: ModelConfig) -> dict[str, Place]:
    """The place of each of their tensors, by its name in `BertForPreTraining`."""

    def norm(theirs: str, ours: str, layer: int | None = None) -> dict[str, Place]:
        return {
            f"{theirs}.LayerNorm.weight": Place(f"{ours}/scale", layer),
            f"{theirs}.LayerNorm.bias": Place(f"{ours}/bias", layer),
        }

    def linear(theirs: str, ours: str, layer: int | None = None) -> dict[str, Place]:
        return {
            f"{theirs}.weight": Place(f"{ours}/kernel", layer, turned=True),
            f"{theirs}.bias": Place(f"{ours}/bias", layer),
        }

    embedded = {"word": "token", "position": "position", "token_type": "token_type"}
    table = {
        f"bert.embeddings.{theirs}_embeddings.weight": Place(f"{ours}_embedding")
        for theirs, ours in embedded.items()
    }
    table |= norm("bert.embeddings", "embedding_norm")
    for layer in range(config.num_layers):
        theirs, ours = f"bert.encoder.layer.{layer}", "trunk/layers"
        for name in ("query", "key", "value"):
            table |= linear(f"{theirs}.attention.self.{name}", f"{ours}/attention/{name}", layer)
        table |= linear(f"{theirs}.attention.output.dense", f"{ours}/attention/out", layer)
        table |= norm(f"{theirs}.attention.output", f"{ours}/attention_norm", layer)
        table |= linear(f"{theirs}.intermediate.dense", f"{ours}/feed_forward/up", layer)
        table |= linear(f"{theirs}.output.dense", f"{ours}/feed_forward/down", layer)
        table |= norm(f"{theirs}.output", f"{ours}/feed_forward_norm", layer)
    heads = getattr(config, "heads", None)
    if heads != "masked_lm":
        table |= linear(POOLER, "pooler")
    if heads != "encoder":
        table["cls.predictions.bias"] = Place("masked_lm_head/bias")
        table |= linear(PREDICTIONS, "masked_lm_head/dense")
        table |= norm("cls.predictions.transform", "masked_lm_head/norm")
    if heads == "pretraining":
        table |= linear(NEXT_SENTENCE, "next_sentence_head")
    return table


def _leaf_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    leaves: dict[str, Any] = traverse_util.flatten_dict(parameter_shapes(Bert(config)), sep="/")
    return {path: leaf.shape for path, leaf in leaves.items()}


def _their_shape(
    place: Place, shapes: Mapping[str, tuple[int, ...]], config: BertConfig
) -> tuple[int, ...]:
    shape = shapes[place.ours][0 if place.layer is None else 1 :]
    if place.ours == "token_embedding":
        return config.vocab_size, config.d_model
    if place.turned:  # of the kernel [*in, *out] the outputs are what the bias has
        of_bias = shapes[place.ours.removesuffix("kernel") + "bias"]
        outputs = int(np.prod(of_bias[0 if place.layer is None else 1 :]))
        return outputs, int(np.prod(shape)) // outputs
    return shape if place.ours.endswith("embedding") else (int(np.prod(shape)),)


def _full_name(name: str) -> str:
    """The name that a tensor has in `BertForPreTraining` of today."""
    for old, new in OLD_NAMES.items():
        name = name.replace(old, new)
    return name if name.startswith((PREFIX, "cls.")) else PREFIX + name


def _check(name: str, theirs: np.ndarray, shape: tuple[int, ...]) -> None:
    if theirs.shape != shape:
        raise ValueError(f"{name}: got shape {theirs.shape}, expected {shape}")
    if not jnp.issubdtype(theirs.dtype, jnp.floating):
        raise ValueError(f"{name}: got dtype {theirs.dtype}, expected floats")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
