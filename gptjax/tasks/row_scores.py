"""Rewards of all rows of a set by a reward model, over the mesh it was trained on.

rewards = rewards_of_texts(program, params, answered_rows(conversations, template, ...), 64)
"""

import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from gptjax.alignment.ranking import answer_rewards
from gptjax.data.batches.loader import evaluation_rows
from gptjax.data.batches.mixture import Rows
from gptjax.data.batches.ranking_rows import RankingRows
from gptjax.data.dialogue.prompts import PromptRows
from gptjax.runs.program import Program
from gptjax.training.losses import Batch
from gptjax.training.partitioning import batch_share, put_batch

Scores = Callable[[Any, Batch], jax.Array]


def rewards_of_texts(
    program: Program, params: Any, rows: PromptRows, batch_size: int
) -> np.ndarray:
    """The reward of each text, [N] float32, as the parameters are.

    Args:
      program: of a reward model.
      params: its parameters.
      rows: the texts, to the end of their answers.
      batch_size: rows at a time, which divides over the mesh.
    """
    return of_all_rows(program, params, rows, batch_size, _rewards)


def rewards_of_rankings(
    program: Program, params: Any, rows: RankingRows, batch_size: int
) -> list[np.ndarray]:
    """Rewards of the answers of each ranking, [K] float32; arguments as of `rewards_of_texts`."""
    given = of_all_rows(program, params, rows, batch_size, _answer_rewards, rows.share_prompts)
    pairs = zip(given, rows.answers, strict=True)
    return [values[: len(answers)] for values, answers in pairs]


def _rewards(model: Any) -> Scores:
    return lambda params, batch: model.apply({"params": params}, batch["tokens"], batch["lengths"])


def _answer_rewards(model: Any, share_prompts: bool) -> Scores:
    of_answers = answer_rewards(model, share_prompts=share_prompts)
    return lambda params, batch: of_answers(params, batch, None)


def of_all_rows(
    program: Program,
    params: Any,
    rows: Rows,
    batch_size: int,
    scores_of: Callable[..., Scores],
    *options: Hashable,
) -> np.ndarray:
    """Results of a function (params, batch) -> [B, ...] for each row, on every process.

    Args:
      program: its model and mesh are used.
      params: of the model.
      rows: the texts.
      batch_size: as of `rewards_of_texts`.
      scores_of: the function, of the program's model and of `options`; compiled once a program.
      *options: further arguments of `scores_of`.
    """
    compiled = compiled_once(program, scores_of, *options)
    parts = [
        jax.device_get(compiled(params, put_batch(batch, program.mesh)))
        for batch in evaluation_rows(rows, batch_size, share=batch_share(program.mesh))
    ]
    return np.concatenate(parts)[: len(rows)]


@functools.lru_cache(maxsize=16)
def compiled_once(
    program: Program, function_of: Callable[..., Callable[..., Any]], *options: Hashable
) -> Callable[..., Any]:
    """`function_of(program.model, *options)`, compiled once; all devices have its results."""
    whole = NamedSharding(program.mesh, PartitionSpec())
    return jax.jit(function_of(program.model, *options), out_shardings=whole)
