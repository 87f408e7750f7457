"""Attention Is All You Need (Vaswani et al. 2017, arXiv 1706.03762): table 3, variations."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from experiments.configs.transformer import TABLE_3, initial_std, transformer_smoke
from gptjax.config import ExperimentConfig
from gptjax.studies.paper_tables.table import TABLES, Cell, Claim, Model, Reached, Table, Translated

_PERPLEXITY, _BLEU = "perplexity", "BLEU"
_BASE = "base"
# After 400 steps every row has solved the task, and 48 runs of that length pass the 40 minutes.
_BRIEF = {"training.num_steps": 200}
# Differences of the mini form, whose base has two layers of width 64, 4 heads and d_ff 256.
_MINI: Mapping[str, Mapping[str, Any]] = {
    _BASE: {},
    "a_1_head": {"model.num_heads": 1, "model.d_head": 64, "model.d_value": 64},
    "a_16_heads": {"model.num_heads": 16, "model.d_head": 4, "model.d_value": 4},
    "b_16_keys": {"model.d_head": 4, "model.d_value": 16},
    "b_32_keys": {"model.d_head": 8, "model.d_value": 16},
    "c_2_layers": {"model.num_layers": 1},
    "c_8_layers": {"model.num_layers": 3},
    "c_256_wide": {"model.d_model": 32, "model.init_std": initial_std(32, 256)},
    "c_1024_wide": {"model.d_model": 128, "model.init_std": initial_std(128, 256)},
    "c_1024_hidden": {"model.d_ff": 128},
    "c_4096_hidden": {"model.d_ff": 512},
    "d_no_dropout": {"model.embedding_dropout": 0.0, "model.residual_dropout": 0.0},
    "d_more_dropout": {"model.embedding_dropout": 0.2, "model.residual_dropout": 0.2},
    "d_no_smoothing": {"translation.label_smoothing": 0.0},
    "d_more_smoothing": {"translation.label_smoothing": 0.2},
    "e_learned_positions": {"model.positions": "learned"},
}


def _mini(changes: Mapping[str, Any]) -> Callable[[], ExperimentConfig]:
    def make() -> ExperimentConfig:
        config = transformer_smoke()
        for path, value in {**_BRIEF, **changes}.items():
            section, field = path.split(".")
            changed = dataclasses.replace(getattr(config, section), **{field: value})
            setattr(config, section, changed)
        return config

    return make


def _worse(row: str, text: str, than: str = _BASE) -> Claim:
    return Claim(
        text,
        lambda values: values[row, _PERPLEXITY] / values[than, _PERPLEXITY] - 1,
        "of the perplexity",
    )


@TABLES.register("transformer:3")
def variations() -> Table:
    """Perplexity and BLEU of variations of the base model."""
    published = {_BASE: (4.92, 25.8)} | {n: (r.perplexity, r.bleu) for n, r in TABLE_3.items()}
    cells = []
    for row, (perplexity, bleu) in published.items():
        cells.append(Cell(row, _PERPLEXITY, perplexity, row, Reached("perplexity")))
        of_letters = Translated("bleu", bleu_tokenizer="char")
        cells.append(Cell(row, _BLEU, bleu, row, Translated("bleu"), mini=of_letters))
    return Table(
        name="transformer:3",
        title="variations of the Transformer",
        source="arXiv 1706.03762, table 3, rows A to E",
        units={_PERPLEXITY: "", _BLEU: ""},
        cells=cells,
        models={
            row: Model(f"transformer_{row}", _mini(_MINI[row]) if row in _MINI else None)
            for row in published
        },
        claims=[
            _worse("a_1_head", "one head is worse than several"),
            _worse("b_16_keys", "small keys are worse"),
            _worse("c_2_layers", "fewer layers are worse"),
            _worse("c_256_wide", "a narrow model is worse"),
            _worse(_BASE, "a wider feed-forward layer is better", than="c_4096_hidden"),
            _worse("d_no_dropout", "no dropout is worse"),
            _worse(_BASE, "no label smoothing has a lower perplexity", than="d_no_smoothing"),
        ],
        notes=(
            "The mini form puts English words for numbers into German (transformer_smoke): a model "
            "that learns them makes few mistakes. Its BLEU is of letters: such a number is one "
            "German word. Its rows have the paper's names, and changes in proportion: c_2_layers "
            "has one of two layers, c_8_layers three."
        ),
    )
