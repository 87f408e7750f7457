"""Evaluator of a model's answers to held-out prompts by their rewards, which chooses SFT's model.

evaluate = answer_rewards(model, template, prompts, rewards, count=256, seed=0)
evaluate(params)["reward"]

InstructGPT chooses its SFT model by the reward model's score (arXiv 2203.02155, section 3.5).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gptjax.alignment.rewards import Reward
from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.data.dialogue.prompts import PromptRows
from gptjax.inference.generate import Generator
from gptjax.inference.requests import check_answerable
from gptjax.judging.named_rewards import scored
from gptjax.models.decoder import Decoder
from gptjax.training.evaluation import Evaluator

_SLOTS = 32


def answer_reward_evaluator(
    model: Decoder,
    template: ChatTemplate,
    prompts: PromptRows,
    rewards: Sequence[Reward],
    *,
    count: int,
    seed: int,
) -> Evaluator:
    """An evaluator that draws an answer, at temperature 1, to each of the first `count` prompts.

    The draws are the same at every evaluation, so that they do not add to differences of models.

    Args:
      model: whose parameters are judged.
      template: of its tokenizer.
      prompts: held out.
      rewards: of answers.
      count: prompts at most.
      seed: of the draws.

    Returns:
      A function from parameters to `reward`, the mean of what the answers earn.

    Raises:
      ValueError: attention that looks ahead, under which a prompt cannot be continued.
    """
    asked, ids = list(prompts.prompts)[:count], list(prompts.ids)[:count]
    longest = max(map(len, ids))
    check_answerable(model.config, ids)
    room = model.config.context_length - longest
    generator: Generator | None = None

    def evaluate(params: Any) -> dict[str, float]:
        nonlocal generator
        if generator is None:
            generator = Generator(model, params, slots=_SLOTS, longest=(longest, room))
        else:
            generator.params = params
        answers = generator.generate(
            ids, max_new_tokens=room, seed=seed, stop_token=template.tokenizer.end_of_turn
        )
        said = [template.response(answer)[0] for answer in answers]
        return {"reward": float(np.mean(scored(rewards, asked, said)[0]))}

    return evaluate
