"""Registry of benchmark suites; `experiments.benchmarks` imports every suite."""

from collections.abc import Callable
from typing import Any

from gptjax.registry import Registry

SUITES: Registry[Callable[..., dict[str, Any]]] = Registry("benchmark suite")
