"""Completion functions: what answers the calls of evals; and those that are Python's.

    model = PythonFunction("mine", lambda prompt, **arguments: "2")
    for number, answer in model.answers([Call("1+1=", {"temperature": 0.0})]): ...

`functions` makes them by name.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from gptjax.evals.openai_evals.classes.base import Call

DUMMY = "This is a dummy response."


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer to a call.

    Attributes:
      text: what was written.
      details: what else is logged of it: model, usage, cut.
    """

    text: str
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Failure:
    """A call without an answer: the type of what went wrong, and the message."""

    type: str
    message: str


Numbered = Iterator[tuple[int, Answer | Failure]]


class CompletionFunction(Protocol):
    """Answers calls.

    Attributes:
      identity: stands for all that its answers depend on but the calls.
    """

    identity: str

    def answers(self, calls: Sequence[Call]) -> Numbered:
        """Yields each call's number and its answer, as soon as they are ready."""
        ...


class PythonFunction:
    """A function of a user, called for one prompt after the other, in order."""

    def __init__(
        self, identity: str, function: Callable[..., Any], options: Mapping[str, Any] | None = None
    ):
        """`options`: arguments of every call, which take the place of an eval's."""
        self.identity, self._function, self._options = identity, function, dict(options or {})

    def answers(self, calls: Sequence[Call]) -> Numbered:
        for number, call in enumerate(calls):
            try:
                result = self._function(call.prompt, **{**call.arguments, **self._options})
            except Exception as error:  # whatever a user's function raises is named
                said = " ".join(str(error).split())
                raise ValueError(
                    f"completion_fn {self.identity!r}: it raised {type(error).__name__}: {said}, "
                    "expected a text"
                ) from error
            yield number, self._answer(result)

    def _answer(self, result: Any) -> Answer | Failure:
        if callable(getattr(result, "get_completions", None)):
            result = result.get_completions()
        if isinstance(result, list):
            if not result:
                return Failure("NoCompletion", "the function gave no completion")
            result = result[0]
        if not isinstance(result, str):
            raise ValueError(
                f"completion_fn {self.identity!r}: got a {type(result).__name__}, expected a text, "
                "a list of texts, or what has get_completions()"
            )
        return Answer(result)
