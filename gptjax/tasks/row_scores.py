"""Rewards of all rows of a set by a reward model, over the mesh it was trained on.

rewards = rewards_of_texts(program, params, answered_rows(conversations, template, ...), 64)
"""

from collections.abc import Callable
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

    def rewards(params: Any, batch: Batch) -> jax.Array:
        return program.model.apply({"params": params}, batch["tokens"], batch["lengths"])

    return of_all_rows(program, rewards, params, rows, batch_size)


def rewards_of_rankings(
    program: Program, params: Any, rows: RankingRows, batch_size: int
) -> list[np.ndarray]:
    """Rewards of the answers of each ranking, [K] float32; arguments as of `rewards_of_texts`."""
    of_answers = answer_rewards(program.model, share_prompts=rows.share_prompts)

    def rewards(params: Any, batch: Batch) -> jax.Array:
        return of_answers(params, batch, None)

    given = of_all_rows(program, rewards, params, rows, batch_size)
    pairs = zip(given, rows.answers, strict=True)
    return [values[: len(answers)] for values, answers in pairs]


def of_all_rows(
    program: Program,
    function: Callable[[Any, Batch], jax.Array],
    params: Any,
    rows: Rows,
    batch_size: int,
) -> np.ndarray:
    """Results of a function (params, batch) -> [B, ...] for each row, on every process.

    Other arguments are those of `rewards_of_texts`.
    """
    whole = NamedSharding(program.mesh, PartitionSpec())
    compiled = jax.jit(function, out_shardings=whole)
    parts = [
        jax.device_get(compiled(params, put_batch(batch, program.mesh)))
        for batch in evaluation_rows(rows, batch_size, share=batch_share(program.mesh))
    ]
    return np.concatenate(parts)[: len(rows)]
