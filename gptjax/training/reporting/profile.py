"""A trace of a few steps, for TensorBoard's profiler, as `config.profile` asks.

with Trace(config.profile, first_step, directory) as trace:
    trace.before_step(step, state)
"""

from pathlib import Path
from typing import Any

import jax

from gptjax.config import ProfileConfig


class Trace:
    """Traces `num_steps` steps, from the one `start_step` steps after the first of this start."""

    def __init__(self, config: ProfileConfig, first_step: int, directory: Path):
        """`directory` is where the trace goes; `first_step` the step a run starts or resumes at."""
        self._start = first_step + config.start_step
        self._stop = self._start + config.num_steps
        self._directory = directory
        self._running = False

    def __enter__(self) -> "Trace":
        return self

    def before_step(self, step: int, state: Any) -> None:
        """Starts or stops the trace where it is due; call it before each step.

        Args:
          step: which is to come.
          state: which the steps before make; they are over before a trace starts or stops.
        """
        if step in (self._start, self._stop):
            jax.block_until_ready(state)
        if self._start <= step < self._stop and not self._running:
            jax.profiler.start_trace(self._directory)
            self._running = True
        elif step >= self._stop:
            self._end()

    def _end(self) -> None:
        if self._running:
            jax.profiler.stop_trace()
            self._running = False

    def __exit__(self, *_: object) -> None:
        self._end()
