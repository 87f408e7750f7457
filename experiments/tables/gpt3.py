"""GPT-3 (Brown et al. 2020, arXiv 2005.14165): tables 2.1 with D.1, 3.9 and 3.10."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gptjax.config import (
    CheckpointConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)
from gptjax.data.batches.mixture import Mixture
from gptjax.data.batches.token_stream import HostBatch
from gptjax.evals.tasks.arithmetic import PUBLISHED, SCRAMBLED
from gptjax.models.costs import parameter_count
from gptjax.studies.paper_tables.table import TABLES, Cell, Claim, Counted, Evaluated, Model, Table

_TOKENS = 300e9
_PETAFLOP_DAYS = 1e15 * 24 * 3600

# Table 2.1 and D.1: name, experiment, parameters in millions (D.1), total FLOPs, PF-days.
_SIZES = {
    "Small": ("gpt3_small", 125, 2.25e20, 2.60),
    "Medium": ("gpt3_medium", 356, 6.41e20, 7.42),
    "Large": ("gpt3_large", 760, 1.37e21, 15.8),
    "XL": ("gpt3_xl", 1320, 2.38e21, 27.5),
    "2.7B": ("gpt3_2.7b", 2650, 4.77e21, 55.2),
    "6.7B": ("gpt3_6.7b", 6660, 1.20e22, 139),
    "13B": ("gpt3_13b", 12850, 2.31e22, 268),
    "175B": ("gpt3_175b", 174600, 3.14e23, 3640),
}

# Table 3.9, 175B: zero-shot, one-shot, few-shot, percent.
_ARITHMETIC = {
    "2D+": (76.9, 99.6, 100.0),
    "2D-": (58.0, 86.4, 98.9),
    "3D+": (34.2, 65.5, 80.4),
    "3D-": (48.3, 78.7, 94.2),
    "4D+": (4.0, 14.0, 25.5),
    "4D-": (7.5, 14.0, 26.8),
    "5D+": (0.7, 3.5, 9.3),
    "5D-": (0.8, 3.8, 9.9),
    "2Dx": (19.8, 27.4, 29.2),
    "1DC": (9.8, 14.3, 21.3),
}
# Table 3.10, 175B, likewise.
_WORDS = {
    "CL": (3.66, 21.7, 37.9),
    "A1": (2.28, 8.62, 15.1),
    "A2": (8.91, 25.9, 39.7),
    "RI": (8.26, 45.4, 67.2),
    "RW": (0.09, 0.48, 0.44),
}
_SHOTS = {"zero-shot": 0, "one-shot": 1, "few-shot": "fit"}
_MADE = {  # operation and digits of the sets of table 3.9
    **{f"{digits}D+": ("addition", digits) for digits in (2, 3, 4, 5)},
    **{f"{digits}D-": ("subtraction", digits) for digits in (2, 3, 4, 5)},
    "2Dx": ("multiplication", 2),
    "1DC": ("three_ops", 1),
}


def _flops(config: Any) -> float:
    """6 FLOPs for each parameter and token, as table D.1 counts them."""
    return 6 * parameter_count(config.model) * _TOKENS


@TABLES.register("gpt3:2.1")
def sizes() -> Table:
    """Parameters and training FLOPs of the eight sizes; nothing is trained."""
    measures: dict[str, tuple[int, Callable[[Any], float]]] = {
        "parameters": (0, lambda config: parameter_count(config.model) / 1e6),
        "training FLOPs": (1, _flops),
        "petaflop/s-days": (2, lambda config: _flops(config) / _PETAFLOP_DAYS),
    }
    return Table(
        name="gpt3:2.1",
        title="GPT-3's sizes and the compute of their training",
        source="arXiv 2005.14165, tables 2.1 and D.1",
        units={"parameters": "million", "training FLOPs": "", "petaflop/s-days": ""},
        cells=[
            Cell(row, column, published[place], row, Counted(of))
            for row, (_, *published) in _SIZES.items()
            for column, (place, of) in measures.items()
        ],
        models={row: Model(experiment) for row, (experiment, *_) in _SIZES.items()},
        notes="FLOPs are 6 for each parameter and each of 300 billion tokens, as table D.1 counts.",
    )


# Table 2.2: tokens in billions, weight in the mix in percent, epochs at 300 billion tokens.
_MIX = {
    "Common Crawl": (410, 60, 0.44),
    "WebText2": (19, 22, 2.9),
    "Books1": (12, 8, 1.9),
    "Books2": (55, 8, 0.43),
    "Wikipedia": (3, 3, 3.4),
}


class _Windows:
    """So many windows of a source as billions of tokens make, which nobody reads."""

    def __init__(self, billions: float):
        self._count = round(billions * 1e9 / 2048)

    def __len__(self) -> int:
        return self._count

    def batch(self, indices: np.ndarray) -> HostBatch:
        raise AssertionError(indices)


@functools.cache
def _mixed() -> dict[str, dict[str, float]]:
    """What a run of 300 billion tokens takes of each source."""
    sources = {row: _Windows(billions) for row, (billions, _, _) in _MIX.items()}
    mixture = Mixture(sources, {row: weight for row, (_, weight, _) in _MIX.items()}, seed=0)
    return mixture.report(round(_TOKENS / 2048))


@TABLES.register("gpt3:2.2")
def mix() -> Table:
    """The mix of sources that a run of 300 billion tokens achieves; nothing is trained."""
    cells = []
    for row, (_, weight, epochs) in _MIX.items():
        share = Counted(lambda config, row=row: 100 * _mixed()[row]["share"])
        passed = Counted(lambda config, row=row: _mixed()[row]["epochs"])
        cells.append(Cell(row, "weight in the mix", weight, "175B", share))
        cells.append(Cell(row, "epochs", epochs, "175B", passed))
    return Table(
        name="gpt3:2.2",
        title="the mix of training text, as achieved",
        source="arXiv 2005.14165, table 2.2",
        units={"weight in the mix": "%", "epochs": ""},
        cells=cells,
        models={"175B": Model("gpt3_175b")},
        notes=(
            "Ours is what the mixture takes of sources of the paper's sizes. The paper's weights "
            "add up to 101%, and its epochs of WebText2, Books1 and Wikipedia do not follow from "
            "them: 300 billion tokens times the weight, over the source's tokens, is 3.5, 2.0, 3.0."
        ),
    )


def _tiny(corpus: str) -> ExperimentConfig:
    """A byte-level GPT-3 of two layers, one of them banded, for some minutes on two cores."""
    return ExperimentConfig(
        model=ModelConfig(
            vocab_size=256,
            context_length=256,
            num_layers=2,
            num_heads=4,
            d_model=96,
            attention="dense,banded(window=64)",
        ),
        data=DataConfig(corpus=corpus, tokenizer="bytes"),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=100, final_fraction=0.1),
        training=TrainingConfig(
            num_steps=1500,
            batch_size=16,
            log_every=100,
            eval_every=500,
            eval_batches=20,
            sample_tokens=0,
        ),
        checkpoint=CheckpointConfig(every_steps=500),
    )


def _by_shots(
    row: str, published: Sequence[float], few: int, task: str, mini_task: str
) -> Iterator[Cell]:
    """A row's cells without, with one and with `few` examples; of the mini form as many as fit."""
    for (column, shots), value in zip(_SHOTS.items(), published, strict=True):
        full = Evaluated(task, "exact_match", few if shots == "fit" else shots)
        mini = Evaluated(mini_task, "exact_match", shots)
        yield Cell(row, column, value, "175B", full, mini)


