r"""What `experiments.list` says of an experiment, a pipeline, a study or a preparation.

print("\n".join(described("gpt3_small")))
"""

import inspect
from collections.abc import Iterator

from experiments.configs import (
    EXPERIMENTS,
    PIPELINES,
    PREPARATIONS,
    STUDIES,
    TRANSFERS,
    experiment_named,
)
from gptjax.config import resolve
from gptjax.curation.pipeline.yaml_file import as_yaml
from gptjax.registry import unknown_name
from gptjax.reports.configurations import explained
from gptjax.settings import meaning

FIELDS = "Every field has its path, its value and what is allowed; its meaning is below."
FLAG = "The flag --config.PATH=VALUE changes a field."


def described(name: str) -> Iterator[str]:
    """The lines about what has that name; ValueError where nothing has it."""
    if name in PIPELINES:
        return _pipeline(name)
    if name in PREPARATIONS:
        return _preparation(name)
    return _transfer(name) if name in TRANSFERS else _experiment(name)


def _experiment(name: str) -> Iterator[str]:
    """An experiment's docstring, the command that runs it, and its fields."""
    if name not in EXPERIMENTS and not name.startswith("python:"):
        studies = (name for registry in STUDIES.values() for name in registry)
        raise unknown_name("experiment or study", name, [*EXPERIMENTS, *studies])
    make = experiment_named(name)
    config = resolve(make())
    yield inspect.cleandoc(make.__doc__ or "")
    yield ""
    yield f"To run it:  python -m experiments.train --experiment={name} --workdir=DIR"
    yield f"Its kind of run:  python -m experiments.list --kind={config.kind}"
    yield f"    {meaning(config, '')}"
    yield f"{FIELDS}\n{FLAG}"
    yield from explained(config)


def _pipeline(name: str) -> Iterator[str]:
    """A pipeline's docstring, the command that runs it, its own fields and those of its stages."""
    make = PIPELINES.get(name)
    yield inspect.cleandoc(make.__doc__ or "")
    yield ""
    yield f"To run it:  python -m experiments.instruct --experiment={name} --workdir=DIR"
    yield FIELDS
    yield from explained(make().resolved())


def _transfer(name: str) -> Iterator[str]:
    """A study's docstring, the command that runs it, its models, systems and tasks."""
    make = TRANSFERS.get(name)
    study = make()
    yield inspect.cleandoc(make.__doc__ or "")
    yield ""
    yield f"To run it:  python -m experiments.transfer --experiment={name} --workdir=DIR"
    yield f"Models:  {', '.join(study.pretraining)}"
    yield f"Systems:  {', '.join(study.systems)}"
    yield f"Tasks:  {', '.join(task.name for task in study.tasks)}"


def _preparation(name: str) -> Iterator[str]:
    """A preparation's docstring, the command that runs it, and its fields."""
    make = PREPARATIONS.get(name)
    yield inspect.cleandoc(make.__doc__ or "")
    yield ""
    yield f"To run it:  python -m experiments.prepare_data --experiment={name} --output=DIR"
    yield "A file of your own, --config=FILE.yaml, has these fields:"
    yield ""
    yield as_yaml(make())
