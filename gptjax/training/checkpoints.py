"""Checkpoints of a run: saved in the background, hashed, and verified before they are restored.

A directory named by its step (`checkpoints/300/`) is a whole checkpoint: the items `params`,
`optimizer`, `data`, `config` and `metrics`, written by orbax, and `manifest.sha256`, in the format
of `sha256sum`. orbax alone restores a flipped bit silently; here one changed byte is an error that
names the file and the previous good checkpoint.

A save is built under the name `saving.STEP` and gets its own name, by one rename, after the
manifest is in it; only then are older checkpoints removed. Whenever the run is killed, every
directory named by a step is therefore complete, and a missing manifest is damage.

    with Checkpoints(workdir / "checkpoints", keep=2) as checkpoints:
        restored = checkpoints.restore(params=abstract_params, opt_state=abstract_opt_state)
        checkpoints.save(step, params=params, opt_state=opt_state, data=data, config=config)
"""

import fcntl
import logging
import math
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict

import jax
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from gptjax.training.manifest import find_damage, write_manifest

ARRAY_ITEMS = ("params", "optimizer")
JSON_ITEMS = ("data", "config", "metrics")

# What orbax and tensorstore raise when a disk is full, read-only or gone.
WRITE_ERRORS = (OSError, ValueError, RuntimeError)


class Restored(TypedDict):
    """What `Checkpoints.restore` returns."""

    step: int
    params: Any
    opt_state: Any
    data: dict
    config: dict
    metrics: dict | None


