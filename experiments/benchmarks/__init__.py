"""The benchmark suites by name: functions that return their figures, for one JSON line.

@SUITES.register("train")
def train() -> dict[str, Any]: ...
"""

from experiments.benchmarks import (
    attention,
    data,
    encoders,
    evals,
    generate,
    multimodal,
    ppo,
    serve,
    startup,
    train,
    translation,
)
from experiments.benchmarks.registry import SUITES

__all__ = [
    "SUITES",
    "attention",
    "data",
    "encoders",
    "evals",
    "generate",
    "multimodal",
    "ppo",
    "serve",
    "startup",
    "train",
    "translation",
]
