"""Reward modelling: rankings that a model learns from, and demonstrations that set its zero.

ended = train("reward_model_smoke", config, WorkDirectory("runs/reward"))
reward_model, params = load_reward_model(WorkDirectory("runs/reward"), policy_tokenizer)
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from gptjax.alignment.ranking import ranking
from gptjax.alignment.ranking_report import ranking_report
from gptjax.alignment.reward_model import RewardModel, from_language_model, normalisation
from gptjax.config import batch_schedule
from gptjax.data.batches.loader import batches_of
from gptjax.data.batches.mixture import Mixture
from gptjax.data.dialogue.answered import answered_rows
from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.data.dialogue.conversations import load_conversations
from gptjax.data.dialogue.prompts import PromptRows
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.runs import inputs
from gptjax.runs.life.moved import Content
from gptjax.runs.planning.costs import Costs, Shapes, array, costs_of_model
from gptjax.runs.program import Program
from gptjax.runs.supervised import Supervised
from gptjax.runs.task import Task, with_examples
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import Check
from gptjax.tasks.configs.reward_modelling import RewardModelConfig
from gptjax.tasks.ranked_answers import largest_rankings, ranked_answers
from gptjax.tasks.row_scores import rewards_of_rankings, rewards_of_texts
from gptjax.tasks.shared_checks import follows_a_work_directory, has_room_for_answers
from gptjax.training.evaluation import Evaluator, loss_evaluator
from gptjax.training.losses import Loss
from gptjax.training.partitioning import batch_share, placed
from gptjax.training.processes import check_alike, together
from gptjax.training.state import rng


class RewardModelling(Supervised[RewardModelConfig]):
    r"""A reward model: a fine-tuned model learns which answers people prefer, as in InstructGPT.

    python -m experiments.train --experiment=reward_model_smoke --workdir=runs/reward \
        --config.checkpoint.init_from=runs/sft
    python -m experiments.train --experiment=reward_model_6b --workdir=runs/reward \
        --config.checkpoint.init_from=runs/sft \
        --config.reward.rankings="jsonl:rankings/*.jsonl" \
        --config.reward.demonstrations="jsonl:chats/*.jsonl"

    result.json has its accuracy on held-out rankings with a 95% interval, its calibration, the
    agreement of the annotators, and the shift (and gain) that make the demonstrations' rewards
    average 0.
    """

    config = RewardModelConfig
    identity = ("reward.",)
    contents = (
        *Supervised.contents,
        Content("reward.rankings", "rankings_hash"),
        Content("reward.validation", "validation_hash"),
        Content("reward.demonstrations", "demonstrations_hash"),
    )
    follows = "sft"
    marks = "chat"
    makes = "reward model"
    judged_on = ("reward.max_",)
    chunks_loss = False
    curves = (("loss", "loss (nats per pair)"), ("accuracy", "accuracy (share of pairs)"))

    def model(self, config: RewardModelConfig, **attributes: Any) -> RewardModel:
        return RewardModel(config.model, **attributes)

    def inputs(self, config: RewardModelConfig) -> tuple[jax.ShapeDtypeStruct, ...]:
        """A text, and its length."""
        return array(1, 1), array(1)

    def loss(self, config: RewardModelConfig, model: RewardModel) -> Loss:
        return ranking(model, share_prompts=config.reward.share_prompts)

    def costs(self, config: RewardModelConfig) -> Costs:
        adapters = self.adapter_parameters(config)
        return costs_of_model(config.model, scalar_head=True, adapters=adapters)

    def largest_batch(self, config: RewardModelConfig) -> Shapes:
        rows, section = config.training.batch_size, config.reward
        whole = largest_rankings(rows, section)
        if not section.share_prompts:
            return whole
        prompt, answer, count = (
            section.max_prompt_tokens,
            section.max_answer_tokens,
            section.max_answers,
        )
        return {name: whole[name] for name in ("num_answers", "preferred")} | {
            "prompts": array(rows, prompt),
            "prompt_lengths": array(rows),
            "answers": array(rows, count, answer),
            "answer_lengths": array(rows, count),
        }

    def attention_calls(self, config: RewardModelConfig) -> Sequence[Mapping[str, Any]]:
        """Those of whole texts, or of prompts and answers that continue them from a cache."""
        if not config.reward.share_prompts:
            return super().attention_calls(config)
        parts = config.reward.max_prompt_tokens, config.reward.max_answer_tokens
        return [{"num_queries": part, "num_keys": sum(parts), "positions": True} for part in parts]

    def tokens(self, batch: Mapping[str, Any]) -> int:
        """Tokens of whole texts, or of prompts and answers apart."""
        names = {"tokens", "prompts", "answers"} & batch.keys()
        return sum(math.prod(batch[name].shape) for name in names)

    def checks(self, config: RewardModelConfig) -> Iterable[Check]:
        yield from super().checks(config)
        yield from has_room_for_answers(config, "reward", config.reward)
        yield follows_a_work_directory(config)

    def starts_at_random(self, config: RewardModelConfig) -> bool:
        return config.reward.random_start

    def adopt(self, config: RewardModelConfig, read: Callable[[Any], Any], target: Any) -> Any:
        """A language model's parameters, with a new scalar head."""
        mesh = jax.tree.leaves(target)[0].sharding.mesh
        return from_language_model(
            self.model(config),
            read(placed(parameter_shapes(GPT(config.model)), mesh)),
            rng(config.training.seed, "scalar_head"),
        )

    def prepare(self, config: RewardModelConfig) -> Task:
        """Reads rankings and demonstrations; see `Kind.prepare`."""
        template = inputs.load_chat_template(config)
        demonstrations = together(lambda: _demonstrations(config, template))
        rows, validation, hashes = ranked_answers(
            "reward",
            config.reward,
            config.data.validation_fraction,
            template,
            config.reward.share_prompts,
        )
        hashes |= {
            "tokenizer_hash": template.tokenizer.content_hash(),
            "demonstrations_hash": demonstrations.prompts.content_hash(),
        }
        check_alike(hashes)
        if config.reward.epochs is not None:
            config = with_examples(config, config.reward.epochs * len(rows))
        mixture = Mixture({"rankings": rows}, {"rankings": 1.0}, config.training.seed)
        batches = batches_of(mixture, batch_schedule(config))

        def evaluators(program: Program) -> dict[str, Evaluator]:
            held = inputs.row_batches(config, validation, batch_share(program.mesh))
            return {"validation": loss_evaluator(program.loss, held, program.mesh)}

        def final_metrics(program: Program, params: Any, _: WorkDirectory) -> dict[str, Any]:
            size = config.training.batch_size
            given = rewards_of_texts(program, params, demonstrations, size).astype(np.float64)
            shift, gain = normalisation(given, unit_variance=config.reward.unit_variance)
            of_answers = rewards_of_rankings(program, params, validation, size)
            return {
                **ranking_report(validation.rankings, of_answers),
                "normalisation": {"shift": shift, "gain": gain},
                "demonstrations": {
                    "count": len(given),
                    "mean": float(given.mean()),
                    "standard_deviation": float(given.std()),
                },
                "dropped": dict(rows.rankings.dropped),
            }

        return Task(
            config=config,
            data=f"{len(rows):,} rankings; held out: {len(validation):,}",
            tokenizer=template.tokenizer,
            hashes=hashes,
            batches=batches,
            evaluators=evaluators,
            final_metrics=final_metrics,
            tokens_a_row=self.tokens(rows.batch(np.arange(1))),
        )


def _demonstrations(config: RewardModelConfig, template: ChatTemplate) -> PromptRows:
    if config.reward.demonstrations is None:
        raise ValueError(
            "config.reward.demonstrations: got none, expected a set of conversations whose rewards "
            "are to average 0, such as that which fine-tuning learned from (to give rankings drops "
            "the experiment's own)"
        )
    conversations = load_conversations(config.reward.demonstrations)
    return answered_rows(conversations, template, max_tokens=config.model.context_length)


KIND = RewardModelling()
