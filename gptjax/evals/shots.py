"""Shots: examples of a task, with their answers, before the item that a model is asked about.

GPT-3 (2005.14165, section 2.4) draws K examples of the training split at random for each item, and
takes K as large as the context allows. The draws depend on the seed and the item's id alone, and K
shots are the first K of more.

    before = Prompts(task, seed=0).before(item, shots=8)
    most_that_fit(prompts, model.count, context_length, most=32)
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gptjax.evals.requests import Generation, Likelihood, Request, room_for_prompt
from gptjax.evals.task import Task

MOST_SHOTS = 100

CountTokens = Callable[[Sequence[str]], Sequence[int]]


class Prompts:
    """What stands before the items of a task."""

    def __init__(self, task: Task[Any], seed: int):
        """`seed`: of the draws."""
        self.task, self._seed = task, seed

    def shots(self, item: Any, count: int) -> list[Any]:
        """`count` examples for an item.

        Raises:
          ValueError: the task has no training split, or too few examples.
        """
        if not count:
            return []
        pool = self.task.pool(item)
        digest = hashlib.sha256(f"{self._seed} {item.id}".encode()).digest()
        rng = np.random.default_rng(list(digest))
        drawn = rng.choice(len(pool), min(MOST_SHOTS + 1, len(pool)), replace=False)
        own = self.task.shown(item)
        others = [
            pool[i] for i in drawn if pool[i].id != item.id and self.task.shown(pool[i]) != own
        ]
        if not others:
            raise ValueError(
                f"shots: got {count} for {self.task.name}, which has no training split here, "
                "expected 0, or the option train=FILE of the task"
            )
        most = min(MOST_SHOTS, len(others))
        if count > most:
            raise ValueError(
                f"shots: got {count} for {self.task.name}, whose training split has {len(pool)} "
                f"examples, expected {most} at most"
            )
        return others[:count]

    def before(self, item: Any, shots: int) -> str:
        """The text before an item."""
        shown = [self.task.shown(shot) for shot in self.shots(item, shots)]
        return self.task.layout_of(item).before(shown)

    def requests(self, item: Any, shots: int) -> list[Request]:
        """What a model is asked about an item."""
        return self.task.requests(item, self.before(item, shots))

    def available(self) -> int:
        """The most shots that each item can have, whatever the context."""
        pools = [self.task.pool(item) for item in self.task.items]
        ids = {id(pool): {other.id for other in pool} for pool in pools}
        fewest = min(
            len(ids[id(pool)] - {item.id})
            for item, pool in zip(self.task.items, pools, strict=True)
        )
        return min(fewest, MOST_SHOTS)


def unfit(prompts: Prompts, shots: int, count: CountTokens, context_length: int) -> set[str]:
    """The ids of items that exceed the context with so many shots.

    Args:
      prompts: of the task.
      shots: K.
      count: tokens of each of several texts.
      context_length: tokens that fit; of a continuation the last one is not read.
    """
    texts, owners, room = [], [], []
    for item in prompts.task.items:
        for request in prompts.requests(item, shots):
            if isinstance(request, Likelihood):
                texts.append(request.context + request.continuation)
                room.append(context_length + 1)
            elif isinstance(request, Generation):
                texts.append(request.prompt)
                room.append(room_for_prompt(context_length, request.max_new_tokens))
            else:
                continue
            owners.append(item.id)
    counts = count(texts) if texts else []
    return {id for id, size, most in zip(owners, counts, room, strict=True) if size > most}


def most_that_fit(prompts: Prompts, count: CountTokens, context_length: int, most: int) -> int:
    """The largest K, `most` at most, with which no item exceeds the context that fits it without.

    Items that are too long without a shot are not counted: their contexts are cut.
    """
    alone = unfit(prompts, 0, count, context_length)
    low, high = 0, 0 if len(alone) == len(prompts.task.items) else most
    while low < high:
        middle = (low + high + 1) // 2
        if unfit(prompts, middle, count, context_length) <= alone:
            low = middle
        else:
            high = middle - 1
    return low


def checked(prompts: Prompts, shots: int, count: CountTokens, context_length: int) -> None:
    """Refuses shots that exceed the context.

    Raises:
      ValueError: names the largest K that fits.
    """
    if not shots:
        return
    alone = unfit(prompts, 0, count, context_length)
    over = unfit(prompts, shots, count, context_length)
    if over - alone or len(alone) == len(prompts.task.items):
        fit = most_that_fit(prompts, count, context_length, shots)
        raise ValueError(
            f"shots: got {shots} for {prompts.task.name}, with which {len(over)} of "
            f"{len(prompts.task.items)} items exceed the context of {context_length} tokens, "
            f"expected {fit} at most"
        )
