"""Checkpoints of a run: saved in the background, hashed, and verified before they are restored.

A directory named by its step (`checkpoints/300/`) is a whole checkpoint: the items `params`,
`optimizer`, `data`, `config`, and where there are any `ema` and `metrics`, written by orbax, and
`manifest.sha256`, in the format of `sha256sum`. orbax alone restores a flipped bit silently; here
one changed byte is an error that names the file and the previous good checkpoint.

Of several processes each writes the parts of arrays that it holds, to a file system that all of
them share; process 0 does all else, once the others are done. They save, wait and restore together.

    with Checkpoints(workdir / "checkpoints", keep=2) as checkpoints:
        restored = checkpoints.restore(params=abstract_params, opt_state=abstract_opt_state)
        checkpoints.save(step, params=params, opt_state=opt_state, data=data, config=config)
"""

import functools
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypedDict

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import SingleDeviceSharding

from gptjax.training.checkpoints.orbax_logging import silence_orbax
from gptjax.training.checkpoints.retention import StepDirectories
from gptjax.training.processes import on_first, together

ARRAY_ITEMS = ("params", "optimizer", "ema")
JSON_ITEMS = ("data", "config", "metrics")

# What orbax and tensorstore raise when a disk is full, read-only or gone.
WRITE_ERRORS = (OSError, ValueError, RuntimeError)


class Restored(TypedDict):
    """Contents of a checkpoint, as `Checkpoints.restore` returns them."""

    step: int
    params: Any
    opt_state: Any
    ema: Any
    data: dict
    config: dict
    metrics: dict | None


