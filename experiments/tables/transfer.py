"""GPT-1's table 5 and BERT's table 5: what pretraining brings to tasks.

Each full cell needs a pretrained model and one run a task. The mini form is a study of
`experiments.transfer`: it pretrains small models alike on the embedded text, tunes them on the
tasks of the folder `--data`, and compares them over seeds.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.configs import TRANSFERS
from gptjax.studies.changes import Changes
from gptjax.studies.paper_tables.table import (
    TABLES,
    Cell,
    Claim,
    Elsewhere,
    Model,
    Say,
    Studied,
    Study,
    Table,
    Values,
)

# Each task's changes of a recipe; files are those of the evals of the same names.
_TASKS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "CoLA": lambda data: {
        "task.train": f"tsv:{data}/glue_cola/in_domain_train.tsv",
        "task.validation": f"tsv:{data}/glue_cola/in_domain_dev.tsv",
        **{"task.text": "4", "task.label": "2", "task.labels": "0,1", "task.metric": "matthews"},
    },
    "SST-2": lambda data: {
        "task.train": f"tsv:{data}/glue_sst2/train.tsv",
        "task.validation": f"tsv:{data}/glue_sst2/dev.tsv",
        **{"task.text": "1", "task.label": "2", "task.labels": "0,1"},
    },
    "STS-B": lambda data: {
        "task.train": f"tsv:{data}/glue_stsb/sts-train.csv",
        "task.validation": f"tsv:{data}/glue_stsb/sts-dev.csv",
        **{"task.form": "similarity", "task.text": "6", "task.text_b": "7", "task.label": "5"},
        **{"task.labels": None, "task.metric": "pearson"},
    },
}
# GPT-1 (Radford et al. 2018), table 5: average score, CoLA (Matthews), SST-2 (accuracy), STS-B
# (Pearson).
_AVERAGE = "average"
_FULL, _RANDOM = "Transformer, auxiliary LM (full)", "Transformer, no pretraining"
_PLAIN, _LSTM = "Transformer, no auxiliary LM", "LSTM, auxiliary LM"
_GPT1 = {
    _FULL: ("gpt1_sst2", "with auxiliary loss", (74.7, 45.4, 91.3, 82.0)),
    _RANDOM: ("gpt1_sst2_no_pretraining", "without pretraining", (59.9, 18.9, 84.0, 30.9)),
    _PLAIN: ("gpt1_sst2_no_auxiliary", "without auxiliary loss", (75.0, 47.9, 92.0, 83.2)),
    _LSTM: ("gpt1_sst2_lstm", "LSTM with auxiliary loss", (69.1, 30.3, 90.5, 71.8)),
}
# BERT (Devlin et al. 2018, arXiv 1810.04805), table 5: accuracy on SST-2's development set, F1 on
# SQuAD's.
_BASE, _NO_NSP, _LEFT = "BERT base", "no NSP", "left-to-right, no NSP"
_BERT = {
    _BASE: ("bert_base", "BERT", (92.7, 88.5)),
    _NO_NSP: ("bert_base", "BERT without NSP", (92.6, 87.9)),
    _LEFT: ("gpt1", "left-to-right BERT without NSP", (92.1, 77.8)),
}


def _table(
    name: str,
    title: str,
    source: str,
    rows: Mapping[str, tuple[str, str, tuple[float, ...]]],
    columns: Sequence[str],
    tasks: Sequence[str],
    claims: Sequence[Claim],
    study: str,
) -> Table:
    command = f"python -m experiments.transfer --experiment={study}"
    by = Elsewhere(f"{command} (docs/fine_tuning.md)")

    def measured(column: str, system: str) -> Studied | None:
        of = tasks if column == _AVERAGE else [column] if column in tasks else []
        return Studied(study, lambda summary: _figures(summary, of, system)) if of else None

    def run(folder: Path, seeds: int, data: str | None, say: Say) -> dict[str, Any]:
        from gptjax.studies.transfer.study import run_study

        if data is None:
            raise ValueError(f"--data: got none, expected a folder with the files of {tasks[0]}")
        changes = tuple(Changes(task, _TASKS[task](Path(data))) for task in tasks)
        small = TRANSFERS.get(study)().only([system for _, system, _ in rows.values()])
        small = dataclasses.replace(small, tasks=changes)
        return run_study(small, folder, budget="tokens", seeds=seeds, say=say)

    return Table(
        name=name,
        title=title,
        source=source,
        units=dict.fromkeys(columns, "%"),
        cells=[
            Cell(row, column, published, row, by, mini=measured(column, system))
            for row, (_, system, values) in rows.items()
            for column, published in zip(columns, values, strict=True)
        ],
        models={row: Model(experiment) for row, (experiment, _, _) in rows.items()},
        claims=claims,
        studies={
            study: Study(
                run,
                "about half an hour a task with three seeds and two cores",
                command,
            )
        },
        notes=(
            f"The mini form is the study `{study}` of experiments.transfer on {', '.join(tasks)}, "
            "with the systems that have rows here. "
            "The experiment that is named is the nearest of the registry: none trains all cells of "
            "a row in full."
        ),
    )


def _figures(summary: dict[str, Any], tasks: Sequence[str], system: str) -> Sequence[float]:
    """Percent, of each seed; the mean over the tasks."""
    values = [summary["tasks"][task]["systems"][system]["values"] for task in tasks]
    return (100 * np.mean(values, axis=0)).tolist()


def _less(column: str, row: str, than: str) -> Callable[[Values], float]:
    return lambda values: values[row, column] - values[than, column]


@TABLES.register("gpt1:5")
def gpt1_ablations() -> Table:
    """Ablations of GPT-1."""
    return _table(
        "gpt1:5",
        "GPT-1's ablations on its tasks",
        "Radford et al. 2018, table 5",
        _GPT1,
        (_AVERAGE, *_TASKS),
        tuple(_TASKS),
        [
            Claim("pretraining helps", _less(_AVERAGE, _FULL, _RANDOM), "points"),
            Claim(
                "on tasks as small as these the auxiliary loss does not help",
                _less(_AVERAGE, _PLAIN, _FULL),
                "points",
            ),
            Claim(
                "the Transformer is better than an LSTM", _less(_AVERAGE, _FULL, _LSTM), "points"
            ),
        ],
        "gpt1_ablations",
    )


@TABLES.register("bert:5")
def bert_ablations() -> Table:
    """Ablations of BERT's pretraining."""
    return _table(
        "bert:5",
        "BERT's pretraining tasks",
        "arXiv 1810.04805, table 5",
        _BERT,
        ("SST-2", "SQuAD"),
        ("SST-2",),
        [
            Claim(
                "a masked model is better than a left-to-right one",
                _less("SST-2", _NO_NSP, _LEFT),
                "points",
            ),
            Claim("next-sentence prediction helps", _less("SST-2", _BASE, _NO_NSP), "points"),
        ],
        "gpt_beside_bert",
    )
