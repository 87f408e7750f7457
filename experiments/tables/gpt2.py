"""GPT-2 (Radford et al. 2019): table 3, zero-shot language modelling of four sizes."""

import dataclasses
import itertools
from collections.abc import Callable

from experiments.configs.gpt2 import gpt2_small
from gptjax.config import (
    CheckpointConfig,
    DataConfig,
    ExperimentConfig,
    OptimizerConfig,
    TrainingConfig,
)
from gptjax.studies.paper_tables.table import TABLES, Cell, Claim, Evaluated, Model, Reached, Table

_BITS = "held-out text, bits per byte"
_COLUMNS = {
    "LAMBADA perplexity": ("", Evaluated("lambada", "perplexity", factor=1.0)),
    "LAMBADA accuracy": ("%", Evaluated("lambada(stop_words=true)", "accuracy_stop_words")),
    "CBT-CN": ("%", Evaluated("cbt_cn", "accuracy")),
    "CBT-NE": ("%", Evaluated("cbt_ne", "accuracy")),
    "WikiText2 perplexity": ("", Evaluated("wikitext2", "perplexity", factor=1.0)),
}
# Table 3, in the order of the columns.
_PUBLISHED = {
    "117M": ("gpt2_small", (35.13, 45.99, 87.65, 83.4, 29.41)),
    "345M": ("gpt2_medium", (15.60, 55.48, 92.35, 87.1, 22.76)),
    "762M": ("gpt2_large", (10.87, 60.12, 93.45, 88.0, 19.93)),
    "1542M": ("gpt2_xl", (8.63, 63.24, 93.30, 89.05, 18.34)),
}
_WIDTHS = {"117M": 16, "345M": 32, "762M": 64, "1542M": 128}


def _mini(width: int) -> Callable[[], ExperimentConfig]:
    def make() -> ExperimentConfig:
        paper = gpt2_small()
        return dataclasses.replace(
            paper,
            model=dataclasses.replace(
                paper.model,
                vocab_size=1024,
                context_length=128,
                num_layers=2,
                num_heads=2,
                d_model=width,
                d_head=None,
                d_ff=4 * width,
            ),
            data=DataConfig(corpus="python_docs", tokenizer="python_docs_1024"),
            optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=50, final_fraction=0.1),
            training=TrainingConfig(
                num_steps=1000,
                batch_size=8,
                log_every=100,
                eval_every=500,
                eval_batches=20,
                sample_tokens=0,
            ),
            checkpoint=CheckpointConfig(every_steps=500),
        )

    return make


@TABLES.register("gpt2:3")
def zero_shot() -> Table:
    """Zero-shot results of four sizes."""
    cells = []
    for row, (_, values) in _PUBLISHED.items():
        for (column, (_, measure)), published in zip(_COLUMNS.items(), values, strict=True):
            cells.append(Cell(row, column, published, row, measure))
        cells.append(Cell(row, _BITS, None, row, Reached("bits_per_byte")))
    names = list(_PUBLISHED)
    return Table(
        name="gpt2:3",
        title="zero-shot results of four sizes",
        source="Radford et al. 2019, table 3",
        units={column: unit for column, (unit, _) in _COLUMNS.items()} | {_BITS: ""},
        cells=cells,
        models={
            row: Model(experiment, mini=_mini(_WIDTHS[row]))
            for row, (experiment, _) in _PUBLISHED.items()
        },
        claims=[
            *(
                Claim(
                    f"{larger} predicts WikiText-2 better than {smaller}",
                    lambda values, pair=(smaller, larger): (
                        1
                        - values[pair[1], "WikiText2 perplexity"]
                        / values[pair[0], "WikiText2 perplexity"]
                    ),
                    "of the perplexity",
                )
                for smaller, larger in itertools.pairwise(names)
            ),
            Claim(
                "the largest model has a lower perplexity of LAMBADA's words than the smallest",
                lambda values: (
                    1
                    - values[names[-1], "LAMBADA perplexity"]
                    / values[names[0], "LAMBADA perplexity"]
                ),
                "of the perplexity",
            ),
        ],
        notes=(
            "The mini form has widths of 16, 32, 64 and 128 in place of 768 to 1,600, two layers, "
            "and 1,000 steps on Python's documentation: the order of sizes is what can be seen."
        ),
    )
