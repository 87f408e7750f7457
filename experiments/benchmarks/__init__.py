"""The benchmark suites by name: functions that return their figures, for one JSON line.

@SUITES.register("train")
def train() -> dict[str, Any]: ...
"""

from experiments.benchmarks.attention import attention
from experiments.benchmarks.generate import generate
from experiments.benchmarks.ppo import ppo
from experiments.benchmarks.registry import SUITES
from experiments.benchmarks.startup import startup
from experiments.benchmarks.train import train

__all__ = ["SUITES", "attention", "generate", "ppo", "startup", "train"]
