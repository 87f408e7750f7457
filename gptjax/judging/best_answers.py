"""The best of n answers to each prompt, by rewards: best-of-n and rejection sampling.

for chosen in best_answers(policy, load_rewards("gold", tokenizer), prompts, 16):
    print(chosen.answer.text, chosen.reward)
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from gptjax.alignment.ratings.best_of_n import best, expected_best, kl_of_best
from gptjax.alignment.rewards import Reward, composed
from gptjax.data.dialogue.chat_format import Conversation
from gptjax.judging.policies import Answer, Policy, as_field

_AT_ONCE = 256  # answers, to as many prompts as that makes


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The best answer to a prompt, and what the others earned.

    Attributes:
      prompt: what was asked.
      answer: the best.
      reward: of the best answer, the weighted sum of all parts.
      parts: the rewards in that sum, unweighted, by name.
      rewards: [n] float32, of all answers, in the order of the draws.
    """

    prompt: Conversation
    answer: Answer
    reward: float
    parts: dict[str, float]
    rewards: np.ndarray

    def row(self) -> dict[str, Any]:
        """All fields as JSON values, with the divergence of best-of-n from one answer, in nats."""
        return {
            "prompt": as_field(self.prompt),
            "answer": self.answer.text,
            "reward": self.reward,
            "rewards": [float(reward) for reward in self.rewards],
            "parts": self.parts,
            "finished": self.answer.finished,
            "n": len(self.rewards),
            "kl": kl_of_best(len(self.rewards)),
        }

    def conversation(self) -> dict[str, Any]:
        """Prompt and answer as a row that `jsonl:PATH` reads as a demonstration."""
        return {"prompt": as_field(self.prompt), "response": self.answer.text}


def best_answers(
    policy: Policy,
    rewards: Sequence[Reward],
    prompts: Sequence[Conversation],
    n: int,
    *,
    temperature: float = 1.0,
    seed: int = 0,
    max_new_tokens: int | None = None,
    unfinished_reward: float | None = None,
) -> Iterator[Chosen]:
    """Draws n answers to each prompt and chooses the best, the first of equals.

    Args:
      policy: draws them.
      rewards: score them, as `load_rewards` makes them.
      prompts: that fit the policy.
      n: 1 to `policies.MOST_ANSWERS`.
      temperature: of the draws.
      seed: of the draws.
      max_new_tokens: of an answer; None: all that fit.
      unfinished_reward: of an answer that does not end its turn; None: it is scored like others.

    Raises:
      ValueError: a reward fails; the message names it, and gives the numbers of the answer and the
        prompt, from 0.
    """
    size = max(1, _AT_ONCE // n)
    for first in range(0, len(prompts), size):
        part = prompts[first : first + size]
        answers = policy.answers(
            part,
            n,
            temperature=temperature,
            seed=seed,
            max_new_tokens=max_new_tokens,
            first=first,
        )
        flat = [answer for each in answers for answer in each]
        total, parts = composed(
            rewards,
            [prompt for prompt in part for _ in range(n)],
            [one.text for one in flat],
            lambda row, first=first: f"answer {row % n} to prompt {first + row // n}",
        )
        if unfinished_reward is not None:
            finished = np.array([answer.finished for answer in flat])
            total = np.where(finished, total, np.float32(unfinished_reward))
        scores = total.reshape(len(part), n)
        for row, index in enumerate(best(jnp.asarray(scores)).tolist()):
            yield Chosen(
                part[row],
                answers[row][index],
                float(scores[row, index]),
                {name: float(values[row * n + index]) for name, values in parts.items()},
                scores[row],
            )


def best_of_n_curve(
    choosing: np.ndarray, rewards: Mapping[str, np.ndarray]
) -> list[dict[str, float]]:
    """Mean rewards of the best of 1, 2, 4, ... n answers, and their KL divergence, as JSON values.

    Args:
      choosing: [N, n], by which the best of n answers to each prompt is chosen.
      rewards: by name, each [N, n]; those of the chosen answers are averaged.
    """
    count = choosing.shape[1]
    sizes = sorted({1 << i for i in range(count.bit_length())} | {count})
    return [
        {"n": n, "kl": kl_of_best(n)}
        | {name: float(expected_best(choosing, n, of).mean()) for name, of in rewards.items()}
        for n in sizes
    ]
