"""Reward modelling: rankings that a model learns from, and demonstrations that set its zero.

ended = train("reward_model_smoke", config, WorkDirectory("runs/reward"))
reward_model, params = load_reward_model(WorkDirectory("runs/reward"), policy_tokenizer)
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import jax
import numpy as np

from gptjax.alignment.ranking import ranking
from gptjax.alignment.ranking_report import ranking_report
from gptjax.alignment.reward_model import RewardModel, from_language_model, normalisation
from gptjax.batch_schedule import BatchShare
from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.data.batches.loader import mixture_batches
from gptjax.data.batches.mixture import Mixture
from gptjax.data.batches.shards import HostBatch
from gptjax.data.batches.skipping import Ranges
from gptjax.data.dialogue.answered import answered_rows
from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.data.dialogue.conversations import load_conversations
from gptjax.data.dialogue.prompts import PromptRows
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.runs import inputs
from gptjax.runs.costs import Costs, Shapes, array, costs_of_model
from gptjax.runs.kind import Check
from gptjax.runs.program import Program
from gptjax.runs.supervised import Supervised
from gptjax.runs.task import Task, with_examples
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import setting
from gptjax.tasks.ranked_answers import RankingsSection, largest_rankings, ranked_answers
from gptjax.tasks.row_scores import rewards_of_rankings, rewards_of_texts
from gptjax.tasks.shared_checks import follows_a_work_directory, has_room_for_answers
from gptjax.training.evaluation import Evaluator, loss_evaluator
from gptjax.training.losses import Loss
from gptjax.training.partitioning import batch_share, placed
from gptjax.training.processes import check_alike, together
from gptjax.training.state import rng


@dataclasses.dataclass
class RewardSection(RankingsSection):
    """A reward model: how it reads rankings, and where the rewards' zero is."""

    share_prompts: bool = setting(False, "whether a prompt is encoded once for all its answers")
    demonstrations: str | None = setting(
        None, "set of conversations whose rewards are to average 0; none: it must be given"
    )
    unit_variance: bool = setting(
        False, "whether the rewards of demonstrations get standard deviation 1 too"
    )


@dataclasses.dataclass
class RewardModelConfig(ExperimentConfig):
    """A run that makes a reward model."""

    kind: ClassVar[str] = "reward_model"

    reward: RewardSection = dataclasses.field(default_factory=RewardSection)


class RewardModelling(Supervised[RewardModelConfig]):
    r"""A reward model: a fine-tuned model learns which answers people prefer, as in InstructGPT.

    python -m experiments.train --experiment=reward_model_smoke --workdir=runs/reward \
        --config.checkpoint.init_from=runs/sft
    python -m experiments.train --experiment=reward_model_6b --workdir=runs/reward \
        --config.checkpoint.init_from=runs/sft --config.data.tokenizer=runs/sft/tokenizer \
        --config.reward.rankings="jsonl:rankings/*.jsonl" \
        --config.reward.demonstrations="jsonl:chats/*.jsonl"

    result.json has its accuracy on held-out rankings with a 95% interval, its calibration, how far
    the annotators agree, and the shift (and gain) by which the demonstrations' rewards average 0.
    """

    config = RewardModelConfig
    identity = ("reward.",)
    follows = "sft"
    makes = "reward model"
    curve = ("loss", "loss (nats per pair)")

    def model(self, config: RewardModelConfig, **attributes: Any) -> RewardModel:
        return RewardModel(config.model, **attributes)

    def inputs(self, config: RewardModelConfig) -> tuple[jax.ShapeDtypeStruct, ...]:
        """A text, and its length."""
        return array(1, 1), array(1)

    def loss(self, config: RewardModelConfig, model: RewardModel) -> Loss:
        return ranking(model, share_prompts=config.reward.share_prompts)

    def costs(self, config: RewardModelConfig) -> Costs:
        return costs_of_model(config.model, scalar_head=True)

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
        """A language model's parameters, with a scalar head that is drawn."""
        mesh = jax.tree.leaves(target)[0].sharding.mesh
        return from_language_model(
            self.model(config),
            read(placed(parameter_shapes(GPT(config.model)), mesh)),
            rng(config.training.seed, "scalar_head"),
        )

    def prepare(self, config: RewardModelConfig) -> Task:
        """Reads rankings and demonstrations; see `Kind.prepare`."""
        template = inputs.load_chat_template(config)
        rows, validation, hashes = ranked_answers(
            "reward",
            config.reward,
            config.data.validation_fraction,
            template,
            config.reward.share_prompts,
        )
        demonstrations = together(lambda: _demonstrations(config, template))
        hashes |= {
            "tokenizer_hash": template.tokenizer.content_hash(),
            "demonstrations_hash": demonstrations.prompts.content_hash(),
        }
        check_alike(hashes)
        if config.reward.epochs is not None:
            config = with_examples(config, config.reward.epochs * len(rows))
        schedule = batch_schedule(config)
        mixture = Mixture({"rankings": rows}, {"rankings": 1.0}, config.training.seed)

        def batches(step: int, skipped: Ranges, share: BatchShare) -> Iterator[HostBatch]:
            return mixture_batches(mixture, schedule, step, share=share, skipped=skipped)

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
            "are to average 0, such as that which fine-tuning learned from"
        )
    conversations = load_conversations(config.reward.demonstrations)
    return answered_rows(conversations, template, max_tokens=config.model.context_length)


KIND = RewardModelling()
