"""Hugging Face's GPT-2 (`GPT2LMHeadModel`) and GPT-1 (`OpenAIGPTLMHeadModel`): parameters as ours.

A table says where each of their tensors goes, both ways; torch and transformers are not needed.
Their linear layers keep kernels as [inputs, outputs], as ours do; query, key and value lie side by
side in one. Ours are stacked over the layers, theirs are one a layer.

    config = model_config(json.loads(Path("config.json").read_text()))
    params = params_from_huggingface(state, config)
    state = dict(tensors_for_huggingface(read, config))
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from gptjax.config import ModelConfig
from gptjax.interop.huggingface_config import model_config, refuse_other_layers
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.training.checkpoints.parameter_files import Deferred

__all__ = [
    "deferred_params",
    "model_config",
    "params_from_huggingface",
    "tensor_shapes",
    "tensors_for_huggingface",
]


class Target(NamedTuple):
    """Place of one of their tensors in our parameters.

    Attributes:
      ours: paths of our leaves, in the order in which theirs has them along its last axis.
      inputs: how many leading axes of our leaf are the rows of their matrix; 0 is a vector.
    """

    ours: tuple[str, ...]
    inputs: int


def _normalisation(theirs: str, ours: str) -> dict[str, Target]:
    return {
        f"{theirs}.weight": Target((f"{ours}/scale",), 0),
        f"{theirs}.bias": Target((f"{ours}/bias",), 0),
    }


def _linear(theirs: str, *ours: str, inputs: int = 1) -> dict[str, Target]:
    return {
        f"{theirs}.weight": Target(tuple(f"{path}/kernel" for path in ours), inputs),
        f"{theirs}.bias": Target(tuple(f"{path}/bias" for path in ours), 0),
    }


LAYER = {
    **_normalisation("ln_1", "attention_norm"),
    **_linear("attn.c_attn", "attention/query", "attention/key", "attention/value"),
    **_linear("attn.c_proj", "attention/out", inputs=2),
    **_normalisation("ln_2", "feed_forward_norm"),
    **_linear("mlp.c_fc", "feed_forward/up"),
    **_linear("mlp.c_proj", "feed_forward/down"),
}
GPT2 = {
    "wte.weight": Target(("token_embedding",), 1),
    "wpe.weight": Target(("position_embedding",), 1),
    **_normalisation("ln_f", "trunk/final_norm"),
}
GPT1 = {
    "tokens_embed.weight": Target(("token_embedding",), 1),
    "positions_embed.weight": Target(("position_embedding",), 1),
}
OUTSIDE_LAYERS = {"pre": GPT2, "post": GPT1}  # by ModelConfig.norm
HEAD = {"lm_head.weight": Target(("head/kernel",), 1)}
PREFIX = "transformer."  # of all but the head; OpenAI's first uploads lack it
NOT_PARAMETERS = r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)"  # causal masks
PADDED = {"token_embedding", "head/kernel"}  # with rows past the vocabulary
_PIECE = 2**24  # bytes of a tensor that are copied at once


class TensorRow(NamedTuple):
    """One row of the table for one model: some of our leaves, and the tensors that hold them.

    Attributes:
      names: of their tensors, one a layer or just one.
      shape: of each of them.
      parts: path and width of each of our leaves in the tensor's last axis.
      stacked: whether our leaves have a leading axis of layers.
      axes: of each of our leaves, less its layers: the sizes that are rows there, and columns.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    parts: dict[str, int]
    stacked: bool
    axes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]


def params_from_huggingface(
    state: Mapping[str, np.ndarray], config: ModelConfig, table_rows: int | None = None
) -> dict[str, Any]:
    """Our parameter tree, from the tensors of a Hugging Face checkpoint.

    Args:
      state: tensors by name, all with the leading "transformer." or none. The table of a tied model
        may have the name of the embedding, of the output layer, or both.
      config: a resolved `ModelConfig`; `norm` says whether they are GPT-2's ("pre") or GPT-1's.
      table_rows: of their tables of tokens, whose rows past the vocabulary are left out; None: as
        many as the vocabulary has tokens.

    Returns:
      What `GPT(config).init` makes, as float32 NumPy arrays; the embedding rows that pad the
      vocabulary are zero.

    Raises:
      ValueError: a config that their models do not compute; tensors that are missing, that stand
        for nothing here, of another shape, not of floats, or an output layer that differs from the
        embedding it is tied to.
    """
    return jax.tree.map(lambda leaf: leaf.read(), deferred_params(state, config, table_rows))


