"""What a reward model learns from, and how good it has become: rankings, and demonstrations.

outcome = train("reward_model_smoke", config, WorkDirectory("runs/reward"), reward_modelling)
reward_model, params = WorkDirectory("runs/reward").reward_model(policy_tokenizer)
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments import sources
from experiments.alignment.ranked_answers import ranked_answers
from experiments.alignment.rewards_of_rows import rewards_of_rankings, rewards_of_texts
from experiments.step_costs import tokens_of
from experiments.task_checks import check_task
from experiments.task_configs import RewardModelConfig, with_examples
from experiments.training_run import Program, Task
from experiments.workdir import WorkDirectory
from gptjax.alignment.ranking_report import ranking_report
from gptjax.alignment.reward_model import normalisation
from gptjax.config import batch_schedule
from gptjax.data.answered import answered_rows
from gptjax.data.chat_format import ChatTemplate
from gptjax.data.conversations import load_conversations
from gptjax.data.loader import Share, mixture_batches
from gptjax.data.mixture import Mixture
from gptjax.data.prompts import PromptRows
from gptjax.data.shards import Batch
from gptjax.data.skipping import Ranges
from gptjax.training.evaluation import Evaluator, loss_evaluator
from gptjax.training.partitioning import batch_share
from gptjax.training.processes import check_alike, together


def reward_modelling(config: RewardModelConfig) -> Task:
    """Learning which answers annotators prefer.

    Raises:
      ValueError: what the configuration names cannot be had, or nothing of it fits.
    """
    check_task(config)
    template = sources.load_chat_template(config)
    rows, validation, hashes = ranked_answers(
        "reward", config.reward, config.data.validation_fraction, template
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

    def batches(step: int, skipped: Ranges, share: Share) -> Iterator[Batch]:
        return mixture_batches(mixture, schedule, step, share=share, skipped=skipped)

    def evaluators(program: Program) -> dict[str, Evaluator]:
        held = sources.row_batches(config, validation, batch_share(program.mesh))
        return {"validation": loss_evaluator(program.loss, held, program.mesh)}

    def figures(program: Program, params: Any, _: WorkDirectory) -> dict[str, Any]:
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

    tokens_a_row = tokens_of(rows.batch(np.arange(1)))
    return Task(config, template.tokenizer, hashes, batches, evaluators, figures, tokens_a_row)


def _demonstrations(config: RewardModelConfig, template: ChatTemplate) -> PromptRows:
    if config.reward.demonstrations is None:
        raise ValueError(
            "config.reward.demonstrations: got none, expected a set of conversations whose rewards "
            "are to average 0, such as that of experiments.sft"
        )
    conversations = load_conversations(config.reward.demonstrations)
    return answered_rows(conversations, template, max_tokens=config.model.context_length)
