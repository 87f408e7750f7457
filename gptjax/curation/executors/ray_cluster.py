"""Tasks on a Ray cluster, or on one that this process starts on its own machine.

    with contextlib.closing(RayCluster(attempts=3)) as executor:
        for name, result in executor.run(tasks):
            ...

Every machine must see the folders that tasks read and write under the same paths.
"""

import importlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from gptjax.curation.executors.local import worker_environment
from gptjax.curation.executors.tasks import Task, run_task, told


class RayCluster:
    """The cluster that RAY_ADDRESS names; without it, one of this machine's cores."""

    def __init__(self, processes: int | None, attempts: int):
        """`processes`: cores of a cluster that is started here; None: all.

        Raises:
          ValueError: Ray is not installed.
        """
        try:
            ray = importlib.import_module("ray")
        except ImportError as error:
            raise ValueError(
                "--executor: got ray, which is not installed; expected `pip install gptjax[ray]`"
            ) from error
        self._ray = ray
        self._attempts = attempts
        self._started = not ray.is_initialized()
        if self._started:
            address = os.environ.get("RAY_ADDRESS")
            ray.init(
                address=address,
                num_cpus=None if address else processes,
                include_dashboard=False,
                log_to_driver=False,
                runtime_env={"env_vars": worker_environment()},
            )

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[str, Any]]:
        ray = self._ray
        remote = ray.remote(max_retries=self._attempts - 1)(_answer)
        running = {remote.remote(task): task for task in tasks}
        while running:
            (done, *_), _ = ray.wait([*running], num_returns=1)
            task = running.pop(done)
            try:
                failed, result = ray.get(done)
            except ray.exceptions.RayError as error:
                said = str(error).strip().splitlines()[0]
                raise ValueError(
                    f"task {task.name}: got {said}, expected an answer at one of {self._attempts} "
                    "attempts"
                ) from error
            if failed:
                raise result
            yield task.name, result

    def close(self) -> None:
        if self._started:
            self._ray.shutdown()


def _answer(task: Task) -> tuple[bool, Any]:
    try:
        return False, run_task(task)
    except Exception as error:  # whatever a task raises is told to whoever asked
        return True, told(error)
