r"""The Transformer: Attention Is All You Need (Vaswani et al. 2017, arXiv 1706.03762).

    python -m experiments.train --experiment=transformer_smoke --workdir=runs/transformer
    python -m experiments.train_tokenizer --corpus=pairs:files:train.en,train.de \
        --vocab_size=37000 --output=runs/bpe
    python -m experiments.train --experiment=transformer_base --workdir=runs/base \
        --config.translation.pairs=files:train.en,train.de --config.data.tokenizer=runs/bpe \
        --config.translation.validation=files:newstest2013.en,newstest2013.de

`TABLE_3` has all rows of Table 3, each a registered experiment, `transformer_a_1_head` and so on.
Parameters are exact by the formula of `models.costs`. The paper's counts of rows (B) and (C) are
those of a table of some 41,000 pieces, where its text says about 37,000, which these have: the base
is 63.1M here and 65M there, the big model 214M and 213M.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from experiments.configs.registry import EXPERIMENTS
from gptjax.config import CheckpointConfig, DataConfig, OptimizerConfig, TrainingConfig
from gptjax.model_config import EncoderDecoderConfig
from gptjax.tasks.configs.translation import TranslationConfig, TranslationSection

VOCAB = 37_000  # section 5.1: about so many pieces, shared by both languages
CONTEXT, ROWS = 256, 96  # 24,576 tokens a side, padding included; section 5.1: about 25,000
WARMUP = 4000


def initial_std(d_model: int, d_ff: int) -> float:
    """Standard deviation of initial kernels, as Glorot draws those of a feed-forward layer."""
    return (2 / (d_model + d_ff)) ** 0.5


def _transformer(d_model: int, num_steps: int, keep: int) -> TranslationConfig:
    return TranslationConfig(
        model=EncoderDecoderConfig(
            vocab_size=VOCAB,
            context_length=CONTEXT,
            num_layers=6,
            num_heads=d_model // 64,
            d_model=d_model,
            d_ff=4 * d_model,
            positions="sinusoidal",
            norm="post",
            activation="relu",
            init_std=initial_std(d_model, 4 * d_model),
            scaled_residual_init=False,
            embedding_dropout=0.1,
            residual_dropout=0.1,
        ),
        optimizer=OptimizerConfig(
            learning_rate=(d_model * WARMUP) ** -0.5,
            schedule="rsqrt",
            warmup_steps=WARMUP,
            beta2=0.98,
            epsilon=1e-9,
            weight_decay=0.0,
            clip_norm=None,
        ),
        training=TrainingConfig(
            num_steps=num_steps, batch_size=ROWS, log_every=100, eval_every=1500
        ),
        checkpoint=CheckpointConfig(every_steps=1500, keep=keep),
        translation=TranslationSection(average=keep, scored_pairs=3000),
    )


@EXPERIMENTS.register("transformer_base")
def transformer_base() -> TranslationConfig:
    r"""The base Transformer, English to German (sections 3 and 5; Tables 2 and 3).

    Expected: BLEU 27.3 on newstest2014, tokenised and with compounds split, by the last 5
    checkpoints, which the paper saved every 10 minutes, some 1,500 steps. On newstest2013 without
    averaging: perplexity 4.92 by word piece, BLEU 25.8. Differs from the paper: all kernels start
    with one deviation, `initial_std`, where the authors' code has one for each shape; a batch has
    24,576 tokens a side, padding included. 100,000 steps took 12 hours on 8 P100; half an hour on
    8 A100 of 80 GB at 30% utilisation:

        python -m experiments.train --experiment=transformer_base --workdir=runs/base \
            --config.model.dtype=bfloat16 \
            --config.parallelism.strategy=mesh --config.parallelism.data=8
    """
    return _transformer(512, 100_000, keep=5)


@EXPERIMENTS.register("transformer_big")
def transformer_big() -> TranslationConfig:
    r"""The big Transformer, English to German (section 5; Tables 2 and 3).

    Expected: BLEU 28.4 on newstest2014, as of `transformer_base`, by the last 20 checkpoints. On
    newstest2013 without averaging: perplexity 4.33 by word piece, BLEU 26.4. 300,000 steps took 3.5
    days on 8 P100; about 4 hours on 8 A100 of 80 GB at 30% utilisation:

        python -m experiments.train --experiment=transformer_big --workdir=runs/big \
            --config.model.dtype=bfloat16 \
            --config.parallelism.strategy=mesh --config.parallelism.data=8
    """
    config = _transformer(1024, 300_000, keep=20)
    config.model.embedding_dropout = config.model.residual_dropout = 0.3
    return config


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of Table 3 but for the base and the big model.

    Attributes:
      changes: fields by their paths, of the base.
      perplexity: by word piece, on newstest2013.
      bleu: on newstest2013.
      parameters: in millions, as the paper gives them; None: as the base.
    """

    changes: Mapping[str, Any]
    perplexity: float
    bleu: float
    parameters: int | None = None