def _few_less_zero(row: str) -> Claim:
    return Claim(
        f"few-shot is above zero-shot on {row}",
        lambda values: values[row, "few-shot"] - values[row, "zero-shot"],
        "points",
    )


@TABLES.register("gpt3:3.9")
def arithmetic() -> Table:
    """Exact answers of ten arithmetic sets, without and with examples."""
    made = {
        row: f"arithmetic(operation={operation},digits={digits},count=500,held_out=true)"
        for row, (operation, digits) in _MADE.items()
    }
    cells = [
        cell
        for row, values in _ARITHMETIC.items()
        for cell in _by_shots(row, values, 50, f"gpt3_{PUBLISHED[row]}", made[row])
    ]
    return Table(
        name="gpt3:3.9",
        title="arithmetic, without and with examples",
        source="arXiv 2005.14165, table 3.9 (175B)",
        units=dict.fromkeys(_SHOTS, "%"),
        cells=cells,
        models={"175B": Model("gpt3_175b", mini=functools.partial(_tiny, "sums"))},
        claims=[
            _few_less_zero("2D+"),
            Claim(
                "two-digit addition is easier than three-digit addition (few-shot)",
                lambda values: values["2D+", "few-shot"] - values["3D+", "few-shot"],
                "points",
            ),
            Claim(
                "addition is easier than multiplication of two digits (few-shot)",
                lambda values: values["2D+", "few-shot"] - values["2Dx", "few-shot"],
                "points",
            ),
        ],
        notes=(
            "The mini form is a byte-level model of 0.3 million parameters, trained on the corpus "
            "`sums`, and asked questions of each set that the corpus leaves out; few-shot is "
            "as many examples as its 256 bytes hold. GPT-3 was not trained on such questions, and "
            "has 50 examples."
        ),
    )


@TABLES.register("gpt3:3.10")
def scrambled_words() -> Table:
    """Exact answers of five sets of scrambled words, without and with examples."""
    tasks = {row: f"gpt3_{name}" for row, name in SCRAMBLED.items()}
    cells = [
        cell
        for row, values in _WORDS.items()
        for cell in _by_shots(row, values, 100, tasks[row], tasks[row])
    ]
    return Table(
        name="gpt3:3.10",
        title="scrambled words, without and with examples",
        source="arXiv 2005.14165, table 3.10 (175B)",
        units=dict.fromkeys(_SHOTS, "%"),
        cells=cells,
        models={"175B": Model("gpt3_175b", mini=functools.partial(_tiny, "python_docs"))},
        claims=[_few_less_zero("CL"), _few_less_zero("RI")],
        notes=(
            "The mini form is a byte-level model of 0.3 million parameters, trained on Python's "
            "documentation; few-shot is as many examples as its 256 bytes hold."
        ),
    )
