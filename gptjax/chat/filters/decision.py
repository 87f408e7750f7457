"""What filters decide, and what is left of a text.

judged = chain.judge("a text", "input")
judged.text, judged.stopped, [decision.as_json() for decision in judged.decisions]
"""

import dataclasses
from typing import Any

INPUT, OUTPUT, BOTH = "input", "output", "both"
REFUSE, REDACT, END = "refuse", "redact", "end"
ACTIONS = (REFUSE, REDACT, END)


@dataclasses.dataclass(frozen=True)
class Decision:
    """One decision of a stage. It says nothing of the text, so that it can be logged.

    Attributes:
      where: "input" or "output".
      stage: name of the stage.
      category: what was found, as the configuration calls it; None: it has no name.
      score: probability by a classifier; None of other stages.
      action: "refuse", "redact" or "end".
      choice: index of the answer among several; None: it is not of one.
    """

    where: str
    stage: str
    category: str | None
    score: float | None
    action: str
    choice: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields, as JSON values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Judged:
    """A text after its filters, or the next part of one that comes in pieces.

    Attributes:
      text: what may be shown, or read by the model; of a stream, what is new of it.
      decisions: what was decided, in order; of a stream, what is new.
      stopped: whether there is no more text: the input gets no answer, the output has ended.
    """

    text: str
    decisions: tuple[Decision, ...] = ()
    stopped: bool = False
