"""BERT and the encoder-decoder beside PyTorch: training steps, masked positions, beams.

Training steps stand beside PyTorch's own modules, eager and compiled, with the same shapes, in
float32, without dropout. Translation by beams stands beside Marian of `transformers`.

    python -m experiments.benchmark --suite=encoders
"""

import dataclasses
import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.beside_torch import beside_torch
from experiments.benchmarks.figures import Target, with_targets
from experiments.benchmarks.interleaved import TimedProgram, interleaved, medians, ratio
from experiments.benchmarks.pytorch.program import torch_program
from experiments.benchmarks.registry import SUITES
from experiments.benchmarks.training_program import TrainingProgram
from gptjax.config import TrainingConfig, resolve
from gptjax.inference.translate import Translator
from gptjax.model_config import BertConfig, EncoderDecoderConfig
from gptjax.models.encoder_decoder import EncoderDecoder
from gptjax.tasks.configs.masked_lm import MaskedLMConfig
from gptjax.tasks.configs.translation import TranslationConfig


@dataclasses.dataclass(frozen=True)
class Shape:
    """Shape of an encoder, or of an encoder and a decoder of as many layers each."""

    vocab_size: int  # a multiple of 128, so that all compute the same logits
    context_length: int
    num_layers: int
    num_heads: int
    d_model: int


@dataclasses.dataclass(frozen=True)
class EncoderSizes:
    """Models, batches and rounds of the suite `encoders`.

    Attributes:
      bert, encoder_decoder: of training steps.
      bert_rows, pair_rows: rows of their batches.
      masked: positions of a row that BERT predicts.
      marian: of translation.
      sentences: that are translated together, in each figure.
      source, new: tokens of a sentence and of its translation.
      rounds: of each comparison.
    """

    bert: Shape = Shape(30592, 128, 4, 4, 256)
    bert_rows: int = 32
    masked: int = 19  # 15%, as the paper masks
    encoder_decoder: Shape = Shape(8192, 64, 2, 4, 256)
    pair_rows: int = 64
    marian: Shape = Shape(58112, 512, 6, 8, 512)  # of the opus-mt models, whose table has 58,101
    sentences: tuple[int, ...] = (1, 8)
    source: int = 24
    new: int = 32
    rounds: int = 8


OF_A_PAPER: dict[type[Any], dict[str, Any]] = {
    BertConfig: {
        "activation": "gelu_tanh",
        "layer_norm_epsilon": 1e-12,
        "heads": "masked_lm",
    },
    EncoderDecoderConfig: {"activation": "relu", "positions": "sinusoidal"},
}
TARGETS: dict[str, Target] = {
    "bert.over_torch": ("at least", 1),
    "bert.gathered_over_all": ("at least", 1.2),
    "encoder_decoder.over_torch": ("at least", 1),
    "beam_4_of_*.over_transformers": ("at least", 2),
}


@SUITES.register("encoders")
def encoders() -> dict[str, Any]:
    """Runs the whole suite, in about ten minutes on two CPU cores."""
    # Read when JAX first meets the GPU, most of whose memory it would take from PyTorch otherwise.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return with_targets(measure_encoders(EncoderSizes()), TARGETS)


def measure_encoders(sizes: EncoderSizes) -> dict[str, Any]:
    """Runs the suite's parts, without targets."""
    figures = {"bert": _bert(sizes), "encoder_decoder": _encoder_decoder(sizes)}
    config = paper(sizes.marian, EncoderDecoderConfig)
    model = EncoderDecoder(config)
    row = jnp.zeros((1, 1), jnp.int32)
    params = jax.jit(model.init)(jax.random.key(0), row, row)["params"]
    # The logit of a row of zeros is never among the highest: no target ends before its limit.
    params["token_embedding"] = params["token_embedding"].at[0].set(0.0)
    translate = Translator(model, params, more_tokens=sizes.new - sizes.source)
    for count in sizes.sentences:
        figures[f"beam_4_of_{count}"] = _beside_transformers(sizes, translate, count)
    return figures


def paper(shape: Shape, kind: type[Any]) -> Any:
    """The configuration of a model of the papers, without dropout."""
    return kind(
        **dataclasses.asdict(shape), norm="post", scaled_residual_init=False, **OF_A_PAPER[kind]
    )


