"""Weights & Biases as a tracker: `--tracker=wandb`, with the extra `wandb`.

WANDB_MODE=offline keeps all in wandb/ of the work directory, for `wandb sync` later; WANDB_PROJECT
and the other variables of wandb say where the rest goes.
"""

import os
import uuid
from collections.abc import Mapping

import wandb  # pyright: ignore[reportMissingImports]

from gptjax.training.reporting.trackers import TrackedRun

PROJECT = "gptjax"


class WandbTracker:
    """One run there for all starts of a run here; steps that it has are not logged again."""

    def __init__(self, run: TrackedRun):
        """Goes on with the run's own one, or makes it."""
        identifier, _ = run.identifier("wandb", lambda: uuid.uuid4().hex[:8])
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=run.directory.name,
            group=run.experiment,
            id=identifier,
            resume="allow",
            dir=run.directory,
            config=dict(run.config),
            settings=wandb.Settings(console="off"),
        )
        self._first_step = self._run.step

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        if step >= self._first_step:
            self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()