class Checkpoints:
    """The checkpoints of one run: the last ones, the best, and some for good.

    Reading never changes the directory. The first save or removal claims it for this run, and
    clears what a killed save left behind.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        *,
        keep: int = 2,
        keep_every: int | None = None,
        highest: str | None = None,
    ):
        """Opens what may not be there yet.

        Args:
          directory: on a local or shared file system; created by the first save.
          keep: checkpoints that are kept because they are the newest; the best is kept besides.
          keep_every: steps whose multiples are kept for good.
          highest: validation metric whose highest value is the best; None: the lowest loss is.
        """
        silence_orbax()
        self._directories = StepDirectories(directory, keep, keep_every, highest)
        self.directory = self._directories.path
        self._pending: tuple[int, Future] | None = None
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")

    @functools.cached_property
    def _arrays(self) -> dict[str, ocp.StandardCheckpointHandler]:
        return {name: ocp.StandardCheckpointHandler() for name in ARRAY_ITEMS}

    @functools.cached_property
    def _checkpointer(self) -> ocp.AsyncCheckpointer:
        """Made when something is read or written: to list steps, orbax need not start."""
        handlers: dict[str, Any] = {name: ocp.JsonCheckpointHandler() for name in JSON_ITEMS}
        return ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler(**self._arrays, **handlers))

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        """Steps of all checkpoints, ascending; they are complete, but not yet verified."""
        return self._directories.steps()

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint, None where there is none."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """Step of the best checkpoint by what validation says, None where none was evaluated."""
        return self._directories.best()

    def good_before(self, step: int) -> int | None:
        """The newest step below `step` whose files all match their manifest, or None."""
        return on_first(lambda: self._directories.good_before(step))

    def acquire_lock(self) -> None:
        """Takes the directory for this run, once, and clears what killed saves left in it.

        Raises:
          ValueError: another process writes there, or it cannot be written.
        """
        on_first(self._directories.acquire_lock)

    def save(
        self,
        step: int,
        *,
        params: Any,
        opt_state: Any,
        data: dict,
        config: dict,
        ema: Any = None,
        metrics: dict | None = None,
    ) -> None:
        """Copies the arrays to the host and writes them, in the background, as checkpoint `step`.

        The arrays may be donated as soon as this returns. An error of the background work is
        raised by the next `save`, `wait` or `close`.

        Args:
          step: optimizer steps done, above those of all checkpoints here.
          params: parameter tree of arrays.
          opt_state: optimizer state, a tree of arrays.
          data: position in the data and hashes of corpus and tokenizer; JSON values.
          config: the resolved configuration; JSON values.
          ema: average of the parameters, or None where none is kept.
          metrics: validation metrics of these parameters, where they were just evaluated; the
            checkpoint of the lowest `loss` is kept.

        Raises:
          ValueError: a checkpoint of this or a later step exists, another process writes here, or
            the directory cannot be written (names it and the last good step).
        """
        assert metrics is None or "loss" in metrics, metrics
        self.wait()
        on_first(lambda: self._directories.admit(step))
        items = {
            "params": ocp.args.StandardSave(params),
            "optimizer": ocp.args.StandardSave(opt_state),
            "data": ocp.args.JsonSave(data),
            "config": ocp.args.JsonSave(config),
        }
        if ema is not None:
            items["ema"] = ocp.args.StandardSave(ema)
        if metrics is not None:
            items["metrics"] = ocp.args.JsonSave(metrics)
        together(lambda: self._begin(step, ocp.args.Composite(**items)))
        self._pending = step, self._finisher.submit(self._finish, step)

    def wait(self) -> None:
        """Blocks until the last save is complete; raises ValueError where it failed."""
        if self._pending is not None:
            together(self._wait_here)

    def restore(
        self, step: int | None = None, *, params: Any, opt_state: Any, ema: Any = None
    ) -> Restored:
        """Restores a verified checkpoint, the newest by default.

        Args:
          step: which checkpoint; None for the newest.
          params: tree of `jax.ShapeDtypeStruct`s with the target shardings.
          opt_state: likewise, for the optimizer state.
          ema: likewise, for the average of the parameters; None to leave it.

        Raises:
          ValueError: there is no such checkpoint, a file of it is damaged (names the file and the
            previous good step), or a shape, dtype or path differs from the target's.
        """
        step = on_first(lambda: self._directories.verified(step))
        targets = {"params": params, "optimizer": opt_state, "ema": ema}
        targets = {item: target for item, target in targets.items() if target is not None}
        for item, target in targets.items():
            self._check_target(step, item, target)
        args: dict[str, Any] = {
            name: ocp.args.StandardRestore(target) for name, target in targets.items()
        }
        args |= {name: ocp.args.JsonRestore() for name in JSON_ITEMS if self._has(step, name)}
        items = self._read(step, **args)
        return Restored(
            step=step,
            params=items["params"],
            opt_state=items["optimizer"],
            ema=items.get("ema"),
            data=items["data"],
            config=items["config"],
            metrics=items.get("metrics"),
        )

    def restore_params(
        self, step: int | None = None, abstract_params: Any = None, item: str = "params"
    ) -> Any:
        """Restores the parameters alone; only their files are read and verified.

        Args:
          step: which checkpoint; None for the newest.
          abstract_params: tree of `jax.ShapeDtypeStruct`s with the target shardings; None for
            the shapes and dtypes saved, on the first device.
          item: "params", or "ema" for their average.

        Raises:
          ValueError: as `restore`.
        """
        step = on_first(lambda: self._directories.verified(step, item=item))
        if abstract_params is None:
            device = SingleDeviceSharding(jax.local_devices()[0])
            abstract_params = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
                self._saved_tree(step, item),
            )
        else:
            self._check_target(step, item, abstract_params)
        return self._read(step, **{item: ocp.args.StandardRestore(abstract_params)})[item]

    def restore_eval_params(self, step: int | None = None, abstract_params: Any = None) -> Any:
        """Restores the parameters that were `TrainState.eval_params`, as `restore_params` does."""
        step, item = on_first(lambda: self._directories.eval_item(step))
        return self.restore_params(step, abstract_params, item)

    def remove_after(self, step: int) -> None:
        """Removes the checkpoints of later steps, damaged ones too, so that saving goes on."""
        self.wait()
        on_first(lambda: self._directories.remove_after(step))

    def close(self) -> None:
        """Waits for the last save, ends the threads and releases the directory."""
        try:
            self._wait_here()
        finally:
            self._finisher.shutdown()
            if "_checkpointer" in vars(self):
                self._checkpointer.close()
            self._directories.release()

    def _begin(self, step: int, args: ocp.args.Composite) -> None:
        try:
            self._checkpointer.save(self._directories.unfinished(step), args=args)
        except WRITE_ERRORS as error:
            raise self._directories.unwritable(error, step) from error

    def _finish(self, step: int) -> None:
        """Waits for orbax, that is, for all processes, and names the checkpoint by its step."""
        self._checkpointer.wait_until_finished()
        if jax.process_index() == 0:
            self._directories.complete(step)

    def _wait_here(self) -> None:
        if self._pending is None:
            return
        (step, future), self._pending = self._pending, None
        try:
            future.result()
        except WRITE_ERRORS as error:
            raise self._directories.unwritable(error, step) from error

    def _has(self, step: int, item: str) -> bool:
        return (self._directories[step] / item).is_dir()

    def _read(self, step: int, **args: Any) -> Any:
        """Restores the named items of a checkpoint by orbax."""
        return self._checkpointer.restore(self._directories[step], args=ocp.args.Composite(**args))

    def _saved_tree(self, step: int, item: str) -> Any:
        """The tree of an array item, its leaves carrying `shape` and `dtype`; no other is read."""
        return self._arrays[item].metadata(epath.Path(self._directories[step] / item)).tree

    def _check_target(self, step: int, item: str, target: Any) -> None:
        """Raises ValueError where a path, shape or dtype differs: orbax would cast in silence."""
        saved = _describe(self._saved_tree(step, item)) if self._has(step, item) else {}
        wanted = _describe(target)
        for path in sorted(saved.keys() | wanted.keys()):
            if saved.get(path) != wanted.get(path):
                raise ValueError(
                    f"checkpoint {step} in {self.directory} does not fit: {item} {path} is "
                    f"{saved.get(path, 'not in it')}, expected {wanted.get(path, 'nothing there')}"
                )


def _describe(tree: Any) -> dict[str, str]:
    """Path to "dtype[shape]" of every leaf; equal for a named tuple and the dict orbax reads."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{leaf.dtype.name}[{','.join(map(str, leaf.shape))}]"
        )
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }
