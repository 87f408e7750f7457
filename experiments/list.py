"""Shows the experiment registry, and the kinds of run.

python -m experiments.list
python -m experiments.list --kind=sft                 # what such a run takes and gives
python -m experiments.list --experiment=gpt3_small    # every field: its value, and what it means
python -m experiments.list --experiment=python:mine:small # the same of one of your own
python -m experiments.list --experiment=instruct_demo # the same of a pipeline, stage by stage
python -m experiments.list --experiment=gpt_beside_bert    # models and systems of a transfer study
python -m experiments.list --configuration > docs/configuration.md   # every field, as Markdown
"""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from experiments.configs import (
    EXPERIMENTS,
    PIPELINES,
    PREPARATIONS,
    STUDIES,
    TRANSFERS,
    experiment_named,
)
from experiments.flags.command_line import run
from gptjax.config import ExperimentConfig, resolve
from gptjax.registry import unknown_name
from gptjax.reports.configurations import configuration_page, explained
from gptjax.runs.kind import Kind, kind_named, kinds
from gptjax.settings import fields, meaning

_EXPERIMENT = flags.DEFINE_string(
    "experiment", None, "Name of an experiment, pipeline or transfer study that is explained."
)
_KIND = flags.DEFINE_string("kind", None, "Name of a kind of run that is explained.")
_CONFIGURATION = flags.DEFINE_bool(
    "configuration", False, "Whether every field of every kind of run is listed, in Markdown."
)
_FIELDS = "Every field has its path, its value and what is allowed; its meaning is below."
_FLAG = "The flag --config.PATH=VALUE changes a field."


def main(argv: Sequence[str]) -> None:
    """Prints one line an experiment, or one experiment, study or kind of run in full."""
    del argv
    name = _EXPERIMENT.value
    if _CONFIGURATION.value:
        lines = _configuration()
    elif _KIND.value is not None:
        lines = _kind(kind_named(_KIND.value))
    elif name is None:
        lines = _all()
    else:
        lines = _explained(name)
    print("\n".join(lines))


def _explained(name: str) -> Iterator[str]:
    if name in PIPELINES:
        return _pipeline(name)
    if name in PREPARATIONS:
        return _preparation(name)
    return _transfer(name) if name in TRANSFERS else _experiment(name)


def _names() -> list[str]:
    return [name for registry in (EXPERIMENTS, *STUDIES.values()) for name in registry]


def _all() -> Iterator[str]:
    """One line an experiment or study: its name, and the first line of its docstring."""
    width = max(len(name) for name in _names())
    for registry in (EXPERIMENTS, *STUDIES.values()):
        for name in registry:
            summary = (registry.get(name).__doc__ or "").splitlines()[0]
            yield f"{name:{width}}  {summary}"


def _experiment(name: str) -> Iterator[str]:
    """An experiment's docstring, the command that runs it, and its fields."""
    if name not in EXPERIMENTS and not name.startswith("python:"):
        raise unknown_name("experiment or study", name, _names())
    make = experiment_named(name)
    config = resolve(make())
    yield inspect.cleandoc(make.__doc__ or "")
    yield ""
    yield f"To run it:  python -m experiments.train --experiment={name} --workdir=DIR"
    yield f"Its kind of run:  python -m experiments.list --kind={config.kind}"
    yield f"    {meaning(config, '')}"
    yield f"{_FIELDS}\n{_FLAG}"
    yield from explained(config)


def _pipeline(name: str) -> Iterator[str]:
    """A pipeline's docstring, the command that runs it, its own fields and those of its stages."""
    make = PIPELINES.get(name)
    yield inspect.cleandoc(make.__doc__ or "")
    yield ""
    yield f"To run it:  python -m experiments.instruct --experiment={name} --workdir=DIR"
    yield _FIELDS
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
    yield "A YAML file, --config=FILE, has these fields too."
    yield from explained(make())


def _configuration() -> Iterator[str]:
    """The page docs/configuration.md."""
    yield from (
        "# Configuration",
        "",
        "This page lists every field of a run's configuration, with its default. The flag",
        "`--config.SECTION.FIELD=VALUE` of `python -m experiments.train` changes a field, and",
        "`python -m experiments.list --experiment=NAME` shows the values of an experiment.",
        "The part `pretrain` lists the fields that all kinds of run have. Each other part lists",
        "only the fields that its kind of run adds.",
        "",
        "`python -m experiments.list --configuration > docs/configuration.md` writes this page.",
    )
    yield from configuration_page({kind.name: kind.config() for kind in kinds()})


def _kind(kind: Kind[Any]) -> Iterator[str]:
    """The docstring of a kind of run, its experiments, and the fields that it adds."""
    names = [name for name in EXPERIMENTS if EXPERIMENTS.get(name)().kind == kind.name]
    config, shared = kind.config(), fields(ExperimentConfig())
    added = [path for path in fields(config) if path not in shared]
    yield inspect.cleandoc(kind.__doc__ or "")
    yield ""
    yield f"Experiments:  {', '.join(names) or 'none'}"
    if added:
        yield f"{_FIELDS}\n{_FLAG}"
        yield from explained(config, added)
    else:
        yield "It adds no fields to those of every run."


if __name__ == "__main__":
    run(main)
