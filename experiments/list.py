"""Shows the experiment registry, and the kinds of run.

python -m experiments.list
python -m experiments.list --kind=sft                 # what such a run takes and gives
python -m experiments.list --experiment=gpt3_small   # its configuration, every default visible
"""

import inspect
import json
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from experiments.configs import EXPERIMENTS, PIPELINES
from experiments.flags.command_line import run
from gptjax.config import ExperimentConfig, resolve
from gptjax.runs.kind import Kind, kind_named
from gptjax.settings import expected, fields, limits_of, to_dict

_EXPERIMENT = flags.DEFINE_string("experiment", None, "Shows this one in full.")
_KIND = flags.DEFINE_string("kind", None, "Explains this kind of run.")


def main(argv: Sequence[str]) -> None:
    """Prints one line an experiment, or one experiment or kind of run in full."""
    del argv
    if _KIND.value is not None:
        print("\n".join(_explained(kind_named(_KIND.value))))
        return
    if _EXPERIMENT.value is not None:
        make = EXPERIMENTS.get(_EXPERIMENT.value)
        print(make.__doc__)
        print(json.dumps(to_dict(resolve(make())), indent=2))
        return
    width = max(len(name) for name in EXPERIMENTS)
    for registry in (EXPERIMENTS, PIPELINES):
        for name in registry:
            summary = (registry.get(name).__doc__ or "").splitlines()[0]
            print(f"{name:{width}}  {summary}")


def _explained(kind: Kind[Any]) -> Iterator[str]:
    """Describes a kind of run: its docstring, its experiments, and the fields that it adds."""
    yield inspect.cleandoc(kind.__doc__ or "")
    yield ""
    names = [name for name in EXPERIMENTS if EXPERIMENTS.get(name)().kind == kind.name]
    yield f"experiments: {', '.join(names) or 'none'}"
    config, shared = kind.config(), fields(ExperimentConfig())
    for path, value in fields(config).items():
        if path not in shared:
            yield f"--config.{path}={value}  ({expected(*limits_of(config, path))})"


if __name__ == "__main__":
    run(main)
