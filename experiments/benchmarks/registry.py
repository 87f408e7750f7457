"""Registry of benchmark suites; the module of a suite has its name."""

from collections.abc import Callable
from typing import Any

from gptjax.registry import Registry

_NAMES = (
    *(
        "accelerator",
        "attention",
        "data",
        "encoders",
        "evals",
        "generate",
        "multimodal",
        "ppo",
        "serve",
    ),
    *("startup", "train", "translation"),
)
SUITES: Registry[Callable[..., dict[str, Any]]] = Registry(
    "benchmark suite", {name: f"experiments.benchmarks.{name}" for name in _NAMES}
)
