"""What DPO and IPO learn from, and how far they have come: rankings, and the run's own start.

outcome = train("dpo_smoke", config, WorkDirectory("runs/dpo"), preference_optimisation)
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging

from experiments import sources
from experiments.alignment.divergence import divergence
from experiments.alignment.ranked_answers import ranked_answers
from experiments.alignment.reference import ReferredRows, log_probs, refer, start_params
from experiments.step_costs import tokens_of
from experiments.task_checks import check_task
from experiments.task_configs import DPOConfig, with_examples
from experiments.training_run import Program, Task
from experiments.workdir import WorkDirectory
from gptjax.alignment.ranking_report import ranking_report
from gptjax.config import batch_schedule
from gptjax.data.chat_format import ChatTemplate
from gptjax.data.loader import Share, mixture_batches
from gptjax.data.mixture import Mixture
from gptjax.data.ranking_rows import RankingRows
from gptjax.data.shards import Batch
from gptjax.data.skipping import Ranges
from gptjax.training.evaluation import Evaluator, loss_evaluator
from gptjax.training.partitioning import batch_share
from gptjax.training.processes import check_alike


def preference_optimisation(config: DPOConfig) -> Task:
    """Learning to prefer what annotators prefer, measured from the model that the run started from.

    Raises:
      ValueError: what the configuration names cannot be had, or nothing of it fits.
    """
    check_task(config)
    template = sources.load_chat_template(config)
    learned, held_out, hashes = ranked_answers(
        "dpo", config.dpo, config.data.validation_fraction, template
    )
    rows, validation = ReferredRows(learned), ReferredRows(held_out)
    hashes |= {"tokenizer_hash": template.tokenizer.content_hash()}
    check_alike(hashes)
    if config.dpo.epochs is not None:
        config = with_examples(config, config.dpo.epochs * len(rows))
    schedule = batch_schedule(config)
    mixture = Mixture({"rankings": rows}, {"rankings": 1.0}, config.training.seed)

    def ready(program: Program, workdir: WorkDirectory) -> None:
        refer(program, config, workdir, {"train": rows, "validation": validation})

    def batches(step: int, skipped: Ranges, share: Share) -> Iterator[Batch]:
        return mixture_batches(mixture, schedule, step, share=share, skipped=skipped)

    def evaluators(program: Program) -> dict[str, Evaluator]:
        held = sources.row_batches(config, validation, batch_share(program.mesh))
        return {"validation": loss_evaluator(program.loss, held, program.mesh)}

    def figures(program: Program, params: Any, workdir: WorkDirectory) -> dict[str, Any]:
        given = log_probs(program, config, params, validation)
        rewards = config.dpo.beta * (given.astype(np.float64) - validation.log_probs)
        of_rankings = [
            values[: len(ranking.responses)]
            for values, ranking in zip(rewards, validation.rows.rankings, strict=True)
        ]
        return {
            **ranking_report(validation.rows.rankings, of_rankings),
            "kl": _divergence(program, config, params, workdir, template, validation.rows),
            "dropped": dict(rows.rows.rankings.dropped),
        }

    return Task(
        config,
        template.tokenizer,
        hashes,
        batches,
        evaluators,
        figures,
        tokens_of(rows.rows.batch(np.arange(1))),
        ready,
    )


def _divergence(
    program: Program,
    config: DPOConfig,
    params: Any,
    workdir: WorkDirectory,
    template: ChatTemplate,
    rows: RankingRows,
) -> dict[str, float] | None:
    """KL(policy || start) over answers to held-out prompts; None where it cannot be had."""
    prompts = {prompt.tobytes(): prompt for prompt in rows.prompts}
    chosen = list(prompts.values())[: config.dpo.kl_prompts]
    if not chosen:
        return None
    try:
        start = start_params(program, config, workdir)
    except ValueError as error:
        logging.warning("kl: not measured: %s", error)
        return None
    found = divergence(
        program.model,
        params,
        start,
        chosen,
        template,
        max_answer_tokens=config.dpo.max_answer_tokens,
        seed=config.training.seed,
    )
    return dataclasses.asdict(found)
