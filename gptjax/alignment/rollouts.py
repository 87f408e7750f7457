"""Rollouts: the answers that a policy draws to prompts, as arrays for its update.

    rollouts = draw_rollouts(
        generator, prompts, episodes, template, rows=(36, 28), temperature=1.0, seed=0
    )
    texts, finished = rollouts.texts(template), rollouts.finished

The generator is the inference engine as it is. Its log-probabilities are not kept: those of the
update come from the update's own forward pass, which rounds otherwise (see `policy_gradient`).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """Answers to prompts.

    Attributes:
      tokens: int32 [B, P + A], prompt and answer at the front of each row, then padding.
      prompt_lengths: int32 [B], tokens of each prompt.
      answers: int32 [B, A], the drawn tokens, the end of the turn among them, then padding.
      answer_lengths: int32 [B], how many were drawn.
      finished: bool [B], whether the turn was ended.
    """

    tokens: np.ndarray
    prompt_lengths: np.ndarray
    answers: np.ndarray
    answer_lengths: np.ndarray
    finished: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """Mask of the drawn tokens in `answers`, bool [B, A]."""
        return np.arange(self.answers.shape[1]) < self.answer_lengths[:, None]

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays that the networks read, by name; the first axis of each is B."""
        return {
            "tokens": self.tokens,
            "prompt_lengths": self.prompt_lengths,
            "answers": self.answers,
            "answer_lengths": self.answer_lengths,
        }

    def texts(self, template: ChatTemplate) -> list[str]:
        """Text of each answer."""
        return [
            template.response(answer[:length])[0]
            for answer, length in zip(self.answers, self.answer_lengths, strict=True)
        ]


def draw_rollouts(
    generator: Generator,
    prompts: Sequence[np.ndarray],
    episodes: Sequence[int],
    template: ChatTemplate,
    *,
    rows: tuple[int, int],
    temperature: float,
    seed: int,
) -> Rollouts:
    """Draws an answer to each prompt from the policy's full distribution.

    Args:
      generator: of the policy.
      prompts: B of token ids [n], each with the assistant's mark at its end.
      episodes: number of each answer in the run; its draws depend on (seed, episode), and not on
        other answers.
      template: says which token ends a turn, and which is padding.
      rows: P and A, the most tokens of a prompt and of an answer.
      temperature: above 0.
      seed: of the run.
    """
    most_prompt, most_answer = rows
    tokenizer = template.tokenizer
    requests = generator.complete(
        prompts,
        sample_indices=episodes,
        max_new_tokens=most_answer,
        sampler=make_sampler(temperature),
        seed=seed,
        stop_token=tokenizer.end_of_turn,
    )
    count = len(requests)
    tokens = np.full((count, most_prompt + most_answer), tokenizer.padding, np.int32)
    answers = np.full((count, most_answer), tokenizer.padding, np.int32)
    prompt_lengths, answer_lengths = np.zeros((2, count), np.int32)
    finished = np.zeros(count, bool)
    for row, (prompt, request) in enumerate(zip(prompts, requests, strict=True)):
        answer = request.result()
        prompt_lengths[row], answer_lengths[row] = prompt.size, answer.size
        tokens[row, : prompt.size] = prompt
        tokens[row, prompt.size : prompt.size + answer.size] = answer
        answers[row, : answer.size] = answer
        finished[row] = answer[-1] == tokenizer.end_of_turn
    return Rollouts(tokens, prompt_lengths, answers, answer_lengths, finished)
