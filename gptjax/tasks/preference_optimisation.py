"""DPO and IPO: rankings that a policy learns from, and the run's own start as its reference.

ended = train("dpo_smoke", config, WorkDirectory("runs/dpo"))
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from absl import logging

from gptjax.alignment.preference_losses import dpo, ipo
from gptjax.alignment.ranking_report import ranking_report
from gptjax.config import batch_schedule
from gptjax.data.batches.loader import batches_of
from gptjax.data.batches.mixture import Mixture
from gptjax.data.batches.ranking_rows import RankingRows
from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.inference.requests import check_answerable
from gptjax.judging.divergence import divergence
from gptjax.models.adapters import without_adapters
from gptjax.models.decoder import Decoder
from gptjax.runs import inputs
from gptjax.runs.life.moved import Content
from gptjax.runs.planning.costs import Shapes, array
from gptjax.runs.program import Program
from gptjax.runs.supervised import Supervised
from gptjax.runs.task import Task, with_examples
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import Check
from gptjax.tasks.configs.preference_optimisation import DPOConfig
from gptjax.tasks.ranked_answers import largest_rankings, ranked_answers
from gptjax.tasks.reference_log_probs import ReferredRows, log_probs, refer, start_params
from gptjax.tasks.shared_checks import (
    follows_a_work_directory,
    has_room_for_answers,
    leaves_targets,
)
from gptjax.training.evaluation import Evaluator, loss_evaluator
from gptjax.training.losses import Loss
from gptjax.training.partitioning import batch_share
from gptjax.training.processes import check_alike


class PreferenceOptimisation(Supervised[DPOConfig]):
    r"""DPO and IPO: a fine-tuned model learns from rankings, with no reward model and no rollouts.

    python -m experiments.train --experiment=dpo_smoke --workdir=runs/dpo \
        --config.checkpoint.init_from=runs/sft
    python -m experiments.train --experiment=dpo_6b --workdir=runs/dpo \
        --config.checkpoint.init_from=runs/sft \
        --config.dpo.rankings="jsonl:rankings/*.jsonl"

    The reference is the model that it starts from. result.json has the accuracy of the implicit
    reward, beta log(policy / reference), on held-out rankings with a 95% interval, the margins, and
    an estimate of the divergence from the reference in nats an answer.
    """

    config = DPOConfig
    identity = ("dpo.",)
    contents = (
        *Supervised.contents,
        Content("dpo.rankings", "rankings_hash"),
        Content("dpo.validation", "validation_hash"),
    )
    follows = "sft"
    marks = "chat"
    judged_on = ("dpo.max_", "dpo.kl_prompts")
    loss_fields = ("dpo.loss", "dpo.beta", "dpo.label_smoothing")
    curves = (("loss", "loss (nats per pair)"), ("accuracy", "accuracy (share of pairs)"))

    def loss(self, config: DPOConfig, model: Decoder) -> Loss:
        beta, chunk = config.dpo.beta, config.training.loss_chunk
        if config.dpo.loss == "ipo":
            return ipo(model, beta, chunk)
        return dpo(model, beta, config.dpo.label_smoothing, chunk)

    def largest_batch(self, config: DPOConfig) -> Shapes:
        """Rankings whose answers have the reference's log-probabilities."""
        rows = config.training.batch_size
        return largest_rankings(rows, config.dpo) | {
            "prompt_lengths": array(rows),
            "reference_log_probs": array(rows, config.dpo.max_answers, dtype="float32"),
        }

    def checks(self, config: DPOConfig) -> Iterable[Check]:
        yield from super().checks(config)
        yield from has_room_for_answers(config, "dpo", config.dpo)
        for name in ("embedding_dropout", "attention_dropout", "residual_dropout"):
            fits = getattr(config.model, name) == 0
            yield f"model.{name}", fits, "0 for the kind of run dpo: its reference has none"
        yield (
            "dpo.label_smoothing",
            config.dpo.loss == "dpo" or config.dpo.label_smoothing == 0,
            "0 with dpo.loss=ipo",
        )
        yield follows_a_work_directory(config)
        yield leaves_targets(config)

    def starts_at_random(self, config: DPOConfig) -> bool:
        return config.dpo.random_start

    def prepare(self, config: DPOConfig) -> Task:
        """Reads rankings; see `Kind.prepare`."""
        template = inputs.load_chat_template(config)
        learned, held_out, hashes = ranked_answers(
            "dpo", config.dpo, config.data.validation_fraction, template
        )
        rows, validation = ReferredRows(learned), ReferredRows(held_out)
        try:
            room = config.dpo.max_answer_tokens
            check_answerable(config.model, _asked(config, held_out), room)
        except ValueError as error:
            raise ValueError(f"{error}; or config.dpo.kl_prompts=0, to draw no answers") from error
        hashes |= {"tokenizer_hash": template.tokenizer.content_hash()}
        check_alike(hashes)
        if config.dpo.epochs is not None:
            config = with_examples(config, config.dpo.epochs * len(rows))
        mixture = Mixture({"rankings": rows}, {"rankings": 1.0}, config.training.seed)
        batches = batches_of(mixture, batch_schedule(config))

        def on_start(program: Program, workdir: WorkDirectory) -> None:
            refer(program, config, workdir, {"train": rows, "validation": validation})

        def evaluators(program: Program) -> dict[str, Evaluator]:
            held = inputs.row_batches(config, validation, batch_share(program.mesh))
            return {"validation": loss_evaluator(program.loss, held, program.mesh)}

        def final_metrics(program: Program, params: Any, workdir: WorkDirectory) -> dict[str, Any]:
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
            config=config,
            data=f"{len(rows):,} rankings; held out: {len(validation):,}",
            prompts=inputs.chat_prompts(template, (each.prompt for each in held_out.rankings)),
            tokenizer=template.tokenizer,
            hashes=hashes,
            batches=batches,
            evaluators=evaluators,
            final_metrics=final_metrics,
            tokens_a_row=self.tokens(rows.rows.batch(np.arange(1))),
            on_start=on_start,
        )


def _asked(config: DPOConfig, rows: RankingRows) -> list[np.ndarray]:
    """The held-out prompts whose answers measure the divergence."""
    prompts = {prompt.tobytes(): prompt for prompt in rows.prompts}
    return list(prompts.values())[: config.dpo.kl_prompts]


def _divergence(
    program: Program,
    config: DPOConfig,
    params: Any,
    workdir: WorkDirectory,
    template: ChatTemplate,
    rows: RankingRows,
) -> dict[str, float] | None:
    """KL(policy || start) over answers to held-out prompts; None where it cannot be had."""
    chosen = _asked(config, rows)
    if not chosen:
        return None
    try:
        if program.base is None:
            start = start_params(program, config, workdir)
        else:
            start = without_adapters(params)
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


KIND = PreferenceOptimisation()
