"""A chain of filters: what a text goes through on its way into a model, or out of it.

    chain = FilterChain.parse(Path("filters.yaml").read_text())
    judged = chain.judge(prompt, "input")          # a whole text
    stream = chain.stream()                        # an output that comes in pieces
    for piece in pieces:
        judged = stream.push(piece)
        show(judged.text)
        if judged.stopped:
            break
    else:
        show(stream.finish().text)

Each stage gets what the one before it left. Every decision is logged, without a word of the text.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from absl import logging

from gptjax.chat.filters.configuration import Load, parse_stages
from gptjax.chat.filters.decision import BOTH, INPUT, OUTPUT, REFUSE, Decision, Judged
from gptjax.chat.filters.stages import Guard, Stage

Log = Callable[[Decision], None]


def log_decision(decision: Decision) -> None:
    """Writes a decision to the log of the program."""
    score = "none" if decision.score is None else f"{decision.score:.3f}"
    logging.warning(
        "filter: %s, stage %s, category %s, score %s: %s",
        *(decision.where, decision.stage, decision.category, score, decision.action),
    )


@dataclasses.dataclass(frozen=True)
class FilterChain:
    """Named stages, in order.

    Attributes:
      stages: of input and of output; none: every text passes.
      log: is told of every decision.
    """

    stages: tuple[Stage, ...] = ()
    log: Log = log_decision

    @classmethod
    def parse(
        cls,
        configuration: str | Sequence[Any],
        load: Load | None = None,
        log: Log = log_decision,
    ) -> "FilterChain":
        """A chain as a configuration says; see `configuration`.

        Args:
          configuration: YAML, or the list that YAML gives.
          load: gives the classifier of a run, of its directory; by default `Moderator.load`.
          log: is told of every decision.

        Raises:
          ValueError: in one line, naming the stage, the field, what it got and what is allowed.
        """
        return cls(parse_stages(configuration, load), log)

    def of(self, where: str) -> tuple[Stage, ...]:
        """The stages of "input" or of "output"."""
        assert where in (INPUT, OUTPUT), where
        return tuple(stage for stage in self.stages if stage.where in (where, BOTH))

    def judge(self, text: str, where: str) -> Judged:
        """Judges a whole text.

        Args:
          text: a prompt, or an answer.
          where: "input" or "output".

        Returns:
          What is left. Where a stage refuses, nothing is. Where one ends the text, later stages
          judge what stands in front of the end.
        """
        decisions: list[Decision] = []
        stopped = False
        for stage in self.of(where):
            judged = stage.judge(text, where)
            text, stopped = judged.text, stopped or judged.stopped
            decisions += judged.decisions
            if judged.stopped and stage.action == REFUSE:
                text = ""
                break
        self._tell(decisions)
        return Judged(text, tuple(decisions), stopped)

    def stream(self, where: str = OUTPUT) -> "StreamGuard":
        """Judges a text that comes in pieces."""
        return StreamGuard(self.of(where), where, self._tell)

    def _tell(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            self.log(decision)


class StreamGuard:
    """The filters of one text that comes in pieces.

    What may be the beginning of a hit is held back. Where a stage stops the text, what was shown of
    it before is to be withdrawn; `decisions` says why.

    Attributes:
      stopped: whether a stage has ended the text; then nothing more is shown.
      decisions: all that was decided.
    """

    def __init__(
        self,
        stages: Iterable[Stage],
        where: str = OUTPUT,
        tell: Callable[[Sequence[Decision]], None] = lambda decisions: None,
    ):
        """A stream without text.

        Args:
          stages: that judge it, in order.
          where: "input" or "output".
          tell: is told of new decisions.
        """
        self._guards: list[tuple[Stage, Guard]] = [(stage, stage.guard(where)) for stage in stages]
        self._tell = tell
        self.stopped = False
        self.decisions: tuple[Decision, ...] = ()

    def push(self, text: str) -> Judged:
        """Adds a piece; returns the text that may be shown now, and what is new besides."""
        return self._passed(text, last=False)

    def finish(self) -> Judged:
        """The text that was held back; no more text comes."""
        return self._passed("", last=True)

    def _passed(self, text: str, last: bool) -> Judged:
        if self.stopped:
            return Judged("", (), stopped=True)
        new: list[Decision] = []
        for stage, guard in self._guards:
            judged = guard.push(text)
            parts = [judged]
            if last and not judged.stopped:
                parts.append(guard.finish())
            text = "".join(part.text for part in parts)
            new += (decision for part in parts for decision in part.decisions)
            if parts[-1].stopped:
                self.stopped = last = True  # later stages get no more text
                if stage.action == REFUSE:
                    text = ""
                    break
        self.decisions += tuple(new)
        self._tell(new)
        return Judged(text, tuple(new), self.stopped)


def moderation_of(
    decisions: Iterable[Decision], choice: int | None = None
) -> list[Mapping[str, Any]]:
    """Decisions as the server answers them; `choice` is the answer that they are of."""
    return [dataclasses.replace(each, choice=choice).as_json() for each in decisions]
