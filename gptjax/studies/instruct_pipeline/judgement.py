"""Evaluation of a pipeline's systems: each answers the same held-out prompts.

verdict = judge_seed(pipeline, root, seed)
verdict.systems["ppo"].figures["gold"], verdict.systems["ppo"].figures["win_rate"]
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gptjax.alignment.ratings.best_of_n import kl_of_best
from gptjax.alignment.ratings.win_rate import win_rate
from gptjax.alignment.rewards import Reward, composed
from gptjax.config import ParallelismConfig
from gptjax.data.dialogue.chat_format import Conversation
from gptjax.data.dialogue.prompts import load_prompts
from gptjax.judging.best_answers import best_of_n_curve
from gptjax.judging.divergence import divergence
from gptjax.judging.named_rewards import load_rewards
from gptjax.judging.policies import Answer, Policy
from gptjax.reports.samples import Sample
from gptjax.runs import inputs
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.instruct_pipeline.config import Pipeline
from gptjax.training.evaluation import language_model_evaluator
from gptjax.training.losses import language_model
from gptjax.training.partitioning import make_mesh

_POLICIES = ("pretrain", "sft", "ppo", "ppo_ptx")


@dataclasses.dataclass(frozen=True)
class System:
    """Answers of a system, and its figures as JSON values.

    Attributes:
      samples: an answer to each prompt, with its gold reward and the reward model's score.
      figures: means over the prompts, the win rate against SFT, KL from it in nats an answer, and
        the loss on held-out pretraining text in nats a token.
    """

    samples: list[Sample]
    figures: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Evaluation of all systems of one seed.

    Attributes:
      prompts: that all systems answered.
      systems: in the order of the table.
      best_of_n: what the best of n of SFT's answers earn, for n = 1, 2, 4, ..., by the reward
        model that chooses them and by gold, with KL from SFT; JSON values.
    """

    prompts: list[Conversation]
    systems: dict[str, System]
    best_of_n: list[dict[str, float]]


def judge_seed(pipeline: Pipeline, root: Path, seed: int) -> Verdict:
    """Judges the systems of one seed, whose runs below `root` have ended."""
    sft = Policy(WorkDirectory(str(root / "sft")))
    rewards = load_rewards(f"reward_model:{root / 'reward_model'} + 0*gold", sft.template.tokenizer)
    room, n = pipeline.ppo.ppo.max_answer_tokens, pipeline.best_of
    prompts = list(sft.fitting(load_prompts(pipeline.judged), room))
    answers: dict[str, list[Answer]] = {}
    policies = [*_POLICIES, *([] if pipeline.dpo is None else ["dpo"])]
    for name in policies:
        policy = sft if name == "sft" else Policy(WorkDirectory(str(root / name)))
        drawn = policy.answers(prompts, 1, seed=seed, max_new_tokens=room)
        answers[name] = [each[0] for each in drawn]
    many = sft.answers(prompts, n, seed=seed + 1, max_new_tokens=room)
    flat = [answer for each in many for answer in each]
    of_many = _scores(rewards, [prompt for prompt in prompts for _ in range(n)], flat)
    proxy, gold = (of_many[name].reshape(-1, n) for name in ("reward_model", "gold"))
    best = f"best_of_{n}"
    answers[best] = [each[i] for each, i in zip(many, proxy.argmax(axis=1), strict=True)]

    ids = [sft.template.prompt(prompt) for prompt in prompts]
    reference, loss_on_text = WorkDirectory(str(root / "sft")), _text_loss(root)
    start = reference.params()
    of_sft = _scores(rewards, prompts, answers["sft"])["gold"]
    systems = {}
    for name in [*policies[:2], best, *policies[2:]]:
        scores = _scores(rewards, prompts, answers[name])
        kl, text_loss = kl_of_best(n), None
        if name != best:
            params = WorkDirectory(str(root / name)).params()
            text_loss = loss_on_text(params)
            kl = divergence(
                reference.model(),
                params,
                start,
                ids,
                sft.template,
                max_answer_tokens=room,
                seed=seed,
            ).kl
        samples = [
            Sample(answer.text, {part: float(x[i]) for part, x in scores.items()}, answer.finished)
            for i, answer in enumerate(answers[name])
        ]
        won = win_rate(scores["gold"], of_sft)
        systems[name] = System(
            samples,
            {
                **{part: float(x.mean()) for part, x in scores.items()},
                "win_rate": won.rate,
                "win_rate_low": won.low,
                "win_rate_high": won.high,
                "kl": kl,
                "length": float(np.mean([len(each.tokens) for each in answers[name]])),
                "finished": float(np.mean([each.finished for each in answers[name]])),
                "text_loss": text_loss,
            },
        )
    curve = best_of_n_curve(proxy, {"reward_model": proxy, "gold": gold})
    return Verdict(prompts, systems, curve)


def _scores(
    rewards: Sequence[Reward], prompts: Sequence[Conversation], answers: Sequence[Answer]
) -> Mapping[str, np.ndarray]:
    return composed(rewards, prompts, [answer.text for answer in answers])[1]


def _text_loss(root: Path) -> Callable[[Any], float]:
    """A function from a policy's parameters to its nats a token on what pretraining held out."""
    pretraining = WorkDirectory(str(root / "pretrain"))
    config = pretraining.config()
    held_out = inputs.prepare_corpus(config, pretraining.tokenizer()).validation
    evaluate = language_model_evaluator(
        language_model(pretraining.model()),
        inputs.validation_batches(config, held_out),
        None,
        make_mesh(ParallelismConfig(), jax.local_devices()),
    )
    return lambda params: evaluate(params)["loss"]
