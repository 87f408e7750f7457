"""Trackers of a run: TensorBoard, Weights & Biases, MLflow, or a class of yours, by name.

makers = load_trackers(["tensorboard", "python:mine:CSV"])
trackers = [make(TrackedRun(directory, "demo", config, first_step=1)) for make in makers]

A tracker is made at each start of a run, of a `TrackedRun`; a whole one:

    class CSV:
        def __init__(self, run):
            self.file = (run.directory / "mine.csv").open("a")

        def log(self, step, figures):
            for name, value in figures.items():
                print(step, name, value, sep=",", file=self.file, flush=True)

        def close(self):
            self.file.close()
"""

import dataclasses
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from absl import logging

from gptjax.atomic_files import write_json
from gptjax.registry import unknown_name, user_function
from gptjax.training.reporting.tensorboard import EventFile

EXTRAS = {"wandb": "wandb_tracker:WandbTracker", "mlflow": "mlflow_tracker:MLflowTracker"}


class Tracker(Protocol):
    """What is told the figures of a run."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Takes figures of a step by name, such as "train/loss"; steps never fall."""
        ...

    def close(self) -> None:
        """Called when the run, or this start of it, is over."""
        ...


@dataclasses.dataclass(frozen=True)
class TrackedRun:
    """A start of a run, as its trackers are told of it.

    Attributes:
      directory: the work directory.
      experiment: what the run is called.
      config: its fields by their paths, such as "model.num_layers"; JSON values.
      first_step: whose figures come first; those of this step and later ones, which an earlier
        start may have logged, come again.
    """

    directory: Path
    experiment: str
    config: Mapping[str, Any]
    first_step: int

    def identifier(self, tracker: str, make: Callable[[], str]) -> tuple[str, bool]:
        """The run's identifier at a tracker, and whether `make` made it now.

        It is kept in trackers.json of the work directory, where later starts find it.
        """
        path = self.directory / "trackers.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        if tracker in kept:
            return kept[tracker], False
        kept[tracker] = make()
        write_json(path, kept)
        return kept[tracker], True


MakeTracker = Callable[[TrackedRun], Tracker]


def tensorboard(run: TrackedRun) -> Tracker:
    """TensorBoard's events, under `tensorboard/`; it forgets steps that come again."""
    return EventFile(run.directory / "tensorboard", run.first_step)


def load_trackers(names: Sequence[str]) -> list[MakeTracker]:
    """What makes the trackers of those names: tensorboard, wandb, mlflow, python:MODULE:CLASS.

    A full disk under `tensorboard/` ends a run, as it does under checkpoints/. What the others
    raise does not: a warning names it, and the run goes on without that tracker.

    Raises:
      ValueError: there is no such tracker, or what it needs is not installed.
    """
    return [_load(name) for name in names]


def _load(name: str) -> MakeTracker:
    if name == "tensorboard":
        return tensorboard
    if name in EXTRAS:
        module_name, _, class_name = EXTRAS[name].partition(":")
        try:
            module = importlib.import_module(f"{__package__}.{module_name}")
        except ModuleNotFoundError as error:
            raise ValueError(
                f"--tracker: got {name} without the package {error.name}, expected it to be "
                f"installed: pip install 'gptjax[{name}]'"
            ) from error
        return lambda run: _Guarded(name, getattr(module, class_name), run)
    if name.startswith("python:"):
        make = user_function("tracker", name.removeprefix("python:"), "(run) -> tracker")
        return lambda run: _Guarded(name, make, run)
    raise unknown_name("tracker", name, ("tensorboard", *EXTRAS, "python:MODULE:CLASS", "none"))


class _Guarded:
    """A tracker that stops, with a warning, where the one inside fails: no run ends by it."""

    def __init__(self, name: str, make: MakeTracker, run: TrackedRun):
        self._name = name
        try:
            self._tracker: Tracker | None = make(run)
        except Exception as error:  # whatever a service or a user's class raises is named
            raise ValueError(
                f"--tracker={name}: got {_said(error)}, expected a tracker that can start"
            ) from error

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        try:
            if self._tracker is not None:
                self._tracker.log(step, figures)
        except Exception as error:  # as above
            self._tracker = None
            logging.warning(
                "tracker %s failed at step %d: %s; the run goes on without it, and metrics.jsonl "
                "has all figures",
                *(self._name, step, _said(error)),
            )

    def close(self) -> None:
        try:
            if self._tracker is not None:
                self._tracker.close()
        except Exception as error:  # as above
            logging.warning("tracker %s could not be closed: %s", self._name, _said(error))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
