"""GPT-1's table 5 and BERT's table 5: what pretraining brings to tasks.

Each full cell needs a pretrained model and one run a task. `experiments.transfer` is their mini
form: it pretrains small models alike, tunes them on tasks, and compares them over seeds.
"""

from collections.abc import Mapping

from gptjax.studies.paper_tables.table import TABLES, Cell, Elsewhere, Model, Table

# GPT-1 (Radford et al. 2018), table 5: average score, CoLA (Matthews), SST-2 (accuracy), STS-B
# (Pearson).
_GPT1 = {
    "Transformer, auxiliary LM (full)": ("gpt1_sst2", (74.7, 45.4, 91.3, 82.0)),
    "Transformer, no pretraining": ("gpt1_sst2_no_pretraining", (59.9, 18.9, 84.0, 30.9)),
    "Transformer, no auxiliary LM": ("gpt1_sst2_no_auxiliary", (75.0, 47.9, 92.0, 83.2)),
    "LSTM, auxiliary LM": ("gpt1_sst2_lstm", (69.1, 30.3, 90.5, 71.8)),
}
_GPT1_COLUMNS = ("average", "CoLA", "SST-2", "STS-B")
# BERT (Devlin et al. 2018, arXiv 1810.04805), table 5: accuracy on SST-2's development set, F1 on
# SQuAD's.
_BERT = {
    "BERT base": ("bert_base", (92.7, 88.5)),
    "no NSP": ("bert_base", (92.6, 87.9)),
    "left-to-right, no NSP": ("gpt1", (92.1, 77.8)),
}
_BERT_COLUMNS = ("SST-2", "SQuAD")


def _table(
    name: str,
    title: str,
    source: str,
    rows: Mapping[str, tuple[str, tuple[float, ...]]],
    columns: tuple[str, ...],
    study: str,
) -> Table:
    by = Elsewhere(f"python -m experiments.transfer --experiment={study} (docs/fine_tuning.md)")
    return Table(
        name=name,
        title=title,
        source=source,
        units=dict.fromkeys(columns, "%"),
        cells=[
            Cell(row, column, published, row, by)
            for row, (_, values) in rows.items()
            for column, published in zip(columns, values, strict=True)
        ],
        models={row: Model(experiment) for row, (experiment, _) in rows.items()},
        notes=(
            f"The study `{study}` of experiments.transfer has these rows in small. The experiment "
            "that is named is the nearest of the registry: none trains all cells of a row."
        ),
    )


@TABLES.register("gpt1:5")
def gpt1_ablations() -> Table:
    """Ablations of GPT-1."""
    return _table(
        "gpt1:5",
        "GPT-1's ablations on its tasks",
        "Radford et al. 2018, table 5",
        _GPT1,
        _GPT1_COLUMNS,
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
        _BERT_COLUMNS,
        "gpt_beside_bert",
    )