class Checkpoints:
    """The checkpoints of one run: the last `keep`, and the best by validation loss.

    Reading never changes the directory. The first save or removal claims it with a lock, which
    the kernel releases when the process ends, and clears what a killed save left behind.
    """

    def __init__(self, directory: str | os.PathLike, *, keep: int = 2):
        """`directory`: on a local or shared file system; created by the first save."""
        _silence_orbax()
        self.directory = Path(directory).absolute()
        self._keep = keep
        self._lock: int | None = None
        self._pending: tuple[int, Future] | None = None
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        handlers: dict[str, Any] = {name: ocp.StandardCheckpointHandler() for name in ARRAY_ITEMS}
        handlers |= {name: ocp.JsonCheckpointHandler() for name in JSON_ITEMS}
        self._checkpointer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler(**handlers))

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        """Steps of all checkpoints, ascending; they are complete, but not yet verified."""
        if not self.directory.is_dir():
            return []
        return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdigit())

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint, None where there is none."""
        return max(self.steps(), default=None)

    def good_steps(self) -> list[int]:
        """Steps of the checkpoints whose files all match their manifest, ascending."""
        return [step for step in self.steps() if self._damage(step) is None]

    def save(
        self,
        step: int,
        *,
        params: Any,
        opt_state: Any,
        data: dict,
        config: dict,
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
          metrics: validation metrics of these parameters, where they were just evaluated; the
            checkpoint of the lowest `loss` is kept.

        Raises:
          ValueError: a checkpoint of this or a later step exists, another process writes here, or
            the directory cannot be written (names it and the last good step).
        """
        assert metrics is None or "loss" in metrics, metrics
        self.wait()
        self._claim()
        latest = self.latest_step()
        if latest is not None and step <= latest:
            raise ValueError(
                f"cannot save step {step} in {self.directory}: it holds step {latest}; expected a "
                f"later step, or later checkpoints removed first"
            )
        items = {
            "params": ocp.args.StandardSave(params),
            "optimizer": ocp.args.StandardSave(opt_state),
            "data": ocp.args.JsonSave(data),
            "config": ocp.args.JsonSave(config),
        }
        if metrics is not None:
            items["metrics"] = ocp.args.JsonSave(metrics)
        unfinished = self.directory / f"saving.{step}"
        try:
            self._checkpointer.save(unfinished, args=ocp.args.Composite(**items))
        except WRITE_ERRORS as error:
            raise self._unwritable(error, step) from error
        self._pending = step, self._finisher.submit(self._finish, step, unfinished)

    def wait(self) -> None:
        """Blocks until the last save is complete; raises ValueError where it failed."""
        if self._pending is None:
            return
        (step, future), self._pending = self._pending, None
        try:
            future.result()
        except WRITE_ERRORS as error:
            raise self._unwritable(error, step) from error

    def restore(self, step: int | None = None, *, params: Any, opt_state: Any) -> Restored:
        """Restores a verified checkpoint, the newest by default.

        Args:
          step: which checkpoint; None for the newest.
          params: tree of `jax.ShapeDtypeStruct`s with the target shardings.
          opt_state: likewise, for the optimizer state.

        Raises:
          ValueError: there is no such checkpoint, a file of it is damaged (names the file and the
            previous good step), or a shape, dtype or path differs from the target's.
        """
        step = self._verified(step)
        targets = {"params": params, "optimizer": opt_state}
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
            data=items["data"],
            config=items["config"],
            metrics=items.get("metrics"),
        )

    def restore_params(self, step: int | None = None, abstract_params: Any = None) -> Any:
        """Restores the parameters alone; only their files are read and verified.

        Args:
          step: which checkpoint; None for the newest.
          abstract_params: tree of `jax.ShapeDtypeStruct`s with the target shardings; None for
            the shapes and dtypes saved, on the first device.

        Raises:
          ValueError: as `restore`.
        """
        step = self._verified(step, item="params")
        if abstract_params is None:
            device = SingleDeviceSharding(jax.local_devices()[0])
            abstract_params = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
                self._saved_tree(step, "params"),
            )
        self._check_target(step, "params", abstract_params)
        return self._read(step, params=ocp.args.StandardRestore(abstract_params))["params"]

    def remove_after(self, step: int) -> None:
        """Removes the checkpoints of later steps, damaged ones too, so that saving goes on."""
        self.wait()
        self._claim()
        self._remove([later for later in self.steps() if later > step])

    def close(self) -> None:
        """Waits for the last save, ends the threads and releases the directory."""
        try:
            self.wait()
        finally:
            self._finisher.shutdown()
            self._checkpointer.close()
            self._release()

    def _claim(self) -> None:
        """Locks the directory for this process, once, and clears what killed saves left in it."""
        if jax.process_index() != 0:
            return
        if self._lock is not None:
            if not self.directory.is_dir():
                raise self._unwritable("the directory has vanished")
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.directory, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for leftover in [*self.directory.glob("saving.*"), *self.directory.glob("removing.*")]:
                shutil.rmtree(leftover)
        except BlockingIOError as error:
            self._release()
            raise self._unwritable("another process is writing checkpoints there") from error
        except OSError as error:
            self._release()
            raise self._unwritable(error) from error

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _finish(self, step: int, unfinished: Path) -> None:
        """Waits for orbax, writes the manifest, names the checkpoint, and removes older ones."""
        self._checkpointer.wait_until_finished()
        if jax.process_index() != 0:
            return
        write_manifest(unfinished)
        unfinished.rename(self.directory / str(step))
        steps = self.steps()
        kept = set(steps[-self._keep :])
        losses = {step: loss for step in steps if (loss := self._loss(step)) is not None}
        if losses:
            kept.add(min(losses, key=lambda step: losses[step]))
        self._remove([step for step in steps if step not in kept])

    def _remove(self, steps: list[int]) -> None:
        """Deletes checkpoints; killed half-way, none stays under the name of its step."""
        if jax.process_index() != 0:
            return
        for step in steps:
            removing = (self.directory / str(step)).rename(self.directory / f"removing.{step}")
            shutil.rmtree(removing)

    def _loss(self, step: int) -> float | None:
        """Validation loss saved with a checkpoint; None without one, or where it is damaged."""
        if not self._has(step, "metrics") or self._damage(step, item="metrics"):
            return None
        loss = self._read(step, metrics=ocp.args.JsonRestore())["metrics"]["loss"]
        return loss if math.isfinite(loss) else None

    def _has(self, step: int, item: str) -> bool:
        return (self.directory / str(step) / item).is_dir()

    def _read(self, step: int, **args: Any) -> Any:
        """Restores the named items of a checkpoint by orbax."""
        return self._checkpointer.restore(
            self.directory / str(step), args=ocp.args.Composite(**args)
        )

    def _saved_tree(self, step: int, item: str) -> Any:
        """The tree of an array item, its leaves carrying `shape` and `dtype`."""
        metadata = self._checkpointer.metadata(self.directory / str(step)).item_metadata
        assert metadata is not None
        return metadata[item].tree

    def _verified(self, step: int | None, item: str | None = None) -> int:
        """Returns the step to restore once its files match the manifest; ValueError otherwise."""
        steps = self.steps()
        if not steps:
            raise ValueError(f"no checkpoint in {self.directory}")
        if step is None:
            step = steps[-1]
        if step not in steps:
            raise ValueError(
                f"no checkpoint of step {step} in {self.directory}; expected one of: "
                f"{', '.join(map(str, steps))}"
            )
        damage = self._damage(step, item)
        if damage is None:
            return step
        earlier = (other for other in reversed(steps) if other < step)
        previous = next((other for other in earlier if self._damage(other) is None), None)
        advice = (
            "there is no good checkpoint before it"
            if previous is None
            else f"use --restore_step={previous} (the previous good checkpoint)"
        )
        raise ValueError(f"checkpoint {step} in {self.directory} is corrupt: {damage}; {advice}")

    def _damage(self, step: int, item: str | None = None) -> str | None:
        return find_damage(self.directory / str(step), item)

    def _check_target(self, step: int, item: str, target: Any) -> None:
        """Raises ValueError where a path, shape or dtype differs: orbax would cast in silence."""
        saved, wanted = _describe(self._saved_tree(step, item)), _describe(target)
        for path in sorted(saved.keys() | wanted.keys()):
            if saved.get(path) != wanted.get(path):
                raise ValueError(
                    f"checkpoint {step} in {self.directory} does not fit: {item} {path} is "
                    f"{saved.get(path, 'not in it')}, expected {wanted.get(path, 'nothing there')}"
                )

    def _unwritable(self, reason: object, step: int | None = None) -> ValueError:
        """The one line for a disk that is full, read-only or gone."""
        what = "save" if step is None else f"save step {step}"
        latest = self.latest_step()
        return ValueError(
            f"cannot {what} in {self.directory}: {str(reason).partition(chr(10))[0]}; "
            f"last good checkpoint: {'none' if latest is None else latest}"
        )


def _describe(tree: Any) -> dict[str, str]:
    """Path to "dtype[shape]" of every leaf; equal for a named tuple and the dict orbax reads."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{leaf.dtype.name}[{','.join(map(str, leaf.shape))}]"
        )
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def _silence_orbax() -> None:
    """Drops orbax's own log records: what matters in them is raised here, in one line."""
    logging.getLogger("absl").addFilter(_is_not_orbax)


def _is_not_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts
