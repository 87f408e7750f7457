"""MLflow as a tracker: `--tracker=mlflow`, with the extra `mlflow`.

MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say where the figures go; without the first they are
in mlflow.db of the work directory, which `mlflow ui --backend-store-uri=sqlite:///PATH` shows.
"""

import os
import time
from collections.abc import Mapping

from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
from mlflow.entities import Metric, Param  # pyright: ignore[reportMissingImports]

from gptjax.training.reporting.trackers import TrackedRun

EXPERIMENT = "gptjax"
_PARAMS_AT_ONCE = 100  # as many as MLflow takes


class MLflowTracker:
    """One run there for all starts of a run here; what it has of a step is not logged again."""

    def __init__(self, run: TrackedRun):
        """Goes on with the run's own one, or makes it."""
        local = f"sqlite:///{run.directory.absolute()}/mlflow.db"
        uri = os.environ.get("MLFLOW_TRACKING_URI") or local
        self._client = MlflowClient(tracking_uri=uri)
        self._id, new = run.identifier("mlflow", lambda: self._create(run))
        self._logged: dict[str, int] = {}
        if new:
            self._log_config(run)
            return
        self._client.update_run(self._id, status="RUNNING")
        for name in self._client.get_run(self._id).data.metrics:
            history = self._client.get_metric_history(self._id, name)
            self._logged[name] = max(metric.step for metric in history)

    def _create(self, run: TrackedRun) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            identifier = self._client.create_experiment(name)
        else:
            identifier = experiment.experiment_id
        tags = {"experiment": run.experiment}
        made = self._client.create_run(identifier, run_name=run.directory.name, tags=tags)
        return made.info.run_id

    def _log_config(self, run: TrackedRun) -> None:
        params = [Param(name, str(value)) for name, value in run.config.items()]
        for first in range(0, len(params), _PARAMS_AT_ONCE):
            self._client.log_batch(self._id, params=params[first : first + _PARAMS_AT_ONCE])

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        metrics = [
            Metric(name, value, now, step)
            for name, value in figures.items()
            if step > self._logged.get(name, -1)
        ]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._id)
