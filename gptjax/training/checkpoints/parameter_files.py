"""Parameters of a checkpoint, one array at a time: for models that hardly fit in memory.

`Checkpoints` saves and restores what is on devices, as a whole, and so quickly that it takes two to
three times the memory. Here an array is made when it is written, and freed before the next one is
made. The result is a checkpoint like any other, without an optimizer's state.

    write_parameters(workdir / "checkpoints", 0, {"a": Deferred((2, 3), lambda: array)}, config)
    stored = StoredParameters(workdir / "checkpoints", step=None)
    stored.read("trunk/final_norm/scale")
"""

import asyncio
import ctypes
import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import type_handlers

from gptjax.training.checkpoints.orbax_logging import silence_orbax
from gptjax.training.checkpoints.retention import StepDirectories
from gptjax.training.checkpoints.store import WRITE_ERRORS

_M_MMAP_THRESHOLD = -3  # of malloc.h
_CHUNK = 2**25  # bytes of an array that are compressed and written together


@dataclasses.dataclass(frozen=True)
class Deferred:
    """A float32 array that is made each time it is read."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]

    @property
    def dtype(self) -> np.dtype:
        """Dtype of every array of parameters."""
        return np.dtype(np.float32)


class _OneByOne(type_handlers.NumpyHandler):
    """Writes `Deferred` arrays like NumPy's, and completes each before it reads the next.

    Attributes:
      unreadable: the error of an array that could not be read.
    """

    def __init__(self):
        super().__init__(deepcopy_host_arrays=False)
        self.unreadable: Exception | None = None

    async def serialize(
        self,
        values: Sequence[Any],
        infos: Sequence[Any],
        args: Sequence[Any] | None = None,
    ) -> Sequence[Any]:
        for value, info in zip(values, infos, strict=True):
            saving = ocp.SaveArgs(chunk_byte_size=_CHUNK)
            for written in await super().serialize([self._read(value)], [info], [saving]):
                await asyncio.to_thread(written.result)
                del written  # it holds the array
            _give_back_memory()
        return []

    def _read(self, value: Deferred) -> np.ndarray:
        try:
            return value.read()
        except WRITE_ERRORS as error:
            self.unreadable = error
            raise


def write_parameters(directory: str | os.PathLike, step: int, params: Any, config: dict) -> None:
    """Writes a checkpoint that holds only parameters, for code that needs nothing else.

    Args:
      directory: the checkpoints of a run; created if need be.
      step: of the checkpoint, above those that are there.
      params: parameter tree of `Deferred` arrays.
      config: the resolved configuration; JSON values.

    Raises:
      ValueError: a checkpoint of this or a later step exists, or the directory cannot be written
        (names it). An error of reading an array passes unchanged.
    """
    silence_orbax()
    _give_back_memory()
    directories = StepDirectories(directory, keep=1, keep_every=None)
    writer = _OneByOne()
    registry = type_handlers.create_type_handler_registry((Deferred, writer))
    handler = ocp.CompositeCheckpointHandler(
        params=ocp.PyTreeCheckpointHandler(type_handler_registry=registry),
        data=ocp.JsonCheckpointHandler(),
        config=ocp.JsonCheckpointHandler(),
    )
    directories.admit(step)
    try:
        with ocp.Checkpointer(handler) as checkpointer:
            items = ocp.args.Composite(
                params=ocp.args.PyTreeSave(params),
                data=ocp.args.JsonSave({}),
                config=ocp.args.JsonSave(config),
            )
            checkpointer.save(directories.unfinished(step), args=items)
        directories.complete(step)
    except WRITE_ERRORS as error:
        if error is writer.unreadable:
            raise
        raise directories.unwritable(error, step) from error
    finally:
        directories.release()


class StoredParameters:
    """The parameters of a verified checkpoint, read by name."""

    def __init__(self, directory: str | os.PathLike, step: int | None, item: str | None = None):
        """Verifies the files.

        Args:
          directory: the checkpoints of a run.
          step: which checkpoint; None for the newest.
          item: "params", or "ema" for their average; None for the one that is
            `TrainState.eval_params`.

        Raises:
          ValueError: there is no such checkpoint, or a file of it is damaged.
        """
        silence_orbax()
        _give_back_memory()
        directories = StepDirectories(directory, keep=1, keep_every=None)
        if item is None:
            step, item = directories.eval_item(step)
        self._path = directories[directories.verified(step, item)] / item
        self._checkpointer = ocp.PyTreeCheckpointer()
        self._tree: Any = self._checkpointer.metadata(self._path).item_metadata
        leaves, self._structure = jax.tree_util.tree_flatten_with_path(self._tree.tree)
        self._leaves = {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves
        }

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each array, by its path, such as "trunk/final_norm/scale"."""
        return {path: tuple(leaf.shape) for path, leaf in self._leaves.items()}

    def read(self, path: str) -> np.ndarray:
        """One array, of the dtype it was saved in."""
        _give_back_memory()
        item = self._structure.unflatten(
            [leaf if name == path else ocp.PLACEHOLDER for name, leaf in self._leaves.items()]
        )
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
        arguments = ocp.args.PyTreeRestore(item=item, restore_args=as_numpy)
        restored = self._checkpointer.restore(self._path, args=arguments)
        return jax.tree.leaves(restored)[list(self._leaves).index(path)]


def _give_back_memory() -> None:
    """Returns freed memory to the system, which glibc would keep; large arrays from now on at once.

    GPT-2 small, of 475 MiB, then takes 570 MiB instead of 720.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.mallopt(_M_MMAP_THRESHOLD, 2**20)
        library.malloc_trim(0)
