"""Reward model as a function of prompts and answers, for `rewards.Reward`.

    function = ModelReward(reward_model, params, ChatTemplate(tokenizer))
    rewards = [BatchReward("reward_model", function)]

An answer is read as if its turn had ended, as in the rankings that a reward model learns from.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from gptjax.alignment.reward_model import RewardModel
from gptjax.compiled import compiled
from gptjax.data.dialogue.chat_format import ChatTemplate, Conversation


class ModelReward:
    """Rewards by one model; it holds a compiled program for each shape, so keep it."""

    def __init__(
        self,
        model: RewardModel,
        params: Any,
        template: ChatTemplate,
        *,
        width: int | None = None,
        batch_size: int = 64,
    ):
        """Keeps `params` as they are.

        Args:
          model: the reward model.
          params: its parameters, normalised or not.
          template: how prompts and answers become its tokens.
          width: tokens of the rows that texts are padded to, so that there is one shape; None, and
            for longer texts: the power of two that the longest of a call needs.
          batch_size: texts at a time.
        """
        self.model, self.params, self._template = model, params, template
        self._width, self._batch_size = width, batch_size
        self._context = model.config.context_length
        self._apply = compiled(_rewards, model)

    def __call__(self, prompts: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        """The reward of each response, [N] float32.

        If a text is longer than the model's context, its end is not read.

        Raises:
          ValueError: a prompt that fills the context by itself.
        """
        texts = [self._tokens(*pair) for pair in zip(prompts, responses, strict=True)]
        if not texts:
            return np.zeros(0, np.float32)
        longest = max(map(len, texts))
        if self._width is not None and longest <= self._width:
            width = self._width
        else:
            width = min(_power_of_two(longest), self._context)
        tokens = np.full((len(texts), width), self._template.tokenizer.padding, np.int32)
        for row, text in enumerate(texts):
            tokens[row, : len(text)] = text
        return self.of_tokens(tokens, np.array([len(text) for text in texts], np.int32))

    def of_tokens(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The reward of texts given as tokens, [N] float32, whether or not they end.

        Args:
          tokens: int32 [N, T], texts at the front of their rows.
          lengths: int32 [N], tokens of each, at least one.
        """
        count = len(tokens)
        size = min(self._batch_size, _power_of_two(count))
        pad = -count % size
        tokens, lengths = np.pad(tokens, ((0, pad), (0, 0))), np.pad(lengths, (0, pad), mode="edge")
        parts = [
            np.asarray(self._apply(self.params, tokens[rows], lengths[rows]))
            for rows in np.split(np.arange(count + pad), (count + pad) // size)
        ]
        return np.concatenate(parts)[:count]

    def _tokens(self, prompt: Conversation, response: str) -> np.ndarray:
        before = self._template.prompt(prompt)
        if len(before) >= self._context:
            raise ValueError(
                f"prompt: got {len(before)} tokens, expected fewer than {self._context}, the "
                "reward model's context length"
            )
        return np.concatenate([before, self._template.answer(response)])[: self._context]


def _power_of_two(count: int) -> int:
    """The smallest power of two that is not below `count`."""
    return 1 << (count - 1).bit_length()


def _rewards(model: RewardModel, params: Any, tokens: jax.Array, lengths: jax.Array) -> Any:
    return model.apply({"params": params}, tokens, lengths)
