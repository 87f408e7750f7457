"""What requests are for a model: tokens, with the pictures that stand among them.

question = Question(prefix, pictures)
"""

import dataclasses
from typing import Protocol

import numpy as np

from gptjax.data.pictures.picture import Picture


class Asked(Protocol):
    """What is read, with its pictures."""

    @property
    def pictures(self) -> tuple[Picture, ...]: ...


@dataclasses.dataclass(frozen=True)
class Prompt:
    """Tokens [n] that are continued, whether they were cut to fit, and their pictures."""

    tokens: np.ndarray
    cut: bool = False
    pictures: tuple[Picture, ...] = ()


@dataclasses.dataclass
class Question:
    """Continuations [n] of one context, with the numbers of their requests."""

    prefix: np.ndarray
    pictures: tuple[Picture, ...] = ()
    numbers: list[int] = dataclasses.field(default_factory=list)
    answers: list[np.ndarray] = dataclasses.field(default_factory=list)
    cut: list[bool] = dataclasses.field(default_factory=list)

    @property
    def size(self) -> int:
        """Tokens of the context with the longest continuation."""
        return self.prefix.size + max(map(len, self.answers))
