"""Parameters of a checkpoint as later commands take them: adapters are merged into their base.

params = stored_params(Path("runs/sft"), 300, target)
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.sharding import SingleDeviceSharding

from gptjax.config import ExperimentConfig
from gptjax.model_config import ModelConfig
from gptjax.models.adapters import A, B
from gptjax.models.grown_tables import OF_TOKENS, TABLES, changes, grown
from gptjax.runs.kind import kind_of
from gptjax.runs.run_file import (
    InitialCheckpoint,
    config_of,
    initial_checkpoint_of,
    read_run,
)
from gptjax.training.checkpoints.manifest import content_hash
from gptjax.training.checkpoints.parameter_files import Deferred, StoredParameters
from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.state import rng

FIELD = "config.checkpoint.init_from"


def stored_params(path: Path, step: int | None, target: Any) -> Any:
    """The evaluation parameters of a checkpoint (`TrainState.eval_params`), put where they live.

    Adapters are merged into their base, of which one array is in memory at a time.

    Args:
      path: work directory of a run of any kind.
      step: of the checkpoint; None: the newest.
      target: shapes and places of the parameters.

    Raises:
      ValueError: there is no such checkpoint, or it is damaged or of another model; the base has
        changed or is gone.
    """
    if config_of(read_run(path), path).lora.rank is None:
        with Checkpoints(path / "checkpoints") as checkpoints:
            return checkpoints.restore_eval_params(step, target)
    params = deferred_params(path, step)
    for (keys, leaf), wanted in zip(
        jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(target), strict=True
    ):
        if leaf.shape != wanted.shape:
            raise ValueError(
                f"{path}: got parameter {jax.tree_util.keystr(keys, simple=True, separator='/')} "
                f"{list(leaf.shape)}, expected {list(wanted.shape)}"
            )
    return put(params, target)


def mean_params(path: Path, steps: Sequence[int], target: Any) -> Any:
    """The mean of the evaluation parameters of several checkpoints; others as `stored_params`."""
    total = stored_params(path, steps[0], target)
    for step in steps[1:]:
        total = _sum(total, stored_params(path, step, target))
    return _divided(total, np.float32(len(steps))) if len(steps) > 1 else total


@jax.jit
def _sum(params: Any, more: Any) -> Any:
    return jax.tree.map(jnp.add, params, more)


@jax.jit
def _divided(params: Any, count: jax.Array) -> Any:
    return jax.tree.map(lambda leaf: leaf / count, params)


def deferred_params(path: Path, step: int | None) -> dict[str, Any]:
    """Reads as `stored_params` does, a tree of `Deferred` arrays that are made when read."""
    run, stored = read_run(path), StoredParameters(path / "checkpoints", step)
    config = config_of(run, path)
    leaves = {
        name: Deferred(shape, functools.partial(stored.read, name))
        for name, shape in stored.shapes.items()
    }
    if config.lora.rank is not None:
        names = traverse_util.flatten_dict(kind_of(config).shapes(config), sep="/")
        base = _base(config, initial_checkpoint_of(run, path))
        leaves = {
            name: _with_adapter(leaves.get(name) or base[name], name, leaves, config.lora.scale)
            for name in names
        }
    return traverse_util.unflatten_dict(leaves, sep="/")


def _base(config: ExperimentConfig, initial: InitialCheckpoint) -> dict[str, Deferred]:
    """What a run of `config` with LoRA started from, by path."""
    assert initial.path is not None
    path = Path(config.checkpoint.init_from or initial.path)
    if initial.step is None:
        from gptjax.interop.huggingface_directory import Pretrained  # few runs start from others'

        source = Pretrained(path)
        model = source.fitted(source.tokenizer())
        found, params = source.content_hash(), source.params(model)
    else:
        found = checkpoint_sha256(path, initial.step)
        model = config_of(read_run(path), path).model
        params = deferred_params(path, initial.step)
    refuse_changed(path, found, initial)
    leaves: dict[str, Any] = traverse_util.flatten_dict(params, sep="/")
    for table in leaves.keys() & set(TABLES):
        leaves[table] = _grown(leaves[table], table, model, config)
    return leaves


def _grown(table: Deferred, path: str, source: ModelConfig, config: ExperimentConfig) -> Deferred:
    """A table with this run's tokens and positions, as `initial.params` makes them."""
    shapes: dict[str, Any] = traverse_util.flatten_dict(kind_of(config).shapes(config), sep="/")
    if path not in shapes or not (path in OF_TOKENS or changes(path, source, config.model)):
        return table
    place = SingleDeviceSharding(jax.local_devices()[0])
    leaf = jax.ShapeDtypeStruct(shapes[path].shape, shapes[path].dtype, sharding=place)

    def read() -> np.ndarray:
        old, wanted = (
            traverse_util.unflatten_dict({path: x}, sep="/") for x in (table.read(), leaf)
        )
        key = rng(config.training.seed, "new_tokens")
        made = grown(old, wanted, source, config.model, key)
        return np.asarray(jax.tree.leaves(made)[0])

    return Deferred(leaf.shape, read)


def checkpoint_sha256(path: Path, step: int) -> str:
    """Content hash of a checkpoint of the run in `path`; ValueError where it cannot be read."""
    try:
        return content_hash(path / "checkpoints" / str(step))
    except OSError as error:
        raise ValueError(
            f"{FIELD}: cannot read checkpoint {step} of {path} "
            f"({error.strerror}), expected the one that the run starts from"
        ) from error


def refuse_changed(path: Path | str, found: str, initial: InitialCheckpoint) -> None:
    """Refuses parameters of another hash than those that a run started from."""
    if found != initial.sha256:
        raise ValueError(
            f"{FIELD}: got {path} with the SHA-256 {found[:12]}, expected "
            f"{initial.sha256[:12]}, as when the run started from it"
        )


def _with_adapter(
    kernel: Deferred, path: str, adapters: dict[str, Deferred], scale: float
) -> Deferred:
    """`kernel` [layers, *in, *out] with the adapter beside it, if there is one."""
    below = path.removesuffix("kernel")
    if below + A not in adapters:
        return kernel

    def read() -> np.ndarray:
        whole, a, b = kernel.read(), adapters[below + A].read(), adapters[below + B].read()
        layers = zip(whole, scale * a, b, strict=True)
        return np.stack([each + np.tensordot(a, b, 1) for each, a, b in layers])

    return Deferred(kernel.shape, read)


def put(params: Any, target: Any) -> Any:
    """Puts `Deferred` arrays, each where it is to live before the next is read."""

    def place(leaf: Any, where: Any) -> jax.Array:
        array = leaf.read()
        return jax.make_array_from_callback(array.shape, where.sharding, lambda index: array[index])

    return jax.tree.map(place, params, target)
