"""Sparse Transformer (Child et al. 2019, arXiv 1904.10509): table 2, quality and time a step."""

import dataclasses
from collections.abc import Callable

from experiments.configs.sparse_transformer import (
    sparse_transformer_cifar10_smoke,
    sparse_transformer_enwik8_smoke,
)
from gptjax.config import ExperimentConfig
from gptjax.studies.paper_tables.table import (
    TABLES,
    Cell,
    Claim,
    Model,
    Reached,
    StepTime,
    Table,
    ratio_less_one,
)

_FIXED = "heads({})".format(
    ",".join(f"fixed(stride=32,summary=8,offset={offset})" for offset in range(4))
)
# Table 2: bits per byte, and seconds an iteration.
_PUBLISHED = {
    ("enwik8", "dense"): (1.00, 1.31),
    ("enwik8", "fixed"): (0.99, 0.55),
    ("enwik8", "strided"): (1.13, 0.35),
    ("CIFAR-10", "dense"): (2.82, 0.54),
    ("CIFAR-10", "fixed"): (2.85, 0.47),
    ("CIFAR-10", "strided"): (2.80, 0.38),
}
_EXPERIMENTS = {
    ("enwik8", "dense"): "sparse_transformer_enwik8_dense",
    ("enwik8", "fixed"): "sparse_transformer_enwik8",
    ("enwik8", "strided"): "sparse_transformer_enwik8_strided",
    ("CIFAR-10", "dense"): "sparse_transformer_cifar10_dense",
    ("CIFAR-10", "fixed"): "sparse_transformer_cifar10_fixed",
    ("CIFAR-10", "strided"): "sparse_transformer_cifar10",
}
_ATTENTION = {
    ("enwik8", "dense"): "dense",
    ("enwik8", "fixed"): _FIXED,
    ("enwik8", "strided"): "strided(stride=32)",
    ("CIFAR-10", "dense"): "dense",
    ("CIFAR-10", "fixed"): "fixed(stride=48,summary=8)",
    ("CIFAR-10", "strided"): "strided(stride=48)",
}


def _mini(data: str, attention: str) -> Callable[[], ExperimentConfig]:
    def make() -> ExperimentConfig:
        text = data == "enwik8"
        config = sparse_transformer_enwik8_smoke() if text else sparse_transformer_cifar10_smoke()
        length = 512 if text else config.model.context_length
        return dataclasses.replace(
            config,
            model=dataclasses.replace(config.model, context_length=length, attention=attention),
            training=dataclasses.replace(config.training, num_steps=200, eval_every=100),
        )

    return make


@TABLES.register("sparse:2")
def quality_and_time() -> Table:
    """Bits per byte and time a step of dense, fixed and strided attention."""
    cells = []
    for (data, pattern), (bits, seconds) in _PUBLISHED.items():
        row = f"{data}, {pattern}"
        cells.append(Cell(row, "bits per byte", bits, row, Reached("bits_per_byte")))
        dense = f"{data}, dense"
        ratio = seconds / _PUBLISHED[data, "dense"][1]
        cells.append(Cell(row, "time of a step", ratio, row, StepTime(dense)))
    models = {
        f"{data}, {pattern}": Model(experiment, mini=_mini(data, _ATTENTION[data, pattern]))
        for (data, pattern), experiment in _EXPERIMENTS.items()
    }
    fixed, strided = "enwik8, fixed", "enwik8, strided"
    dense, images = "enwik8, dense", "CIFAR-10, strided"
    bits, time = "bits per byte", "time of a step"
    return Table(
        name="sparse:2",
        title="quality and time of sparse attention beside dense",
        source="arXiv 1904.10509, table 2",
        units={bits: "", time: "of dense"},
        cells=cells,
        models=models,
        claims=[
            Claim(
                "on text, fixed attention is within 2% of dense",
                lambda values: 100 * (0.02 - ratio_less_one(values, (fixed, bits), (dense, bits))),
                "points",
            ),
            Claim(
                "on text, fixed attention takes half the time of dense or less",
                lambda values: 0.5 - values[fixed, time],
                "of dense",
            ),
            Claim(
                "on text, strided attention is worse than fixed",
                lambda values: values[strided, bits] - values[fixed, bits],
                "bits per byte",
            ),
            Claim(
                "on images, strided attention is no worse than dense",
                lambda values: values["CIFAR-10, dense", bits] - values[images, bits],
                "bits per byte",
            ),
        ],
        notes=(
            "The mini form has two layers of width 64: 512 bytes of Python's documentation, and "
            "pieces of a photograph of 768 bytes, 200 steps each. Times are medians of ten steps."
        ),
    )
