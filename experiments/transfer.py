r"""Transfer studies: models are pretrained alike, then fine-tuned on the same tasks and compared.

    python -m experiments.transfer --experiment=gpt_beside_bert --workdir=runs/beside
    python -m experiments.transfer --experiment=gpt_beside_bert --workdir=runs/books \
        --pretrain="data.corpus=text:books,data.tokenizer=wordpiece,training.num_steps=4000" \
        --tasks="SST-2: task.train=tsv:train.tsv,task.validation=tsv:dev.tsv,task.text=1,\
    task.label=2,task.labels=0,1; CoLA: ..."

Each seed pretrains every model and fine-tunes every system on every task. All models see as many
tokens as the first, or spend as many FLOPs, by formula. Each run is a work directory below
`--workdir`; the same command goes on where it stopped, more seeds and tasks add runs, and another
configuration is refused. transfer.json, .md and .png are written last: each figure, and its paired
difference to the first system, with intervals.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from absl import flags

from experiments.configs import TRANSFERS, maker_named
from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.runs.caches import enable_compilation_cache
from gptjax.studies.choices import EQUAL
from gptjax.studies.transfer import report
from gptjax.studies.transfer.config import Transfer

_EXPERIMENT = flags.DEFINE_string(
    "experiment",
    "gpt_beside_bert",
    "Name of a transfer study that `python -m experiments.list` shows, or of a function of yours "
    "that returns one: python:MODULE:FUNCTION.",
)
_WORKDIR = define_path(
    "workdir", None, "Work directory of the study. By default it is runs/EXPERIMENT."
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 3, "Number of times that the study is run, each with its own seed.", lower_bound=1
)
_BUDGET = flags.DEFINE_enum("budget", "tokens", list(EQUAL), "What is equal in all pretraining.")
_PRETRAIN = flags.DEFINE_string(
    "pretrain", None, "Changes of all pretraining: section.field=value, with commas between them."
)
_TUNE = flags.DEFINE_string(
    "tune", None, "Changes of all fine-tuning: section.field=value, with commas between them."
)
_TASKS = flags.DEFINE_string(
    "tasks",
    None,
    "Tasks instead of the study's own, with semicolons between them: NAME: task.train=SET,...",
)


def main(argv: Sequence[str]) -> None:
    """Runs what of the study has not run yet, and reports it."""
    from gptjax.studies.transfer.study import run_study

    del argv
    enable_compilation_cache()
    study = maker_named(_EXPERIMENT.value, TRANSFERS, Transfer)()
    study = study.with_changes(_PRETRAIN.value, _TUNE.value, _TASKS.value)
    root = Path(_WORKDIR.value or f"runs/{_EXPERIMENT.value}")
    summary = run_study(
        study, root, budget=_BUDGET.value, seeds=_SEEDS.value, say=partial(print, flush=True)
    )
    print(report.markdown(summary))
    print(f"{root}: transfer.json, .md and .png are written")


if __name__ == "__main__":
    run(main)
