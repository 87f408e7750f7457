"""What a task is: items, what a model is asked about each, and what its answers are worth.

A task has one of the forms of `gptjax.evals.forms`. Shots are items of the training split, shown
with their answers before an item.
"""

import abc
import dataclasses
from collections.abc import Hashable, Sequence
from typing import Generic, Protocol, TypeVar

from gptjax.data.pictures.picture import Picture
from gptjax.evals.metrics import Metric
from gptjax.evals.requests import Answer, Request


class Identified(Protocol):
    """Any item."""

    @property
    def id(self) -> str:
        """Names the item in its task, and is no other item's: see `rows.id_of`."""
        ...


Item = TypeVar("Item", bound=Identified)


@dataclasses.dataclass(frozen=True)
class Judged:
    """What a model's answers to one item are worth.

    Attributes:
      columns: numbers that the task's metrics are made of; of all items the same ones.
      given: what the model answered, for people.
      expected: what is right.
      margin: how sure the model was, in the unit of the form: positive where it was right.
    """

    columns: dict[str, float]
    given: str
    expected: str
    margin: float


@dataclasses.dataclass(frozen=True)
class Layout:
    """How shots and an item become one text: DESCRIPTION SHOT SEPARATOR SHOT SEPARATOR ITEM.

    Attributes:
      description: stands before all, with its own line ends.
      separator: stands between two of them.
    """

    description: str = ""
    separator: str = "\n\n"

    def before(self, shots: Sequence[str]) -> str:
        """What stands before an item."""
        return self.description + "".join(shot + self.separator for shot in shots)


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC, Generic[Item]):
    """Items of one form.

    Attributes:
      name: of the task.
      items: one or more.
      training: shots are drawn from it; (): there is no training split.
      layout: of shots and items.
    """

    name: str
    items: Sequence[Item]
    training: Sequence[Item] = ()
    layout: Layout = Layout()

    @property
    @abc.abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """What is figured of the items; the first is what the task's paper reports."""

    @property
    @abc.abstractmethod
    def protocol(self) -> str:
        """What is measured, in a sentence or two, as a paper would say it."""

    def pool(self, item: Item) -> Sequence[Item]:
        """The items that shots for `item` are drawn from; it is not among its own shots."""
        del item
        return self.training

    def pictures(self, item: Item) -> tuple[Picture, ...]:
        """The pictures of an item, in the order of its places for them; (): it is text alone."""
        del item
        return ()

    def cluster(self, item: Item) -> Hashable:
        """What an item belongs to: those of one cluster, such as a passage, are not independent."""
        return item.id

    def layout_of(self, item: Item) -> Layout:
        """How shots and `item` become one text."""
        del item
        return self.layout

    @abc.abstractmethod
    def shown(self, item: Item) -> str:
        """A shot: an item with its right answer."""

    @abc.abstractmethod
    def requests(self, item: Item, before: str) -> list[Request]:
        """What the model is asked about an item behind the text `before`."""

    @abc.abstractmethod
    def judge(self, item: Item, answers: Sequence[Answer]) -> Judged:
        """What the answers to the requests are worth."""

    def judge_all(self, answers: Sequence[Sequence[Answer]]) -> list[Judged]:
        """`judge` of each item and its answers; a task that is slow at it does several at once."""
        return [self.judge(item, each) for item, each in zip(self.items, answers, strict=True)]
