"""Registry of experiments: functions that return a fresh `ExperimentConfig`, by name.

@EXPERIMENTS.register("gpt2_small")
def gpt2_small() -> ExperimentConfig: ...

One that is in no registry is named by its place: "python:MODULE:FUNCTION".
"""

import functools
from collections.abc import Callable
from typing import TypeVar

from gptjax.config import ExperimentConfig
from gptjax.registry import Registry, user_function

Made = TypeVar("Made")

EXPERIMENTS: Registry[Callable[[], ExperimentConfig]] = Registry("experiment")


def experiment_named(name: str) -> Callable[[], ExperimentConfig]:
    """The experiment of that name in `EXPERIMENTS`, or a user's function python:MODULE:FUNCTION.

    Raises:
      ValueError: there is none; or, where a user's function is called, it fails or returns
        something else.
    """
    return maker_named(name, EXPERIMENTS, ExperimentConfig)


def maker_named(
    name: str, registry: Registry[Callable[[], Made]], made: type[Made]
) -> Callable[[], Made]:
    """The function of that name in `registry`, or a user's, each of which makes a `made`."""
    if not name.startswith("python:"):
        return registry.get(name)
    signature = f"() -> {made.__name__}"
    make = user_function(registry.kind, name.removeprefix("python:"), signature)

    @functools.wraps(make)
    def checked() -> Made:
        try:
            returned = make()
        except Exception as error:  # whatever a user's function raises is named
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise ValueError(
                f"{registry.kind} {name!r}: got {said}, expected a function {signature}"
            ) from error
        if not isinstance(returned, made):
            raise ValueError(
                f"{registry.kind} {name!r}: got a function that returns "
                f"{type(returned).__name__}, expected one of {signature}"
            )
        return returned

    return checked
