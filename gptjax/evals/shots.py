"""Shots: examples of a task, with their answers, before the item that a model is asked about.

GPT-3 (2005.14165, section 2.4) draws K examples of the training split at random for each item, and
takes K as large as the context allows. The draws depend on the seed and the item's id alone, and K
shots are the first K of more.

    before = Prompts(task, seed=0).before(item, shots=8)
    most_that_fit(prompts, model, most=32)
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from gptjax.evals.requests import Generation, Likelihood, Request, Rolling
from gptjax.evals.task import Task

MOST_SHOTS = 100


class Reader(Protocol):
    """What shots have to fit.

    Attributes:
      context_length: tokens that it reads at most.
    """

    context_length: int

    def check(self, requests: Sequence[Request]) -> None:
        """Refuses (ValueError) requests that it cannot read, whatever their length."""
        ...

    def fit(self, requests: Sequence[Likelihood | Generation]) -> Sequence[bool]:
        """Whether each request can be answered without that what it shows is cut."""
        ...


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
        own = self._shown(item)
        others = [pool[i] for i in drawn if pool[i].id != item.id and self._shown(pool[i]) != own]
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
        """What a model is asked about an item; pictures are those of the shots, then its own."""
        asked = self.task.requests(item, self.before(item, shots))
        shown = [*self.shots(item, shots), item]
        pictures = tuple(itertools.chain.from_iterable(map(self.task.pictures, shown)))
        if not pictures:
            return asked
        return [
            request
            if isinstance(request, Rolling)
            else dataclasses.replace(request, pictures=pictures)
            for request in asked
        ]

    def _shown(self, item: Any) -> tuple[Any, ...]:
        """What of an item would give its answer away, if it were a shot."""
        return self.task.shown(item), self.task.pictures(item)

    def available(self) -> int:
        """The most shots that each item can have, whatever the context."""
        pools = [self.task.pool(item) for item in self.task.items]
        ids = {id(pool): {other.id for other in pool} for pool in pools}
        fewest = min(
            len(ids[id(pool)] - {item.id})
            for item, pool in zip(self.task.items, pools, strict=True)
        )
        return min(fewest, MOST_SHOTS)


def unfit(prompts: Prompts, shots: int, model: Reader) -> set[str]:
    """The ids of items that exceed the context of a model with so many shots."""
    asked, owners = [], []
    for item in prompts.task.items:
        for request in prompts.requests(item, shots):
            if not isinstance(request, Rolling):
                asked.append(request)
                owners.append(item.id)
    fitting = model.fit(asked) if asked else []
    return {id for id, fits in zip(owners, fitting, strict=True) if not fits}


def most_that_fit(prompts: Prompts, model: Reader, most: int) -> int:
    """The largest K, `most` at most, with which no item exceeds the context that fits it without.

    Items that are too long without a shot are not counted: their contexts are cut.
    """
    alone = unfit(prompts, 0, model)
    low, high = 0, 0 if len(alone) == len(prompts.task.items) else most
    while low < high:
        middle = (low + high + 1) // 2
        if unfit(prompts, middle, model) <= alone:
            low = middle
        else:
            high = middle - 1
    return low


def checked(prompts: Prompts, shots: int, model: Reader) -> None:
    """Refuses shots that exceed the context.

    Raises:
      ValueError: names the largest K that fits.
    """
    if not shots:
        return
    alone, over = unfit(prompts, 0, model), unfit(prompts, shots, model)
    if over - alone or len(alone) == len(prompts.task.items):
        fit = most_that_fit(prompts, model, shots)
        raise ValueError(
            f"shots: got {shots} for {prompts.task.name}, with which {len(over)} of "
            f"{len(prompts.task.items)} items exceed the context of {model.context_length} tokens, "
            f"expected {fit} at most"
        )