def _bert(sizes: EncoderSizes) -> dict[str, Any]:
    """A step with logits of masked positions, beside PyTorch's, and beside one with all logits."""
    config = resolve(
        MaskedLMConfig(
            model=paper(sizes.bert, BertConfig),
            training=TrainingConfig(batch_size=sizes.bert_rows),
        )
    )
    rng = np.random.default_rng(0)
    rows, length = sizes.bert_rows, sizes.bert.context_length
    tokens = rng.integers(0, sizes.bert.vocab_size, (rows, length), np.int32)
    behind = np.arange(length) >= rng.integers(length // 2, length + 1, (rows, 1))

    def program(masked: int) -> TrainingProgram:
        return TrainingProgram(
            config,
            {
                "tokens": tokens,
                "token_types": np.broadcast_to(np.int32(np.arange(length) >= 32), tokens.shape),
                "segment_ids": np.where(behind, -1, 0).astype(np.int32),
                "masked_positions": np.tile(np.arange(masked, dtype=np.int32), (rows, 1)),
                "targets": tokens[:, :masked],
                "loss_weights": np.ones((rows, masked), np.float32),
            },
        )

    gathered = program(sizes.masked)
    shape = dataclasses.asdict(sizes.bert) | {"batch_size": rows, "masked": sizes.masked}
    figures = beside_torch(gathered, sizes.rounds, "encoders", model="bert", **shape)
    programs: dict[str, TimedProgram] = {"gathered": gathered, "all": program(length)}
    seconds = interleaved(programs, sizes.rounds)
    return figures | medians(seconds) | {"gathered_over_all": ratio(seconds, "all", "gathered")}


def _encoder_decoder(sizes: EncoderSizes) -> dict[str, Any]:
    """A step on pairs of sentences beside PyTorch's."""
    shape, rows = sizes.encoder_decoder, sizes.pair_rows
    config = resolve(
        TranslationConfig(
            model=paper(shape, EncoderDecoderConfig), training=TrainingConfig(batch_size=rows)
        )
    )
    rng = np.random.default_rng(0)
    length = shape.context_length
    sources, tokens, targets = rng.integers(0, shape.vocab_size, (3, rows, length), np.int32)
    lengths = rng.integers(length // 2, length + 1, rows, np.int32)
    ours = TrainingProgram(
        config,
        {
            "sources": sources,
            "lengths": lengths,
            "tokens": tokens,
            "targets": targets,
            "loss_weights": (np.arange(length) < lengths[:, None]).astype(np.float32),
            "words": lengths,
        },
    )
    arguments = dataclasses.asdict(shape) | {"batch_size": rows, "d_ff": 4 * shape.d_model}
    return beside_torch(ours, sizes.rounds, "encoders", model="encoder_decoder", **arguments)


def _beside_transformers(sizes: EncoderSizes, translate: Translator, count: int) -> dict[str, Any]:
    """Tokens a second of `count` sentences that are translated together, by 4 beams."""
    rng = np.random.default_rng(count)
    sources = list(rng.integers(1, sizes.marian.vocab_size, (count, sizes.source), np.int32))

    def ours() -> float:
        began = time.perf_counter()
        found = translate(sources, start=0)
        seconds = time.perf_counter() - began
        assert all(len(each.tokens) == sizes.new for each in found)
        return seconds

    ours()  # compiles
    shape = dataclasses.asdict(sizes.marian) | {"d_ff": 4 * sizes.marian.d_model}
    arguments = {"num_beams": 4, "source": sizes.source, "new": sizes.new, "shape": shape}
    figures: dict[str, Any] = {}
    try:
        with torch_program("marian", rows=count, **arguments) as (theirs, version):
            seconds = interleaved({"ours": ours, "transformers": theirs}, sizes.rounds)
    except ValueError as error:
        seconds = interleaved({"ours": ours}, sizes.rounds)
        figures = {"transformers": str(error)}
    else:
        over = ratio(seconds, "transformers", "ours")
        figures = {"transformers": version, "over_transformers": over}
    return figures | {
        f"{name.removesuffix('_seconds')}_tokens_per_second": count * sizes.new / value
        for name, value in medians(seconds).items()
    }
