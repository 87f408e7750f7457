"""Directories of checkpoints: lists them, verifies them, and removes those not to be kept.

A directory named by its step is a whole checkpoint. One is built under the name `saving.STEP` and
gets its own name, by one rename, after the manifest is in it; only then are older ones removed.
Whenever a run is killed, every directory named by a step is therefore complete, and a missing
manifest is damage. If there are several processes, only the first calls functions that change
files.

    directories = StepDirectories(workdir / "checkpoints", keep=2, keep_every=None)
    directories.admit(300)
    ...                       # writes directories.unfinished(300)
    directories.complete(300)
"""

import json
import math
import os
import re
import shutil
from pathlib import Path

from absl import logging

from gptjax.locks import DirectoryLock
from gptjax.training.checkpoints.manifest import find_damage, is_recorded, write_manifest


class StepDirectories:
    """The checkpoints of one run as files."""

    def __init__(
        self,
        path: str | os.PathLike,
        keep: int = 1,
        keep_every: int | None = None,
        highest: str | None = None,
    ):
        """Opens the directory of checkpoints at `path`, with the arguments of `Checkpoints`."""
        self.path = Path(path).absolute()
        self._keep, self._keep_every, self._highest = keep, keep_every, highest
        self._lock = DirectoryLock(self.path)

    def __getitem__(self, step: int) -> Path:
        return self.path / str(step)

    def unfinished(self, step: int) -> Path:
        """Directory in which checkpoint `step` is written until it is whole."""
        return self.path / f"saving.{step}"

    def steps(self) -> list[int]:
        """Steps of all checkpoints, ascending; they are complete, but not yet verified."""
        if not self.path.is_dir():
            return []
        named = (path for path in self.path.iterdir() if re.fullmatch("[0-9]+", path.name))
        return sorted(int(path.name) for path in named if path.is_dir())

    def damage(self, step: int, item: str | None = None) -> str | None:
        """File of a checkpoint, or of one item, that differs from its manifest, or None."""
        return find_damage(self[step], item)

    def eval_item(self, step: int | None) -> tuple[int | None, str]:
        """Returns `step`, or the newest, and the item there that is `TrainState.eval_params`."""
        step = max(self.steps(), default=None) if step is None else step
        averaged = step is not None and is_recorded(self[step], "ema")
        return step, "ema" if averaged else "params"

    def good_before(self, step: int) -> int | None:
        """The newest step below `step` whose files all match their manifest, or None."""
        earlier = (other for other in reversed(self.steps()) if other < step)
        return next((other for other in earlier if self.damage(other) is None), None)

    def verified(self, step: int | None, item: str | None = None) -> int:
        """Returns `step`, or the newest, once its files, or those of one item, match the manifest.

        Raises:
          ValueError: there is no such checkpoint, or a file of it is damaged (names the file and
            the previous good step).
        """
        steps = self.steps()
        if not steps:
            raise ValueError(f"no checkpoint in {self.path}")
        if step is None:
            step = steps[-1]
        if step not in steps:
            raise ValueError(
                f"no checkpoint of step {step} in {self.path}; expected one of: "
                f"{', '.join(map(str, steps))}"
            )
        damage = self.damage(step, item)
        if damage is None:
            return step
        previous = self.good_before(step)
        advice = (
            "there is no good checkpoint before it"
            if previous is None
            else f"use --restore_step={previous} (the previous good checkpoint)"
        )
        raise ValueError(f"checkpoint {step} in {self.path} is corrupt: {damage}; {advice}")

    def acquire_lock(self) -> None:
        """Takes the directory for this process, once, and clears what killed saves left in it.

        Raises:
          ValueError: another process writes there, or it has vanished or cannot be written.
        """
        if self._lock.held:
            if not self.path.is_dir():
                raise self.unwritable("the directory has vanished")
            return
        try:
            self._lock.take()
            for leftover in [*self.path.glob("saving.*"), *self.path.glob("removing.*")]:
                if leftover.is_dir():
                    _delete(leftover)
        except BlockingIOError as error:
            raise self.unwritable("another process is writing checkpoints there") from error
        except OSError as error:
            self.release()
            raise self.unwritable(error) from error

    def release(self) -> None:
        """Leaves the directory to others."""
        self._lock.release()

    def admit(self, step: int) -> None:
        """Claims the directory; ValueError where it holds `step` or a later one already."""
        self.acquire_lock()
        latest = max(self.steps(), default=None)
        if latest is not None and step <= latest:
            raise ValueError(
                f"cannot save step {step} in {self.path}: it holds step {latest}; expected a "
                f"later step, or later checkpoints removed first"
            )

    def complete(self, step: int) -> None:
        """Writes the manifest of what was built, names it by its step, and removes older ones."""
        write_manifest(self.unfinished(step))
        self.unfinished(step).rename(self[step])
        steps = self.steps()
        kept = set(steps[-self._keep :])
        if self._keep_every is not None:
            kept.update(step for step in steps if step % self._keep_every == 0)
        if (best := self.best()) is not None:
            kept.add(best)
        self._remove([step for step in steps if step not in kept])

    def best(self) -> int | None:
        """The step that validation says is the best, the first of equal ones; None without any."""
        costs = {step: cost for step in self.steps() if (cost := self._cost(step)) is not None}
        return min(costs, key=lambda step: costs[step], default=None)

    def remove_after(self, step: int) -> None:
        """Claims the directory and removes the checkpoints of later steps, damaged ones too."""
        self.acquire_lock()
        self._remove([later for later in self.steps() if later > step])

    def _remove(self, steps: list[int]) -> None:
        """Deletes checkpoints; a kill half-way leaves no partial one under the name of its step."""
        for step in steps:
            _delete(self[step].rename(self.path / f"removing.{step}"))

    def _cost(self, step: int) -> float | None:
        """Metric that the best checkpoint minimises; None if there is none, or it is damaged."""
        metrics = self[step] / "metrics" / "metadata"
        if not metrics.exists() or self.damage(step, "metrics"):
            return None
        saved = json.loads(metrics.read_text())
        cost = saved["loss"] if self._highest is None else -saved.get(self._highest, math.nan)
        return cost if math.isfinite(cost) else None

    def unwritable(self, reason: object, step: int | None = None) -> ValueError:
        """The one line for a disk that is full, read-only or gone."""
        what = "save" if step is None else f"save step {step}"
        latest = max(self.steps(), default="none")
        return ValueError(
            f"cannot {what} in {self.path}: {str(reason).partition(chr(10))[0]}; "
            f"last good checkpoint: {latest}"
        )


def _delete(directory: Path) -> None:
    """Deletes a directory; what NFS or somebody else still holds is left to the next start."""
    try:
        shutil.rmtree(directory)
    except OSError as error:
        logging.warning("cannot delete %s now: %s", directory, error)