def deferred_params(
    state: Mapping[str, np.ndarray], config: ModelConfig, table_rows: int | None = None
) -> dict[str, Any]:
    """Converts as `params_from_huggingface` does, to `Deferred` arrays that are made when read."""
    refuse_other_layers(config)
    prefix = PREFIX if any(name.startswith(PREFIX) for name in state) else ""
    shapes = _leaf_shapes(config)
    rows = _rows(config, shapes, prefix)
    (head,), (table,) = HEAD, rows[0].names
    tied = config.tied_embeddings and head in state
    if tied and table not in state:
        rows[0], tied = rows[0]._replace(names=(head,)), False
    _check_names(state, rows)
    of_tokens = (table_rows or config.vocab_size, config.d_model)
    for row in rows:
        for name in row.names:
            padded = not PADDED.isdisjoint(row.parts)
            _check_tensor(name, state[name], of_tokens if padded else row.shape)
    if tied:
        _check_tensor(head, state[head], of_tokens)
        _check_tied(state, head, rows[0])
    leaves = {
        path: Deferred(shapes[path], lambda row=row, path=path: _leaf(state, row, path, shapes))
        for row in rows
        for path in row.parts
    }
    assert leaves.keys() == shapes.keys(), leaves.keys() ^ shapes.keys()
    return traverse_util.unflatten_dict(leaves, sep="/")


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of `tensors_for_huggingface`, in the order of the layers."""
    refuse_other_layers(config)
    rows = _rows(config, _leaf_shapes(config), PREFIX)
    layers = range(config.num_layers)
    ordered = [row.names[0] for row in rows if not row.stacked]
    ordered += [row.names[layer] for layer in layers for row in rows if row.stacked]
    shapes = {name: row.shape for row in rows for name in row.names}
    return {name: shapes[name] for name in ordered}


def tensors_for_huggingface(
    read: Callable[[str], np.ndarray], config: ModelConfig
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the tensors of a Hugging Face checkpoint, row by row of the table.

    Args:
      read: gives a leaf of our parameters by its path, as "trunk/final_norm/scale"; each is read
        once, and let go before the next are.
      config: resolved.
    """
    for row in _rows(config, _leaf_shapes(config), PREFIX):
        leaves = [read(path) for path in row.parts]
        for layer, name in enumerate(row.names):
            parts = [leaf[layer] if row.stacked else leaf[: row.shape[0]] for leaf in leaves]
            columns = zip(parts, row.parts.values(), strict=True)
            flat = [part.reshape(*row.shape[:-1], width) for part, width in columns]
            yield name, flat[0] if len(flat) == 1 else np.concatenate(flat, axis=-1)
            del parts, columns, flat
        del leaves


def layer_kernels(config: ModelConfig) -> list[TensorRow]:
    """The rows of the layers' kernels, whose tensors are [in, out].

    Raises:
      ValueError: a config that their models do not compute.
    """
    refuse_other_layers(config)
    rows = _rows(config, _leaf_shapes(config), PREFIX)
    return [row for row in rows if row.stacked and len(row.shape) == 2]


def _leaf_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    leaves: dict[str, Any] = traverse_util.flatten_dict(parameter_shapes(GPT(config)), sep="/")
    return {path: leaf.shape for path, leaf in leaves.items()}


def _rows(
    config: ModelConfig, shapes: Mapping[str, tuple[int, ...]], prefix: str
) -> list[TensorRow]:
    """The table for one model, the token embedding first."""

    def row(names: tuple[str, ...], target: Target, path: str = "") -> TensorRow:
        stacked = bool(path)
        parts = {path + ours: shapes[path + ours][stacked:] for ours in target.ours}
        first = next(iter(parts))
        inputs = parts[first][: target.inputs]
        height = (config.vocab_size if first in PADDED else math.prod(inputs),) if inputs else ()
        widths = {ours: math.prod(shape[target.inputs :]) for ours, shape in parts.items()}
        axes = {
            ours: (shape[: target.inputs], shape[target.inputs :]) for ours, shape in parts.items()
        }
        return TensorRow(names, (*height, sum(widths.values())), widths, stacked, axes)

    layers = range(config.num_layers)
    rows = [row((prefix + name,), target) for name, target in OUTSIDE_LAYERS[config.norm].items()]
    if not config.tied_embeddings:
        rows += [row((name,), target) for name, target in HEAD.items()]
    for name, target in LAYER.items():
        names = tuple(f"{prefix}h.{layer}.{name}" for layer in layers)
        rows.append(row(names, target, "trunk/layers/"))
    return rows


def _check_names(state: Mapping[str, np.ndarray], rows: list[TensorRow]) -> None:
    def some(names: list[str]) -> str:
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    expected = [name for row in rows for name in row.names]
    known = {*expected, *HEAD}
    unknown = [n for n in state if n not in known and not re.fullmatch(NOT_PARAMETERS, n)]
    if unknown:
        raise ValueError(f"checkpoint: got {some(unknown)}, which this model does not have")
    missing = [name for name in expected if name not in state]
    if missing:
        raise ValueError(f"checkpoint: got no {some(missing)}, expected {len(expected)} tensors")


def _check_tensor(name: str, theirs: np.ndarray, shape: tuple[int, ...]) -> None:
    if theirs.shape != shape:
        raise ValueError(f"{name}: got shape {theirs.shape}, expected {shape}")
    if not jnp.issubdtype(theirs.dtype, jnp.floating):
        raise ValueError(f"{name}: got dtype {theirs.dtype}, expected floats")


def _check_tied(state: Mapping[str, np.ndarray], head: str, embedding: TensorRow) -> None:
    (table,) = embedding.names
    for piece in _pieces(embedding.shape):
        if not np.array_equal(state[head][piece], state[table][piece]):
            raise ValueError(f"{head}: got other values than the embedding, expected tied ones")


def _leaf(
    state: Mapping[str, np.ndarray],
    row: TensorRow,
    path: str,
    shapes: Mapping[str, tuple[int, ...]],
) -> np.ndarray:
    """Our leaf at `path`, out of the columns that are its own."""
    leaf, width = np.zeros(shapes[path], np.float32), row.parts[path]
    paths = list(row.parts)
    begin = sum(row.parts[before] for before in paths[: paths.index(path)])
    for layer, name in enumerate(row.names):
        ours = leaf[layer] if row.stacked else leaf[: row.shape[0]]
        ours = ours.reshape(*row.shape[:-1], width)  # a view
        for piece in _pieces(row.shape):
            ours[piece] = state[name][piece][..., begin : begin + width]
    return leaf


def _pieces(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of a tensor's first axis, each of about `_PIECE` bytes, up to `shape[0]`."""
    step = max(1, _PIECE // (4 * math.prod(shape[1:])))
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))