def _width(d_model: int, d_head: int) -> dict[str, Any]:
    """Fields that follow from a width; d_ff stays."""
    return {
        "model.d_model": d_model,
        "model.d_head": d_head,
        "model.d_value": d_head,
        "model.init_std": initial_std(d_model, 2048),
        "optimizer.learning_rate": (d_model * WARMUP) ** -0.5,
    }


def _heads(count: int) -> dict[str, Any]:
    return {"model.num_heads": count, "model.d_head": 512 // count, "model.d_value": 512 // count}


def _dropout(rate: float) -> dict[str, Any]:
    return {"model.embedding_dropout": rate, "model.residual_dropout": rate}


TABLE_3 = {
    "a_1_head": Row(_heads(1), 5.29, 24.9),
    "a_4_heads": Row(_heads(4), 5.00, 25.5),
    "a_16_heads": Row(_heads(16), 4.91, 25.8),
    "a_32_heads": Row(_heads(32), 5.01, 25.4),
    "b_16_keys": Row({"model.d_head": 16, "model.d_value": 64}, 5.16, 25.1, 58),
    "b_32_keys": Row({"model.d_head": 32, "model.d_value": 64}, 5.01, 25.4, 60),
    "c_2_layers": Row({"model.num_layers": 2}, 6.11, 23.7, 36),
    "c_4_layers": Row({"model.num_layers": 4}, 5.19, 25.3, 50),
    "c_8_layers": Row({"model.num_layers": 8}, 4.88, 25.5, 80),
    "c_256_wide": Row(_width(256, 32), 5.75, 24.5, 28),
    "c_1024_wide": Row(_width(1024, 128), 4.66, 26.0, 168),
    "c_1024_hidden": Row({"model.d_ff": 1024}, 5.12, 25.4, 53),
    "c_4096_hidden": Row({"model.d_ff": 4096}, 4.75, 26.2, 90),
    "d_no_dropout": Row(_dropout(0.0), 5.77, 24.6),
    "d_more_dropout": Row(_dropout(0.2), 4.95, 25.5),
    "d_no_smoothing": Row({"translation.label_smoothing": 0.0}, 4.67, 25.3),
    "d_more_smoothing": Row({"translation.label_smoothing": 0.2}, 5.47, 25.7),
    "e_learned_positions": Row({"model.positions": "learned"}, 4.92, 25.7),
}


def _variant(row: Row) -> TranslationConfig:
    config = transformer_base()
    config.translation.average = 1  # as the table says
    for path, value in row.changes.items():
        section, field = path.split(".")
        setattr(getattr(config, section), field, value)
    return config


def _registered(name: str, row: Row) -> None:
    make = functools.partial(_variant, row)
    said = ", ".join(
        f"{path}={value:.6g}" if isinstance(value, float) else f"{path}={value}"
        for path, value in row.changes.items()
    )
    size = "" if row.parameters is None else f", {row.parameters}M parameters"
    make.__doc__ = f"""Row ({name[0].upper()}) of the Transformer's Table 3: {said}.

    Expected on newstest2013, without averaged checkpoints: perplexity {row.perplexity:.2f} by word
    piece, BLEU {row.bleu}{size}. Data, hardware, hours and command are those of
    `transformer_base`.
    """
    EXPERIMENTS.register(f"transformer_{name}")(make)


for _name, _row in TABLE_3.items():
    _registered(_name, _row)


@EXPERIMENTS.register("transformer_smoke")
def transformer_smoke() -> TranslationConfig:
    """The Transformer's architecture and recipe, in under a minute on two CPU cores.

    It learns to put English words for numbers into German ones. Expected: a perplexity of 1.07 on
    held-out numbers, of which 92% are right to the letter by beams.
    """
    paper = transformer_base()
    return dataclasses.replace(
        paper,
        model=dataclasses.replace(
            paper.model,
            vocab_size=448,
            context_length=96,
            num_layers=2,
            num_heads=4,
            d_model=64,
            d_ff=256,
            init_std=initial_std(64, 256),
        ),
        data=DataConfig(tokenizer="instructions_448"),
        optimizer=dataclasses.replace(paper.optimizer, learning_rate=4e-3, warmup_steps=100),
        training=TrainingConfig(num_steps=400, batch_size=10, log_every=20, eval_every=200),
        checkpoint=CheckpointConfig(every_steps=100, keep=3),
        translation=TranslationSection(pairs="numbers", buckets=3),
    )
