"""Registry of experiments: functions that return a fresh `ExperimentConfig`, by name.

@EXPERIMENTS.register("gpt2_small")
def gpt2_small() -> ExperimentConfig: ...
"""

from collections.abc import Callable

from gptjax.config import ExperimentConfig
from gptjax.registry import Registry

EXPERIMENTS: Registry[Callable[[], ExperimentConfig]] = Registry("experiment")
