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

from absl import flags

from experiments.configs import EXPERIMENTS, STUDIES
from experiments.flags.command_line import run
from experiments.flags.descriptions import FIELDS, FLAG, described
from gptjax.config import ExperimentConfig
from gptjax.reports.configurations import configuration_page, explained
from gptjax.settings import fields

_EXPERIMENT = flags.DEFINE_string(
    "experiment", None, "Name of an experiment, pipeline or transfer study that is explained."
)
_KIND = flags.DEFINE_string("kind", None, "Name of a kind of run that is explained.")
_CONFIGURATION = flags.DEFINE_bool(
    "configuration", False, "Whether every field of every kind of run is listed, in Markdown."
)


def main(argv: Sequence[str]) -> None:
    """Prints one line an experiment, or one experiment, study or kind of run in full."""
    del argv
    name = _EXPERIMENT.value
    if _CONFIGURATION.value:
        lines = _configuration()
    elif _KIND.value is not None:
        lines = _kind(_KIND.value)
    elif name is None:
        lines = _all()
    else:
        lines = described(name)
    print("\n".join(lines))


def _all() -> Iterator[str]:
    """One line an experiment or study: its name, and the first line of its docstring."""
    registries = (EXPERIMENTS, *STUDIES.values())
    width = max(len(name) for registry in registries for name in registry)
    for registry in registries:
        for name in registry:
            summary = (registry.get(name).__doc__ or "").splitlines()[0]
            yield f"{name:{width}}  {summary}"


def _configuration() -> Iterator[str]:
    """The page docs/configuration.md."""
    from gptjax.runs.kind import kinds

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


def _kind(name: str) -> Iterator[str]:
    """The docstring of a kind of run, its experiments, and the fields that it adds."""
    from gptjax.runs.kind import kind_named

    kind = kind_named(name)
    names = [name for name in EXPERIMENTS if EXPERIMENTS.get(name)().kind == kind.name]
    config, shared = kind.config(), fields(ExperimentConfig())
    added = [path for path in fields(config) if path not in shared]
    yield inspect.cleandoc(kind.__doc__ or "")
    yield ""
    yield f"Experiments:  {', '.join(names) or 'none'}"
    if added:
        yield f"{FIELDS}\n{FLAG}"
        yield from explained(config, added)
    else:
        yield "It adds no fields to those of every run."


if __name__ == "__main__":
    run(main)
